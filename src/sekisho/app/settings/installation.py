"""Where things lie and how the process runs: data_dir, timezone, state, database, server. Must not create anything."""

from __future__ import annotations

import os
import re
from pathlib import Path
from zoneinfo import ZoneInfo, available_timezones

from sekisho.app.settings import messages
from sekisho.app.settings.document import Node, Place, Text
from sekisho.app.settings.form import Form
from sekisho.app.settings.model import ServerSettings, SpoolSettings
from sekisho.app.settings.os_reasons import os_reason
from sekisho.app.settings.reading import Reading
from sekisho.domain.http import Secret
from sekisho.stores.postgres_address import SCHEMES, check_address, passwords_in_query
from sekisho.stores.redis_address import SCHEMES as REDIS
from sekisho.stores.redis_address import address_of

_REFERENCES = re.compile(r"\$\{[^{}]*\}")
DEFAULT_DATA_DIR = "sekisho-data"
DATABASE_FILE = "control.db"
_SQLITE = "sqlite:///"
_NO_ZONES = frozenset({"right", "posix", "localtime", "posixrules", "Factory"})
# what people write who do not know the names of the database of time zones
_FAMILIAR_ZONES = {
    "jst": "Asia/Tokyo",
    "japan standard time": "Asia/Tokyo",
    "日本": "Asia/Tokyo",
    "日本時間": "Asia/Tokyo",
    "東京": "Asia/Tokyo",
}


def read_data_dir(root: Form) -> Path:
    """The folder of all data, absolute; relative paths count from the folder of the configuration file."""
    text = root.text("data_dir")
    place = root.node("data_dir") or root.place
    return _path(root.reading, place, text or DEFAULT_DATA_DIR)


def read_timezone(root: Form) -> str:
    """A name of the time zone database; UTC when none is given, or after a problem."""
    name = root.text("timezone")
    if name is None:
        return "UTC"
    if not _is_zone(name):
        hint = _zone_hint(root.reading, name)
        root.reading.error(root.node("timezone") or root.place, messages.BAD_TIMEZONE, hint=hint, name=name)
        return "UTC"
    return name


def _is_zone(name: str) -> bool:
    """Whether every machine knows the zone, and as the same time. zoneinfo opens any file beside the zones: `right/…`
    counts leap seconds, `localtime` is another zone on each machine, and `Factory` is none."""
    if name.partition("/")[0] in _NO_ZONES:
        return False
    try:
        ZoneInfo(name)
    except (ValueError, OSError, KeyError):  # ZoneInfoNotFoundError is a KeyError; a folder such as "Asia" an OSError
        return False
    return True


def read_state_url(root: Form) -> Secret | None:
    """Where counters live: None for `memory://`, else an address of Redis or Valkey; secret, for a password may be in
    it."""
    form = root.form("state")
    if form is None:
        return None
    with form:
        url = form.text("url")
        node = form.node("url")
        if url is None or node is None or url.rstrip("/") == "memory:":
            return None
        try:
            address_of(url)
        except ValueError:
            if _scheme(url).removesuffix("://") in REDIS:
                form.reading.error(node, messages.ADDRESS_UNREADABLE, name="state.url")
            else:
                form.reading.error(node, messages.STATE_UNSUPPORTED, scheme=_scheme(url))
            return None
        if isinstance(node, Text) and not form.reading.demo and _has_literal_password(node.text):
            form.reading.error(node, messages.LITERAL_PASSWORD, example="redis://:${env:REDIS_PASSWORD}@host:6379/0")
            return None
        return Secret(url)


def _has_literal_password(written: str) -> bool:
    """Whether something else than references stands between the user's colon and the last `@`, or is a parameter."""
    before, at, _ = written.partition("://")[2].rpartition("@")
    parts = [before.partition(":")[2]] if at else []
    return any(_REFERENCES.sub("", part) for part in (*parts, *passwords_in_query(written)))


def read_database(root: Form, data_dir: Path) -> tuple[Path, Secret | None]:
    """The file of the control database, or the address of a PostgreSQL one; `${data_dir}` stands for the absolute data
    folder."""
    default = data_dir / DATABASE_FILE
    form = root.form("database")
    if form is None:
        return default, None
    with form:
        url = form.text("url", {"data_dir": str(data_dir)})
        node = form.node("url")
        if url is None or node is None:
            return default, None
        if url.startswith(SCHEMES):
            return default, _postgres(form.reading, node, url)
        path = url.removeprefix(_SQLITE)
        # a query would change how SQLite opens the file, and an empty path is a database that forgets
        if not url.startswith(_SQLITE) or path in ("", ":memory:") or "?" in path:
            form.reading.error(node, messages.DATABASE_UNSUPPORTED, scheme=_scheme(url))
            return default, None
        return _path(form.reading, node, path), None


