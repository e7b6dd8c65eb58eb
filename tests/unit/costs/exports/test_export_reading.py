"""What the documented shapes say, and what is said about files that cannot be used."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho.app.commands import export_messages
from sekisho.costs.exports import lines as lines_module
from sekisho.costs.exports.lines import DAY_US, BadExport, Bucket, Charge, Export, Line
from sekisho.costs.exports.plain_csv import read_csv
from sekisho.costs.exports.reading import read_export

GOLDEN = Path(__file__).parents[3] / "golden" / "exports"
NOV_20 = 1_795_132_800_000_000
DAY = Bucket(NOV_20, NOV_20 + DAY_US)
SOURCES = Path(lines_module.__file__).parent


def day(n: int) -> Bucket:
    return Bucket(NOV_20 + n * DAY_US, NOV_20 + (n + 1) * DAY_US)


def golden(*names: str) -> Export:
    return read_export([(name, (GOLDEN / name).read_bytes()) for name in names])


def bad(content: bytes | str | dict[str, Any] | list[Any], wanted: Any = None) -> tuple[str, str]:
    """Code and place of what is said about it."""
    text = json.dumps(content) if isinstance(content, dict | list) else content
    data = text.encode() if isinstance(text, str) else text
    with pytest.raises(BadExport) as caught:
        read_export([("file", data)], wanted)
    assert caught.value.file == "file"
    assert caught.value.code in export_messages.BAD
    for language in ("en", "ja"):
        say = export_messages.BAD[caught.value.code]
        assert say.message(language, **caught.value.values)
        assert say.hint(language, **caught.value.values) is not None
    return caught.value.code, caught.value.where


def openai_page(**changes: Any) -> dict[str, Any]:
    result = {
        "object": "organization.usage.completions.result",
        "input_tokens": 1,
        "output_tokens": 1,
        "num_model_requests": 1,
        "model": "m",
        **changes,
    }
    bucket = {"object": "bucket", "start_time": 1_795_132_800, "end_time": 1_795_219_200, "results": [result]}
    return {"object": "page", "data": [bucket], "has_more": False, "next_page": None}


def test_pages_of_openai_usage():
    export = golden("openai_completions_1.json", "openai_completions_2.json")
    assert export.format == "openai"
    assert export.buckets == [day(0), day(1), day(2)], "a day without usage is a day"
    assert export.lines[0] == Line(
        bucket=day(0),
        model="gpt-4o-mini-2024-07-18",
        of="completions",
        requests=3,
        input_tokens=300,
        cache_read_input_tokens=100,
        cache_creation_input_tokens=0,
        output_tokens=60,
    )
    assert [(line.bucket, line.model, line.cache_creation_input_tokens) for line in export.lines[1:]] == [
        (day(0), "gpt-4o-2024-08-06", 0),
        (day(2), "gpt-4o-mini-2024-07-18", None),
    ]
    assert export.skipped == ["organization.usage.images.result"]
    assert not export.unfinished
    assert golden("openai_completions_1.json").unfinished


@pytest.mark.parametrize(
    ("pages", "unfinished"),
    [
        (["usage more", "usage"], False),
        (["usage more", "usage more"], True),
        (["usage", "costs more"], True),
        (["usage", "costs more", "costs"], False),
        (["usage more", "empty"], False),
        (["empty more"], True),
        (["usage more", "empty more"], True),
    ],
)
def test_pages_that_are_missing(pages: list[str], unfinished: bool):
    written: list[dict[str, Any]] = []
    for n, words in enumerate(pages):
        kind, _, more = words.partition(" ")
        costs = {"object": "organization.costs.result", "amount": {"value": 1}, "line_item": None}
        page = openai_page(project_id=str(n), **(costs if kind == "costs" else {}))
        page["has_more"] = bool(more)
        if kind == "empty":
            page["data"][0]["results"] = []
        written.append(page)
    assert read_export([("file", json.dumps(written).encode())]).unfinished == unfinished


def test_an_answer_without_any_bucket_is_nothing_to_compare():
    nothing = {"object": "page", "data": [], "has_more": False}
    assert bad(nothing) == ("empty", "")
    assert read_export([("file", json.dumps([nothing, openai_page()]).encode())]).buckets == [DAY]


def test_pages_in_one_file_one_after_the_other_or_in_a_list():
    apart = golden("openai_completions_1.json", "openai_completions_2.json")
    one, two = ((GOLDEN / f"openai_completions_{n}.json").read_text() for n in (1, 2))
    joined = [f"{one}\n{two}", f"[{one},{two}]", json.dumps(json.loads(one)["data"] + json.loads(two)["data"])]
    for text in joined:
        assert read_export([("all", text.encode())]) == apart


def test_embeddings_of_openai():
    [line] = golden("openai_embeddings.json").lines
    assert (line.of, line.requests, line.input_tokens, line.cache_read_input_tokens, line.output_tokens) == (
        "embeddings", 2, 64, 0, 0,
    )  # fmt: skip


def test_costs_of_openai():
    export = golden("openai_costs.json")
    assert [(line.model, line.cost_usd) for line in export.lines] == [
        ("gpt-4o-mini-2024-07-18", Decimal("0.00003")),
        ("gpt-4o-mini-2024-07-18", Decimal(0)),
        ("gpt-4o-mini-2024-07-18", Decimal("0.000036")),
        ("gpt-4o-2024-08-06", Decimal("0.5")),
    ]
    assert export.charges == [Charge(bucket=DAY, name="web search tool calls", cost_usd=Decimal("0.25"))]


def test_usage_of_anthropic():
    export = golden("anthropic_usage.json")
    assert (export.format, export.buckets) == ("anthropic", [DAY])
    assert export.lines[0] == Line(
        bucket=DAY,
        model="claude-haiku-4-5-20251001",
        input_tokens=1500 + 1000 + 500 + 200,
        cache_read_input_tokens=200,
        cache_creation_input_tokens=1500,
        output_tokens=500,
    )
    assert export.lines[1].input_tokens == 7, "another service tier is another result"


def test_costs_of_anthropic_are_cents():
    export = golden("anthropic_costs.json")
    assert [line.cost_usd for line in export.lines] == [Decimal("1.2345"), Decimal("0.00000001")]
    assert export.charges == [Charge(bucket=DAY, name="Web Search", cost_usd=Decimal("0.1"))]


def test_csv():
    export = golden("plain.csv")
    assert export.buckets == [day(0), day(1), day(2)], "a day between the first and the last had nothing"
    assert export.lines == [
        Line(
            bucket=day(0), model="gpt-4o-mini", requests=3, input_tokens=300, output_tokens=60,
            cost_usd=Decimal("0.000081"),
        ),
        Line(
            bucket=day(2), model="gpt-4o-mini", requests=1, input_tokens=1100, output_tokens=20,
            cost_usd=Decimal("0.000027"),
        ),
    ]  # fmt: skip


def test_csv_as_a_japanese_spreadsheet_writes_it():
    export = golden("excel_ja.csv")
    assert export.skipped == ["備考"]
    assert [(line.bucket, line.model, line.requests, line.input_tokens, line.cost_usd) for line in export.lines] == [
        (day(0), "gpt-4o-mini", 3, 1300, Decimal("0.0001")),
        (day(1), "gpt-4o-mini", 1, 100, Decimal("0.000027")),
    ]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp932"])
@pytest.mark.parametrize("comma", [",", "\t", ";"])
def test_encodings_and_separators(encoding: str, comma: str):
    text = "日付,model,requests\r\n2026/11/20,モデル,5\r\n".replace(",", comma)
    [line] = read_export([("file", text.encode(encoding))]).lines
    assert (line.bucket, line.model, line.requests) == (DAY, "モデル", 5)


@pytest.mark.parametrize(
    ("text", "hours"),
    [
        ("2026-11-20T13:00:00Z", 13),
        ("2026-11-20 13:00", 13),
        ("2026/11/20 3:00", 3),
        ("2026-11-20T00Z", 0),
        ("2026-11-20T13:00:00+00:00", 13),
    ],
)
def test_hours(text: str, hours: int):
    [line] = read_csv(f"date,model,requests\n{text},m,1\n").lines
    begins = NOV_20 + hours * 3_600_000_000
    assert line.bucket == Bucket(begins, begins + 3_600_000_000)
    assert line.bucket.text == f"2026-11-20T{hours:02}:00Z/2026-11-20T{hours + 1:02}:00Z"
    assert DAY.text == "2026-11-20"


@pytest.mark.parametrize("midnight", ["0:00", "00:00", "00:00:00", "0:00:00", "０：００"])
def test_days_with_midnight_behind_them_are_days(midnight: str):
    export = read_csv(f"date,model,requests\n2026/11/20 {midnight},m,1\n2026/11/21 {midnight},m,1\n")
    assert [line.bucket for line in export.lines] == export.buckets == [day(0), day(1)]


def test_midnight_beside_other_hours_is_an_hour():
    export = read_csv("date,model,requests\n2026/11/20 0:00,m,1\n2026/11/20 1:00,m,1\n")
    assert [line.bucket.begins_us for line in export.lines] == [NOV_20, NOV_20 + 3_600_000_000]
    assert {line.bucket.ends_us - line.bucket.begins_us for line in export.lines} == {3_600_000_000}


@pytest.mark.parametrize(
    ("row", "code", "where"),
    [
        ("合計,,1", "bad_date", "line 2, date"),
        ("11/20/2026,m,1", "bad_date", "line 2, date"),
        ("2026-02-30,m,1", "bad_date", "line 2, date"),
        ("2026-11-20 13:30,m,1", "bad_date", "line 2, date"),
        ("2026-11-20T13:00+09:00,m,1", "bad_date", "line 2, date"),
        ("2026-11-20,,1", "empty_cell", "line 2, model"),
        ("2026-11-20,m,", "empty_cell", "line 2, requests"),
        ("2026-11-20,m,-1", "bad_count", "line 2, requests"),
        ("2026-11-20,m,1.5", "bad_count", "line 2, requests"),
        ("2026-11-20,m,1E+05", "bad_count", "line 2, requests"),
        ("2026-11-20,m,many", "bad_count", "line 2, requests"),
        ("2026-11-20,m," + "9" * 30, "bad_count", "line 2, requests"),
        ('2026-11-20,m,"1,23"', "bad_separators", "line 2, requests"),
        ("2026-11-20,m,1,234", "bad_width", "line 2"),
        ('2026-11-20,m,"1', "bad_csv", "line 2"),
        ("0001-01-01,m,1", "bad_bucket", "line 2, date"),
        ("2026-11-20,m,1\n2026-11-21T00:00Z,m,1", "mixed_buckets", ""),
        ("2026-11-20T01Z,m,1\n2089-11-20T01Z,m,1", "too_long", ""),
    ],
)
def test_rows_of_csv_that_cannot_be_read(row: str, code: str, where: str):
    assert bad(f"date,model,requests\n{row}\n") == (code, where)


@pytest.mark.parametrize(
    ("text", "code", "where"),
    [
        ("", "empty", ""),
        (" \n \n", "empty", ""),
        ("date,model,requests\n", "empty", ""),
        ("model,requests\nm,1\n", "no_column", "line 1"),
        ("date,model\n2026-11-20,m\n", "nothing_to_compare", "line 1"),
        ("date,model,input_tokens,入力トークン\n2026-11-20,m,1,1\n", "column_twice", "line 1"),
        ("date,model,input_tokens,cached_input_tokens\n2026-11-20,m,5,6\n", "cached_exceed", "line 2"),
        (
            "date,model,input_tokens,cached_input_tokens,cache_write_input_tokens\n2026-11-20,m,5,3,3\n",
            "cached_exceed",
            "line 2",
        ),
        ("date,model,cost_usd\n2026-11-20,m,¥500\n", "bad_amount", "line 2, cost_usd"),
        ("date,model,cost_usd\n2026-11-20,m,1_000\n", "bad_amount", "line 2, cost_usd"),
        ("date,model,cost_usd\n2026-11-20,m,1e99\n", "bad_amount", "line 2, cost_usd"),
        (b"date,model,requests\n\x81\x00\xff,m,1\n", "bad_encoding", "byte 20"),
        (b"\xff\xfed\x00\x00\xd8", "bad_encoding", "byte 4"),
        ("hello", "no_column", "line 1"),
    ],
)
def test_files_that_are_no_csv(text: str | bytes, code: str, where: str):
    assert bad(text) == (code, where)


@pytest.mark.parametrize(
    ("content", "code", "where"),
    [
        ('{"object": "page",\n "data": [}', "bad_json", "line 2, column 11"),
        ('{"data": [{"start_time": NaN}]}', "bad_json", ""),
        ("[" * 200_000, "bad_json", ""),
        ('{"data": [{"start_time": ' + "9" * 5000 + "}]}", "bad_json", ""),
        ("[1, 2]", "unknown_shape", ""),
        ({"rows": []}, "unknown_shape", ""),
        ({"data": [{"day": 1}]}, "unknown_shape", "data[0]"),
        ({"data": []}, "unknown_shape", ""),
        ({"error": {"message": "Invalid API key"}}, "error_answer", ""),
        ({"type": "error", "error": {"type": "authentication_error"}}, "error_answer", ""),
        (openai_page(input_tokens=-1), "bad_count", "data[0].results[0].input_tokens"),
        (openai_page(num_model_requests=10**16), "bad_count", "data[0].results[0].num_model_requests"),
        ({"data": [{"start_time": 10, "end_time": 5, "results": []}]}, "bad_bucket", "data[0]"),
        ({"data": [{"start_time": 2**60, "end_time": 2**61, "results": []}]}, "bad_bucket", "data[0]"),
        (
            {"data": [{"starting_at": "2026-11-20T00:00:00", "ending_at": "2026-11-21T00:00:00", "results": []}]},
            "no_zone",
            "data[0].starting_at",
        ),
        (openai_page(object="organization.costs.result"), "missing_member", "data[0].results[0].amount"),
        (
            openai_page(object="organization.costs.result", amount={"value": 1, "currency": "jpy"}),
            "bad_currency",
            "data[0].results[0].amount.currency",
        ),
        (
            openai_page(object="organization.costs.result", amount={"value": True}),
            "bad_amount",
            "data[0].results[0].amount.value",
        ),
        (
            openai_page(object="organization.costs.result", amount={"value": "1e999999999"}),
            "bad_amount",
            "data[0].results[0].amount.value",
        ),
    ],
)
def test_json_that_cannot_be_used(content: Any, code: str, where: str):
    assert bad(content) == (code, where)


def test_a_page_among_several_is_named():
    pages = [openai_page(), openai_page(input_tokens=-1)]
    assert bad(pages) == ("bad_count", "page 2: data[0].results[0].input_tokens")


def test_a_file_that_is_too_large_is_not_read(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("sekisho.costs.exports.reading.MOST_BYTES", 2 * 1024 * 1024)
    assert bad("x" * (2 * 1024 * 1024 + 1)) == ("too_large", "")


def test_columns_without_a_counterpart_are_named_and_not_compared():
    page = read_csv("date,project,model,requests,region,\n2026-11-20,p,m,3,eu,\n")
    assert (page.skipped, page.lines[0].requests) == (["project", "region"], 3)


@pytest.mark.parametrize("value", ["5", 5.5, None, [], True])
def test_members_of_another_type_are_named(value: Any):
    page = openai_page(object=value) if value is None else openai_page(input_tokens=value)
    code, where = bad([page, page])
    assert (code, where) == ("bad_shape", "page 1")
    with pytest.raises(BadExport) as caught:
        read_export([("file", json.dumps(page).encode())])
    assert "$.data[0].results[0]" in str(caught.value.values["error"])


def test_a_result_of_anthropic_that_would_be_counted_twice():
    content = (GOLDEN / "anthropic_usage.json").read_bytes()
    with pytest.raises(BadExport, match="result_twice"):
        read_export([("a", content), ("b", content + b"\n")])


def test_a_result_of_anthropic_without_its_tokens():
    bucket = {"starting_at": "2026-11-20T00:00:00Z", "ending_at": "2026-11-21T00:00:00Z", "results": [{"model": "m"}]}
    assert bad({"data": [bucket]}) == ("missing_member", "data[0].results[0].uncached_input_tokens")


def test_what_would_be_counted_twice():
    page = openai_page()
    content = json.dumps(page).encode()
    assert bad([page, page]) == ("result_twice", "")
    with pytest.raises(BadExport, match="same_file"):
        read_export([("a", content), ("b", content)])
    with pytest.raises(BadExport, match="result_twice"):
        read_export([("a", content), ("b", content + b"\n")])
    other = json.dumps(openai_page(project_id="p")).encode()
    assert len(read_export([("a", content), ("b", other)]).lines) == 2
    assert len(read_export([("a", json.dumps(openai_page(some_new_group="x")).encode()), ("b", content)]).lines) == 2


def test_formats_are_not_mixed():
    anthropic, csv = (GOLDEN / "anthropic_usage.json").read_bytes(), (GOLDEN / "plain.csv").read_bytes()
    openai = (GOLDEN / "openai_costs.json").read_bytes()
    for files in ([openai, anthropic], [csv, openai], [openai, csv]):
        with pytest.raises(BadExport, match="other_format"):
            read_export([(str(n), content) for n, content in enumerate(files)])
    assert bad(openai, "anthropic") == ("other_format", "")
    assert bad(openai, "csv") == ("other_format", "")
    assert bad(csv, "openai") == ("other_format", "")
    assert read_export([("a", csv)], "csv").format == "csv"


def test_older_schemas_call_the_list_result():
    page = openai_page()
    page["data"][0]["result"] = page["data"][0].pop("results")
    assert read_export([("file", json.dumps(page).encode())]).lines[0].requests == 1


def test_names_cannot_write_to_the_terminal():
    [line] = read_export([("file", json.dumps(openai_page(model="m\x1b[31m" + "x" * 200)).encode())]).lines
    assert line.model is not None
    assert line.model.startswith("m\\u001b[31m")
    assert len(line.model) < 100


COUNTS = st.integers(0, 10**12)


@given(COUNTS, COUNTS, COUNTS, COUNTS, st.booleans())
def test_one_usage_told_by_three_formats_is_one(uncached: int, reads: int, writes: int, output: int, full_width: bool):
    total = uncached + reads + writes
    openai = openai_page(
        input_tokens=total, input_cached_tokens=reads, input_cache_write_tokens=writes, output_tokens=output
    )
    five, hour = writes // 3, writes - writes // 3
    result = {
        "uncached_input_tokens": uncached,
        "cache_creation": {"ephemeral_5m_input_tokens": five, "ephemeral_1h_input_tokens": hour},
        "cache_read_input_tokens": reads,
        "output_tokens": output,
        "model": "m",
    }
    bucket = {"starting_at": "2026-11-20T09:00:00+09:00", "ending_at": "2026-11-21T00:00:00Z", "results": [result]}
    names = "date,model,input_tokens,cached_input_tokens,cache_write_input_tokens,output_tokens"
    numbers = [f'"{number:,}"' for number in (total, reads, writes, output)]
    text = f"{names}\n2026-11-20,m,{','.join(numbers)}\n"
    if full_width:
        wide = {ord(one): ord(one) + 0xFEE0 for one in "0123456789"}
        text = f"{names}\n2026-11-20,m,{','.join(numbers).translate(wide)}\n"
    told = [json.dumps(openai), json.dumps({"data": [bucket]}), text]
    seen = set()
    for content in told:
        [line] = read_export([("file", content.encode())]).lines
        counts = line.input_tokens, line.cache_read_input_tokens, line.cache_creation_input_tokens, line.output_tokens
        seen.add((line.bucket, line.model, *counts))
    assert seen == {(DAY, "m", total, reads, writes, output)}


@given(st.lists(st.decimals("0", "1000", places=9), max_size=30))
def test_money_is_read_to_the_last_digit_whatever_carries_it(amounts: list[Decimal]):
    cents = [format(amount * 100, "f") for amount in amounts]
    buckets = [
        {
            "starting_at": "2026-11-20T00:00:00Z",
            "ending_at": "2026-11-21T00:00:00Z",
            "results": [
                {"amount": text, "currency": "USD", "model": "m", "token_type": str(n)} for n, text in enumerate(cents)
            ],
        }
    ]
    anthropic = read_export([("a", json.dumps({"data": buckets}).encode())])
    rows = "".join(f"2026-11-20,m,{amount:f}\n" for amount in amounts)
    csv = read_csv(f"date,model,cost_usd\n{rows}2026-11-20,m,0\n")
    exact = sum(amounts, Decimal(0))
    for lines in (anthropic.lines, csv.lines):
        assert sum((line.cost_usd or Decimal(0) for line in lines), Decimal(0)) == exact


@given(st.binary(max_size=400))
def test_no_bytes_make_it_stumble(content: bytes):
    try:
        read_export([("file", content)])
    except BadExport as error:
        assert error.code in export_messages.BAD


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["data", "results", "start_time", "end_time", "starting_at", "amount", "object", "x"]),
                inner,
                max_size=4,
            )
        ),
        max_leaves=20,
    )
)
def test_no_json_makes_it_stumble(content: Any):
    try:
        read_export([("file", json.dumps(content).encode())])
    except BadExport as error:
        assert error.code in export_messages.BAD


def test_every_code_that_is_raised_has_its_words_and_no_other_has():
    raised = set()
    for file in SOURCES.glob("*.py"):
        raised |= set(re.findall(r'BadExport\(\s*"(\w+)"', file.read_text("utf-8")))
    assert raised == set(export_messages.BAD)
