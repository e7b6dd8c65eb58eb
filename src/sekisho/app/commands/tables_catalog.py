"""Registration by the REST API of a Unity Catalog. Must never print the token, nor send it anywhere but to the address
that was given; must change nothing that is there.

Source: unitycatalog/unitycatalog, api/all.yaml: createSchema, createTable, getSchema, getTable (2026-11). Checked
against a server written from that description, not against a live catalog.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar
from urllib.parse import quote, unquote, urlsplit

import msgspec
import typer

from sekisho.app.commands import NO, UNREACHABLE, admin_door
from sekisho.app.commands import register_messages as messages
from sekisho.app.commands.admin_door import Sent, is_address
from sekisho.app.commands.tables_desk import refuse, said
from sekisho.app.settings.os_reasons import os_reason
from sekisho.app.speech import language
from sekisho.domain.http import Secret

if TYPE_CHECKING:
    from sekisho.tables.unity import Registration

_API = "/api/2.1/unity-catalog"
_LONGEST_REASON = 300
_NOT_FOUND = 404
_T = TypeVar("_T")


class _Named(msgspec.Struct):
    """What an answer must have: a page of a proxy or a login has none."""

    name: str


class _Table(_Named):
    """What of a TableInfo is compared; a catalog may leave out any of it."""

    table_type: str | None = None
    data_source_format: str | None = None
    storage_location: str | None = None
    columns: list[_Named] | None = None


class _Error(msgspec.Struct):
    error_code: str
    message: str | None = None


class _Answer(msgspec.Struct):
    status: int
    body: bytes
    error: _Error | None

    @property
    def is_there_already(self) -> bool:
        """RESOURCE_, SCHEMA_, TABLE_ or nothing before it, by the version of the catalog."""
        return self.error is not None and self.error.error_code.endswith("ALREADY_EXISTS")


def at_catalog(url: str, token: str, registration: Registration) -> None:
    """Make the schema and both tables where they are missing, and compare those that are there. Ends the command with
    a message where something is wrong."""
    from sekisho.tables.schema import TABLES
    from sekisho.tables.unity import SCHEMA_MEANING

    catalog = _opened(url, token)
    schema = {"name": registration.schema, "catalog_name": registration.catalog, "comment": SCHEMA_MEANING}
    name = f"{registration.catalog}.{registration.schema}"
    found = catalog.ask("GET", "schemas", name)
    made = catalog.ask("POST", "schemas", body=schema) if found.status == _NOT_FOUND else None
    if made is None or not made.is_there_already:
        catalog.read(made or found, name, _Named)
    if made is not None and made.error is None:
        typer.echo(said(messages.SCHEMA_MADE, name=name))
    agreed = [_table(catalog, registration, table) for table in TABLES]
    if not all(agreed):
        raise typer.Exit(NO)


def _table(catalog: _Catalog, registration: Registration, table: str) -> bool:
    """Whether it is registered as it should be, now or already."""
    from sekisho.tables.unity import address

    name, place = f"{registration.catalog}.{registration.schema}.{table}", address(registration.storage, table)
    found = catalog.ask("GET", "tables", name)
    if found.status == _NOT_FOUND:
        made = catalog.ask("POST", "tables", body=_create_table(registration, table, place))
        if not made.is_there_already:
            catalog.read(made, name, _Table)
            typer.echo(said(messages.REGISTERED, name=name, place=place))
            return True
        # somebody was faster, and may have meant another place
        found = catalog.ask("GET", "tables", name)
    return _agrees(catalog.read(found, name, _Table), name, place, table)


def _create_table(registration: Registration, table: str, place: str) -> dict[str, Any]:
    from sekisho.tables.meanings import TABLE_MEANINGS
    from sekisho.tables.unity import columns, tags

    return {
        "name": table,
        "catalog_name": registration.catalog,
        "schema_name": registration.schema,
        "table_type": "EXTERNAL",
        "data_source_format": "DELTA",
        "columns": columns(table),
        "storage_location": place,
        "comment": TABLE_MEANINGS[table],
        # the API knows no tags
        "properties": tags(registration, table),
    }


def _agrees(found: _Table, name: str, place: str, table: str) -> bool:
    from sekisho.tables.schema import TABLES

    kinds = [kind for kind in (found.table_type, found.data_source_format) if kind not in ("EXTERNAL", "DELTA", None)]
    if kinds or not _same_place(found.storage_location or "", place):
        there = " ".join((*kinds, found.storage_location or "-"))
        _complain(messages.ELSEWHERE, name=name, found=_printable(there), place=place)
        return False
    known = {column.name.lower() for column in found.columns or ()}
    if missing := [column for column in TABLES[table].names if column not in known]:
        _complain(messages.LACKS_COLUMNS, name=name, columns=", ".join(missing))
        return False
    typer.echo(said(messages.ALREADY, name=name, place=place))
    return True


def _complain(say: Any, **values: object) -> None:
    typer.echo(f"{said(say, **values)}\n{say.hint(language(), **values)}", err=True)


def _same_place(one: str, other: str) -> bool:
    return _even(one) == _even(other)


def _even(place: str) -> str:
    """Catalogs write `file:/x`, `file:///x/` and `file:///x` for the same folder."""
    scheme, _, rest = unquote(place).partition(":")
    bare = rest.strip("/") if scheme == "file" else rest.rstrip("/")
    return f"{scheme}:{bare}"


# -- the way there


def _opened(url: str, token: str) -> _Catalog:
    url = url.rstrip("/").removesuffix(_API)
    if not is_address(url) or not url.isascii() or urlsplit(url).path or set("?#@") & set(url):
        refuse(messages.BAD_URL, url=_printable(url.rpartition("@")[2]))
    if token and (not token.isascii() or not token.isprintable() or " " in token):
        refuse(messages.BAD_TOKEN, variable=messages.TOKEN_VARIABLE)
    if token and url.startswith("http:") and not _is_this_machine(urlsplit(url).hostname or ""):
        refuse(messages.PLAIN_HTTP, url=url)
    return _Catalog(url, Secret(token))


def _is_this_machine(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class _Catalog:
    """One Unity Catalog, asked with one token, or with none where the token is empty."""

    def __init__(self, url: str, token: Secret) -> None:
        self.url = url
        self._token = token

    def ask(self, method: str, *path: str, body: object = None) -> _Answer:
        """An answer in the catalog's form. Ends the command where there is none."""
        headers = {"accept": "application/json"}
        if self._token.reveal():
            headers["authorization"] = f"Bearer {self._token.reveal()}"
        try:
            place = "/".join((_API, *(quote(one, safe="") for one in path)))
            content = None if body is None else msgspec.json.encode(body)
        except UnicodeEncodeError:
            refuse(messages.NOT_TEXT)
        if content is not None:
            headers["content-type"] = "application/json"
        try:
            status, answer = admin_door.transport(Sent(method, self.url + place, headers, content))
        except (OSError, ValueError) as error:
            reason = os_reason(getattr(error, "reason", None) or error, language())
            refuse(messages.UNREACHED, UNREACHABLE, url=self.url, error=reason)
        try:
            error = None if 200 <= status < 300 else msgspec.json.decode(answer, type=_Error)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            self._no_catalog(status)
        return _Answer(status, answer, error)

    def read(self, answer: _Answer, what: str, kind: type[_T]) -> _T:
        """What the catalog says of a schema or a table. Ends the command where it refused."""
        if answer.error is not None:
            self._refused(answer.error, answer.status, what)
        try:
            return msgspec.json.decode(answer.body, type=kind)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            self._no_catalog(answer.status)

    def _refused(self, error: _Error, status: int, what: str) -> NoReturn:
        reason = ": ".join(filter(None, (error.error_code, error.message)))
        if token := self._token.reveal():
            reason = reason.replace(token, "***")
        reason = _printable(" ".join(reason.split()))[:_LONGEST_REASON]
        refuse(messages.REFUSED, NO, what=what, status=status, reason=reason, variable=messages.TOKEN_VARIABLE)

    def _no_catalog(self, status: int) -> NoReturn:
        refuse(messages.NOT_A_CATALOG, UNREACHABLE, url=self.url, status=status)


def _printable(text: str) -> str:
    return "".join(one if one.isprintable() else "?" for one in text)
