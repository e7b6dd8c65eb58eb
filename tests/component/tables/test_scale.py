"""What a row takes on the disk, and that bodies stay unread where nobody asks for them. `bench/reads.py` says the same
of ten million rows, and how long questions take."""

from __future__ import annotations

import importlib
import secrets
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from tests.docs.pages import ROOT
from tests.unit.tables.rows import a_row, record_of

from sekisho.tables.committer import Committer
from sekisho.tables.reader import ask
from sekisho.tables.spool import SpoolWriter

IO = Path("/proc/self/io")
#: enough for a whole row group of usage
ROWS = 50_000


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch) -> Any:
    """`bench/rows.py`."""
    monkeypatch.syspath_prepend(str(ROOT / "bench"))
    return importlib.import_module("rows")


@pytest.mark.parametrize(("ids", "most"), [(False, 60), (True, 110)])
def test_bytes_of_a_row_of_usage(tmp_path: Path, rows: Any, ids: bool, most: int):
    rows.write(tmp_path, "usage", rows.Rows(1, ids=ids), 1, ROWS)
    [file] = (tmp_path / "tables" / "usage").rglob("*.parquet")
    assert pq.read_metadata(file).num_rows == ROWS
    assert most - 15 < file.stat().st_size / ROWS <= most
    [(count, distinct, calls)] = ask(
        tmp_path, "SELECT count(*), count(DISTINCT request_id), (SELECT sum(calls) FROM cost_by_day) FROM usage"
    ).rows()
    assert count == distinct == calls == ROWS


@pytest.mark.skipif(not IO.exists(), reason="only Linux tells how much was read")
def test_bodies_are_not_read_where_nobody_asks_for_them(tmp_path: Path):
    spool = SpoolWriter(tmp_path / "spool")
    for n in range(3_000):
        body = b'{"messages":[{"role":"user","content":"%s"}]}' % secrets.token_hex(2_000).encode()
        spool.append(record_of(a_row(n, request=body, response=body)))
    committer = Committer(tmp_path)
    while committer.step():
        pass
    spool.close()
    size = sum(file.stat().st_size for file in (tmp_path / "tables" / "inference_log").rglob("*.parquet"))
    assert size > 10_000_000
    some_id = a_row(1_500).request_id
    without = _read_for(
        tmp_path, "SELECT endpoint_name, quantile_cont(latency_ms, 0.95) FROM inference_log GROUP BY ALL"
    )
    one = _read_for(tmp_path, f"SELECT request FROM inference_log WHERE request_id = '{some_id}'")
    everything = _read_for(tmp_path, "SELECT sum(length(request) + length(response)) FROM inference_log")
    assert everything > 0.9 * size
    assert without < 0.03 * size
    assert one < 0.7 * size, "row groups without the id are passed over"


def _read_for(data_dir: Path, sql: str) -> int:
    """Bytes that were asked of the kernel, those from its cache too."""
    before = _asked()
    assert list(ask(data_dir, sql).rows())
    return _asked() - before


def _asked() -> int:
    return int(IO.read_text().partition("rchar: ")[2].split()[0])
