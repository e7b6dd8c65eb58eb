"""Virtual keys as JSON and as a table. Must not show a digest or a secret."""

from __future__ import annotations

import io
from collections.abc import Sequence
from datetime import UTC, datetime, tzinfo

import msgspec

from sekisho.app.commands import key_messages as messages
from sekisho.app.settings import Language
from sekisho.stores.ports import KeyRecord

_US = 1_000_000
_WIDEST_CELLS = 100_000


def key_json(record: KeyRecord, now_us: int, **more: object) -> dict[str, object]:
    """A key for machines. Times are ISO 8601 in UTC; the names of fields and states are English in every language."""
    return {
        "id": record.id,
        "name": record.name,
        "team": record.team,
        "user": record.user,
        "role": record.role,
        "endpoints": record.endpoints,
        # a declared key has stood in the file for nobody knows how long
        "created_at": None if record.declared else _iso(record.created_at_us),
        "expires_at": _iso(record.expires_at_us),
        "revoked_at": _iso(record.revoked_at_us),
        "replaces": record.replaces,
        "replaced_by": record.replaced_by,
        "state": record.state(now_us),
        "declared": record.declared,
        **more,
    }


def to_json(value: object) -> str:
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()


def to_table(records: Sequence[KeyRecord], now_us: int, zone: tzinfo, language: Language) -> str:
    """Columns that line up whatever the script: rich counts full-width characters as two cells.

    Lines are as long as they need: ids are there to be copied, so nothing is cut or folded, also not on a terminal.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="")
    for heading in messages.HEADINGS:
        table.add_column(heading.message(language, zone=str(zone)), no_wrap=True)
    for record in records:
        # Text, because a name with [brackets] is no markup
        table.add_row(*(Text(cell) for cell in _cells(record, now_us, zone, language)))
    written = io.StringIO()
    Console(file=written, width=_WIDEST_CELLS, color_system=None).print(table)
    return "\n".join(line.rstrip() for line in written.getvalue().splitlines())


def local_time(at_us: int | None, zone: tzinfo) -> str:
    """Minutes are enough for people; `-` for none."""
    return "-" if at_us is None else datetime.fromtimestamp(at_us / _US, zone).strftime("%Y-%m-%d %H:%M")


def _cells(record: KeyRecord, now_us: int, zone: tzinfo, language: Language) -> tuple[str, ...]:
    state = messages.STATES[record.state(now_us)].message(language)
    return (
        record.id,
        record.name,
        record.team or "-",
        record.user or "-",
        record.role,
        ", ".join(record.endpoints),
        "-" if record.declared else local_time(record.created_at_us, zone),
        local_time(record.expires_at_us, zone),
        messages.DECLARED.message(language, state=state) if record.declared else state,
    )


def _iso(at_us: int | None) -> str | None:
    if at_us is None:
        return None
    moment = datetime.fromtimestamp(at_us // _US, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
