"""From a file, a text or the environment to Settings. Must find every mistake before it gives up."""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Mapping
from pathlib import Path

import msgspec

from sekisho.app.settings import document, file_messages
from sekisho.app.settings import messages as setting_messages
from sekisho.app.settings.document import Fields, Spot, Text
from sekisho.app.settings.endpoints import read_defaults, read_endpoints
from sekisho.app.settings.environment import settings_from_environment
from sekisho.app.settings.form import Form
from sekisho.app.settings.installation import (
    read_data_dir,
    read_database,
    read_server,
    read_spool,
    read_state_url,
    read_timezone,
)
from sekisho.app.settings.keys import KeyReader, read_teams
from sekisho.app.settings.language import language_of, written_in
from sekisho.app.settings.lookalikes import ascii_form, nearest_above
from sekisho.app.settings.model import Language, OwnLogLevel, Settings
from sekisho.app.settings.money import read_currency, read_prices, read_unknown_price
from sekisho.app.settings.names import names_of
from sekisho.app.settings.os_reasons import os_reason
from sekisho.app.settings.problem import ConfigError, Problem, in_file_order
from sekisho.app.settings.providers import read_providers
from sekisho.app.settings.reading import Reading
from sekisho.app.settings.spending import read_budgets, read_limits
from sekisho.app.settings.tables import read_tables
from sekisho.costs.currency import UsdJpy

DEFAULT_FILE = "sekisho.yaml"
#: sections that only a gateway needs whole: whoever reads its rows, or talks to it, may not have its secrets
OF_THE_GATEWAY = frozenset({"providers", "keys", "admin", "state", "database", "server"})
#: references that lead nowhere, and TLS files that cannot be used
_UNUSABLE = frozenset(
    say.code
    for say in (
        setting_messages.ENV_UNSET,
        setting_messages.ENV_EMPTY,
        setting_messages.FILE_MISSING,
        setting_messages.FILE_UNREADABLE,
        setting_messages.FILE_EMPTY,
        setting_messages.TLS_REFUSED,
    )
)
_LARGEST_FILE = 4 * 1024 * 1024
#: lines above a syntax error in which a full-width character may be its cause
_LOOKALIKE_REACH = 4
_LOG_LEVELS: tuple[OwnLogLevel, ...] = ("warning", "info", "debug")
_LANGUAGES: tuple[Language, ...] = ("en", "ja")


def load(
    path: Path | None = None,
    *,
    environ: Mapping[str, str] = os.environ,
    demo: bool = False,
    language: Language | None = None,
    unset_in: frozenset[str] = frozenset(),
) -> Settings:
    """The settings of a file; without a path of `sekisho.yaml` in the current folder, else of the environment.

    `language` is that of the problems, by default the one of the terminal, else of the file; `unset_in` as in `parse`.
    Raises ConfigError.
    """
    spoken = language or language_of(environ)
    if path is None:
        path = Path(DEFAULT_FILE)
        if not path.exists():
            return settings_from_environment(environ, spoken)
    text = _text_of_file(path, spoken)
    return parse(text, str(path), environ, path.parent, demo, language=language, unset_in=unset_in)


def parse(
    text: str,
    source_name: str = DEFAULT_FILE,
    environ: Mapping[str, str] = os.environ,
    base_dir: Path = Path(),
    demo: bool = False,
    *,
    language: Language | None = None,
    unset_in: frozenset[str] = frozenset(),
) -> Settings:
    """The settings of a text. Relative paths count from `base_dir`; `demo` allows secrets in the text itself.

    In the sections `unset_in` a reference that leads nowhere is no mistake: what it stands for is missing or empty. Nor
    are TLS files that a server could not use.
    Raises ConfigError with every mistake (and warning) at once, each with its line.
    """
    text = text.removeprefix("\ufeff")
    digest = _digest(text)
    folder = Path(os.path.abspath(base_dir))
    spoken = language or language_of(environ, written_in(text))
    reading = Reading(environ=environ, base_dir=folder, demo=demo, language=spoken, digest=digest)
    root = _root(reading, text)
    settings = None if root is None else _read(reading, root, source_name)
    reading.problems[:] = [one for one in reading.problems if not _passed_over(one, unset_in)]
    if settings is None or any(problem.severity == "error" for problem in reading.problems):
        raise ConfigError(source_name, reading.problems)
    return msgspec.structs.replace(settings, warnings=in_file_order(reading.problems))


