from __future__ import annotations

import contextlib
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho.mock.script import KEYS, Script, ScriptError, parse


@pytest.mark.parametrize("model", ["mock-small", "mock?", "gpt-4o-mini", ""])
def test_a_name_without_pairs_is_the_default_script(model: str) -> None:
    assert parse(model) == Script()


def test_what_stands_before_the_question_mark_does_not_matter() -> None:
    assert parse("anything/at-all?status=429&retry_after=2") == Script(status=429, retry_after="2")


def test_values_have_the_types_of_their_keys() -> None:
    script = parse("mock?usage=100,20,60&echo=1&hang=0&finish=length&answer=12&chunks=3")
    assert script == Script(usage=[100, 20, 60], echo=True, hang=False, finish="length", answer="12", chunks=3)


def test_the_times_given_hold_only_where_the_script_says_nothing() -> None:
    assert parse("mock?delay_ms=0", delay_ms=7, chunk_ms=8) == Script(delay_ms=0, chunk_ms=8)


def test_an_unknown_key_is_answered_with_all_keys() -> None:
    with pytest.raises(ScriptError, match="unknown script key 'chunk'; valid keys: ") as caught:
        parse("mock?chunk=3")
    assert all(key in str(caught.value) for key in KEYS)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("mock?chunks=many", "script key 'chunks': Expected `int`, got `str`"),
        ("mock?chunks=-1", "script key 'chunks'"),
        ("mock?status=200", "script key 'status'"),
        ("mock?status=600", "script key 'status'"),
        ("mock?usage=1,2,3,4", "script key 'usage'"),
        ("mock?usage=1,x", "script key 'usage'"),
        ("mock?retry_after=2%0d%0ax-evil:1", "script key 'retry_after'"),
        ("mock?retry_after=2%0a", "script key 'retry_after'"),
        ("mock?echo", "write echo=1"),
        ("mock?echo=1&echo=1", "script key 'echo' is given twice"),
    ],
)
def test_a_wrong_value_names_its_key(model: str, message: str) -> None:
    with pytest.raises(ScriptError) as caught:
        parse(model)
    assert message in str(caught.value)


@given(st.text())
def test_any_answer_survives_its_url_encoding(text: str) -> None:
    assert parse(f"mock?answer={quote(text, safe='')}").answer == text


@given(st.text())
def test_any_name_is_read_or_refused(model: str) -> None:
    # Nothing but ScriptError may come out of a name that a caller made up.
    with contextlib.suppress(ScriptError):
        assert isinstance(parse(f"mock?{model}"), Script)


def test_failures_come_first_and_then_none_of_them() -> None:
    script = parse("mock?fail_first=2&status=503")
    assert [script.for_call(earlier).status for earlier in range(4)] == [503, 503, None, None]


def test_a_failure_without_a_kind_is_a_500() -> None:
    script = parse("mock?fail_first=1&chunks=3")
    assert [script.for_call(earlier).status for earlier in range(2)] == [500, None]


def test_any_fault_can_be_the_one_that_passes() -> None:
    script = parse("mock?fail_first=1&cut_after=3&ok_error=1")
    first, second = script.for_call(0), script.for_call(1)
    assert (first.status, first.cut_after, first.ok_error) == (None, 3, True)
    assert (second.status, second.cut_after, second.ok_error) == (None, None, False)
