"""A table in an S3-compatible bucket. Must never take a lost answer for a lost write, nor the other way round.

An object appears whole or not at all, so nothing has to be synced or mended. A log entry is put only if its name is
free (`If-None-Match: *`); a store that ignores that condition would lose the commits of others and is refused.
Source: Amazon S3 API, PutObject, "Conditional writes": 412 the name is taken, 409 another write is under way.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from itertools import count
from typing import Any

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import S3Store

from sekisho.tables.files import entry_path
from sekisho.tables.storage import CONNECT_TIMEOUT_S, MAX_RETRIES, REQUEST_TIMEOUT_S, RETRY_TIMEOUT_S, Storage

_PROBE = "_sekisho/conditional-put"
_TRIES = 6
_FIRST_PAUSE_S = 0.05

Pause = Callable[[float], None]


class BucketFiles:
    """TableFiles of the table `name` below a Storage with `s3`."""

    def __init__(self, storage: Storage, name: str, *, pause: Pause = time.sleep) -> None:
        self._storage = storage
        self._name = name
        self._store = _store(storage)
        self._pause = pause
        self._proven = False

    def prepare(self) -> None:
        """Raises OSError also when the store puts an object over another in spite of the condition."""
        if self._proven:
            return
        # The first time ever the name is free; the second put must be refused whatever its body.
        if self._create(_PROBE, b"1") and self._create(_PROBE, b"2"):
            raise OSError(
                f"{self._storage.url}: the store does not honour If-None-Match, so commits could be lost; "
                "use a store with conditional writes, such as AWS S3, MinIO or Cloudflare R2"
            )
        self._proven = True

    def put(self, path: str, body: Any) -> None:
        try:
            obstore.put(self._store, self._in_table(path), body)
        except (BaseError, OSError) as error:
            raise self._failure("put", path, error) from None

    def put_new(self, path: str, body: bytes) -> bool:
        name = self._in_table(path)
        for attempt in range(_TRIES):
            try:
                if self._create(name, body):
                    return True
                error: Exception | None = None
            except OSError as failure:
                error = failure
            # Refused or unanswered: the object itself says who wrote it.
            found = self._find(name, error)
            if found is not None:
                return found == body
            if error is not None:
                raise error
            # Refused, and yet there is nothing: another write to the same name was under way, and came to nothing.
            self._pause(random.uniform(0.5, 1.0) * _FIRST_PAUSE_S * 2**attempt)
        raise OSError(f"{self._storage.url}/{name}: refused again and again although nothing is there")

    def entries(self, after: int) -> Iterator[tuple[int, bytes]]:
        for version in count(after + 1):
            path = entry_path(version)
            try:
                entry = obstore.get(self._store, self._in_table(path)).bytes()
            except FileNotFoundError:
                return
            except (BaseError, OSError) as error:
                raise self._failure("read", path, error) from None
            yield version, bytes(entry)

    def settle(self, version: int | None = None) -> None:
        """Nothing: what a bucket has, it has for good."""

    def _create(self, name: str, body: bytes) -> bool:
        """False when the store refused because of the name."""
        try:
            obstore.put(self._store, name, body, mode="create", use_multipart=False)
        except AlreadyExistsError:
            return False
        except (BaseError, OSError) as error:
            raise self._failure("put", name, error) from None
        return True

    def _find(self, name: str, error: Exception | None) -> bytes | None:
        """The object, None when there is none. When even that cannot be known, the first error stands."""
        try:
            return bytes(obstore.get(self._store, name).bytes())
        except FileNotFoundError:
            return None
        except (BaseError, OSError) as failure:
            raise error or self._failure("read", name, failure) from None

    def _in_table(self, path: str) -> str:
        return f"{self._name}/{path}"

    def _failure(self, doing: str, path: str, error: Exception) -> OSError:
        return OSError(f"cannot {doing} {self._storage.url}/{path}: {self._storage.told(error)}")


def _store(storage: Storage) -> S3Store:
    s3 = storage.s3
    assert s3 is not None
    bucket, _, prefix = storage.url.removeprefix("s3://").partition("/")
    return S3Store(
        bucket,
        prefix=prefix or None,
        endpoint=s3.endpoint,
        region=s3.region,
        access_key_id=s3.access_key_id.reveal(),
        secret_access_key=s3.secret_access_key.reveal(),
        virtual_hosted_style_request=False,
        conditional_put="etag",
        client_options={
            "allow_http": s3.allow_http,
            "connect_timeout": timedelta(seconds=CONNECT_TIMEOUT_S),
            "timeout": timedelta(seconds=REQUEST_TIMEOUT_S),
        },
        retry_config={"max_retries": MAX_RETRIES, "retry_timeout": timedelta(seconds=RETRY_TIMEOUT_S)},
    )
