"""Getting a connection: names, addresses, time, and TLS that is checked."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import re
import socket
import ssl
import threading
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.component.gateway.raw import OK, Peer, answering, exchanged, raw_server, transport, until

from sekisho.domain.http import Origin
from sekisho.gateway import transport as module
from sekisho.gateway.connection import Connection, TransportError
from sekisho.gateway.transport import Pool


async def _refused(pool: Pool, timeout_s: float = 1.0) -> TransportError:
    with pytest.raises(TransportError) as failed:
        await pool.dial(timeout_s)
    assert not failed.value.sent, "nothing was sent: another target may be tried at no risk"
    return failed.value


def _resolves(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    def getaddrinfo(host: str, port: int, **_: Any) -> list[Any]:
        if not addresses:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET, 1, 6, "", (address, port)) for address in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


# -- addresses


async def test_nobody_listens() -> None:
    async with transport() as one:
        pool = one.pool(Origin(scheme="http", host="127.0.0.1", port=9, allow_private=True))
        assert (await _refused(pool)).kind == "connect_failed"


async def test_a_name_that_does_not_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    _resolves(monkeypatch)
    async with transport() as one:
        error = await _refused(one.pool(Origin(scheme="http", host="nowhere.invalid", port=80)))
        assert error.kind == "connect_failed"
        assert "not known" in error.detail


@pytest.mark.parametrize("host", ["a..b", "x" * 70, ".example", "\udcff.example"])
async def test_a_name_that_cannot_be_one(host: str) -> None:
    async with transport() as one:
        assert (await _refused(one.pool(Origin(scheme="http", host=host, port=80)))).kind == "connect_failed"


@pytest.mark.parametrize("host", ["127.0.0.1", "::ffff:127.0.0.1", "169.254.169.254", "10.1.2.3", "::1", "0.0.0.0"])
async def test_a_private_address_is_refused_before_any_connection(host: str) -> None:
    async with raw_server(answering(OK)) as server, transport() as one:
        error = await _refused(one.pool(Origin(scheme="http", host=host, port=server.port)))
        assert error.kind == "address_refused"
        assert "allow_private" in error.detail
        assert server.connections == 0


async def test_a_name_that_points_inside_is_refused_at_every_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """Configured in good faith, and one day its record says 127.0.0.1."""
    async with raw_server(answering(OK)) as server, transport() as one:
        _resolves(monkeypatch, "127.0.0.1")
        pool = one.pool(Origin(scheme="http", host="rebound.example", port=server.port))
        for _ in range(2):
            assert (await _refused(pool)).kind == "address_refused"
        assert server.connections == 0


async def test_the_connection_goes_to_the_address_that_was_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not to the name, which might be looked up again and differently."""
    async with raw_server(answering(OK)) as server, transport() as one:
        asked: list[str] = []

        async def resolve(loop: asyncio.AbstractEventLoop, origin: Origin) -> list[str]:
            asked.append(origin.host)
            return ["127.0.0.1"]

        monkeypatch.setattr(module, "resolve", resolve)
        await exchanged(one.pool(Origin(scheme="http", host="provider.example", port=server.port)))
        assert (asked, server.connections) == (["provider.example"], 1)


async def test_the_next_address_is_tried_when_one_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    async with raw_server(answering(OK)) as server, transport() as one:
        _resolves(monkeypatch, "127.0.0.77", "127.0.0.78", "127.0.0.1")
        origin = Origin(scheme="http", host="provider.example", port=server.port, allow_private=True)
        assert (await exchanged(one.pool(origin))).body == b"ok"


