"""Does memory stay flat? Many requests in equal slices, the memory read after each, and a straight line through it."""

import statistics
from collections.abc import Sequence

from measure import Phase, Rig, sample
from results import table
from targets import Failed, Target, forget, running
from visits import Plan, say

SLICES = 20
SETTLING = 4  # the first slices fill pools and caches and are left out of the line
# The smallest Python object kept for each request would be about 50 MB in a million.
FLAT_MB = 5.0


def endurance(rig: Rig, targets: Sequence[Target], plan: Plan, requests: int) -> tuple[list[str], bool]:
    """The table, and whether every target's memory was flat."""
    rows: list[list[str]] = []
    flat = True
    for target in targets:
        try:
            serving, writer = _samples(rig, target, plan, requests)
        except Failed as failure:
            say(f"{target.title}: {failure}")
            rows.append([target.title, "failed", *[""] * 4])
            flat = False
            continue
        finally:
            forget(target)
        for name, values in (("serving process", serving), ("writer", writer)):
            if not any(values):
                continue
            slope = growth_mb(values[SETTLING:], requests / SLICES)
            flat &= slope <= FLAT_MB
            cells = [f"{values[0]:.1f}", f"{values[SETTLING]:.1f}", f"{values[-1]:.1f}", f"{slope:+.1f}"]
            rows.append([f"{target.title}: {name}", *cells, "flat" if slope <= FLAT_MB else "GROWS"])
    head = ["", "MB at 1/20", "at 5/20", "at the end", "MB a million requests", f"limit {FLAT_MB:g}"]
    return ["", f"Memory over {requests} requests", "", *table(head, rows)], flat


def _samples(rig: Rig, target: Target, plan: Plan, requests: int) -> tuple[list[float], list[float]]:
    """Resident MB of the serving process and of its largest child after each slice, all rows committed."""
    serving, writer = list[float](), list[float]()
    each = max(requests // SLICES, 1)
    phase = Phase(name="slice", prompt="plain", connections=plan.connections, seconds=3600, requests=each)
    with running(target, rig.mock_port, rig.gateway_core) as started:
        for number in range(SLICES):
            one = sample(rig, started, phase)
            if one.faults:
                raise Failed("; ".join(one.faults))
            serving.append(one.reading.serving_mb)
            writer.append(one.reading.largest_child_mb)
            done = f"{(number + 1) * each} requests"
            say(
                f"{target.title}: {done}: {serving[-1]:.1f} MB, largest child {writer[-1]:.1f} MB, {one.tree_us:.1f} us"
            )
    return serving, writer


def growth_mb(values: Sequence[float], requests_between: float) -> float:
    """MB a million requests: the slope of the least-squares line through values taken at equal distances."""
    line = statistics.linear_regression(range(len(values)), values)
    return line.slope / requests_between * 1e6