def _postgres(reading: Reading, node: Node, url: str) -> Secret | None:
    if isinstance(node, Text) and not reading.demo and _has_literal_password(node.text):
        reading.error(node, messages.LITERAL_PASSWORD, example="postgresql://sekisho:${env:PG_PASSWORD}@host/sekisho")
        return None
    try:
        check_address(url)
    except ValueError:
        reading.error(node, messages.ADDRESS_UNREADABLE, name="database.url")
        return None
    return Secret(url)


def read_server(root: Form) -> ServerSettings:
    """The HTTP server."""
    form = root.form("server")
    usual = ServerSettings()
    if form is None:
        return usual
    with form:
        certificate, key = _file(form, "tls_certificate"), _file(form, "tls_key")
        absent = [name for name in ("tls_certificate", "tls_key") if form.node(name) is None]
        if len(absent) == 1:
            form.reading.error(form.place, messages.TLS_PAIR, name=absent[0])
        if certificate is not None and key is not None:
            _check_tls(form, certificate, key)
        return ServerSettings(
            max_body_mb=form.whole("max_body_mb", usual.max_body_mb, most=1024),
            keepalive_s=form.seconds("keepalive_s", usual.keepalive_s),
            shutdown_s=form.seconds("shutdown_s", usual.shutdown_s),
            metrics_port=form.optional_whole("metrics_port", most=65_535),
            tls_certificate=certificate,
            tls_key=key,
        )


def _check_tls(form: Form, certificate: Path, key: Path) -> None:
    def error(name: str, say: messages.Say, values: dict[str, str]) -> None:
        form.reading.error(form.node(name) or form.place, say, hint="", **values)

    def warning(name: str, say: messages.Say, values: dict[str, str]) -> None:
        form.reading.warning(form.node(name) or form.place, say, **values)

    # ssl takes a while to import, and most gateways stand behind something that speaks TLS
    from sekisho.app.settings.tls import check_pair

    check_pair(certificate, key, error, warning)


def read_spool(root: Form) -> SpoolSettings:
    """Room for rows that are not in the tables yet, and what happens without it."""
    form = root.form("spool")
    usual = SpoolSettings()
    if form is None:
        return usual
    with form:
        return SpoolSettings(
            max_mb=form.whole("max_mb", usual.max_mb, least=32, most=16 * 1024 * 1024),
            when_full=form.choice("when_full", ("shed_bodies", "refuse"), usual.when_full),
            on_error=form.choice("on_error", ("open", "closed"), usual.on_error),
        )


def _file(form: Form, key: str) -> Path | None:
    text = form.text(key)
    place = form.node(key)
    if text is None or place is None:
        return None
    path = _path(form.reading, place, text)
    try:
        with path.open("rb"):
            return path
    except FileNotFoundError:
        form.reading.error(place, messages.FILE_MISSING, name=text, folder=str(form.reading.base_dir))
    except OSError as error:
        form.reading.error(place, messages.FILE_UNREADABLE, name=text, reason=os_reason(error, form.reading.language))
    return None


def _path(reading: Reading, place: Place, text: str) -> Path:
    if text.startswith("~"):
        reading.error(place, messages.HOME_PATH)
    return Path(os.path.abspath(reading.base_dir / text))


def _scheme(url: str) -> str:
    """The part of an address that cannot hold a password."""
    scheme, colon, _ = url.partition("://")
    return f"{scheme}://" if colon else "-"


def _zone_hint(reading: Reading, name: str) -> str:
    familiar = _FAMILIAR_ZONES.get(name.strip().lower())
    if familiar is not None:
        return reading.say(messages.DID_YOU_MEAN, name=familiar)
    zones = available_timezones() - _NO_ZONES
    last_part = name.rpartition("/")[2].strip().lower().replace(" ", "_")
    for zone in sorted(zones):
        if zone.rpartition("/")[2].lower() == last_part:
            return reading.say(messages.DID_YOU_MEAN, name=zone)
    hint = reading.suggestion(name, zones)
    # without a near name the suggestion would list all six hundred
    return hint if len(hint) < 200 else reading.say(messages.TIMEZONE_EXAMPLE)
