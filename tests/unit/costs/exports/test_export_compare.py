"""An export against rows: what agrees, what differs and by how much, and why it may."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho.costs.exports.compare import ExportCheck, Figure, compare
from sekisho.costs.exports.lines import DAY_US, Bucket, Charge, Export, Line
from sekisho.costs.exports.reading import read_export
from sekisho.costs.reconcile import Check
from sekisho.tables.by_bucket import Used

GOLDEN = Path(__file__).parents[3] / "golden" / "exports"
NOV_20 = 1_795_132_800_000_000
DAY = Bucket(NOV_20, NOV_20 + DAY_US)
NEXT = Bucket(DAY.ends_us, DAY.ends_us + DAY_US)
LATER = NOV_20 + 30 * DAY_US
EXACT = Decimal(0)
TOLD = Line(
    bucket=DAY, model="m", requests=3, input_tokens=300, cache_read_input_tokens=100, cache_creation_input_tokens=0,
    output_tokens=60, cost_usd=Decimal("0.000081"),
)  # fmt: skip
RAN = Used(
    begins_us=DAY.begins_us, ends_us=DAY.ends_us, model="m", requests=3, input_tokens=300, cache_read_input_tokens=100,
    output_tokens=60, cost_nanos=81_000,
)  # fmt: skip


def golden(*names: str) -> Export:
    return read_export([(name, (GOLDEN / name).read_bytes()) for name in names])


def export_of(*lines: Line, buckets: tuple[Bucket, ...] = (DAY,)) -> Export:
    return Export(format="csv", buckets=list(buckets), lines=list(lines), charges=[], skipped=[], unfinished=False)


def with_(one: Any, **changes: Any) -> Any:
    return msgspec.structs.replace(one, **changes)


def checked(export: Export, *used: Used, tolerance: Decimal = EXACT, now_us: int = LATER) -> list[Check]:
    return compare(export, used, tolerance, now_us)


def difference(export: Export, *used: Used, now_us: int = LATER) -> ExportCheck:
    """The only one."""
    [one] = [check for check in checked(export, *used, now_us=now_us) if not check.agrees]
    assert isinstance(one, ExportCheck)
    return one


def differing(check: ExportCheck) -> dict[str, int]:
    return {name: figure.more for name, figure in check.figures.items() if figure.more}


def causes(check: Check) -> list[str]:
    return [cause.name for cause in check.causes]


def test_what_agrees():
    [check] = checked(export_of(TOLD), RAN)
    assert (check.name, check.agrees) == ("export", True)
    assert check.values == {"format": "csv", "buckets": 1, "models": 1, "figures": 6, "within": 0}


@pytest.mark.parametrize(
    ("field", "more", "named"),
    [
        ("requests", 1, {"requests": -1}),
        ("output_tokens", 1, {"output_tokens": -1}),
        ("input_tokens", -1, {"uncached_input_tokens": 1}),
        ("cache_read_input_tokens", 1, {"uncached_input_tokens": 1, "cache_read_input_tokens": -1}),
        ("cache_creation_input_tokens", 2, {"uncached_input_tokens": 2, "cache_creation_input_tokens": -2}),
        ("cost_nanos", -1, {"cost_nanos": 1}),
    ],
)
def test_one_request_one_token_one_nano_dollar(field: str, more: int, named: dict[str, int]):
    check = difference(export_of(TOLD), with_(RAN, **{field: getattr(RAN, field) + more}))
    assert differing(check) == named
    assert check.values == {"day": "2026-11-20", "model": "m"}


def test_what_one_side_does_not_tell_is_not_compared():
    bare = Line(bucket=DAY, model="m", output_tokens=60)
    assert checked(export_of(bare), RAN)[0].values["figures"] == 1
    whole = with_(TOLD, cache_read_input_tokens=None, cache_creation_input_tokens=None, cost_usd=None, requests=None)
    check = difference(export_of(whole), with_(RAN, input_tokens=299))
    assert check.figures == {
        "input_tokens": Figure(rows=299, export=300), "output_tokens": Figure(rows=60, export=60)
    }  # fmt: skip


def test_an_export_that_is_not_grouped_by_model_is_compared_with_all():
    check = difference(export_of(with_(TOLD, model=None)), RAN, with_(RAN, model="n"))
    assert check.values["model"] == "*"
    assert differing(check)["requests"] == -3
    assert checked(export_of(with_(TOLD, model=None)), RAN)[0].agrees


def test_of_all_models_together_what_one_side_alone_has_is_a_difference():
    all_models = with_(TOLD, model=None)
    later = with_(all_models, bucket=NEXT)
    check = difference(export_of(all_models))
    assert (check.values["model"], differing(check)["requests"], causes(check)[0]) == ("*", 3, "only_in_export")
    check = difference(
        export_of(later, buckets=(DAY, NEXT)), RAN, with_(RAN, begins_us=NEXT.begins_us, ends_us=NEXT.ends_us)
    )
    assert (check.values["day"], differing(check)["requests"], causes(check)[0]) == ("2026-11-20", -3, "only_in_rows")


def test_several_results_of_a_model_are_one_sum():
    half = with_(TOLD, requests=1, cost_usd=Decimal("0.0000804"))
    rest = with_(TOLD, requests=2, cost_usd=Decimal("0.0000006"))
    assert checked(export_of(half, rest), with_(RAN, input_tokens=600, cache_read_input_tokens=200, output_tokens=120))[
        0
    ].agrees


def test_rows_in_buckets_of_the_export_that_it_says_nothing_of():
    empty = Bucket(DAY.ends_us, DAY.ends_us + DAY_US)
    other = with_(RAN, begins_us=empty.begins_us, ends_us=empty.ends_us)
    check = difference(export_of(TOLD, buckets=(DAY, empty)), RAN, other)
    assert check.values["day"] == "2026-11-21"
    assert causes(check) == ["only_in_rows"]
    assert causes(difference(export_of(), RAN)) == ["only_in_rows"], "an export without any result"
    assert checked(export_of())[0].agrees


def test_an_export_of_completions_says_nothing_of_embeddings():
    embedded = with_(RAN, model="e", embeds=True)
    completions = with_(TOLD, of="completions")
    assert [check.name for check in checked(export_of(completions), RAN, embedded)] == ["export"]
    assert causes(difference(export_of(TOLD), RAN, embedded)) == ["only_in_rows"]
    told = with_(TOLD, model="e", of="embeddings")
    assert [check.name for check in checked(export_of(told), RAN, embedded)] == ["export"]


def test_tolerance():
    more = with_(RAN, output_tokens=59, cost_nanos=80_190)
    assert not checked(export_of(TOLD), more)[0].agrees
    [check] = checked(export_of(TOLD), more, tolerance=Decimal("1.7"))
    assert (check.agrees, check.values["within"]) == (True, 2)
    assert not checked(export_of(TOLD), more, tolerance=Decimal("1.6"))[0].agrees
    assert not checked(export_of(with_(TOLD, output_tokens=0)), RAN, tolerance=Decimal(100))[0].agrees


@pytest.mark.parametrize(
    ("told", "ran", "expected"),
    [
        ({"requests": 4, "output_tokens": 80}, {}, ["past_the_gateway"]),
        ({"requests": 4}, {"unanswered": 2}, ["past_the_gateway", "unanswered"]),
        ({"requests": 2}, {}, ["missing_in_export"]),
        ({"output_tokens": 61}, {}, ["unknown"]),
        ({"output_tokens": 61, "requests": None}, {}, ["perhaps_past_the_gateway"]),
        ({"output_tokens": 61}, {"estimated": 1, "estimated_tokens": 9}, ["estimated"]),
        ({"output_tokens": 90}, {"estimated": 1, "cut_off": 1}, ["estimated", "cut_off"]),
        ({"output_tokens": 59}, {"cut_off": 1}, ["unknown"]),
        ({"output_tokens": 61}, {"across": 2}, ["across"]),
        ({"cost_usd": Decimal("0.00009")}, {}, ["price"]),
        ({"cost_usd": Decimal("0.00009")}, {"unpriced": 1}, ["unpriced"]),
        ({"cache_read_input_tokens": 90}, {}, ["cached_apart"]),
        ({"cost_usd": Decimal("0.00009"), "output_tokens": 61}, {}, ["unknown"]),
    ],
)
def test_causes(told: dict[str, Any], ran: dict[str, Any], expected: list[str]):
    assert causes(difference(export_of(with_(TOLD, **told)), with_(RAN, **ran))) == expected


def test_costs_alone():
    line = Line(bucket=DAY, model="m", cost_usd=Decimal("0.00009"))
    assert causes(difference(export_of(line), RAN)) == ["cost_alone"]


def test_a_day_that_is_not_over():
    check = difference(export_of(with_(TOLD, requests=2)), RAN, now_us=DAY.ends_us + DAY_US // 48)
    assert causes(check)[0] == "not_over"


def test_the_same_model_under_another_name():
    one, two = sorted(
        (check for check in checked(export_of(with_(TOLD, model="ft:m:acme")), RAN) if not check.agrees),
        key=lambda check: str(check.values["model"]),
    )
    assert [(cause.name, cause.values) for cause in one.causes] == [
        ("other_name", {"model": "m"}), ("only_in_export", {})
    ]  # fmt: skip
    assert [cause.name for cause in two.causes] == ["other_name", "only_in_rows"]


def test_estimated_calls_are_shown_apart_also_where_all_agrees():
    ran = with_(RAN, estimated=2, estimated_tokens=40, request_ids=["req_1"])
    whole, note = checked(export_of(TOLD), ran)
    assert whole.agrees
    assert (note.name, note.note, note.values, note.request_ids) == (
        "export_estimated", True, {"count": 2, "tokens": 40}, ["req_1"]
    )  # fmt: skip


def test_estimated_calls_that_stand_in_buckets_of_two_lengths_are_told_once():
    hour = Bucket(DAY.begins_us, DAY.begins_us + DAY_US // 24)
    ran = with_(RAN, estimated=2, estimated_tokens=40, request_ids=["req_1"])
    told = export_of(with_(TOLD, cost_usd=None, bucket=hour), TOLD, buckets=(hour, DAY))
    for used in ((ran, with_(ran, ends_us=hour.ends_us)), (with_(ran, ends_us=hour.ends_us), ran)):
        [note] = [check for check in checked(told, *used) if check.note]
        assert (note.values, note.request_ids) == ({"count": 2, "tokens": 40}, ["req_1"])


def test_a_difference_names_its_doubtful_calls_and_the_note_none_that_were_cut_off():
    cut_off = with_(RAN, model="n", cut_off=1, request_ids=["req_2"])
    estimated = with_(RAN, estimated=1, estimated_tokens=5, request_ids=["req_1"])
    checks = checked(export_of(with_(TOLD, model="n", requests=4), TOLD), cut_off, estimated)
    assert [(check.name, check.request_ids) for check in checks if not check.agrees or check.note] == [
        ("export_differs", ["req_2"]), ("export_estimated", ["req_1"])
    ]  # fmt: skip


def rows_of_golden() -> list[Used]:
    days = [(NOV_20 + n * DAY_US, NOV_20 + (n + 1) * DAY_US) for n in range(3)]
    first, last = ({"begins_us": begins, "ends_us": ends} for begins, ends in (days[0], days[2]))
    return [
        Used(
            model="gpt-4o-mini", requests=3, input_tokens=300, cache_read_input_tokens=100, output_tokens=60,
            cost_nanos=66_000, **first,
        ),
        Used(model="gpt-4o-2024-08-06", requests=2, input_tokens=5000, output_tokens=700, cost_nanos=10**9, **first),
        Used(model="gpt-4o-mini", requests=1, input_tokens=100, output_tokens=20, cost_nanos=27_000, **last),
        Used(model="text-embedding-3-small", embeds=True, requests=2, input_tokens=64, cost_nanos=1_280, **first),
    ]  # fmt: skip


def test_the_golden_pages_of_openai():
    usage = golden("openai_completions_1.json", "openai_completions_2.json", "openai_embeddings.json")
    checks = checked(usage, *rows_of_golden())
    assert [(check.name, check.agrees) for check in checks] == [("export", True), ("export_skipped", True)]
    assert checks[0].values == {"format": "openai", "buckets": 3, "models": 3, "figures": 16, "within": 0}


def test_the_golden_costs_of_openai():
    checks = {check.values.get("model"): check for check in checked(golden("openai_costs.json"), *rows_of_golden())}
    dear, unbilled = checks["gpt-4o-2024-08-06"], checks["text-embedding-3-small"]
    assert isinstance(dear, ExportCheck)
    assert isinstance(unbilled, ExportCheck)
    assert (dear.figures["cost_nanos"], unbilled.figures["cost_nanos"]) == (
        Figure(rows=10**9, export=5 * 10**8), Figure(rows=1_280, export=0)
    )  # fmt: skip
    [charges] = [check for check in checked(golden("openai_costs.json")) if check.name == "export_charges"]
    assert charges.values == {"names": "web search tool calls", "usd": "0.25"}


def test_costs_of_searches_alone_are_compared_with_no_requests_and_no_tokens():
    charge = Charge(bucket=DAY, name="web search tool calls", cost_usd=Decimal("0.25"))
    export = Export(format="openai", buckets=[DAY], lines=[], charges=[charge], skipped=[], unfinished=False)
    assert difference(export, RAN).figures == {"cost_nanos": Figure(rows=81_000, export=0)}


def test_the_golden_reports_of_anthropic():
    used = Used(
        begins_us=DAY.begins_us, ends_us=DAY.ends_us, model="claude-haiku-4-5", requests=9, input_tokens=3207,
        cache_read_input_tokens=200, cache_creation_input_tokens=1500, output_tokens=503, cost_nanos=1_234_500_010,
    )  # fmt: skip
    checks = checked(golden("anthropic_usage.json", "anthropic_costs.json"), used)
    assert [(check.name, check.agrees) for check in checks] == [("export", True), ("export_charges", True)]
    assert checks[0].values["figures"] == 5
    check = difference(golden("anthropic_usage.json"), with_(used, output_tokens=500))
    assert check.values["model"] == "claude-haiku-4-5 (claude-haiku-4-5-20251001)"
    assert differing(check) == {"output_tokens": 3}


MODELS = st.sampled_from(["gpt-4o", "gpt-4o-2024-08-06", "gpt-4o-mini", "claude"])
COUNTED = st.integers(0, 10**6)
RUNS = st.lists(
    st.builds(
        lambda model, day, requests, fresh, reads, output, cost: Used(
            begins_us=NOV_20 + day * DAY_US, ends_us=NOV_20 + (day + 1) * DAY_US, model=model, requests=requests,
            input_tokens=fresh + reads, cache_read_input_tokens=reads, output_tokens=output, cost_nanos=cost,
        ),
        MODELS, st.integers(0, 2), COUNTED, COUNTED, COUNTED, COUNTED, st.integers(0, 10**12),
    ),
    max_size=12,
)  # fmt: skip


def told_of(used: Used) -> Line:
    return Line(
        bucket=Bucket(used.begins_us, used.ends_us), model=used.model, requests=used.requests,
        input_tokens=used.input_tokens, cache_read_input_tokens=used.cache_read_input_tokens,
        cache_creation_input_tokens=0, output_tokens=used.output_tokens, cost_usd=Decimal(used.cost_nanos).scaleb(-9),
    )  # fmt: skip


@given(RUNS, st.randoms(use_true_random=False))
def test_an_export_that_says_what_the_rows_say_agrees(used: list[Used], random: Any):
    lines = [told_of(one) for one in used]
    random.shuffle(lines)
    buckets = tuple(sorted({line.bucket for line in lines}))
    assert all(check.agrees for check in checked(export_of(*lines, buckets=buckets), *used))


@given(RUNS.filter(bool), st.sampled_from(["requests", "input_tokens", "output_tokens", "cost_nanos"]), st.data())
def test_whatever_is_changed_is_found_and_nothing_else(used: list[Used], field: str, data: st.DataObject):
    lines = [told_of(one) for one in used]
    at = data.draw(st.integers(0, len(used) - 1))
    more = data.draw(st.integers(1, 10**6))
    changed = [*used]
    changed[at] = with_(used[at], **{field: getattr(used[at], field) + more})
    buckets = tuple(sorted({line.bucket for line in lines}))
    check = difference(export_of(*lines, buckets=buckets), *changed)
    name = "uncached_input_tokens" if field == "input_tokens" else field
    assert differing(check) == {name: -more}
    assert used[at].model in str(check.values["model"])
    assert check.values["day"] == Bucket(used[at].begins_us, used[at].ends_us).text
    assert check.causes
