"""The processes of this room: `python -m sekisho.tables committer | spent | maintenance ...`."""

from __future__ import annotations

import sys
from importlib import import_module

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


if __name__ == "__main__":
    sys.exit(main())
