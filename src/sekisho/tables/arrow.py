"""pyarrow under names that type checkers can live with. Must hold nothing else.

pyarrow ships no type information (26.0): everything of it is Any, and this is the one place that says so.
"""

from __future__ import annotations

from typing import Any

import pyarrow  # pyright: ignore[reportMissingTypeStubs]
import pyarrow.compute  # pyright: ignore[reportMissingTypeStubs]
import pyarrow.parquet  # pyright: ignore[reportMissingTypeStubs]

pa: Any = pyarrow
pc: Any = pyarrow.compute
pq: Any = pyarrow.parquet

Array = Any
ChunkedArray = Any
DataType = Any
Field = Any
Schema = Any
Table = Any
