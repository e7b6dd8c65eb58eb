"""The tables as Unity Catalog wants them: a script in Databricks' SQL, and columns for its REST API. Must neither open
nor send anything, and a script must not write into the tables.

It names no columns: Delta compares those of a CREATE TABLE with the log that is there, comments included; without them
it takes over what the log says. Nor is there a COMMENT ON: for a Delta table each is a commit, and takes the right to
write. See docs/decisions/0031.
Sources: delta-io/delta, CreateDeltaTableCommand; Databricks SQL reference: Names, Identifiers, SET TAGS, GRANT;
unitycatalog/unitycatalog, api/all.yaml (2026-11).
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple
from urllib.parse import quote

import msgspec

from sekisho.tables.meanings import TABLE_MEANINGS, described
from sekisho.tables.schema import BODIES, PARTITION, TABLES
from sekisho.tables.storage import Storage
from sekisho.tables.views import VIEWS

#: views whose SQL means the same at Databricks; the others use functions or literals of DuckDB
PORTABLE_VIEWS: Final = ("tokens_by_day", "cost_by_day", "inference_table_databricks")
SCHEMA_MEANING: Final = "Calls that went through Sekisho, the LLM gateway"
_LONGEST_NAME = 255
_SQL_TYPES: Final = {"integer": "int", "long": "bigint"}
_TYPE_NAMES: Final = {"integer": "INT"}


class Reader(NamedTuple):
    """Who may read a table: a group, a user or a service principal."""

    table: str
    principal: str


class Registration(msgspec.Struct, frozen=True, kw_only=True):
    """What is registered, and where."""

    catalog: str
    schema: str
    storage: Storage
    retention_days: Mapping[str, int]
    readers: Sequence[Reader] = ()
    #: said at the head of the script
    warnings: Sequence[str] = ()


def is_name(text: str) -> bool:
    """Whether Unity Catalog takes it for a catalog or a schema."""
    return 0 < len(text) <= _LONGEST_NAME and text.isprintable() and not set(text) & set(" ./")


def is_principal(text: str) -> bool:
    """Whether it can stand behind TO."""
    return 0 < len(text) <= _LONGEST_NAME and text.isprintable() and text == text.strip()


def location(storage: Storage, table: str) -> str:
    """Where a table lies, as an address; nothing is escaped, for Spark takes it letter by letter."""
    place = storage.table(table)
    return place if storage.path is None else f"file://{place}"


def tags(registration: Registration, table: str) -> dict[str, str]:
    """What a catalog is told of a table beside its columns."""
    bodies = any(name in BODIES for name in TABLES[table].names)
    return {
        "source": "sekisho",
        "contains_bodies": str(bodies).lower(),
        "retention_days": str(registration.retention_days[table]),
    }


# -- the script


def script(registration: Registration) -> str:
    """Statements for Databricks, each of which changes nothing where it was executed before."""
    place = f"{_name(registration.catalog)}.{_name(registration.schema)}"
    parts = [
        _comment("Tables of Sekisho in Unity Catalog, in Databricks' SQL. Made by `sekisho tables register`."),
        _comment("The tables stay where they are, and nothing is written into them. Can be executed again."),
        _comment("Both have to be there before: where there is none, Databricks makes an empty one in its place."),
        *(_comment(f"Warning: {text}") for text in registration.warnings),
        f"\nCREATE SCHEMA IF NOT EXISTS {place} COMMENT {_text(SCHEMA_MEANING)};",
    ]
    for table in TABLES:
        parts += ["", *_table(registration, place, table)]
    parts += ["", *_views(place), "", *_grants(registration, place)]
    return "\n".join(parts) + "\n"


def _table(registration: Registration, place: str, table: str) -> list[str]:
    pairs = ", ".join(f"{_text(key)} = {_text(value)}" for key, value in tags(registration, table).items())
    return [
        f"CREATE TABLE IF NOT EXISTS {place}.{_name(table)} USING DELTA",
        f"  COMMENT {_text(TABLE_MEANINGS[table])}",
        f"  LOCATION {_text(location(registration.storage, table))};",
        f"ALTER TABLE {place}.{_name(table)} SET TAGS ({pairs});",
    ]


def _views(place: str) -> list[str]:
    statements: list[str] = []
    for name in PORTABLE_VIEWS:
        view = VIEWS[name]
        # a function, so that no character of a name is taken for a reference to a group
        sql = re.sub(rf"\bFROM {view.table}\b", lambda _, of=view.table: f"FROM {place}.{_name(of)}", view.sql)
        sql = textwrap.indent(textwrap.dedent(sql).strip(), "  ")
        statements.append(f"CREATE VIEW IF NOT EXISTS {place}.{_name(name)} AS\n{sql};")
    return statements


def _grants(registration: Registration, place: str) -> list[str]:
    if not registration.readers:
        return [_comment("No grants: nobody but the owner may read. `--reader usage=GROUP` makes them.")]
    principals = dict.fromkeys(reader.principal for reader in registration.readers)
    statements = [f"GRANT USE SCHEMA ON SCHEMA {place} TO {_name(one)};" for one in principals]
    for table, principal in dict.fromkeys(registration.readers):
        statements.append(f"GRANT SELECT ON TABLE {place}.{_name(table)} TO {_name(principal)};")
        statements += [
            f"GRANT SELECT ON VIEW {place}.{_name(view)} TO {_name(principal)};"
            for view in PORTABLE_VIEWS
            if VIEWS[view].table == table
        ]
    statements.append(_comment("Readers need the catalog too, which is its owner's to give:"))
    catalog = _name(registration.catalog)
    statements += [_comment(f"GRANT USE CATALOG ON CATALOG {catalog} TO {_name(one)};") for one in principals]
    return statements


def _name(text: str) -> str:
    return "`" + text.replace("`", "``") + "`"


def _text(text: str) -> str:
    """A literal: at Databricks the backslash escapes, and a doubled quote is not one in every version."""
    for plain, escaped in (("\\", "\\\\"), ("'", "\\'"), ("\n", "\\n"), ("\r", "\\r")):
        text = text.replace(plain, escaped)
    return f"'{text}'"


def _comment(text: str) -> str:
    """On one line, whatever the text holds."""
    return "-- " + " ".join(text.split())


# -- the REST API


def address(storage: Storage, table: str) -> str:
    """`location` for a catalog that reads it as a URI: what may not stand in one is escaped, letters never."""
    place = location(storage, table)
    if storage.path is None:
        return place
    return "".join(one if ord(one) > 0x7F else quote(one, safe="/:!$&'()*+,;=@") for one in place)


def columns(table: str) -> list[dict[str, Any]]:
    """Every column as a ColumnInfo of Unity Catalog's API."""
    from deltalake import Schema

    fields: list[dict[str, Any]] = msgspec.json.decode(Schema.from_arrow(described(TABLES[table])).to_json())["fields"]
    return [_column(at, field) for at, field in enumerate(fields)]


