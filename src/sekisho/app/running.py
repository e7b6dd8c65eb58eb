"""Runs a server in the foreground for `serve` and `demo`: the socket, the key of a first try, the banner, the end."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import msgspec

from sekisho.app.commands import WRONG_USAGE
from sekisho.app.settings.model import DeclaredKey, Settings
from sekisho.domain.http import Secret
from sekisho.domain.keys import new_key

#: whether the kernel gives each socket of one port its share of the connections (socket(7), Linux 3.9)
SHARES_OUT = sys.platform == "linux"


def run(main: Coroutine[Any, Any, None]) -> None:
    """Run to the end on uvloop where it exists. Ends the process with exit code 2 where something is in the way."""
    try:
        on_loop(main)
    except in_the_way() as error:
        say(error)
        sys.exit(WRONG_USAGE)
    except KeyboardInterrupt:
        pass


def say(error: Exception) -> None:
    """On stderr, to whoever started the gateway."""
    print(what_is_wrong(error), file=sys.stderr)


def what_is_wrong(error: Exception) -> str:
    """And what to do, in the language of whoever started the gateway."""
    from sekisho.app.obstacles import words
    from sekisho.app.speech import language

    return words(error, language())


def announce(text: str) -> None:
    """On stdout, that the gateway is open. A reader that is gone or a disk that is full must not end it again."""
    try:
        print(text, flush=True)
    except OSError:
        # What is left in the buffer would fail once more at the end, and make the exit code 120.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def on_loop(main: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(main)


def in_the_way() -> tuple[type[Exception], ...]:
    """What keeps a gateway from starting, each with its own words about it."""
    from sekisho.stores.pepper import PepperUnusable
    from sekisho.stores.ports import StoreUnavailable
    from sekisho.tables.spool import DataDirInUse

    return DataDirInUse, StoreUnavailable, PepperUnusable, OSError


def listening(host: str, port: int, workers: int = 1) -> list[socket.socket]:
    """A bound socket for each worker. Ends the process with exit code 2, saying why, where there is none to be had."""
    try:
        return bound(host, port, workers)
    except OSError as error:
        from sekisho.app.obstacles import no_port

        say(no_port(host, port, error))
        sys.exit(WRONG_USAGE)


def metrics_door(port: int | None) -> socket.socket | None:
    """The bound socket of `server.metrics_port`, if there is one. Raises CannotListen."""
    if port is None:
        return None
    try:
        return bound("127.0.0.1", port)[0]
    except OSError as error:
        from sekisho.app.obstacles import METRICS_PORT_TAKEN, CannotListen

        raise CannotListen(METRICS_PORT_TAKEN, "127.0.0.1", port, error) from None


def url_of(settings: Settings, host: str, sock: socket.socket) -> str:
    """Where the gateway on this socket is."""
    scheme = "https" if settings.server.tls_certificate is not None else "http"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{sock.getsockname()[1]}"


def bound(host: str, port: int, workers: int = 1) -> list[socket.socket]:
    """Bound sockets of one address. Where the kernel shares connections out among several, each worker has its own
    (Linux); elsewhere all have the same. Raises OSError."""
    first = _bound(host, port, shared=False)
    if workers == 1:
        return [first]
    if not SHARES_OUT:
        return [first] * workers
    # First without: a port that somebody else has, also another gateway with several workers, is not to be shared.
    port = first.getsockname()[1]
    first.close()
    return [_bound(host, port, shared=True) for _ in range(workers)]


def one_more(host: str, port: int) -> socket.socket:
    """Another socket beside those of `bound` for several workers. Raises OSError."""
    return _bound(host, port, shared=True)


def _bound(host: str, port: int, *, shared: bool) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # with the protocol named asyncio sets TCP_NODELAY; without it a stream's second frame waits for the client's ack
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind((host, port))
    except OSError:
        sock.close()
        raise
    sock.set_inheritable(True)
    return sock


async def with_mock(settings: Settings, serve: Callable[[Settings], Coroutine[Any, Any, None]]) -> None:
    """Serve, with the mock provider in this process where the settings ask for it."""
    if not settings.mock_provider:
        await serve(settings)
        return
    from sekisho.mock.server import MockProvider

    async with MockProvider() as mock:
        await serve(settings.with_mock_at(mock.base_url))


def with_first_key(settings: Settings) -> tuple[Settings, str]:
    """The settings with one generated key that holds until this process ends, and its text."""
    text = new_key(secrets.randbelow)
    endpoints = ("*", *(f"{name}/*" for name in settings.providers))
    key = DeclaredKey(name="generated", key=Secret(text), endpoints=endpoints)
    return msgspec.structs.replace(settings, keys=(*settings.keys, key)), text


def reloader(path: Path | None, settings: Settings) -> Callable[[], Settings] | None:
    """What reads the file again; None where there is none."""
    if path is None:
        return None

    def load_again() -> Settings:
        from sekisho.app.settings import load

        return load(path)

    return load_again


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop
