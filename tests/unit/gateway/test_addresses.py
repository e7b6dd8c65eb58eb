"""Which addresses a provider may have: what a name resolves to is judged, not what it looks like."""

from __future__ import annotations

import asyncio
import socket
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho.domain.http import Origin
from sekisho.gateway.addresses import AddressRefused, is_public, resolve


@pytest.mark.parametrize(
    "address",
    [
        "8.8.8.8",
        "104.18.6.192",
        "2606:4700::6812:7c0",
        "2001:4860:4860::8888",
        "64:ff9b::808:808",  # NAT64 of 8.8.8.8: how an IPv6-only machine reaches every IPv4 provider
        "2002:808:808::1",  # 6to4 of 8.8.8.8
        "::ffff:8.8.8.8",
    ],
)
def test_addresses_on_the_internet_are_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        "10.0.0.1",
        "172.16.0.1",
        "172.31.255.255",
        "192.168.1.1",
        "127.0.0.1",
        "127.255.255.254",
        "169.254.169.254",  # the metadata service of AWS, Azure, Google
        "169.254.170.2",  # credentials of AWS containers
        "100.100.100.200",  # the metadata service of Alibaba, in carrier-grade NAT
        "100.64.0.1",
        "0.0.0.0",
        "255.255.255.255",
        "224.0.0.1",
        "239.255.255.250",
        "240.0.0.1",
        "192.0.0.1",
        "192.0.2.1",
        "198.18.0.1",
        "203.0.113.9",
        "::",
        "::1",
        "fe80::1",
        "fe80::1%eth0",
        "fc00::1",
        "fd00:ec2::254",  # the metadata service of AWS over IPv6
        "fec0::1",
        "ff02::1",
        "100::1",
        "2001:db8::1",
        "3fff::1",
        "4000::1",
        "::127.0.0.1",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "::ffff:10.0.0.1",
        "::ffff:0:127.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe",  # NAT64 of 169.254.169.254
        "64:ff9b::a00:1",
        "64:ff9b:1::a9fe:a9fe",
        "2002:7f00:1::1",
        "2002:a9fe:a9fe::1",
        "2001::1",  # Teredo
    ],
)
def test_addresses_that_reach_inside_are_not(address: str) -> None:
    assert not is_public(address)


@given(st.ip_addresses(v=4))
def test_an_ipv6_form_of_an_ipv4_address_is_judged_as_that(address: Any) -> None:
    public = is_public(str(address))
    assert is_public(f"::ffff:{address}") == public
    assert is_public(f"64:ff9b::{int(address) >> 16:x}:{int(address) & 0xFFFF:x}") == public
    assert is_public(f"2002:{int(address) >> 16:x}:{int(address) & 0xFFFF:x}::1") == public


def _answers(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> list[str]:
    """The resolver says these, whatever it is asked; what it was asked is in the list."""
    asked: list[str] = []

    def getaddrinfo(host: str, port: int, **_: Any) -> list[Any]:
        asked.append(host)
        family = [socket.AF_INET6 if ":" in address else socket.AF_INET for address in addresses]
        return [(kind, 1, 6, "", (address, port)) for kind, address in zip(family, addresses, strict=True)]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return asked


async def _resolved(host: str, *, allow_private: bool = False) -> list[str]:
    origin = Origin(scheme="https", host=host, port=443, allow_private=allow_private)
    return await resolve(asyncio.get_running_loop(), origin)


async def test_a_literal_address_is_not_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = _answers(monkeypatch, "9.9.9.9")
    assert await _resolved("8.8.8.8") == ["8.8.8.8"]
    assert await _resolved("127.0.0.1", allow_private=True) == ["127.0.0.1"]
    assert asked == []


async def test_only_public_addresses_of_a_name_are_used_in_the_resolvers_order(monkeypatch: pytest.MonkeyPatch) -> None:
    _answers(monkeypatch, "2606:4700::1", "10.0.0.5", "8.8.8.8", "8.8.8.8", "::1")
    assert await _resolved("provider.example") == ["2606:4700::1", "8.8.8.8"]
    everything = ["2606:4700::1", "10.0.0.5", "8.8.8.8", "::1"]
    assert await _resolved("provider.example", allow_private=True) == everything


@pytest.mark.parametrize("host", ["rebound.example", "127.1", "0x7f000001", "2130706433", "localhost"])
async def test_a_name_that_points_inside_is_refused(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    _answers(monkeypatch, "127.0.0.1", "::1")
    with pytest.raises(AddressRefused, match="allow_private"):
        await _resolved(host)


@pytest.mark.parametrize("host", ["127.0.0.1", "169.254.169.254", "::1", "::ffff:10.0.0.1", "fe80::1%lo"])
async def test_a_literal_that_points_inside_is_refused(host: str) -> None:
    with pytest.raises(AddressRefused):
        await _resolved(host)


async def test_a_name_that_no_thread_can_look_up_is_a_failed_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """And no mistake of ours: another target may be reached."""

    def start(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    with pytest.raises(OSError, match="cannot be looked up"):
        await _resolved("provider.example")


async def test_a_resolver_that_answers_too_late_disturbs_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither those that gave up, nor the end of the process."""
    asked, answer = threading.Event(), threading.Event()
    threads: list[threading.Thread] = []

    def slow(*_: Any, **__: Any) -> list[Any]:
        threads.append(threading.current_thread())
        asked.set()
        answer.wait(5)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("8.8.8.8", 443))]

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    loop = asyncio.get_running_loop()
    wrong: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: wrong.append(context))
    waiting = asyncio.ensure_future(_resolved("provider.example"))
    await asyncio.sleep(0)
    await asyncio.to_thread(asked.wait, 5)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    answer.set()
    await asyncio.to_thread(threads[0].join, 5)
    await asyncio.sleep(0)
    assert ([one.daemon for one in threads], wrong) == ([True], [])
