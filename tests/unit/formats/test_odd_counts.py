"""Counts that have another shape than OpenAI's: what can be read of them is read, and the answer stays an answer."""

from __future__ import annotations

import msgspec
import pytest

from sekisho.domain.usage import Usage
from sekisho.formats.odd_counts import answer_despite_counts, chunk_despite_counts
from sekisho.formats.openai import decode_answer
from sekisho.formats.openai_answers import read_usage

ODD = [
    (b'{"prompt_tokens":"12","completion_tokens":"3"}', Usage(input_tokens=12, output_tokens=3)),
    (
        b'{"prompt_tokens":12,"completion_tokens":3,"prompt_tokens_details":[],"completion_tokens_details":[]}',
        Usage(input_tokens=12, output_tokens=3),
    ),
    (
        b'{"prompt_tokens":12,"completion_tokens":3,"prompt_tokens_details":{"cached_tokens":"7"}}',
        Usage(input_tokens=12, output_tokens=3, cache_read_input_tokens=7),
    ),
    (b'{"prompt_tokens":12,"completion_tokens":3,"total_tokens":{}}', Usage(input_tokens=12, output_tokens=3)),
    (b'{"prompt_tokens":true,"completion_tokens":"many"}', None),
    (b'{"prompt_tokens":"-5","completion_tokens":"inf"}', None),
    (b'{"prompt_tokens":"%s","completion_tokens":3}' % (b"9" * 4000), Usage(output_tokens=3)),
    (b"[]", None),
    (b'"none"', None),
    (b"5", None),
]


@pytest.mark.parametrize(("wire", "usage"), ODD)
def test_odd_counts_are_read_as_far_as_they_can_be(wire: bytes, usage: Usage | None) -> None:
    body = b'{"choices":[{"index":0,"finish_reason":"stop"}],"usage":%b}' % wire
    with pytest.raises(msgspec.ValidationError):
        decode_answer(body)
    answer, chunk = answer_despite_counts(body), chunk_despite_counts(body)
    assert answer is not None
    assert chunk is not None
    assert answer.usage is not None
    assert chunk.usage is not None
    assert answer.usage.normalised() == chunk.usage.normalised() == usage
    assert [choice.finish_reason for choice in answer.choices or ()] == ["stop"]
    assert [choice.finish_reason for choice in chunk.choices or ()] == ["stop"]


@pytest.mark.parametrize(("wire", "usage"), ODD)
def test_answers_that_are_rebuilt_read_odd_counts_alike(wire: bytes, usage: Usage | None) -> None:
    assert read_usage(msgspec.json.decode(wire))[0] == usage


def test_a_service_tier_that_is_no_name_is_none() -> None:
    answer = answer_despite_counts(b'{"choices":[],"service_tier":5}')
    assert answer is not None
    assert answer.service_tier is None
    assert answer.usage is None


@pytest.mark.parametrize("body", [b'{"choices":{}}', b'{"choices":[', b"[]", b'{"usage":1e400}', b"\xff"])
def test_what_is_odd_beyond_the_counts_stays_unreadable(body: bytes) -> None:
    assert answer_despite_counts(body) is None
    assert chunk_despite_counts(body) is None
