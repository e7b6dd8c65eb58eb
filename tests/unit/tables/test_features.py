"""Features that another program has switched on: rows are added only where that is as they need it, and none that is
deleted is shown."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from deltalake import DeltaTable
from tests.unit.tables.rows import records

from sekisho.tables.columns import Batch
from sekisho.tables.delta import DeltaFolder, TableChanged
from sekisho.tables.features import UnknownFeatures
from sekisho.tables.layout import encode_record
from sekisho.tables.reader import ask


@pytest.fixture
def table(tmp_path: Path) -> DeltaFolder:
    folder = DeltaFolder(tmp_path / "tables", "usage", "s")
    folder.open()
    append(folder, 3, 30)
    return folder


def append(folder: DeltaFolder, count: int, last_seq: int) -> None:
    batch = Batch()
    batch.add([encode_record(record) for record in records(count)])
    folder.append(batch.table(), last_seq)


def switched_on(
    data_dir: Path,
    features: Sequence[str],
    configuration: dict[str, str] | None = None,
    *more: dict[str, Any],
) -> None:
    """As Spark would: the next entry has another protocol and another configuration."""
    log = data_dir / "tables" / "usage" / "_delta_log"
    lines = [msgspec.json.decode(line) for line in (log / f"{0:020d}.json").read_bytes().splitlines()]
    meta = next(line for line in lines if "metaData" in line)
    meta["metaData"]["configuration"] |= configuration or {}
    of_readers = [one for one in features if one in ("deletionVectors", "columnMapping")]
    protocol: dict[str, Any] = {"minReaderVersion": 1, "minWriterVersion": 7, "writerFeatures": list(features)}
    if of_readers:
        protocol |= {"minReaderVersion": 3, "readerFeatures": of_readers}
    version = DeltaTable(str(log.parent)).version() + 1
    actions = [{"commitInfo": {"operation": "SET TBLPROPERTIES"}}, {"protocol": protocol}, meta, *more]
    (log / f"{version:020d}.json").write_bytes(b"\n".join(map(msgspec.json.encode, actions)))


@pytest.mark.parametrize(
    ("feature", "configuration"),
    [
        ("rowTracking", {}),
        ("inCommitTimestamp", {"delta.enableInCommitTimestamps": "true"}),
        ("checkConstraints", {"delta.constraints.plausible": "latency_ms >= 0"}),
    ],
)
def test_nothing_is_added_where_rows_would_have_to_be_added_in_another_way(
    table: DeltaFolder, tmp_path: Path, feature: str, configuration: dict[str, str]
) -> None:
    switched_on(tmp_path, [feature], configuration)
    with pytest.raises(UnknownFeatures, match=rf"usage has features .*: {feature}; drop them"):
        DeltaFolder(tmp_path / "tables", "usage", "s").open()
    with pytest.raises(TableChanged, match="another writer"):
        append(table, 1, 40)


def test_features_that_are_supported_and_not_used_or_that_need_nothing_keep_nobody_out(
    table: DeltaFolder, tmp_path: Path
) -> None:
    features = ["appendOnly", "invariants", "changeDataFeed", "checkConstraints", "generatedColumns", "columnMapping"]
    switched_on(tmp_path, [*features, "inCommitTimestamp", "deletionVectors"], {"delta.enableDeletionVectors": "true"})
    table.open()
    append(table, 2, 50)
    assert list(ask(tmp_path, "SELECT count(*) FROM usage").rows()) == [(5,)]


def test_rows_that_are_deleted_and_still_in_the_files_are_not_shown(table: DeltaFolder, tmp_path: Path) -> None:
    path = tmp_path / "tables" / "usage"
    adds = [msgspec.json.decode(line) for line in (path / "_delta_log" / f"{1:020d}.json").read_bytes().splitlines()]
    add = next(line for line in adds if "add" in line)
    gone = {"remove": {"path": add["add"]["path"], "deletionTimestamp": 1, "dataChange": True}}
    at = {"storageType": "u", "pathOrInlineDv": "ab^-aqEH.-t@S}K{vb[*k^", "offset": 4, "sizeInBytes": 40}
    add["add"]["deletionVector"] = {**at, "cardinality": 1}
    switched_on(tmp_path, ["deletionVectors"], {}, gone, add)
    with pytest.raises(UnknownFeatures, match="deletion vectors"):
        list(ask(tmp_path, "SELECT * FROM usage").rows())


@pytest.mark.parametrize(
    ("fields", "said"),
    [([], "usage cannot be read"), (["request_date", "request_id"], "without request_date as its partition")],
)
def test_nothing_is_added_to_a_table_that_another_program_made_in_our_place(
    tmp_path: Path, fields: list[str], said: str
):
    """As Databricks makes an empty one where a table is registered before the gateway has made it."""
    made = [{"name": name, "type": "string", "nullable": True, "metadata": {}} for name in fields]
    schema = msgspec.json.encode({"type": "struct", "fields": made}).decode()
    meta = {"id": "1", "format": {"provider": "parquet", "options": {}}, "schemaString": schema,
            "partitionColumns": [], "configuration": {}, "createdTime": 0}  # fmt: skip
    actions = [{"protocol": {"minReaderVersion": 1, "minWriterVersion": 2}}, {"metaData": meta}]
    log = tmp_path / "tables" / "usage" / "_delta_log"
    log.mkdir(parents=True)
    (log / f"{0:020d}.json").write_bytes(b"\n".join(map(msgspec.json.encode, actions)))
    with pytest.raises(OSError, match=said):
        DeltaFolder(tmp_path / "tables", "usage", "s").open()
    assert [file.name for file in log.iterdir()] == [f"{0:020d}.json"]
