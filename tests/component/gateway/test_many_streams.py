"""A thousand streams at once on one gateway: every one whole, in order, and on the books."""

from __future__ import annotations

import asyncio
import resource

import msgspec
from tests.property.house import ask, request
from tests.support.gateway import running_gateway

from sekisho.mock.server import MockProvider

STREAMS = 1_000
MODEL = "mock/mock?echo=1&chunks=20&chunk_ms=150"
CONFIG = """
data_dir: ./data
language: en
providers:
  mock: {type: openai, base_url: "MOCK", allow_private: true}
defaults: {timeouts: {connect_s: 60, first_token_s: 60, idle_s: 60, total_s: 120}}
endpoints: {}
keys:
  - {name: test, key: sk-test-0123456789abcdef, endpoints: ["mock/*"]}
prices:
  mock/*: {input_per_mtok: 1.00, output_per_mtok: 2.00}
"""


async def test_a_thousand_streams_at_once_are_whole_and_in_order() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 16_384)), hard))
    async with MockProvider() as mock, asyncio.timeout(120), running_gateway(mock, config=CONFIG) as gateway:
        most = 0

        async def watch() -> None:
            nonlocal most
            while True:
                most = max(most, gateway.pipeline.live_streams)
                await asyncio.sleep(0.05)

        async def one(n: int) -> None:
            question = " ".join(f"{n}-{word}" for word in range(20))
            more = {"messages": [{"role": "user", "content": question}]}
            seen = await ask(gateway.port, request(MODEL, stream=True, request_id=f"r{n}", more=more))
            assert (seen.status, seen.whole, seen.frames[-1]) == (200, True, b"[DONE]")
            chunks = [msgspec.json.decode(frame) for frame in seen.frames[:-1]]
            pieces = [choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"]]
            assert "".join(pieces) == question
            assert sum(map(bool, pieces)) == 20

        watching = asyncio.ensure_future(watch())
        await asyncio.gather(*(one(n) for n in range(STREAMS)))
        watching.cancel()
        await gateway.until(lambda: gateway.pipeline.tally.in_flight == 0)
        assert most > STREAMS * 0.9, "they were not at once"
        assert {row.client_request_id for row in gateway.rows} == {f"r{n}" for n in range(STREAMS)}
        assert {(row.terminal_state, row.status_code, row.usage_source) for row in gateway.rows} == {
            ("completed", 200, "provider")
        }
        gateway.check_books()
        assert gateway.pipeline._transport.active == 0
        assert gateway.pipeline._transport.idle <= 256
