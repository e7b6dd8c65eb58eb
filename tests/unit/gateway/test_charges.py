"""What a failed attempt costs whose provider had begun to answer: what was answered, and nothing for an error."""

from __future__ import annotations

import pytest

from sekisho.domain.call import Attempt, Call, Entry, Route
from sekisho.domain.endpoint import Target
from sekisho.domain.usage import Usage
from sekisho.gateway.charges import charge_body, charge_part
from sekisho.gateway.estimates import Estimates

ROUTE = Route(path="/v1/chat/completions", protocol="openai_chat", operation="chat", api_type="openai/v1/chat")
CHOICES = b'"choices":[{"message":{"content":"word word"}}]'


class Begun:
    """An exchange that came so far."""

    def __init__(self, status: int, came: bytes) -> None:
        self.status = status
        self._came = came

    def came(self) -> bytes:
        return self._came


def house() -> tuple[Entry, Attempt]:
    body = b'{"model":"m","messages":[{"role":"user","content":"hello"}]}'
    return Entry(Call(ROUTE, {}, body, "req_1", 0, None)), Attempt(Target(provider="mock", model="m"), "primary", 0.0)


def output_of(came: bytes, status: int = 200) -> int | None:
    """Estimated tokens of a part of an answer; None: it costs nothing."""
    entry, attempt = house()
    charge_part(Estimates(), entry, attempt, Begun(status, came))
    assert attempt.status == status
    return None if attempt.usage is None else attempt.usage.output_tokens


def test_a_part_of_an_answer_costs_what_came_and_a_page_is_no_answer() -> None:
    assert output_of(b"{" + CHOICES, 500) is None
    assert (output_of(b"{" + CHOICES) or 0) > 0
    assert output_of(b" \r\n\t{" + CHOICES) == output_of(b"{" + CHOICES)
    assert output_of(b"<html>" + b"a page " * 100) == output_of(b"")


def test_what_a_provider_has_reported_is_not_estimated_again() -> None:
    entry, attempt = house()
    attempt.usage = reported = Usage(input_tokens=70, output_tokens=80)
    attempt.usage_source = "provider"
    charge_part(Estimates(), entry, attempt, Begun(200, b"{" + CHOICES))
    assert (attempt.usage, attempt.usage_source) == (reported, "provider")


@pytest.mark.parametrize(
    ("body", "source"),
    [
        (b"{" + CHOICES + b"}", "estimated"),
        (b'{"data":[{"embedding":[0.1,0.2]}]}', "estimated"),
        (b"{" + CHOICES, "estimated"),
        (b"{" + CHOICES + b',"usage":{"prompt_tokens":5,"completion_tokens":6}}', "provider"),
        (b'{"error":{"message":"no"},' + CHOICES + b"}", None),
        (b'{"error":{"message":"no"}}', None),
        (b'["no answer"]', None),
        (b'"text"', None),
        (b"null", None),
        (b"{}", None),
        (b"<html>", None),
        (b"", None),
    ],
)
def test_a_whole_body_is_charged_where_it_is_an_answer(body: bytes, source: str | None) -> None:
    entry, attempt = house()
    charge_body(Estimates(), entry, attempt, body)
    assert (attempt.usage is None) is (source is None)
    if source is not None:
        assert attempt.usage_source == source
