"""The processes of this room: `python -m sekisho.tables committer | spent | maintenance ...`."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import NoReturn

from sekisho.tables.lean import leave_out_numpy_and_pandas

_MODULES = {
    "committer": "sekisho.tables.committer_process",
    "spent": "sekisho.tables.spent",
    "maintenance": "sekisho.tables.maintenance.jobs",
}


def main() -> int:
    """Exit code 2: no such process."""
    name = sys.argv.pop(1) if len(sys.argv) > 1 else ""
    if name not in _MODULES:
        sys.stderr.write(f"usage: python -m sekisho.tables {' | '.join(_MODULES)} ...\n")
        return 2
    leave_out_numpy_and_pandas()
    return import_module(_MODULES[name]).main()


def end(code: int) -> NoReturn:
    """Without the interpreter's teardown, in which a thread of DuckDB or Arrow that still runs aborts the process now
    and then: what was done would be taken for failed. See https://github.com/duckdb/duckdb/issues/13904, 2026-11."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    end(main())
