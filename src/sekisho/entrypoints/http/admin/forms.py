"""What may be asked, as types, and how a body becomes one. Every mistake is told with its field; must not guess."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import ROUND_HALF_EVEN, Context, Decimal
from typing import Any, Literal, TypeVar

import msgspec

from sekisho.domain.errors import Refusal
from sekisho.domain.keys import MOST_NAME_CHARS, duration_s, name_problem, normal_name
from sekisho.domain.money import usd_to_nanos
from sekisho.domain.spending import EACH, SCOPE_NAMES, OnExceed, Period, Scope, scope_of
from sekisho.domain.stops import StopKind
from sekisho.entrypoints.http.admin.access import Role

Money = str | int | float
_Form = TypeVar("_Form", bound="Form")

_LARGEST_USD = 1_000_000_000
_LARGEST_LIMIT = 1_000_000_000_000
_LARGEST_CONCURRENCY = 1_000_000
_LONGEST_BURST_S = 60
_LONGEST_WAIT_S = 600
_MOST_REASON_CHARS = 500
_MOST_ENDPOINTS = 1_000
_US = 1_000_000
#: digits as they are written in ASCII: Python's own reading takes those of every script
_DECIMAL = re.compile(r"[0-9]{1,12}(?:\.[0-9]{1,9})?", re.ASCII)
_NANO = Decimal("1e-9")
#: enough digits for any float
_EXACT = Context(prec=400)
_PLACE = re.compile(r" - at `\$\.?([^`]*)`$")
#: what a caller wrote may hold a backtick; after the last one of it comes the place, or nothing
_UNKNOWN = re.compile(r"unknown field `(.*?)`(?: - at `[^`]*`)?$", re.DOTALL)
_MISSING = re.compile(r"missing required field `(.*?)`")
_TYPES = {
    "str": "it must be a string",
    "int": "it must be a whole number",
    "float": "it must be a number",
    "bool": "it must be true or false",
    "object": "it must be an object",
    "array": "it must be an array",
}


class Form(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A body. A field that is not known is a mistake: silently ignored it might be a budget that never holds."""


class KeyForm(Form):
    """A key to be made. `expires`: `30d`, `24h`, `15m` or `45s` from now."""

    name: str
    team: str | None = None
    user: str | None = None
    endpoints: list[str] | None = None
    role: Role = "user"
    expires: str | None = None
    on_behalf: bool = False


class RotationForm(Form):
    """How long the old key still holds beside the new one, and a new end instead of the old one's."""

    overlap: str = "24h"
    expires: str | None = None


class TeamForm(Form):
    department: str | None = None


class UserForm(Form):
    team: str | None = None


class DegradeForm(Form):
    """The endpoint that takes over."""

    degrade: str


class BudgetForm(Form):
    """One amount: `usd` or `jpy`, a number or its decimal digits in a string."""

    scope: dict[str, str]
    usd: Money | None = None
    jpy: Money | None = None
    period: Period = "month"
    on_exceed: Literal["block", "warn"] | DegradeForm = "block"
    strict: bool = False


class LimitForm(Form):
    """Calls a minute, tokens a minute, calls at once: at least one of them. Times in seconds."""

    scope: dict[str, str]
    qpm: int | None = None
    tpm: int | None = None
    concurrency: int | None = None
    burst_s: float = 60.0
    wait_s: float = 0.0


class StopForm(Form):
    """`value`: a user, a team, or a model (an endpoint's name, `provider/model`, a model alone, `provider/*`)."""

    kind: StopKind
    value: str = ""
    reason: str = ""


def read(body: bytes, form: type[_Form]) -> _Form:
    """Raises Refusal 400 that names the field."""
    try:
        return msgspec.json.decode(body or b"{}", type=form)
    except msgspec.ValidationError as error:
        raise _told(str(error), form) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Refusal(400, "invalid_json", reason="it must be a JSON object") from None


def invalid(param: str, reason: str, **values: Any) -> Refusal:
    return Refusal(400, "invalid_value", param=param, reason=reason, **values)


def name(text: str, param: str) -> str:
    """A name in its normal form: full-width letters are half-width ones, and nothing invisible is in it."""
    found = normal_name(text)
    if name_problem(found) is not None:
        reason = "it must have 1 to {most} visible characters, not be `*`, and not begin like a key"
        raise invalid(param, reason, most=MOST_NAME_CHARS)
    return found


def scope(given: Mapping[str, str]) -> Scope:
    """Known names with values that can be ones; whether there is such a team is asked elsewhere."""
    if not given:
        raise invalid("scope", "it names nothing")
    for key in given:
        if key not in SCOPE_NAMES and key != "group":
            raise invalid(f"scope.{key}", "there is no such scope; there are {names}", names=", ".join(SCOPE_NAMES))
    if "team" in given and "group" in given:
        raise invalid("scope.group", "it means the same as `team`; keep one of them")
    named = {key: value for key, value in given.items() if value.strip() != EACH}
    return scope_of({key: name(value, f"scope.{key}") if key in named else EACH for key, value in given.items()})


