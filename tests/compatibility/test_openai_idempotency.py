"""OpenAI's own client with `extra_headers={"Idempotency-Key": …}`: asked again, it gets the same answer, unpaid."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import openai
import pytest
import pytest_asyncio
from tests.support.gateway import PEPPER, Gateway

from sekisho.gateway.policies.idempotency import Idempotency
from sekisho.stores.sqlite_idempotency import FILE_NAME, sqlite_idempotency

pytestmark = pytest.mark.asyncio(loop_scope="module")
HELLO: list[Any] = [{"role": "user", "content": "関所 is a barrier"}]


@pytest_asyncio.fixture(loop_scope="module")
async def client(house: Gateway, tmp_path: Path) -> AsyncIterator[openai.AsyncOpenAI]:
    store = sqlite_idempotency(tmp_path / FILE_NAME, timeout_s=20)
    house.pipeline.idempotency = kept = Idempotency(store, PEPPER, {})
    async with openai.AsyncOpenAI(base_url=house.base_url, api_key=house.key, max_retries=0, timeout=10) as one:
        yield one
    house.pipeline.idempotency = None
    await kept.close()


async def test_a_plain_answer_again(gateway: Gateway, client: openai.AsyncOpenAI) -> None:
    headers = {"Idempotency-Key": "invoice-4711"}
    asked = [
        await client.chat.completions.with_raw_response.create(model="chat", messages=HELLO, extra_headers=headers)
        for _ in range(2)
    ]
    assert [one.headers["x-sekisho-cache"] for one in asked] == ["bypass", "replay"]
    first, again = (one.parse() for one in asked)
    assert again == first
    with pytest.raises(openai.UnprocessableEntityError) as other:
        await client.chat.completions.create(model="chat", messages=HELLO, temperature=0.5, extra_headers=headers)
    assert other.value.code == "idempotency_key_reused"
    assert gateway.mock.calls["calls"] == 1


async def test_a_stream_again(gateway: Gateway, client: openai.AsyncOpenAI) -> None:
    told: list[list[Any]] = []
    for _ in range(2):
        stream = await client.chat.completions.create(
            model="mock/mock?echo=1&chunks=4&chunk_ms=1",
            messages=HELLO,
            stream=True,
            stream_options={"include_usage": True},
            extra_headers={"Idempotency-Key": "invoice-4711"},
        )
        told.append([chunk async for chunk in stream])
    first, again = told
    assert again == first
    assert "".join(c.delta.content or "" for chunk in again for c in chunk.choices) == HELLO[0]["content"]
    assert again[-1].usage is not None
    assert gateway.mock.calls["calls"] == 1
    paid, free = gateway.rows
    assert (paid.cache_status, free.cache_status, free.cost_nanos) == ("bypass", "replay", 0)
