"""What the log says while the server of the counters is away: once why, and when it is back."""

from __future__ import annotations

import asyncio
import gc
import logging
import socket
from typing import Any

import hiredis
import pytest
from tests.services.redis_workers import HANGS_S, Rows, granted, until, workers
from tests.support.redis_server import RedisServer

from sekisho.stores.ports import StoreUnavailable
from sekisho.stores.redis_address import Address, address_of
from sekisho.stores.redis_link import RedisLink


async def test_every_outage_is_told_once_with_its_reason_and_its_end(
    server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="sekisho.stores")
    link = RedisLink(address_of(server.url), lambda: None)
    await link.open()
    assert not caplog.messages
    for _ in range(2):
        caplog.clear()
        server.ask("CONFIG", "SET", "requirepass", "other")
        server.ask("CLIENT", "KILL", "TYPE", "normal")
        server.kill()
        await until(lambda: len(caplog.messages) == 2)
        await asyncio.sleep(0.3)
        server.start()
        await until(lambda: link.up)
        broken, why, back = caplog.messages
        assert broken == "the connection to the counters' server has broken"
        assert why.startswith("the counters' server cannot be reached: ")
        assert back == "the counters' server answers again"
    await link.close()


async def test_who_takes_connections_and_says_nothing_is_told_with_a_reason(caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        link = RedisLink(Address(port=silent.getsockname()[1], tls=True), lambda: None, timeout_s=0.05)
        await link.open()
        await link.close()
    assert caplog.messages == ["the counters' server cannot be reached: no answer within 0.2 s"]


async def test_who_falls_silent_after_a_quiet_time_is_away_within_the_time_out(
    server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    link = RedisLink(address_of(server.url), lambda: None, timeout_s=0.1)
    await link.open()
    for _ in range(2):
        await asyncio.sleep(0.3)  # nobody asks anything
        assert await link.call("PING") == b"PONG"
    await asyncio.sleep(0.3)
    server.pause()
    async with asyncio.timeout(HANGS_S):
        link.call("PING")  # its caller goes away
        with pytest.raises(StoreUnavailable):
            await link.call("PING")
    assert not link.up
    gc.collect()
    await asyncio.sleep(0)
    server.resume()
    await link.close()
    assert not [line for line in caplog.messages if "never retrieved" in line]


@pytest.mark.parametrize("word", ["half of a pair: \ud83d", None], ids=["text", "nothing"])
async def test_a_command_that_cannot_be_written_leaves_others_their_answers(server: RedisServer, word: Any) -> None:
    link = RedisLink(address_of(server.url), lambda: None)
    await link.open()
    with pytest.raises((UnicodeError, TypeError)):
        link.call("ECHO", word)
    assert await asyncio.gather(*(link.call("ECHO", said) for said in "abc")) == [b"a", b"b", b"c"]
    assert link.up
    await link.close()


async def test_who_speaks_another_protocol_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    """A web server, say, behind a wrong port: it is there, and tried again."""
    asked = 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        asked += 1
        await reader.read(4096)
        writer.write(b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as web:
        link = RedisLink(Address(port=web.sockets[0].getsockname()[1]), lambda: None)
        await link.open()
        assert not link.up
        await until(lambda: asked >= 3)
        await link.close()
    assert caplog.messages == [
        "the counters' server cannot be reached: what answers at its address is no Redis or Valkey"
    ]


async def test_who_still_reads_its_disk_is_away(caplog: pytest.LogCaptureFixture) -> None:
    """For minutes where it holds much. Of itself it tells meanwhile, and of nothing else."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        commands: Any = hiredis.Reader()
        while said := await reader.read(4096):
            commands.feed(said)
            while command := commands.gets():
                told = b"$11\r\nrole:master\r\n"
                writer.write(told if command[0] == b"INFO" else b"-LOADING Redis is loading the dataset in memory\r\n")
        writer.close()

    loading = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with loading:
        link = RedisLink(Address(port=loading.sockets[0].getsockname()[1]), lambda: None)
        await link.open()
        assert not link.up
        await link.close()
    (why,) = caplog.messages
    assert "LOADING" in why


async def test_a_server_that_drops_keys_when_it_is_full_is_told(
    server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    server.ask("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    async with workers(server, 1, Rows()) as (one,):
        await granted(one)
    assert not any("maxmemory-policy" in message for message in caplog.messages)  # it is never full
    server.ask("CONFIG", "SET", "maxmemory", "100mb")
    async with workers(server, 1, Rows()) as (one,):
        await granted(one)
    assert sum("maxmemory-policy to noeviction; it is allkeys-lru" in message for message in caplog.messages) == 1
