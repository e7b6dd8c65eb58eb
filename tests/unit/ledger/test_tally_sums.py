"""Tallies of several processes add up to that of one, and nothing of a tally is left out."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from sekisho.domain.usage import Usage
from sekisho.ledger.tally import ModelTally, Tally
from sekisho.ledger.tally_sums import ModelSums, TallySums, add, by_model, sums_of

Call = tuple[tuple[str, str, str], int, float, int]
SERIES = [
    ("openai", "small", "chat"),
    ("openai", "small", "embeddings"),
    ("other", "small", "chat"),
    ("x", "large", "chat"),
]
#: sums of these are exact, in whatever order
SECONDS = st.integers(0, 400).map(lambda quarters: quarters / 4)
CALLS = st.lists(
    st.tuples(st.sampled_from(SERIES), st.sampled_from([200, 429, 499]), SECONDS, st.integers(0, 10**6)),
    max_size=30,
)


def count(tally: Tally, call: Call) -> None:
    (provider, name, operation), status, seconds, tokens = call
    model = tally.model(name, provider, operation)
    model.statuses[status] = model.statuses.get(status, 0) + 1
    model.latency.observe(seconds)
    model.first_token.observe(seconds / 2)
    model.observe_usage(Usage(input_tokens=tokens, output_tokens=tokens // 3, cache_read_input_tokens=tokens // 5))
    model.cost_nanos += tokens
    model.unpriced += not tokens
    tally.rows["appended"] += 1
    tally.in_flight += tokens % 2
    tally.terminal_states["completed"] = tally.terminal_states.get("completed", 0) + 1


@given(CALLS, st.integers(1, 4))
def test_workers_together_have_counted_what_one_would_have(calls: list[Call], workers: int) -> None:
    alone, total = Tally(), Tally()
    parts = [Tally() for _ in range(workers)]
    for n, call in enumerate(calls):
        count(alone, call)
        count(parts[n % workers], call)
    for part in parts:
        sent = msgspec.msgpack.decode(msgspec.msgpack.encode(sums_of(part)), type=TallySums)
        add(total, sent)
    assert sums_of(total) == sums_of(alone)


@given(CALLS)
def test_series_of_one_name_are_one_where_only_the_name_is_asked_for(calls: list[Call]) -> None:
    apart, together = Tally(), Tally()
    for call in calls:
        count(apart, call)
        count(together, (("", call[0][1], ""), *call[1:]))
    expected = {name: sums for (_, name, _), sums in sums_of(together).models.items()}
    before = sums_of(apart)
    found = Tally()
    found._models = {("", name, ""): model for name, model in by_model(apart).items()}
    assert {name: sums for (_, name, _), sums in sums_of(found).models.items()} == expected
    assert sums_of(apart) == before, "and what is counted apart is as it was"


def test_everything_that_a_tally_counts_is_sent() -> None:
    model = ModelTally()
    parts = {name for name in ModelTally.__slots__ if not name.startswith("_") and name != "observe_usage"}
    fields = set(ModelSums.__struct_fields__) - {"histograms", "tokens"}
    tally = Tally()
    tally._models[SERIES[0]] = model
    assert parts == fields | set(sums_of(tally).models[SERIES[0]].histograms)
    counted = {name for name in vars(tally) if not name.startswith("_")}
    assert counted | {"models"} == set(TallySums.__struct_fields__)


def test_what_belongs_to_no_model_is_added_up_too() -> None:
    one, other = Tally(), Tally()
    for tally, count in ((one, 1), (other, 10)):
        tally.rows["dropped"] = tally.terminal_states["refused"] = tally.idempotency["kept"] = count
        tally.in_flight = count
    add(one, sums_of(other))
    assert (one.rows["dropped"], one.terminal_states, one.idempotency, one.in_flight) == (
        11, {"refused": 11}, {"kept": 11}, 11
    )  # fmt: skip
