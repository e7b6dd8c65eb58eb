"""Processes of ours are as small where numpy and pandas are installed as where they are not."""

from __future__ import annotations

import subprocess
import sys

import pytest

WRITE = """
import sys
from sekisho.tables.lean import leave_out_numpy_and_pandas
leave_out_numpy_and_pandas()
import sekisho.tables.committer_process, sekisho.tables.reader, sekisho.tables.maintenance.jobs
from sekisho.tables.arrow import pa, pq
table = pa.table({"a": pa.array([1, None]), "b": pa.array(["x", "関所"])})
pq.write_table(table, sys.argv[1])
assert pq.read_table(sys.argv[1]).to_pylist() == table.to_pylist()
import duckdb
assert duckdb.sql("SELECT count(*) FROM read_parquet($1)", params=[sys.argv[1]]).fetchall() == [(2,)]
print(sorted({"numpy", "pandas"} & set(sys.modules)))
"""


def test_neither_is_imported_though_both_are_installed(tmp_path: object) -> None:
    pytest.importorskip("pandas")
    done = subprocess.run([sys.executable, "-c", WRITE, f"{tmp_path}/a.parquet"], capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr


def test_a_process_that_does_not_exist_is_said() -> None:
    done = subprocess.run([sys.executable, "-m", "sekisho.tables", "comitter"], capture_output=True, text=True)
    assert done.returncode == 2
    assert "committer | spent | maintenance" in done.stderr
