"""Do tables and clients agree? Reads Delta with another library than ours. Must believe clients, not the gateway."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs

import polars

from sekisho.tables.reader import ask
from tests.crash.traffic import KINDS, Note

#: how much of the level `process` a power cut may take, by the clients' clock
STATED_S = 1.0
_SHOWN = 5


@dataclass
class Books:
    """What one campaign found. `faults` is empty when every promise was kept."""

    acknowledged: int = 0
    rows: int = 0
    log_rows: int = 0
    lost: int = 0
    doubled: int = 0
    #: dispatched calls whose client was told nothing, and how many of their rows say `interrupted`
    cut_short: int = 0
    interrupted: int = 0
    #: lost at level `process` to a power cut, and the age of the oldest at the cut
    lost_to_cuts: int = 0
    oldest_lost_s: float = 0.0
    faults: list[str] = field(default_factory=list)

    def fault(self, what: str, which: Sequence[str]) -> None:
        if which:
            shown = ", ".join(list(which)[:_SHOWN])
            self.faults.append(f"{len(which)} {what}: {shown}{', …' if len(which) > _SHOWN else ''}")


def balance(
    notes: Sequence[Note], dispatched: Mapping[str, int], data_dir: Path, cuts_s: Sequence[float] = ()
) -> Books:
    """The final account, when everything is drained into Delta. `cuts_s[n]` is when the power of life n was cut."""
    usage = delta(data_dir, "usage", "request_id", "client_request_id", "terminal_state", "error_code")
    ids = Counter(usage["request_id"].to_list())
    log_ids = Counter(delta(data_dir, "inference_log", "request_id")["request_id"].to_list())
    marks = Counter(mark for mark in usage["client_request_id"].to_list() if mark is not None)
    books = Books(rows=sum(ids.values()), log_rows=sum(log_ids.values()))
    _nothing_doubled(books, ids, log_ids, marks)
    _nothing_lost(books, notes, ids, log_ids, cuts_s)
    _all_dispatched(books, notes, marks_of(dispatched), usage, cuts_s)
    return books


def _nothing_doubled(books: Books, ids: Counter[str], log_ids: Counter[str], marks: Counter[str]) -> None:
    doubled = {
        what: [one for one, n in counts.items() if n > 1]
        for what, counts in (("usage", ids), ("inference_log", log_ids), ("marks", marks))
    }
    books.doubled = len({*doubled["usage"], *doubled["inference_log"]})
    books.fault("ids twice in usage", doubled["usage"])
    books.fault("ids twice in inference_log", doubled["inference_log"])
    books.fault("calls with two rows", doubled["marks"])
    books.fault("rows in inference_log but not in usage", [*(log_ids.keys() - ids.keys())])


def _nothing_lost(
    books: Books, notes: Sequence[Note], ids: Counter[str], log_ids: Counter[str], cuts_s: Sequence[float]
) -> None:
    told = [note for note in notes if note.acknowledged_s is not None]
    books.acknowledged = len(told)
    books.fault("answers without x-request-id", [note.mark for note in told if note.request_id is None])
    missing = [note for note in told if note.request_id not in ids]
    lost = [note for note in missing if not _may_be_lost(note, cuts_s)]
    ages_s = [age_at_cut_s(note, cuts_s) or 0.0 for note in missing if not KINDS[note.kind].sync]
    books.lost_to_cuts = len(ages_s)
    books.oldest_lost_s = max(ages_s, default=0.0)
    books.lost = len(lost)
    books.fault("acknowledged calls lost", [_described(note, cuts_s) for note in lost])
    unlogged = [n for n in told if KINDS[n.kind].full and n.request_id in ids and n.request_id not in log_ids]
    books.fault(
        "acknowledged calls of `log: full` without inference_log",
        [_described(note, cuts_s) for note in unlogged if not _may_be_lost(note, cuts_s)],
    )


def _may_be_lost(note: Note, cuts_s: Sequence[float]) -> bool:
    """Acknowledged at level `process` within the stated second before a cut."""
    age_s = age_at_cut_s(note, cuts_s)
    return age_s is not None and age_s <= STATED_S and not KINDS[note.kind].sync


def _all_dispatched(
    books: Books, notes: Sequence[Note], dispatched: set[str], usage: polars.DataFrame, cuts_s: Sequence[float]
) -> None:
    """A call that reached the provider is a row, whatever became of it."""
    columns = ("client_request_id", "terminal_state", "error_code")
    rows = {mark: (state, code) for mark, state, code in usage.select(columns).iter_rows()}
    silent = [note for note in notes if note.acknowledged_s is None and note.mark in dispatched]
    cut_short = [note for note in silent if not (KINDS[note.kind].leaves and note.status == 200)]
    books.cut_short = len(cut_short)
    books.interrupted = sum(rows.get(note.mark) == ("interrupted", "interrupted") for note in cut_short)
    rowless = [note for note in silent if note.mark not in rows]
    # A cut takes the begin records of its last second along.
    rowless = [n for n in rowless if n.life >= len(cuts_s) or cuts_s[n.life] - n.sent_s > STATED_S]
    books.fault("dispatched calls without a row", [_described(note, cuts_s) for note in rowless])


def age_at_cut_s(note: Note, cuts_s: Sequence[float]) -> float | None:
    """How long before the cut of its life a call was acknowledged; None when its life did not end in a cut."""
    if note.life >= len(cuts_s) or note.acknowledged_s is None:
        return None
    return cuts_s[note.life] - note.acknowledged_s


def _described(note: Note, cuts_s: Sequence[float]) -> str:
    age_s = age_at_cut_s(note, cuts_s)
    return f"{note.request_id or note.mark} ({note.kind}{'' if age_s is None else f', {age_s:.2f} s before the cut'})"


def marks_of(dispatched: Mapping[str, int]) -> set[str]:
    """Marks of the calls that the mock provider saw."""
    scripts = (parse_qs(model.partition("?")[2]) for model in dispatched)
    return {script["answer"][0] for script in scripts if script.get("answer", [""])[0].startswith("mark-")}


def delta(data_dir: Path, table: str, *columns: str) -> polars.DataFrame:
    """Columns of what is committed, as any other reader of Delta sees it."""
    return polars.read_delta(str(data_dir / "tables" / table), columns=list(columns))


def union(data_dir: Path) -> Counter[str]:
    """Ids in `usage` as `sekisho sql` shows it: Delta and the spool."""
    return Counter(row[0] for row in ask(data_dir, "SELECT request_id FROM usage").rows())