def _column(at: int, field: dict[str, Any]) -> dict[str, Any]:
    kind: Any = field["type"]
    text = sql_type(kind)
    known: str = kind if isinstance(kind, str) else kind["type"]
    word = known.partition("(")[0]
    info: dict[str, Any] = {
        "name": field["name"],
        "type_text": text,
        "type_json": msgspec.json.encode(field).decode(),
        "type_name": _TYPE_NAMES.get(word, word.upper()),
        "position": at,
        "nullable": field["nullable"],
        "comment": field["metadata"]["comment"],
    }
    if word == "decimal":
        info["type_precision"], info["type_scale"] = map(int, re.findall(r"\d+", known))
    if field["name"] == PARTITION:
        info["partition_index"] = 0
    return info


def sql_type(kind: Any) -> str:
    """A type of Delta's schema as Spark and Databricks write it."""
    if isinstance(kind, str):
        return _SQL_TYPES.get(kind, kind)
    if kind["type"] == "array":
        return f"array<{sql_type(kind['elementType'])}>"
    if kind["type"] == "map":
        return f"map<{sql_type(kind['keyType'])},{sql_type(kind['valueType'])}>"
    inner = ",".join(f"{field['name']}:{sql_type(field['type'])}" for field in kind["fields"])
    return f"struct<{inner}>"
