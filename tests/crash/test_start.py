"""What comes while the gateway starts: a reload that somebody asks for too early must not end it."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from tests.crash.house import Gateway, Mock, wait_for


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_reload_during_the_start_does_not_end_the_gateway(tmp_path: Path, workers: int) -> None:
    mock = Mock(tmp_path)
    # two workers need a store; one that is away keeps nobody from starting
    more = "" if workers == 1 else 'state: {url: "redis://127.0.0.1:1"}'
    gateway = Gateway(tmp_path, mock, more=more, workers=workers)
    try:
        gateway.spawn()
        # the control database is made next, which takes a while
        await asyncio.to_thread(wait_for, gateway.data_dir.exists, "the start has begun")
        os.kill(gateway.serving()[0], signal.SIGHUP)
        await gateway.ready()
        assert await gateway.stop() == 0
    finally:
        gateway.kill_everything()
        mock.close()
