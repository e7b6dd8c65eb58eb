"""Where the tables lie: a folder, or a prefix in a bucket. Must never print a secret, nor open anything.

The serving process imports this too, so nothing heavy is imported here.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import msgspec

from sekisho.domain.http import Secret

#: a store that hangs must not hold a commit for long: the rows are safe in the spool, and the next attempt looks anew
CONNECT_TIMEOUT_S, REQUEST_TIMEOUT_S = 5, 30
#: within one request; the committer itself tries again for as long as it takes
MAX_RETRIES, RETRY_TIMEOUT_S = 2, 10
_LONGEST_TOLD = 400
#: colours, and the frames that delta-rs draws around causes
_DRAWN = re.compile(r"\x1b\[[0-9;]*m|[↳├└─│▶]")


class S3(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """How to reach a bucket. `endpoint` is the whole address, of AWS too: nothing is taken from the environment."""

    endpoint: str
    region: str
    access_key_id: Secret
    secret_access_key: Secret
    #: whether `endpoint` may be plain http
    allow_http: bool = False

    def __eq__(self, other: object) -> bool:
        return isinstance(other, S3) and _plain(self) == _plain(other)

    def __hash__(self) -> int:
        return hash((self.endpoint, self.region))


class Cadence(msgspec.Struct, frozen=True, kw_only=True):
    """When the committer commits: whichever comes first. `mb` is MiB of rows as they lie in the spool."""

    every_s: float = 5.0
    rows: int = 5_000
    mb: int = 32

    @property
    def bytes(self) -> int:
        return self.mb * 1024 * 1024


class Storage(msgspec.Struct, frozen=True, kw_only=True):
    """`url` is an absolute path, or `s3://bucket` with or without a prefix; then `s3` says how to get there."""

    url: str
    s3: S3 | None = None

    @classmethod
    def folder(cls, path: Path) -> Storage:
        """On a disk of this machine."""
        return cls(url=str(path))

    @property
    def path(self) -> Path | None:
        """The folder; None for a bucket."""
        return None if self.s3 else Path(self.url)

    def table(self, name: str) -> str:
        """The place of one table, as Delta's libraries want it."""
        return f"{self.url}/{name}"

    def options(self) -> dict[str, str] | None:
        """What delta-rs wants to know, credentials included; None for a folder."""
        if self.s3 is None:
            return None
        return {
            "aws_endpoint_url": self.s3.endpoint,
            "aws_region": self.s3.region,
            "aws_access_key_id": self.s3.access_key_id.reveal(),
            "aws_secret_access_key": self.s3.secret_access_key.reveal(),
            "aws_allow_http": str(self.s3.allow_http).lower(),
            "aws_conditional_put": "etag",
            "connect_timeout": f"{CONNECT_TIMEOUT_S}s",
            "timeout": f"{REQUEST_TIMEOUT_S}s",
            "max_retries": str(MAX_RETRIES),
            "retry_timeout": f"{RETRY_TIMEOUT_S}s",
        }

    def told(self, error: BaseException) -> str:
        """An error of a library on one short line, without credentials."""
        text = " ".join(_DRAWN.sub("", str(error).partition("Debug source:")[0]).split())
        for secret in (self.s3.secret_access_key, self.s3.access_key_id) if self.s3 else ():
            text = text.replace(secret.reveal() or "***", "***")
        return text[:_LONGEST_TOLD]


class TableUnreadable(OSError):
    """A table cannot be read; `place` says which, `reason` why, without credentials."""

    def __init__(self, place: str, reason: str) -> None:
        super().__init__(f"{place} cannot be read: {reason}")
        self.place = place
        self.reason = reason


def forget_aws_variables() -> None:
    """Take AWS variables out of this process: object_store, on which obstore and delta-rs stand, lets some of them
    (`AWS_ENDPOINT_URL_S3`) go before what it is told, and rows and credentials would go elsewhere (2026-11)."""
    for name in [name for name in os.environ if name.upper().startswith("AWS_")]:
        del os.environ[name]


def to_child(storage: Storage, cadence: Cadence) -> bytes:
    """For the committer's standard input, where nobody but it can read the credentials."""
    s3 = None if storage.s3 is None else _plain(storage.s3)
    return msgspec.json.encode({"url": storage.url, "s3": s3, "cadence": cadence})


def from_parent(message: bytes) -> tuple[Storage, Cadence]:
    """What `to_child` wrote. Raises msgspec.ValidationError or msgspec.DecodeError."""
    said = msgspec.json.decode(message, type=_Message)
    if (plain := said.s3) is None:
        return Storage(url=said.url), said.cadence
    s3 = S3(
        endpoint=plain.endpoint,
        region=plain.region,
        access_key_id=Secret(plain.access_key_id),
        secret_access_key=Secret(plain.secret_access_key),
        allow_http=plain.allow_http,
    )
    return Storage(url=said.url, s3=s3), said.cadence


def _plain(s3: S3) -> dict[str, Any]:
    fields = msgspec.structs.asdict(s3)
    return {name: value.reveal() if isinstance(value, Secret) else value for name, value in fields.items()}


class _PlainS3(msgspec.Struct, frozen=True):
    endpoint: str
    region: str
    access_key_id: str
    secret_access_key: str
    allow_http: bool


class _Message(msgspec.Struct, frozen=True):
    url: str
    s3: _PlainS3 | None
    cadence: Cadence
