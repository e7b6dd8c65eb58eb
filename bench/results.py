"""Puts visits together: medians over the runs, ratios within each run, tables of them. It measures nothing."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from measure import Sample
from targets import Target
from visits import Visit

Value = Callable[[Sample], float]


@dataclass(frozen=True, slots=True)
class Spread:
    """A median with the least and the greatest of the runs."""

    median: float
    least: float
    greatest: float

    def text(self, digits: int) -> str:
        """`1.83 (1.79..1.90)`, or the one value where all are the same."""
        middle, least, greatest = (f"{value:.{digits}f}" for value in (self.median, self.least, self.greatest))
        return middle if least == greatest else f"{middle} ({least}..{greatest})"


def spread(values: Sequence[float | None]) -> Spread | None:
    """None when nothing was measured."""
    known = [value for value in values if value is not None]
    return Spread(statistics.median(known), min(known), max(known)) if known else None


def cell(found: Spread | None, digits: int = 2) -> str:
    """A figure in a table, `-` where there is none."""
    return found.text(digits) if found else "-"


class Results:
    """All visits of all runs, by target."""

    def __init__(self, targets: Sequence[Target], visits: Sequence[Visit]) -> None:
        self.targets = targets
        self.visits = visits
        self._by_run = {(visit.target, visit.run): visit for visit in visits}

    def of(self, target: str) -> list[Visit]:
        """Every turn of one target."""
        return [visit for visit in self.visits if visit.target == target]

    def values(self, target: str, phase: str, value: Value) -> Spread | None:
        """A figure of one phase over the runs."""
        return spread([value(visit.samples[phase]) for visit in self.of(target) if phase in visit.samples])

    def ratio(self, target: str, phase: str, value: Value) -> Spread | None:
        """A figure as a multiple of nginx's in the same run."""
        return spread([mine / nginx for mine, nginx in self._pairs(target, "nginx", phase, value)])

    def more_than_relay(self, target: str) -> Spread | None:
        """CPU of the whole tree for a 300 KB prompt, in us beyond the relay's in the same run."""
        return spread([mine - relay for mine, relay in self._pairs(target, "relay", "large", tree_us)])

    def memory(self, target: str, value: Value) -> Spread | None:
        """A figure of memory: in each turn the greatest of those read after its loads."""
        return spread([max(map(value, visit.samples.values())) for visit in self.of(target) if visit.samples])

    def _pairs(self, target: str, other: str, phase: str, value: Value) -> list[tuple[float, float]]:
        """The figures of two targets, run by run: times differ between runs, ratios hardly."""
        pairs: list[tuple[float, float]] = []
        for visit in self.of(target):
            base = self._by_run.get((other, visit.run))
            if base and phase in visit.samples and phase in base.samples:
                pairs.append((value(visit.samples[phase]), value(base.samples[phase])))
        return pairs


def serving_us(sample: Sample) -> float:
    """CPU of the serving process for one answer."""
    return sample.serving_us


def tree_us(sample: Sample) -> float:
    """CPU of the serving process and all its children for one answer."""
    return sample.tree_us


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table whose columns also line up on a terminal: the first to the left, figures to the right."""
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]

    def line(cells: Sequence[str]) -> str:
        first, *rest = cells
        figures = [text.rjust(width) for text, width in zip(rest, widths[1:], strict=True)]
        return f"| {' | '.join([first.ljust(widths[0]), *figures])} |"

    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return [line(head), line(rule), *(line(row) for row in rows)]
