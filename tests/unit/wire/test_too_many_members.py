"""Bodies whose members nobody means: refused before they are read, for reading millions of them takes seconds."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from sekisho.domain.errors import Refusal
from sekisho.formats.json import MOST_MEMBERS
from sekisho.wire import chat_stream, openai_chat, openai_embeddings

_GOOD = {"model": "m", "messages": [{"role": "user", "content": "a"}], "input": "a"}
_MANY = {f"a-rather-long-name-of-a-member-{number}": 1 for number in range(100_000)}
_PARSERS: list[Callable[[bytes], object]] = [openai_chat.parse, openai_embeddings.parse, chat_stream.parse]


def _refused(parse: Callable[[bytes], object], body: object) -> Refusal:
    with pytest.raises(Refusal) as caught:
        parse(json.dumps(body).encode())
    return caught.value


@pytest.mark.parametrize("parse", _PARSERS)
@pytest.mark.parametrize("body", [_GOOD | _MANY, _MANY | _GOOD, _GOOD | {"extra_body": _MANY}])
def test_a_large_body_with_more_members_than_anybody_means_is_refused(
    parse: Callable[[bytes], object], body: object
) -> None:
    refusal = _refused(parse, body)
    assert (refusal.status, refusal.code) == (400, "invalid_json")
    assert refusal.values == {"reason": "it has more than {most} members", "most": MOST_MEMBERS}


def test_what_any_client_may_send_is_not_refused() -> None:
    some = dict(list(_MANY.items())[: MOST_MEMBERS - 10])
    large = {"messages": [{"role": "user", "content": "a" * 1_000_000}], "response_format": _MANY, "extra_body": some}
    request = openai_chat.parse(json.dumps(_GOOD | some | large).encode())
    assert request.fields is not None
    assert list(request.fields) == [*_GOOD, *some, "response_format", "extra_body"]
    assert all(type(name) is str for name in request.fields)


def test_metadata_longer_than_they_can_be_are_refused_before_they_are_read() -> None:
    fields = openai_chat.parse(json.dumps(_GOOD | {"metadata": dict.fromkeys(_MANY, "1")}).encode()).fields
    refusal = _refused(lambda _: openai_chat.metadata(fields or {}), None)
    assert (refusal.code, refusal.values["reason"]) == ("invalid_value", "it is longer than {most} pairs can be")


def test_metadata_as_long_as_they_may_be_are_read() -> None:
    longest = {f"{number:02}" + "\N{GRINNING FACE}" * 62: "\N{GRINNING FACE}" * 512 for number in range(16)}
    fields = openai_chat.parse(json.dumps(_GOOD | {"metadata": longest}, indent=4).encode()).fields
    assert openai_chat.metadata(fields or {}) == longest
