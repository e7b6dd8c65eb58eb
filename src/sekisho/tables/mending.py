"""What a power cut may have left of a checkpoint is set aside, so that the table opens. Must not touch a whole one.

delta-rs writes a checkpoint, then `_last_checkpoint`, which names it, and syncs neither. A disk may keep the second
without the first, or half of the first; either way the table cannot be opened. Nothing is lost with a checkpoint:
everything in it stands in the entries of the log too.
"""

from __future__ import annotations

import errno
from pathlib import Path

import msgspec

from sekisho.tables.arrow import pa, pq

_HINT = "_last_checkpoint"


def is_checkpoint_broken(log: Path) -> bool:
    """Whether the newest checkpoint is torn, or the hint names none. `log` is the folder `_delta_log`. Raises OSError
    where that cannot be known."""
    newest = _newest(log)
    hint = log / _HINT
    return (newest is not None and not _is_whole(newest)) or (hint.exists() and not _names_one(hint))


def mend_checkpoint(log: Path) -> list[str]:
    """Rename a newest checkpoint that is torn, remove a hint that names none; returns their names. The folder has yet
    to be synced. Raises OSError.

    Only the newest can be broken: each is synced before the next is begun.
    """
    touched: list[str] = []
    newest = _newest(log)
    if newest is not None and not _is_whole(newest):
        newest.rename(newest.with_name(f"{newest.name}.broken"))
        touched.append(newest.name)
    hint = log / _HINT
    if hint.exists() and not _names_one(hint):
        hint.unlink()
        touched.append(hint.name)
    return touched


def _newest(log: Path) -> Path | None:
    return max(log.glob("*.checkpoint*.parquet"), default=None)


def _is_whole(checkpoint: Path) -> bool:
    try:
        return pq.read_table(checkpoint).num_rows > 0
    except MemoryError as error:
        raise OSError(errno.ENOMEM, str(error)) from error
    except (pa.ArrowException, OSError, ValueError) as error:
        # Not allowed, no more open files, a disk that fails: that says nothing about what is in it, and the entries it
        # sums up may be gone by now.
        if getattr(error, "errno", None) is not None:
            raise
        return False


def _names_one(hint: Path) -> bool:
    try:
        version = msgspec.json.decode(hint.read_bytes(), type=dict[str, object])["version"]
    except (msgspec.MsgspecError, KeyError, FileNotFoundError):
        return False
    return isinstance(version, int) and any(hint.parent.glob(f"{version:020d}.checkpoint*.parquet"))
