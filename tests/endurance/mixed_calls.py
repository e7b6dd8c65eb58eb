"""100,000 calls of every kind through a real gateway: rows, answers, metrics and money must agree to the nano-dollar.

    .venv/bin/python -m tests.endurance.mixed_calls --calls 100000

Ends with 1 where anything differs, and names it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from pathlib import Path

import polars
from tests.support.mixed_load import Verdict, compare, house, load, reconciled


def run(folder: Path, calls: int, seed: int) -> Verdict:
    """One load from the start of the gateway to its orderly end; afterwards everything must be in Delta, too."""
    with house(folder) as one:
        started_us: int = json.loads(one.get("/health/ready"))["started_us"]
        seen = asyncio.run(load(one.port, calls, seed))
        one.until_calm()
        before, after = one.counters(), one.counters()
        report = reconciled(one.data_dir, started_us, before, after)
        verdict = compare(one.data_dir, seen, after, report)
        one.stop()
    for name, rows in (("usage", verdict.rows), ("inference_log", verdict.logged)):
        ids = polars.read_delta(str(folder / "data" / "tables" / name), columns=["request_id"])["request_id"]
        if not len(ids) == ids.n_unique() == rows:
            verdict.differences.append(
                f"{name}: {len(ids)} rows in Delta after the end, {ids.n_unique()} ids, not {rows}"
            )
    return verdict


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    began_s = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        verdict = run(Path(folder), options.calls, options.seed)
    print(f"{verdict.calls} calls with seed {options.seed} in {time.monotonic() - began_s:.0f} s: {verdict.statuses}")
    print(f"{verdict.rows} rows of usage, {verdict.logged} of inference_log, {verdict.cost_nanos} nano-dollars")
    for difference in verdict.differences[:20]:
        print(f"DIFFERS: {difference}")
    print("everything agrees" if not verdict.differences else f"{len(verdict.differences)} differences")
    return 1 if verdict.differences else 0


if __name__ == "__main__":
    sys.exit(main())
