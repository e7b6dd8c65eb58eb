"""What an export says, whatever its file was. Must stay data: a count or amount that nobody told is None, never 0."""

from __future__ import annotations

import unicodedata
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Literal

import msgspec

ExportFormat = Literal["openai", "anthropic", "csv"]

#: counts of a line, in the order in which differences are told
COUNTS = ("requests", "input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens", "output_tokens")
#: beyond this a count or an amount is a damaged file and no bill
_MOST_COUNT = 10**15
_MOST_DOLLARS = Decimal(10) ** 9
#: a millionth of a nano-dollar: finer parts cannot change a sum
_FINEST = Decimal(1).scaleb(-15)


class BadExport(Exception):
    """A file that cannot be used. `code` names the message, `where` the line or the member (`data[0].results[2]`)."""

    def __init__(self, code: str, where: str = "", **values: object) -> None:
        super().__init__(code, where, values)
        self.code = code
        self.where = where
        self.values = values
        #: filled in by who knows it
        self.file = ""


class Bucket(msgspec.Struct, frozen=True, order=True):
    """A time that is summed as one: beginning and end (exclusive), microseconds since 1970, UTC."""

    begins_us: int
    ends_us: int

    @property
    def text(self) -> str:
        """`2026-11-20` for a whole UTC day, else beginning and end."""
        begins, ends = (datetime.fromtimestamp(at // 1_000_000, UTC) for at in (self.begins_us, self.ends_us))
        if (begins.hour, begins.minute, begins.second) == (0, 0, 0) and self.ends_us - self.begins_us == DAY_US:
            return begins.strftime("%Y-%m-%d")
        return f"{begins:%Y-%m-%dT%H:%MZ}/{ends:%Y-%m-%dT%H:%MZ}"


DAY_US = 86_400_000_000


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """What a bucket had of one model, or of all together where `model` is None.

    `input_tokens` includes cached ones read and written, as on our rows. `cost_usd` is US dollars.
    """

    bucket: Bucket
    model: str | None
    #: None: of all calls, whatever they asked for
    of: Literal["completions", "embeddings"] | None = None
    requests: int | None = None
    input_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    output_tokens: int | None = None
    cost_usd: Decimal | None = None


class Charge(msgspec.Struct, frozen=True, kw_only=True):
    """Money for something that is no tokens, such as searches: it is told, and compared with nothing."""

    bucket: Bucket
    name: str
    cost_usd: Decimal


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """One answer of a provider's API, or one CSV file. `keys` say which result is which, to find one that is there
    twice; `skipped` names kinds of results or columns that have no counterpart in our rows."""

    buckets: list[Bucket]
    lines: list[Line]
    charges: list[Charge] = []
    keys: list[tuple[object, ...]] = []
    skipped: list[str] = []
    #: the provider has more pages after this one
    has_more: bool = False


class Export(msgspec.Struct, frozen=True, kw_only=True):
    """All pages together. `buckets` are those with nothing in them too."""

    format: ExportFormat
    buckets: list[Bucket]
    lines: list[Line]
    charges: list[Charge]
    skipped: list[str]
    #: no page is the last one
    unfinished: bool


def bucket_of(begins_us: int, ends_us: int, where: str) -> Bucket:
    """Raises BadExport for one without length, or outside of the years in which there were such APIs."""
    if not 946_684_800_000_000 <= begins_us < ends_us <= 4_102_444_800_000_000:
        raise BadExport("bad_bucket", where)
    return Bucket(begins_us, ends_us)


def count_of(value: int | None, where: str) -> int | None:
    """Raises BadExport for a count that cannot be one."""
    if value is not None and not 0 <= value <= _MOST_COUNT:
        raise BadExport("bad_count", where, value=shown(str(value)))
    return value


def dollars_of(value: Any, where: str) -> Decimal:
    """An amount, exactly as it was written: a number of the JSON, or one in a text. Raises BadExport."""
    try:
        if isinstance(value, bool) or not isinstance(value, Decimal | int | str):
            raise InvalidOperation
        amount = Decimal(value.strip()) if isinstance(value, str) else Decimal(value)
    except InvalidOperation:
        raise BadExport("bad_amount", where, value=shown(str(value))) from None
    if not amount:
        # OpenAI writes zeros such as 0E-6176
        return Decimal(0)
    if not amount.is_finite() or amount.copy_abs() > _MOST_DOLLARS:
        raise BadExport("bad_amount", where, value=shown(str(value)))
    return amount.quantize(_FINEST)


def identity_of(result: dict[str, Any]) -> tuple[object, ...]:
    """Which result of its bucket it is: what it was grouped by, also by names that are not known here."""
    return tuple(sorted((name, value) for name, value in result.items() if isinstance(value, str) and name != "amount"))


def shown(text: str) -> str:
    """A text of a file as a terminal may have it: no control characters, not longer than a line."""
    cut = text if len(text) <= 80 else text[:79] + "…"
    return "".join(one if one.isprintable() else f"\\u{ord(one):04x}" for one in cut)


def model_of(name: str | None) -> str | None:
    """A model's name as it is compared. Empty is none."""
    if name is None:
        return None
    return shown(unicodedata.normalize("NFKC", name).strip()) or None
