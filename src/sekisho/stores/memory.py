"""Keys in memory, for tests and for installations that declare all keys. Must behave like the SQL adapter."""

from __future__ import annotations

import threading

import msgspec

from sekisho.stores.control import COMMAND_LINE, Actor, ControlRecords
from sekisho.stores.ports import KeyRecord, NameTaken, NotCurrent


class MemoryKeyStore:
    """A KeyStore that forgets when the process ends, changes and who made them too. Safe between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._records: dict[str, KeyRecord] = {}
        self._version = 0

    def add(self, record: KeyRecord, *, replaced_until_us: int | None = None, by: Actor = COMMAND_LINE) -> None:
        with self._lock:
            changed = {record.id: msgspec.structs.replace(record, declared=False, replaced_by=None)}
            if record.replaces is not None:
                changed[record.replaces] = self._replaced(record.replaces, record.id, replaced_until_us)
            self._check_unique(record, changed)
            self._records |= changed
            self._version += 1

    def all(self) -> list[KeyRecord]:
        with self._lock:
            return sorted(self._records.values(), key=lambda record: (record.created_at_us, record.id))

    def revoke(self, key_id: str, at_us: int, *, by: Actor = COMMAND_LINE) -> bool:
        with self._lock:
            record = self._records.get(key_id)
            if record is not None and record.revoked_at_us is None:
                self._put(msgspec.structs.replace(record, revoked_at_us=at_us))
            return record is not None

    def expire(self, key_id: str, at_us: int, *, by: Actor = COMMAND_LINE) -> bool:
        with self._lock:
            record = self._records.get(key_id)
            if record is not None and record.revoked_at_us is None and _ends_after(record, at_us):
                self._put(msgspec.structs.replace(record, expires_at_us=at_us))
            return record is not None

    def version(self) -> int:
        with self._lock:
            return self._version

    def control(self) -> ControlRecords:
        """Nothing but keys is kept here."""
        return ControlRecords()

    def _put(self, record: KeyRecord) -> None:
        self._records[record.id] = record
        self._version += 1

    def _replaced(self, old_id: str, new_id: str, until_us: int | None) -> KeyRecord:
        old = self._records.get(old_id)
        if old is None or not _is_current(old):
            raise NotCurrent(old_id)
        old = msgspec.structs.replace(old, replaced_by=new_id)
        if until_us is not None and _ends_after(old, until_us):
            old = msgspec.structs.replace(old, expires_at_us=until_us)
        return old

    def _check_unique(self, record: KeyRecord, changed: dict[str, KeyRecord]) -> None:
        for old in {**self._records, **{key: value for key, value in changed.items() if key != record.id}}.values():
            if old.id == record.id or old.digest == record.digest:
                raise ValueError(f"the id or digest of {record.id} is already there")
            if old.name == record.name and _is_current(old):
                raise NameTaken(record.name, old.id)


def _is_current(record: KeyRecord) -> bool:
    return record.revoked_at_us is None and record.replaced_by is None


def _ends_after(record: KeyRecord, at_us: int) -> bool:
    return record.expires_at_us is None or record.expires_at_us > at_us
