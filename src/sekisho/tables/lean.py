"""Processes of ours do without numpy and pandas, wherever they are installed. Must be asked before pyarrow is imported.

pyarrow imports numpy with itself, and pandas at the first value it is given, only to know what an array of theirs would
look like (26.0). Nothing here needs either: left out, the committer has 60 MB less and is there a second of CPU sooner.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from types import ModuleType

_LEFT_OUT = frozenset({"numpy", "pandas"})


class _LeftOut(MetaPathFinder):
    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> None:
        if fullname in _LEFT_OUT:
            raise ModuleNotFoundError(f"{fullname} is left out of this process", name=fullname)


def leave_out_numpy_and_pandas() -> None:
    """For the rest of this process; what is imported already stays."""
    sys.meta_path.insert(0, _LeftOut())
