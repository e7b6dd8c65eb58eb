"""stderr that nobody reads: nothing waits for it, and what is lost is counted."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress

import pytest

from sekisho.tables.standard_error import StandardError


@pytest.fixture(params=["pipe", "socket"])
def ends(request: pytest.FixtureRequest) -> Iterator[tuple[int, int]]:
    """Somebody's end, and ours."""
    if request.param == "pipe":
        reading, writing = os.pipe()
    else:
        reading, writing = (sock.detach() for sock in socket.socketpair())
    yield reading, writing
    for fd in (reading, writing):
        os.close(fd)


def test_a_pipe_that_nobody_reads_holds_nobody_up(ends: tuple[int, int]) -> None:
    reading, writing = ends
    error = StandardError(writing)
    written = 0
    while error.line("x" * 1000):
        written += 1
    assert not error.line("y" * 1000)
    assert error.lost == 2
    assert os.get_blocking(writing), "the flag is that of everybody who writes there"
    read = 0
    while read < written * 1001:
        read += len(os.read(reading, 1 << 16))
    assert error.line("z")
    assert error.lost == 0
    error.close()


def test_a_line_that_was_torn_does_not_spoil_the_next_one(ends: tuple[int, int]) -> None:
    reading, writing = ends
    error = StandardError(writing)
    assert not error.line("x" * 10_000_000)
    os.set_blocking(reading, False)
    with suppress(BlockingIOError):
        while os.read(reading, 1 << 20):
            pass
    assert error.line("whole")
    assert os.read(reading, 100) == b"\nwhole\n"
    error.close()


def test_a_reader_that_is_gone_is_no_error() -> None:
    reading, writing = os.pipe()
    error = StandardError(writing)
    os.close(reading)
    assert not error.line("x")
    error.close()
    os.close(writing)


def test_closed_standard_streams_lead_nowhere_also_in_children() -> None:
    code = """
import os, subprocess, sys
from sekisho.tables.standard_error import open_standard_streams
for fd in (0, 1, 2):
    os.close(fd)
open_standard_streams()
child = "import os, sys; sys.exit([os.readlink(f'/proc/self/fd/{fd}') for fd in (0, 1, 2)] != ['/dev/null'] * 3)"
os._exit(subprocess.run([sys.executable, "-c", child]).returncode)
"""
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0
