"""The long trials: `make endurance`. Runs them with a seed each, and writes what was found into the documentation.

    make endurance                                      everything, about an hour and a half
    make endurance ENDURANCE="--only kills,cuts"        some of it
    make endurance ENDURANCE="--only kills --seed 7"    once more as it was
    make endurance ENDURANCE="--kills 10 --no-write"    a short look

Exit codes: 0 every promise was kept, 1 one was not, 2 wrong usage.
Must write down every run that was asked for in full, also one that went badly.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.endurance import parts, report
from tests.endurance.bar import bar


def some_of(known: Sequence[str]) -> Callable[[str], tuple[str, ...]]:
    """Reads names with commas between them; one that is not known is an error that lists those that are."""

    def names(text: str) -> tuple[str, ...]:
        unknown = [name for name in text.split(",") if name not in known]
        if unknown:
            raise argparse.ArgumentTypeError(f"{unknown[0]!r} is none of {', '.join(known)}")
        return tuple(name for name in known if name in text.split(","))

    return names


def options(arguments: Sequence[str] | None) -> argparse.Namespace:
    whole = argparse.ArgumentParser(
        prog="make endurance", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = whole.add_argument
    add("--only", type=some_of([*parts.PARTS]), default=(*parts.PARTS,), help=f"some of {','.join(parts.PARTS)}")
    add("--seed", type=int, help="of the first part; the others count on from it (default: a new one)")
    for part in parts.PARTS.values():
        add(f"--{part.name}", type=int, metavar="N", default=part.amount, help=f"{part.unit} ({part.amount})")
    add("--no-write", action="store_true", help="print only")
    return whole.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what was asked for; each part is written down as soon as it has ended."""
    asked = options(arguments)
    first_seed = asked.seed if asked.seed is not None else random.SystemRandom().randrange(1_000_000)
    kept = True
    for at, name in enumerate(asked.only):
        part, amount = parts.PARTS[name], getattr(asked, name)
        if not part.there:
            print(f"{name}: not in this version", file=sys.stderr)
            continue
        came_from = report.provenance()
        began_s = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="endurance-") as folder, bar(f"{name} ({amount} {part.unit})") as show:
            try:
                figures, broken = part.run(Path(folder), amount, first_seed + at, show)
            except Exception as error:
                traceback.print_exc()
                figures, broken = {}, [f"it ended early: {type(error).__name__}: {error}"[:500]]
        found = report.Found(
            part=name,
            amount=amount,
            seed=first_seed + at,
            took_s=round(time.monotonic() - began_s),
            figures=figures,
            broken=broken,
            **came_from,
        )
        print(report.text(found))
        kept = kept and not broken
        if not asked.no_write:
            report.write(found)
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
