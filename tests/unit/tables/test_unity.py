"""The script for Databricks, parsed as its dialect, and the columns for the REST API of Unity Catalog."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import sqlglot
from sqlglot import exp
from tests.support.s3 import storage_at

from sekisho.tables.meanings import MEANINGS, TABLE_MEANINGS
from sekisho.tables.schema import BODIES, INFERENCE_LOG, TABLES
from sekisho.tables.storage import S3, Storage
from sekisho.tables.unity import (
    PORTABLE_VIEWS,
    Reader,
    Registration,
    address,
    columns,
    is_name,
    is_principal,
    script,
)
from sekisho.tables.views import VIEWS

BUCKET = Storage(url="s3://company-rows/sekisho", s3=storage_at(9000, "x").s3)
HARD = Storage.folder(Path("/srv/o'neil \\ 関所/`日 本`/tables"))
DAYS = {"usage": 400, "inference_log": 30}


def registered(
    *,
    catalog: str = "main",
    schema: str = "sekisho",
    storage: Storage = BUCKET,
    readers: Sequence[Reader] = (),
    retention_days: Mapping[str, int] = DAYS,
    warnings: Sequence[str] = (),
) -> list[Any]:
    """The statements, each of which the parser understood."""
    text = script(
        Registration(
            catalog=catalog,
            schema=schema,
            storage=storage,
            retention_days=retention_days,
            readers=readers,
            warnings=warnings,
        )
    )
    # comments behind the last statement make an empty one
    found = [one for one in sqlglot.parse(text, read="databricks") if one is not None]
    assert not any(isinstance(one, exp.Command) for one in found), "the parser gave up"
    return [one for one in found if not isinstance(one, exp.Semicolon)]


def created(statements: list[Any], kind: str) -> dict[str, Any]:
    return {_table(one).name: one for one in statements if isinstance(one, exp.Create) and one.kind == kind}


def _table(statement: Any) -> Any:
    return statement.this.this if isinstance(statement.this, exp.Schema) else statement.this


def location(statement: Any) -> str:
    return statement.find(exp.LocationProperty).this.this


def granted(statements: list[Any]) -> list[tuple[str, str, str]]:
    return [
        (
            " ".join(one.sql("databricks") for one in grant.args["privileges"]),
            ".".join(part.name for part in grant.args["securable"].parts),
            grant.args["principals"][0].name,
        )
        for grant in statements
        if isinstance(grant, exp.Grant)
    ]


def tagged(statements: list[Any]) -> dict[str, dict[str, str]]:
    return {
        one.this.name: {pair.this.name: pair.expression.name for pair in one.find_all(exp.EQ)}
        for one in statements
        if isinstance(one, exp.Alter)
    }


def test_both_tables_are_external_delta_tables_at_their_place():
    tables = created(registered(), "TABLE")
    assert {name: location(one) for name, one in tables.items()} == {
        "usage": "s3://company-rows/sekisho/usage",
        "inference_log": "s3://company-rows/sekisho/inference_log",
    }
    for name, one in tables.items():
        assert one.find(exp.FileFormatProperty).this.name.upper() == "DELTA"
        assert one.find(exp.SchemaCommentProperty).this.name == TABLE_MEANINGS[name]


def test_columns_are_those_of_the_log_and_nothing_is_written_into_it():
    """Columns would have to be those of the log, comments included; a comment set afterwards would be a commit."""
    statements = registered()
    assert not any(isinstance(one.this, exp.Schema) for one in created(statements, "TABLE").values())
    assert {type(one) for one in statements} == {exp.Create, exp.Alter}
    assert all("SET TAGS" in one.sql("databricks") for one in statements if isinstance(one, exp.Alter))


def test_a_second_run_changes_nothing():
    statements = registered(readers=[Reader("usage", "analysts")])
    creations = [one for one in statements if isinstance(one, exp.Create)]
    assert len(creations) == 1 + len(TABLES) + len(PORTABLE_VIEWS)
    assert all(one.args["exists"] and not one.args.get("replace") for one in creations)
    # and setting a tag or granting again is the same tag and the same grant
    assert {type(one) for one in statements if one not in creations} == {exp.Alter, exp.Grant}


def test_names_and_paths_of_any_characters_are_quoted():
    readers = [Reader("usage", "営業 `部`"), Reader("inference_log", "o'neil@example.com")]
    statements = registered(catalog="目録`1", schema="関'所\\", storage=HARD, readers=readers)
    tables = created(statements, "TABLE")
    assert location(tables["usage"]) == "file:///srv/o'neil \\ 関所/`日 本`/tables/usage"
    assert [part.name for part in _table(tables["usage"]).parts] == ["目録`1", "関'所\\", "usage"]
    for name, view in created(statements, "VIEW").items():
        (source,) = view.expression.find_all(exp.Table)
        assert [part.name for part in source.parts] == ["目録`1", "関'所\\", VIEWS[name].table]
    assert {principal for _, _, principal in granted(statements)} == {"営業 `部`", "o'neil@example.com"}


def test_a_path_with_a_line_break_stays_inside_its_literal():
    storage = Storage.folder(Path("/srv/a'\n; DROP SCHEMA main.sekisho; --/tables"))
    statements = registered(storage=storage, warnings=["one\n; DROP SCHEMA main.sekisho; --"])
    assert location(created(statements, "TABLE")["usage"]) == f"file://{storage.url}/usage"
    assert not any(isinstance(one, exp.Drop) for one in statements)


def test_nobody_is_granted_anything_by_default():
    assert granted(registered()) == []
    text = script(Registration(catalog="main", schema="s", storage=BUCKET, retention_days=DAYS))
    assert "-- No grants: nobody but the owner may read." in text


def test_a_reader_gets_the_table_that_was_named_its_views_and_no_other():
    statements = registered(readers=[Reader("usage", "analysts"), Reader("usage", "analysts")])
    assert granted(statements) == [
        ("USE SCHEMA", "main.sekisho", "analysts"),
        ("SELECT", "main.sekisho.usage", "analysts"),
        ("SELECT", "main.sekisho.tokens_by_day", "analysts"),
        ("SELECT", "main.sekisho.cost_by_day", "analysts"),
    ]
    assert granted(registered(readers=[Reader("inference_log", "auditors")])) == [
        ("USE SCHEMA", "main.sekisho", "auditors"),
        ("SELECT", "main.sekisho.inference_log", "auditors"),
        ("SELECT", "main.sekisho.inference_table_databricks", "auditors"),
    ]


def test_tags_follow_the_configuration():
    found = tagged(registered(retention_days={"usage": 90, "inference_log": 7}))
    assert found == {
        "usage": {"source": "sekisho", "contains_bodies": "false", "retention_days": "90"},
        "inference_log": {"source": "sekisho", "contains_bodies": "true", "retention_days": "7"},
    }


def test_credentials_of_the_bucket_are_not_in_the_script():
    assert isinstance(BUCKET.s3, S3)
    text = script(Registration(catalog="main", schema="s", storage=BUCKET, retention_days=DAYS))
    assert BUCKET.s3.secret_access_key.reveal() not in text
    assert BUCKET.s3.access_key_id.reveal() not in text


def test_views_that_need_duckdb_are_left_out():
    assert list(created(registered(), "VIEW")) == list(PORTABLE_VIEWS)
    for name in PORTABLE_VIEWS:
        duckdb, databricks = (sqlglot.parse_one(VIEWS[name].sql, read=one) for one in ("duckdb", "databricks"))
        assert duckdb.sql("databricks") == databricks.sql("databricks"), name
        # whatever a parser does not know, it takes for a function of one's own
        assert not list(databricks.find_all(exp.Anonymous)), name


@pytest.mark.parametrize(
    ("text", "fits"),
    [("main", True), ("関所-1", True), ("a`b", True), ("x" * 255, True), ("", False), ("a b", False), ("a.b", False),
     ("a/b", False), ("a\nb", False), ("a\x7fb", False), ("x" * 256, False), ("a\u3000b", False)],
)  # fmt: skip
def test_names_are_those_that_unity_catalog_takes(text: str, fits: bool):
    assert is_name(text) == fits


def test_a_principal_may_have_spaces_inside():
    assert is_principal("data team")
    assert not any(map(is_principal, ("", " x", "x ", "a\nb")))


# -- columns

TYPES = {
    "request_date": "DATE",
    "event_time": "TIMESTAMP",
    "request_id": "STRING",
    "status_code": "INT",
    "latency_ms": "BIGINT",
    "gateway_overhead_ms": "DOUBLE",
    "streaming": "BOOLEAN",
    "finish_reasons": "ARRAY<STRING>",
    "cost_usd": "DECIMAL(18, 9)",
    "cost_breakdown": "MAP<STRING, DECIMAL(18, 9)>",
    "tags": "MAP<STRING, STRING>",
    "attempts": (
        "ARRAY<STRUCT<n: INT, provider: STRING, model: STRING, status_code: INT, latency_ms: BIGINT, "
        "error_code: STRING, reason: STRING, input_tokens: BIGINT, output_tokens: BIGINT, cost_usd: DECIMAL(18, 9), "
        "usage_source: STRING>>"
    ),
    "guardrails": ("ARRAY<STRUCT<phase: STRING, policy: STRING, action: STRING, entity_counts: MAP<STRING, BIGINT>>>"),
    "usd_jpy": "DECIMAL(18, 9)",
}


@pytest.mark.parametrize("table", TABLES)
def test_every_column_is_there_with_its_type_and_its_meaning(table: str):
    found = columns(table)
    assert [one["name"] for one in found] == TABLES[table].names
    assert [one["position"] for one in found] == list(range(len(found)))
    assert {one["name"]: one["comment"] for one in found} == {name: MEANINGS[name] for name in TABLES[table].names}
    for one in found:
        parsed = exp.DataType.build(one["type_text"], dialect="databricks").sql("databricks")
        assert parsed == TYPES.get(one["name"], parsed)
        field = json.loads(one["type_json"])
        assert (field["name"], field["nullable"]) == (one["name"], True)
    others = {one["type_text"] for one in found if one["name"] not in TYPES}
    assert others == {"string", "bigint", "double", "array<string>"}


def test_decimals_say_their_digits_and_the_partition_its_place():
    by_name = {one["name"]: one for one in columns("usage")}
    assert (by_name["cost_usd"]["type_precision"], by_name["cost_usd"]["type_scale"]) == (18, 9)
    assert [name for name, one in by_name.items() if "partition_index" in one] == ["request_date"]
    assert {one["type_name"] for one in by_name.values()} == {
        "DATE", "TIMESTAMP", "STRING", "INT", "LONG", "DOUBLE", "BOOLEAN", "DECIMAL", "ARRAY", "MAP",
    }  # fmt: skip


def test_an_address_for_the_api_is_a_uri():
    assert address(BUCKET, "usage") == "s3://company-rows/sekisho/usage"
    assert address(HARD, "usage") == "file:///srv/o'neil%20%5C%20関所/%60日%20本%60/tables/usage"


def test_every_column_has_a_meaning_and_nothing_else_has():
    assert list(MEANINGS) == INFERENCE_LOG.names
    assert TABLE_MEANINGS.keys() == TABLES.keys()
    assert set(BODIES) <= MEANINGS.keys()