def amount_nanos(form: BudgetForm, usd_jpy: Decimal | None) -> int:
    """Nano-dollars of the one amount that is given. Yen become dollars by the rate given, half-even."""
    if (form.usd is None) == (form.jpy is None):
        raise invalid("usd", "exactly one amount is needed, in `usd` or in `jpy`")
    if form.usd is not None:
        return usd_to_nanos(_money(form.usd, "usd", _LARGEST_USD))
    if usd_jpy is None:
        raise invalid("jpy", "the configuration has no rate `fx.usd_jpy`; give the amount in `usd`")
    jpy = _money(form.jpy or 0, "jpy", _LARGEST_USD)
    usd = (jpy / usd_jpy).quantize(Decimal("1e-9"), ROUND_HALF_EVEN)
    if usd <= 0:
        raise invalid("jpy", "it must be above 0")
    return usd_to_nanos(usd)


def way(form: BudgetForm) -> tuple[OnExceed, str | None]:
    """What happens then, and the endpoint that takes over."""
    on_exceed = form.on_exceed
    return ("degrade", on_exceed.degrade) if isinstance(on_exceed, DegradeForm) else (on_exceed, None)


def quantities(form: LimitForm) -> dict[str, Any]:
    """The numbers of a limit, each within its bounds."""
    if form.qpm is None and form.tpm is None and form.concurrency is None:
        raise invalid("qpm", "no limit is given: give `qpm`, `tpm` or `concurrency`")
    for param, most in (("qpm", _LARGEST_LIMIT), ("tpm", _LARGEST_LIMIT), ("concurrency", _LARGEST_CONCURRENCY)):
        value = getattr(form, param)
        if value is not None and not 1 <= value <= most:
            raise invalid(param, "it must be a whole number from 1 to {most}", most=most)
    if not 0 < form.burst_s <= _LONGEST_BURST_S:
        raise invalid("burst_s", "it must be above 0 and at most {most}", most=_LONGEST_BURST_S)
    if not 0 <= form.wait_s <= _LONGEST_WAIT_S:
        raise invalid("wait_s", "it must be from 0 to {most}", most=_LONGEST_WAIT_S)
    return {
        "qpm": form.qpm,
        "tpm": form.tpm,
        "concurrency": form.concurrency,
        "burst_s": form.burst_s,
        "wait_s": form.wait_s,
    }


def duration_us(text: str, param: str, *, least_s: int = 0) -> int:
    """Microseconds of `30d`, `24h`, `15m` or `45s`."""
    try:
        seconds = duration_s(text)
    except ValueError:
        seconds = -1
    if seconds < least_s:
        raise invalid(param, "it must be a duration like 30d, 24h, 15m or 45s")
    return seconds * _US


def reason(text: str) -> str:
    """A sentence for people: one line, nothing that a terminal would obey."""
    found = " ".join(text.split())
    if len(found) > _MOST_REASON_CHARS or not found.isprintable():
        raise invalid("reason", "it must have at most {most} visible characters", most=_MOST_REASON_CHARS)
    return found


def endpoints(names: list[str]) -> tuple[str, ...]:
    if not names:
        raise invalid("endpoints", "it names nothing")
    if len(names) > _MOST_ENDPOINTS:
        raise invalid("endpoints", "it must have at most {most} entries", most=_MOST_ENDPOINTS)
    return tuple(dict.fromkeys(normal_name(one) for one in names))


def _money(value: Money, param: str, most: int) -> Decimal:
    """Exactly what was written: a float is read by its shortest decimal form."""
    if isinstance(value, int) and value > most:
        value = most + 1  # no need to reckon with thousands of digits
    number = _decimal(value)
    if number is None:
        raise invalid(param, "it must be an amount in ASCII digits, with at most nine decimals")
    if number <= 0:
        raise invalid(param, "it must be above 0")
    if number > most:
        raise invalid(param, "it must be at most {most}", most=most)
    return number


def _decimal(value: Money) -> Decimal | None:
    if isinstance(value, str):
        sign, digits = (-1, value[1:]) if value.startswith("-") else (1, value)
        return sign * Decimal(digits) if _DECIMAL.fullmatch(digits) else None
    number = Decimal(value) if isinstance(value, int) else Decimal(repr(value))
    if not number.is_finite() or number != number.quantize(_NANO, context=_EXACT):
        return None
    return number


def _told(text: str, form: type[Form]) -> Refusal:
    """The library's words as a field and a reason of ours."""
    place = _PLACE.search(text)
    path = place[1] if place else ""
    if unknown := _UNKNOWN.search(text):
        known = ", ".join(DegradeForm.__struct_fields__ if path == "on_exceed" else form.__struct_fields__)
        return invalid(_below(path, unknown[1]), "there is no such field; there are {names}", names=known)
    if missing := _MISSING.search(text):
        return invalid(_below(path, missing[1]), "it is missing")
    if not path:
        return Refusal(400, "invalid_json", reason="it must be a JSON object")
    if "enum value" in text or "Invalid literal" in text:
        choices = ", ".join(_choices(form, path))
        return invalid(path, "it must be one of {names}", names=choices)
    expected = re.search(r"Expected `([\w| ]+)", text)
    kinds = expected[1].split(" | ") if expected else [""]
    kind = "float" if "float" in kinds else kinds[0]
    return invalid(path, _TYPES.get(kind, "it has a value that it cannot have"))


def _below(path: str, field: str) -> str:
    return f"{path}.{field}" if path else field


def _choices(form: type[Form], path: str) -> list[str]:
    info = msgspec.inspect.type_info(form)
    assert isinstance(info, msgspec.inspect.StructType)
    for field in info.fields:
        if field.name != path:
            continue
        kinds = field.type.types if isinstance(field.type, msgspec.inspect.UnionType) else (field.type,)
        return [str(value) for kind in kinds if isinstance(kind, msgspec.inspect.LiteralType) for value in kind.values]
    return []
