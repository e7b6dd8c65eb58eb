"""The end of a gateway: what comes while calls end and rows are flushed must not cut that short."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from pathlib import Path

import aiohttp
import pytest

from tests.crash.house import KEY, Gateway, Mock


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_second_signal_during_the_last_flush_leaves_a_clean_end(
    tmp_path: Path, number: signal.Signals, workers: int
) -> None:
    mock = Mock(tmp_path)
    more = "" if workers == 1 else 'state: {url: "redis://127.0.0.1:1"}'
    gateway = Gateway(tmp_path, mock, more=more, workers=workers)
    try:
        await gateway.start()
        with gateway.committers_held():
            gateway.send(number)
            # The door is closed, and what is left waits for the committer.
            await asyncio.to_thread(gateway.closed)
            for _ in range(3):
                gateway.send(number)
                await asyncio.sleep(0.1)
            assert gateway.alive
        assert await gateway.ended() == 0
    finally:
        gateway.kill_everything()
        mock.close()


@pytest.mark.parametrize("times", [1, 2])
async def test_only_a_second_ctrl_c_cuts_running_calls_short(tmp_path: Path, times: int) -> None:
    """A terminal sends it to the workers too, who may hear of the supervisor's word first."""
    mock = Mock(tmp_path)
    gateway = Gateway(tmp_path, mock, more='state: {url: "redis://127.0.0.1:1"}', workers=2)
    try:
        await gateway.start()
        workers = gateway.worker_pids()
        body = {
            "model": "mock/mock?chunks=40&chunk_ms=100",
            "stream": True,
            "messages": [{"role": "user", "content": "関"}],
        }
        headers = {"authorization": f"Bearer {KEY}"}
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"{gateway.url}/v1/chat/completions", json=body, headers=headers) as answer,
        ):
            await answer.content.readany()
            for _ in range(times):
                gateway.send(signal.SIGINT)
                await asyncio.to_thread(gateway.closed)
                for pid in workers:
                    with contextlib.suppress(ProcessLookupError):  # one without a call has ended
                        os.kill(pid, signal.SIGINT)
            whole = b"data: [DONE]" in await rest_of(answer)
        assert whole == (times == 1)
        assert await gateway.ended() == 0
    finally:
        gateway.kill_everything()
        mock.close()


async def rest_of(answer: aiohttp.ClientResponse) -> bytes:
    """What comes until the end, or until the connection breaks."""
    found = b""
    try:
        while more := await answer.content.readany():
            found += more
    except aiohttp.ClientPayloadError:
        pass
    return found