async def test_an_address_that_is_dead_without_a_word_does_not_keep_the_next_from_being_tried(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As where IPv6 leads nowhere. The connections after it know better."""
    tried: list[str] = []
    connect = Pool.connect

    async def watched(pool: Pool, loop: asyncio.AbstractEventLoop, address: str) -> Connection:
        tried.append(address)
        if address == "127.0.0.77":
            await asyncio.sleep(60)
        return await connect(pool, loop, address)

    monkeypatch.setattr(Pool, "connect", watched)
    monkeypatch.setattr(module, "_NEXT_ADDRESS_S", 0.02)
    async with raw_server(answering(OK)) as server, transport() as one:
        _resolves(monkeypatch, "127.0.0.77", "127.0.0.1")
        pool = one.pool(Origin(scheme="http", host="provider.example", port=server.port, allow_private=True))
        for _ in range(2):
            (await pool.dial(5)).close()
        assert tried == ["127.0.0.77", "127.0.0.1", "127.0.0.1"]


async def test_of_two_addresses_that_answer_one_connection_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    connect = Pool.connect
    made: list[str] = []
    both = asyncio.Event()

    async def at_once(pool: Pool, loop: asyncio.AbstractEventLoop, address: str) -> Connection:
        connection = await connect(pool, loop, "127.0.0.1")
        made.append(address)
        if len(made) == 2:
            both.set()
        await both.wait()
        return connection

    monkeypatch.setattr(Pool, "connect", at_once)
    monkeypatch.setattr(module, "_NEXT_ADDRESS_S", 0.02)
    async with raw_server(answering(OK)) as server, transport() as one:
        _resolves(monkeypatch, "127.0.0.2", "127.0.0.3")
        pool = one.pool(Origin(scheme="http", host="provider.example", port=server.port, allow_private=True))
        connection = await pool.dial(5)
        await until(lambda: (server.connections, server.open) == (2, 1))
        connection.close()
        await until(lambda: server.open == 0)


async def test_an_address_that_refuses_does_not_end_one_that_is_still_being_tried(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    connect = Pool.connect
    refused = asyncio.Event()

    async def slow_then_refusing(pool: Pool, loop: asyncio.AbstractEventLoop, address: str) -> Connection:
        if address == "127.0.0.3":
            loop.call_later(0.01, refused.set)
            raise ConnectionRefusedError("nobody listens")
        await refused.wait()
        return await connect(pool, loop, "127.0.0.1")

    monkeypatch.setattr(Pool, "connect", slow_then_refusing)
    monkeypatch.setattr(module, "_NEXT_ADDRESS_S", 0.01)
    async with raw_server(answering(OK)) as server, transport() as one:
        _resolves(monkeypatch, "127.0.0.2", "127.0.0.3")
        pool = one.pool(Origin(scheme="http", host="provider.example", port=server.port, allow_private=True))
        (await pool.dial(5)).close()
        assert server.connections == 1


async def test_a_name_server_that_does_not_answer_holds_up_no_other_provider(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor its own provider more than once: a look-up cannot be interrupted, and each holds a thread."""
    answers = threading.Event()
    asked: list[str] = []

    def getaddrinfo(host: str, port: int, **_: Any) -> list[Any]:
        asked.append(host)
        if host.endswith(".dead.example"):
            answers.wait(20)
        return [(socket.AF_INET, 1, 6, "", ("127.0.0.1", port))]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    async with raw_server(answering(OK)) as server, transport() as one:
        names = [f"{n}.dead.example" for n in range(40)] + ["provider.example"]
        *dead, alive = [
            one.pool(Origin(scheme="http", host=name, port=server.port, allow_private=True)) for name in names
        ]
        try:
            waiting = [asyncio.create_task(_refused(pool, 0.1)) for pool in dead * 3]
            await asyncio.sleep(0)
            (await alive.dial(5)).close()
            assert {error.kind for error in await asyncio.gather(*waiting)} == {"connect_timeout"}
            assert sorted(asked) == sorted(names)
        finally:
            answers.set()
        (await dead[0].dial(5)).close()


async def test_a_resolver_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    async def resolve(loop: asyncio.AbstractEventLoop, origin: Origin) -> list[str]:
        await asyncio.sleep(60)
        return []

    monkeypatch.setattr(module, "resolve", resolve)
    async with transport() as one:
        error = await _refused(one.pool(Origin(scheme="http", host="slow.example", port=80)), 0.05)
        assert error.kind == "connect_timeout"


async def test_a_host_that_does_not_answer() -> None:
    """Its queue of connections is full, so that the handshake gets no answer."""
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    listening.listen(0)
    fillers = [socket.socket() for _ in range(4)]
    try:
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(listening.getsockname())
        await asyncio.sleep(0.05)
        async with transport() as one:
            origin = Origin(scheme="http", host="127.0.0.1", port=listening.getsockname()[1], allow_private=True)
            assert (await _refused(one.pool(origin), 0.1)).kind == "connect_timeout"
    finally:
        for one_socket in (listening, *fillers):
            one_socket.close()


# -- TLS


class Certificates(NamedTuple):
    """A certificate authority of our own."""

    authority: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    def trust(self) -> ssl.SSLContext:
        """As the transport's own context, but for whom it trusts."""
        context = ssl.create_default_context(cadata=self.authority.public_bytes(serialization.Encoding.PEM).decode())
        context.set_alpn_protocols(["http/1.1"])
        return context

    def serve(self, folder: Path, *names: str, days: int = 1) -> ssl.SSLContext:
        """A server's context with a certificate for these names."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = _certificate(names[0], key.public_key(), self.authority.subject, self.key, names=names, days=days)
        file = folder / "server.pem"
        file.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            + certificate.public_bytes(serialization.Encoding.PEM)
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        context.set_alpn_protocols(["h2", "http/1.1"])
        return context


def _certificate(
    name: str,
    key: ec.EllipticCurvePublicKey,
    issuer: x509.Name,
    issuer_key: ec.EllipticCurvePrivateKey,
    *,
    names: tuple[str, ...] = (),
    days: int = 1,
) -> x509.Certificate:
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=2))
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=not names, path_length=None), critical=True)
        .add_extension(_key_usage(signs=not names), critical=True)  # Python 3.13 looks at it
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
    )
    if names:
        builder = builder.add_extension(
            x509.SubjectAlternativeName([_general_name(one) for one in names]), critical=False
        )
    return builder.sign(issuer_key, hashes.SHA256())


def _key_usage(*, signs: bool) -> x509.KeyUsage:
    """An authority signs certificates, a server signs handshakes."""
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs,
        crl_sign=signs,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


@pytest.fixture(scope="module")
def certificates() -> Certificates:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Test CA")])
    return Certificates(_certificate("Test CA", key.public_key(), name, key), key)


def _secure(port: int, host: str = "provider.example") -> Origin:
    return Origin(scheme="https", host=host, port=port, allow_private=True)


async def test_a_trusted_certificate_and_http_1_1_by_alpn(
    certificates: Certificates, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen: list[str | None] = []

    async def script(peer: Peer) -> None:
        chosen.append(peer.writer.get_extra_info("ssl_object").selected_alpn_protocol())
        await answering(OK)(peer)

    _resolves(monkeypatch, "127.0.0.1")
    tls = certificates.serve(tmp_path, "provider.example")
    async with raw_server(script, tls) as server, transport(certificates.trust()) as one:
        pool = one.pool(_secure(server.port))
        for _ in range(2):
            assert (await exchanged(pool, body=b"x" * 100_000)).body == b"ok"
        assert (server.connections, chosen) == (1, ["http/1.1"])


async def test_a_certificate_for_an_address(certificates: Certificates, tmp_path: Path) -> None:
    tls = certificates.serve(tmp_path, "127.0.0.1")
    async with raw_server(answering(OK), tls) as server, transport(certificates.trust()) as one:
        assert (await exchanged(one.pool(_secure(server.port, "127.0.0.1")))).body == b"ok"


@pytest.mark.parametrize(
    ("trusted", "name", "days", "why"),
    [
        (False, "provider.example", 1, "unable to get local issuer|self.signed|verify failed"),
        (True, "other.example", 1, "mismatch"),
        (True, "provider.example", -1, "expired"),
    ],
    ids=["untrusted", "another-name", "expired"],
)
async def test_a_certificate_that_is_not_the_providers_is_refused(
    certificates: Certificates,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    trusted: bool,
    name: str,
    days: int,
    why: str,
) -> None:
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)  # the server's side of a refused handshake
    _resolves(monkeypatch, "127.0.0.1")
    tls = certificates.serve(tmp_path, name, days=days)
    async with (
        raw_server(answering(OK), tls) as server,
        transport(certificates.trust() if trusted else None) as one,
    ):
        error = await _refused(one.pool(_secure(server.port)))
        assert error.kind == "connect_failed"
        assert re.search(why, error.detail)
        assert server.requests == []


async def test_the_transports_own_context_checks_names_and_speaks_http_1_1_only() -> None:
    async with transport() as one:
        context = one.pool(Origin(scheme="https", host="api.example", port=443))._tls
        assert context is not None
        assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
        assert context.minimum_version >= ssl.TLSVersion.TLSv1_2


async def test_a_server_that_speaks_no_tls(monkeypatch: pytest.MonkeyPatch) -> None:
    _resolves(monkeypatch, "127.0.0.1")

    async def script(peer: Peer) -> None:
        await peer.say(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with raw_server(script) as server, transport() as one:
        assert (await _refused(one.pool(_secure(server.port)))).kind == "connect_failed"
        await until(lambda: server.open == 0)


async def test_a_handshake_that_does_not_end(monkeypatch: pytest.MonkeyPatch) -> None:
    _resolves(monkeypatch, "127.0.0.1")

    async def script(peer: Peer) -> None:
        await peer.gone()

    async with raw_server(script) as server, transport() as one:
        assert (await _refused(one.pool(_secure(server.port)), 0.1)).kind == "connect_timeout"
        await until(lambda: server.open == 0)


async def test_an_answer_cut_short_under_tls(
    certificates: Certificates, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.say(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc")

    _resolves(monkeypatch, "127.0.0.1")
    tls = certificates.serve(tmp_path, "provider.example")
    async with raw_server(script, tls) as server, transport(certificates.trust()) as one:
        with pytest.raises(TransportError) as failed:
            await exchanged(one.pool(_secure(server.port)))
        assert failed.value.kind == "cut"
