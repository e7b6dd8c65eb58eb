"""The Parquet files as other programs meet them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from tests.unit.tables.maintenance.days import rows

from sekisho.tables.arrow import pa
from sekisho.tables.disk import DiskFiles
from sekisho.tables.parts import write_parts
from sekisho.tables.schema import TABLES


def half_named(count: int) -> Any:
    """Every second row with the ids that callers may give."""
    named = rows(count, client_request_id="c", trace_id="0" * 32, span_id="0" * 16, input_hash="f" * 16)
    return pa.concat_tables([named, rows(count, count)], promote_options="permissive")


@pytest.mark.parametrize("name", list(TABLES))
def test_no_column_is_written_in_an_encoding_that_spark_misreads(tmp_path: Path, name: str):
    # Spark 3.5.6 gives wrong strings, and mostly no error, for DELTA_LENGTH_BYTE_ARRAY with NULLs: SPARK-52240
    [part] = write_parts(DiskFiles(tmp_path), name, half_named(20).select(TABLES[name].names))
    group = pq.read_metadata(tmp_path / part.path).row_group(0)
    used = {group.column(at).path_in_schema: set(group.column(at).encodings) for at in range(group.num_columns)}
    assert "DELTA_BYTE_ARRAY" in used["trace_id"]
    assert set[str]().union(*used.values()) <= {
        "PLAIN", "RLE", "RLE_DICTIONARY", "PLAIN_DICTIONARY", "DELTA_BINARY_PACKED", "DELTA_BYTE_ARRAY",
    }  # fmt: skip
