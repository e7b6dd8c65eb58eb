"""How far the committer is, as one small file that the serving process reads. Must stay cheap enough to write often."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

_NAME = "status.json"
#: within one page: a reader hardly ever meets half an update, and then it keeps the last whole one
_BYTES = 4096


class CommitterStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Counts since the committer started; times are microseconds since 1970, UTC."""

    pid: int
    state: str = "starting"
    started_us: int = 0
    #: rows in `usage`, and rows in `inference_log`
    committed_rows: int = 0
    logged_rows: int = 0
    commits: int = 0
    #: sequence number of the spool of one worker up to which every row is in its tables
    committed_seq: int = 0
    #: the same for the spools of several workers, by their folders
    seqs: dict[str, int] = {}
    last_commit_us: int = 0
    #: when everything stored in the spool was last known to be committed
    caught_up_us: int = 0
    #: attempts that failed and were tried again
    errors: int = 0
    last_error: str | None = None
    #: records that could not be read, and values that became NULL because they did not fit their column
    corrupt: int = 0
    unfit: int = 0


class StatusFile:
    """Written by the committer alone, in place."""

    def __init__(self, spool: Path) -> None:
        spool.mkdir(parents=True, exist_ok=True)
        self._fd = os.open(spool / _NAME, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def write(self, status: CommitterStatus) -> None:
        body = msgspec.json.encode(msgspec.structs.replace(status, last_error=(status.last_error or "")[:300] or None))
        os.pwrite(self._fd, body.ljust(_BYTES), 0)

    def close(self) -> None:
        os.close(self._fd)


def read_status(spool: Path) -> CommitterStatus | None:
    """The last status written; None when there is none, or it is being written this moment."""
    try:
        return msgspec.json.decode((spool / _NAME).read_bytes(), type=CommitterStatus)
    except (OSError, msgspec.MsgspecError):
        return None
