"""Files for their owner only, written whole; locks between processes."""

from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path

import pytest

from sekisho.stores.ports import StoreUnavailable
from sekisho.stores.private_files import file_lock, private_file, write_private

HOLDER = """
import sys
from pathlib import Path
from sekisho.stores.private_files import file_lock
with file_lock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_file_that_is_there_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("kept")
    path.chmod(0o640)
    private_file(path)
    assert (path.read_text(), stat.S_IMODE(path.stat().st_mode)) == ("kept", 0o640)


def test_a_write_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.mkdir()
    with pytest.raises(IsADirectoryError):
        write_private(path, b"content")
    assert list(tmp_path.iterdir()) == [path]


def test_a_lock_is_waited_for_and_given_up(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(StoreUnavailable, match="locked by another process"), file_lock(path, wait_s=0.1):
            pass
        # a holder that dies lets go
        holder.kill()
        with file_lock(path, wait_s=5):
            pass


def test_a_lock_is_free_again_after_an_error(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with pytest.raises(ZeroDivisionError), file_lock(path):
        raise ZeroDivisionError
    with file_lock(path, wait_s=0):
        pass
