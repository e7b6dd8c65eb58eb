"""A whole answer reaches the caller and is paid once, however oddly its provider writes what it counted."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from tests.component.gateway.raw import Peer, raw_server
from tests.property.house import Seen, ask, request
from tests.support.gateway import WIDE, running_gateway

from sekisho.domain.row import InferenceRow

CONFIG = (
    """
data_dir: ./data
language: en
providers:
  mock: {type: openai, base_url: "MOCK", allow_private: true}
endpoints:
  chat:
    targets: [{provider: mock, model: first}]
    fallbacks: [{provider: mock, model: second}]
keys:
  - {name: test, key: sk-test-0123456789abcdef}
prices:
  mock/*: {input_per_mtok: 1.00, output_per_mtok: 2.00}
"""
    + WIDE
)
ODD = [
    pytest.param({"prompt_tokens": "1000", "completion_tokens": "500"}, id="texts"),
    pytest.param({"prompt_tokens": 1000, "completion_tokens": 500, "prompt_tokens_details": []}, id="php"),
]
COUNTS = {"prompt_tokens": 1000, "completion_tokens": 500}
ZEROS = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
#: 1,000 x 1.00 + 500 x 2.00 = 2,000 millionths of a dollar
COST = 2_000_000


def stream_of(usage: object, *, first: object = None) -> list[bytes]:
    events: list[dict[str, Any]] = [
        {"choices": [{"index": 0, "delta": {"content": "hello " * 50}}], "usage": first},
        {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "usage": first},
        {"choices": [], "usage": usage},
    ]
    return [*(b"data: " + msgspec.json.encode(event) + b"\n\n" for event in events), b"data: [DONE]\n\n"]


def plain_of(usage: object) -> list[bytes]:
    choice = {"index": 0, "message": {"content": "hello " * 50}, "finish_reason": "stop"}
    return [msgspec.json.encode({"choices": [choice], "usage": usage})]


async def row_of(parts: list[bytes], *, stream: bool) -> tuple[Seen, InferenceRow]:
    """What a caller got whose provider said this, and the row."""
    kind = b"text/event-stream" if stream else b"application/json"

    async def script(peer: Peer) -> None:
        while await peer.request() is not None:
            head = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: %b\r\n\r\n"
            await peer.say(head % kind + b"".join(parts))
            return

    async with raw_server(script) as server, running_gateway(server, config=CONFIG) as one:  # type: ignore[arg-type]
        seen = await ask(one.port, request("chat", stream=stream, request_id="one"))
        row = await one.row()
        one.check_books()
        return seen, row


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize("usage", ODD)
async def test_odd_counts_fail_no_answer_and_are_paid_once(usage: object, stream: bool) -> None:
    seen, row = await row_of(stream_of(usage) if stream else plain_of(usage), stream=stream)
    assert (seen.status, seen.error_code) == (200, None)
    assert (row.terminal_state, row.usage_source, row.cost_nanos) == ("completed", "provider", COST)
    assert len(row.attempts) == 1


async def test_a_stream_cut_before_anything_was_counted_is_estimated_though_it_has_zeros() -> None:
    _, row = await row_of(stream_of(COUNTS, first=ZEROS)[:1], stream=True)
    assert (row.terminal_state, row.usage_source) == ("truncated", "estimated")
    assert row.cost_nanos


async def test_zeros_before_or_after_the_counts_do_not_change_them() -> None:
    _, before = await row_of(stream_of(COUNTS, first=ZEROS), stream=True)
    _, after = await row_of(stream_of(ZEROS, first=COUNTS), stream=True)
    assert (before.usage_source, before.cost_nanos) == ("provider", COST)
    assert (after.usage_source, after.cost_nanos) == ("provider", COST)


async def test_an_answer_whose_counts_are_zeros_alone_is_estimated() -> None:
    _, row = await row_of(plain_of(ZEROS), stream=False)
    assert (row.terminal_state, row.usage_source) == ("completed", "estimated")
    assert row.cost_nanos == (row.input_tokens or 0) * 1_000 + (row.output_tokens or 0) * 2_000 > 0
