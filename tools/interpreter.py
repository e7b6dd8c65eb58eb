"""Prints the Python to serve with: the one at hand, or a clearly faster one of the same machine.

How CPython was built decides a quarter of what a call costs: a distribution's build is optimised with a profile, one
compiled by a version manager often is not. Only the standard library may be used here: it runs before anything is
installed. `--only` prints the Python at hand, for who chose it on purpose.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

#: where systems keep theirs: Debian and Fedora, locally built, Homebrew
PLACES = ("/usr/bin/python3", "/usr/local/bin/python3", "/opt/homebrew/bin/python3")
#: another interpreter is taken only when it needs less than this share of the time
CLEARLY = 0.87
#: how often each is measured
ROUNDS = 6
OLDEST, NEWEST = (3, 11), (3, 14)

PROBE = """
import ctypes, sqlite3, ssl, sys, time, zlib
def add(a, b): return a + b
class Pair:
    __slots__ = ("x", "y")
    def __init__(self, x, y): self.x = x; self.y = y
    def sum(self): return self.x + self.y
def work():
    total = 0
    for i in range(400):
        pair = Pair(i, 2); total = add(total, pair.sum()); found = {"a": 1}; found["b"] = total
    return total
best = 1e9
for _ in range(60):
    start = time.process_time_ns(); work(); best = min(best, time.process_time_ns() - start)
import venv
print(sys.version_info[0], sys.version_info[1], sys.implementation.name, best)
"""


def measured(python: str) -> tuple[tuple[int, int], int] | None:
    """Version and nanoseconds of the probe; None for what does not run, is no CPython or is too old or new."""
    try:
        done = subprocess.run([python, "-c", PROBE], capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    major, minor, name, nanoseconds = done.stdout.split()
    version = (int(major), int(minor))
    if name != "cpython" or not OLDEST <= version <= NEWEST:
        return None
    return version, int(nanoseconds)


def chosen(at_hand: str) -> str:
    """The Python at hand unless another is clearly faster."""
    seen = {Path(at_hand).resolve()}
    candidates = [at_hand]
    for place in PLACES:
        if Path(place).exists() and Path(place).resolve() not in seen:
            seen.add(Path(place).resolve())
            candidates.append(place)
    if len(candidates) == 1:
        return at_hand
    best_ns = fastest(candidates)
    own_ns = best_ns.pop(at_hand, sys.maxsize)
    other = min(best_ns, key=best_ns.__getitem__, default=at_hand)
    return other if best_ns.get(other, sys.maxsize) < own_ns * CLEARLY else at_hand


def fastest(candidates: list[str]) -> dict[str, int]:
    """Nanoseconds of the best probe of each that can be used. They take turns: what slows a machine down lasts longer
    than one probe, and would hit one of them alone."""
    best_ns: dict[str, int] = {}
    for round_number in range(ROUNDS):
        for python in candidates if round_number == 0 else list(best_ns):
            found = measured(python)
            if found is not None:
                best_ns[python] = min(found[1], best_ns.get(python, sys.maxsize))
    return best_ns


if __name__ == "__main__":
    print(sys.executable if "--only" in sys.argv else chosen(sys.executable))
