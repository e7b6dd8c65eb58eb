"""Where the rows of refused bodies stand, and which of them keep the body; on both doors."""

from __future__ import annotations

from typing import Any

import pytest
from tests.component.http.client import AUTH, ask, chat, http
from tests.support.gateway import CHAT_ONLY_KEY, Gateway

pytestmark = pytest.mark.asyncio(loop_scope="module")

EMBED = "/v1/embeddings"
STREAM = "/chat/stream"


@pytest.mark.parametrize(
    ("path", "body", "model"),
    [
        ("/v1/chat/completions", {**chat(), "messages": "hello"}, "chat"),
        ("/v1/chat/completions", {**chat(), "stream": "yes"}, "chat"),
        ("/v1/chat/completions", {**chat(), "metadata": {"a": 1}}, "chat"),
        ("/v1/chat/completions", {**chat("mock/mock-small"), "n": 0}, "mock/mock-small"),
        ("/v1/chat/completions", {**chat("mock/never-called"), "n": 0}, "mock/never-called"),
        (EMBED, {"model": "embed", "input": []}, "embed"),
        (STREAM, {"message": ""}, "chat"),
    ],
)
async def test_a_refused_body_is_kept_by_the_endpoint_that_it_names(
    gateway: Gateway, path: str, body: dict[str, Any], model: str
) -> None:
    for n in (1, 2):  # named for the first time, and again
        assert (await ask(gateway.port, http(body, path))).status == 400
        row = await gateway.row(n)
        assert (row.endpoint_name, row.status_code, row.error_code) == (model, 400, "invalid_value")
        assert row.request == http(body, path).partition(b"\r\n\r\n")[2]
    assert gateway.mock.calls["calls"] == 0


async def test_tags_that_cannot_be_read_do_not_cost_the_body_its_place(gateway: Gateway) -> None:
    assert (await ask(gateway.port, http(chat(), headers=f"{AUTH}x-sekisho-tags: 1\r\n"))).status == 400
    row = await gateway.row()
    assert (row.endpoint_name, row.request_model) == ("chat", "chat")
    assert row.request is not None


async def test_a_refused_body_for_an_endpoint_of_metadata_is_not_kept(gateway: Gateway) -> None:
    assert (await ask(gateway.port, http({**chat("metadata-only"), "n": 0}))).status == 400
    row = await gateway.row()
    assert (row.endpoint_name, row.request) == ("metadata-only", None)


async def test_a_body_with_a_forbidden_field_is_not_kept_for_it_may_hold_a_credential(gateway: Gateway) -> None:
    assert (await ask(gateway.port, http({**chat(), "api_key": "sk-of-the-caller"}))).status == 400
    row = await gateway.row()
    assert (row.endpoint_name, row.error_code, row.request) == ("chat", "forbidden_field", None)


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"chat","api_key":"sk-of-the-caller","messages":"\xff"}',
        b'{"model":"chat",' + b'"extra_body":{' * 6 + b'"api_key":"sk-of-the-caller"' + b"}" * 7,
    ],
    ids=["no UTF-8", "too deep"],
)
async def test_nor_is_one_that_was_refused_before_anybody_saw_that_field(gateway: Gateway, body: bytes) -> None:
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n{AUTH}content-length: {len(body)}\r\n\r\n"
    assert (await ask(gateway.port, head.encode() + body)).status == 400
    row = await gateway.row()
    assert (row.endpoint_name, row.error_code, row.request) == ("chat", "invalid_json", None)


async def test_a_refused_body_that_is_no_utf_8_is_kept_all_the_same(gateway: Gateway) -> None:
    body = b'{"model":"chat","messages":"\xff"}'
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n{AUTH}content-length: {len(body)}\r\n\r\n"
    assert (await ask(gateway.port, head.encode() + body)).status == 400
    row = await gateway.row()
    assert (row.endpoint_name, row.error_code, row.request) == ("chat", "invalid_json", body)


async def test_a_refused_body_that_names_no_model_of_this_key_stands_nowhere(gateway: Gateway) -> None:
    chat_only = f"authorization: Bearer {CHAT_ONLY_KEY}\r\n"
    for n, (body, headers) in enumerate(
        [
            ({**chat(), "model": 1}, AUTH),
            ({**chat("nowhere"), "n": 0}, AUTH),
            ({**chat("mock/mock-small"), "n": 0}, AUTH),
            ({**chat("mock/mock-small"), "n": 0}, chat_only),
        ],
        1,
    ):
        assert (await ask(gateway.port, http(body, headers=headers))).status == 400
        row = await gateway.row(n)
        named = "mock/mock-small" if n == 3 else None
        assert (row.endpoint_name, row.request is None) == (named, named is None)


async def test_a_call_after_a_refused_one_is_priced(gateway: Gateway) -> None:
    assert (await ask(gateway.port, http({**chat("mock/mock-large"), "n": 0}))).status == 400
    assert (await ask(gateway.port, http(chat("mock/mock-large")))).status == 200
    row = await gateway.row(2)
    assert (row.endpoint_name, row.cost_nanos is None) == ("mock/mock-large", False)
