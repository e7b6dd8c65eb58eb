"""How a KeyRecord stands in the `keys` table, for every adapter that reads it. Must import nothing heavy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, LiteralString

import msgspec

from sekisho.stores.ports import KeyRecord, StoreUnavailable

#: in the order that `to_record` takes. `user_name`, because an unquoted `user` is the session's user in PostgreSQL.
COLUMNS: tuple[LiteralString, ...] = (
    "id",
    "name",
    "digest",
    "team",
    "user_name",
    "role",
    "endpoints",
    "created_at_us",
    "expires_at_us",
    "revoked_at_us",
    "replaces",
    "replaced_by",
    "on_behalf",
)


def to_row(record: KeyRecord) -> dict[str, Any]:
    """Values by column."""
    row = {name: getattr(record, name) for name in COLUMNS if name != "user_name"}
    return {
        **row,
        "user_name": record.user,
        "endpoints": msgspec.json.encode(record.endpoints).decode(),
    }


def to_record(row: Sequence[Any]) -> KeyRecord:
    """A row in the order of COLUMNS. StoreUnavailable for one that no Sekisho wrote."""
    values: dict[str, Any] = dict(zip(COLUMNS, row, strict=True))
    try:
        values["user"] = values.pop("user_name")
        values["endpoints"] = msgspec.json.decode(values["endpoints"], type=tuple[str, ...])
        values["digest"] = bytes(values["digest"])
        values["on_behalf"] = bool(values["on_behalf"])
        return KeyRecord(**values)
    except (TypeError, ValueError, msgspec.MsgspecError) as error:
        raise StoreUnavailable(f"the keys table holds a damaged row: {row[0]!r}: {error}") from error