def _passed_over(problem: Problem, unset_in: frozenset[str]) -> bool:
    return problem.code in _UNUSABLE and re.split(r"[.\[]", problem.path, maxsplit=1)[0] in unset_in


def digest_of_file(path: Path) -> str | None:
    """What `Settings.digest` would be if the file were read now; None where it cannot be read."""
    try:
        return _digest(path.read_bytes().decode().removeprefix("\ufeff"))
    except (OSError, UnicodeDecodeError):
        return None


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12]


def _read(reading: Reading, node: Fields, source: str) -> Settings:
    """All sections, in the order of the file that `sekisho init` writes."""
    names = names_of(node)
    with Form(reading, node) as root:
        data_dir = read_data_dir(root)
        database_path, database_url = read_database(root, data_dir)
        timezone = read_timezone(root)
        defaults = read_defaults(root)
        keys = KeyReader(reading, names, timezone)
        currency, fx_rates = read_currency(root)
        # a rate may be written before it begins, and one that has ended is no rate of today
        usd_jpy = UsdJpy(fx_rates).rate_at(time.time_ns() // 1000, timezone)
        tables, maintenance = read_tables(root, data_dir, timezone)
        return Settings(
            data_dir=data_dir,
            database_path=database_path,
            database_url=database_url,
            timezone=timezone,
            providers=read_providers(root),
            defaults=defaults,
            endpoints=read_endpoints(root, names, defaults),
            keys=keys.declared(root),
            admin_key=keys.admin(root),
            teams=read_teams(root),
            budgets=read_budgets(root, names, usd_jpy),
            limits=read_limits(root, names),
            state_url=read_state_url(root),
            prices=read_prices(root, names),
            unknown_price=read_unknown_price(root),
            currency=currency,
            fx_rates=fx_rates,
            language=root.choice("language", _LANGUAGES, "en"),
            log_level=root.choice("log_level", _LOG_LEVELS, "info"),
            server=read_server(root),
            spool=read_spool(root),
            tables=tables,
            maintenance=maintenance,
            source=source,
            digest=reading.digest,
        )


def _root(reading: Reading, text: str) -> Fields | None:
    node = document.read(text, reading.error)
    if isinstance(node, Fields) and node.fields:
        return node
    nothing = node is None or (isinstance(node, Text) and node.is_null) or isinstance(node, Fields)
    if reading.problems:
        _point_at_lookalike(reading, text, reading.problems[0].line)
    elif nothing:
        reading.error(Spot(), file_messages.EMPTY)
    else:
        place = node or Spot()
        reading.error(place, file_messages.NOT_A_MAPPING_FILE)
        _point_at_lookalike(reading, text, place.line)
    return None


def _point_at_lookalike(reading: Reading, text: str, line: int) -> None:
    found = nearest_above(text.splitlines(), line)
    if found is None or line - found[0] > _LOOKALIKE_REACH:
        return
    place = Spot(line=found[0], column=found[1])
    name = ascii_form(found[2]) or found[2]
    code_point = f"{ord(found[2]):04X}"
    reading.error(place, file_messages.LOOKALIKE, character=found[2], code_point=code_point, name=name)


def _text_of_file(path: Path, language: Language) -> str:
    reading = Reading(environ={}, base_dir=path.parent, demo=False, language=language)
    nowhere = Spot(line=0, column=0)
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST_FILE + 1)
        if len(data) <= _LARGEST_FILE:
            return data.decode("utf-8")
        reading.error(nowhere, file_messages.UNREADABLE, reason="> 4 MB")
    except FileNotFoundError:
        reading.error(nowhere, file_messages.NO_FILE, name=path)
    except OSError as error:
        reading.error(nowhere, file_messages.UNREADABLE, reason=os_reason(error, language))
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        column = error.start - error.object.rfind(b"\n", 0, error.start)
        reading.error(Spot(line=line, column=column), file_messages.NOT_UTF8, encoding=_likely_encoding(error.object))
    raise ConfigError(str(path), reading.problems)


def _likely_encoding(data: bytes) -> str:
    """What Japanese files are in when they are not UTF-8."""
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return "UTF-16"
    for encoding, name in (("cp932", "Shift_JIS"), ("euc_jp", "EUC-JP")):
        try:
            data.decode(encoding)
        except UnicodeDecodeError:
            continue
        return name
    return "Latin-1"
