"""The end of a gateway: what comes while it flushes its rows must not cut that short."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest

from tests.crash.house import Gateway, Mock


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
