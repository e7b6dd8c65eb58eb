"""Asking again with the same key: the same answer and no second bill, or a clear word why not."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from tests.component.http.client import AUTH, Answer, ask, chat, connected, http
from tests.support.counting import WIDE
from tests.support.gateway import CHAT_ONLY_KEY, CONFIG, PEPPER, Door, Gateway, running_gateway

from sekisho.gateway.policies.idempotency import Idempotency
from sekisho.mock.server import MockProvider
from sekisho.stores.idempotency import Found, IdempotencyStore, Lease
from sekisho.stores.ports import StoreUnavailable
from sekisho.stores.sqlite_idempotency import FILE_NAME, sqlite_idempotency

pytestmark = pytest.mark.asyncio(loop_scope="module")
CHAT, EMBEDDINGS, WEB = "/v1/chat/completions", "/v1/embeddings", "/chat/stream"


@pytest_asyncio.fixture(loop_scope="module")
async def counts(house: Gateway, tmp_path: Path) -> AsyncIterator[dict[str, int]]:
    """What became of keys; the gateway of the module with a store of this test's own."""
    made = Idempotency(sqlite_idempotency(tmp_path / FILE_NAME, timeout_s=20), PEPPER, house.pipeline.tally.idempotency)
    house.pipeline.idempotency = made
    yield made.counts
    house.pipeline.idempotency = None
    await made.close()


class Broken:
    """A store in front of another that does not answer what is named, and keeps nothing before `may_keep`."""

    def __init__(self, store: IdempotencyStore, *silent: str) -> None:
        self._store = store
        self._silent = silent
        self.may_keep = asyncio.Event()
        self.may_keep.set()

    async def claim(self, lease: Lease, asked: bytes, now_us: int, until_us: int) -> Found:
        self._check("claim")
        return await self._store.claim(lease, asked, now_us, until_us)

    async def keep(self, lease: Lease, sealed: bytes, until_us: int) -> bool:
        self._check("keep")
        await self.may_keep.wait()
        return await self._store.keep(lease, sealed, until_us)

    async def release(self, lease: Lease) -> None:
        self._check("release")
        await self._store.release(lease)

    async def tend(self, leases: Sequence[Lease], now_us: int, until_us: int) -> None:
        await self._store.tend(leases, now_us, until_us)

    async def close(self) -> None:
        await self._store.close()

    def _check(self, name: str) -> None:
        if name in self._silent:
            raise StoreUnavailable("gone")


@pytest_asyncio.fixture(loop_scope="module")
async def held(house: Gateway, tmp_path: Path) -> AsyncIterator[asyncio.Event]:
    """Until it is set no call with a key comes to its end, however quick the provider was."""
    store = Broken(sqlite_idempotency(tmp_path / FILE_NAME, timeout_s=20))
    store.may_keep.clear()
    house.pipeline.idempotency = made = Idempotency(store, PEPPER, {})
    yield store.may_keep
    store.may_keep.set()
    house.pipeline.idempotency = None
    await made.close()


def keyed(body: object, key: str = "order-1", path: str = CHAT, auth: str = AUTH) -> bytes:
    return http(body, path, headers=f"{auth}Idempotency-Key: {key}\r\n")


async def twice(gateway: Gateway, data: bytes) -> tuple[Answer, Answer]:
    return await ask(gateway.port, data), await ask(gateway.port, data)


BODIES = [
    (CHAT, chat()),
    (CHAT, chat(stream=True)),
    (CHAT, chat(stream=True, stream_options={"include_usage": True})),
    (EMBEDDINGS, {"model": "embed", "input": "領収書"}),
    (WEB, {"model": "chat", "message": "hello"}),
]


@pytest.mark.parametrize(("path", "body"), BODIES, ids=["plain", "stream", "usage", "embeddings", "web-page"])
async def test_the_same_key_and_body_give_the_same_answer_once_paid(
    gateway: Gateway, counts: dict[str, int], path: str, body: dict[str, Any]
) -> None:
    first, again = await twice(gateway, keyed(body, path=path))
    assert (first.status, again.status) == (200, 200)
    assert again.body == first.body
    assert again.headers["content-type"] == first.headers["content-type"]
    assert gateway.mock.calls["calls"] == 1
    assert (first.headers["x-sekisho-cache"], again.headers["x-sekisho-cache"]) == ("bypass", "replay")
    assert again.headers["x-sekisho-replay-of"] == first.headers["x-request-id"]
    assert again.headers["x-request-id"] != first.headers["x-request-id"]
    assert (again.headers["x-sekisho-attempts"], float(again.headers["x-sekisho-cost-usd"])) == ("0", 0)
    for name in ("x-sekisho-model", "x-sekisho-provider"):
        assert again.headers[name] == first.headers[name]
    paid, free = gateway.rows
    assert (paid.cache_status, free.cache_status) == ("bypass", "replay")
    assert paid.cost_nanos
    assert (free.cost_nanos, free.attempts, free.input_tokens, free.usage_source) == (0, [], None, "none")
    assert (free.status_code, free.terminal_state, free.finish_reasons) == (200, "completed", paid.finish_reasons)
    assert (free.request, free.streaming) == (paid.request, paid.streaming)
    assert counts == {**dict.fromkeys(counts, 0), "claimed": 1, "replayed": 1}


async def test_the_log_has_the_answer_of_a_replay_too(gateway: Gateway, counts: dict[str, int]) -> None:
    await twice(gateway, keyed(chat(), "plain"))
    await twice(gateway, keyed(chat(stream=True, stream_options={"include_usage": True}), "stream"))
    plain, plain_again, stream, stream_again = gateway.rows
    assert (plain_again.response, plain_again.response_kind) == (plain.response, plain.response_kind)
    assert (stream_again.response, stream_again.response_kind) == (stream.response, stream.response_kind)


async def test_a_call_without_the_header_is_as_ever(gateway: Gateway, counts: dict[str, int]) -> None:
    await twice(gateway, http(chat()))
    assert gateway.mock.calls["calls"] == 2
    assert not any(counts.values())


async def test_while_the_first_call_runs_others_wait_and_another_body_is_refused(
    gateway: Gateway, held: asyncio.Event
) -> None:
    first = asyncio.ensure_future(ask(gateway.port, keyed(chat())))
    await gateway.until(lambda: gateway.mock.calls["calls"] == 1)
    busy = await ask(gateway.port, keyed(chat()))
    other = await ask(gateway.port, keyed(chat(temperature=0)))
    assert (busy.status, busy.error["code"], busy.headers["retry-after"]) == (409, "idempotency_key_in_use", "1")
    assert (other.status, other.error["code"]) == (422, "idempotency_key_reused")
    assert other.headers["x-should-retry"] == "false"
    assert "24" in other.error["message"]
    held.set()
    answer = await first
    again = await ask(gateway.port, keyed(chat()))
    assert (again.status, again.body) == (200, answer.body)
    assert (await ask(gateway.port, keyed(chat(temperature=0)))).status == 422
    assert gateway.mock.calls["calls"] == 1
    assert {row.cost_nanos for row in gateway.rows if row.attempts == []} == {0}


async def test_a_stream_in_progress_holds_its_key_too(gateway: Gateway, held: asyncio.Event) -> None:
    async with connected(gateway.port) as wire:
        await wire.send(keyed(chat(stream=True)))
        await wire.until(b"data: ")
        assert (await ask(gateway.port, keyed(chat(stream=True)))).status == 409
        held.set()
        whole = await wire.answer()
    again = await ask(gateway.port, keyed(chat(stream=True)))
    assert (again.status, again.text, again.events[-1]) == (200, whole.text, "[DONE]")


async def test_a_key_belongs_to_a_caller_and_a_route(gateway: Gateway, counts: dict[str, int]) -> None:
    other = f"authorization: Bearer {CHAT_ONLY_KEY}\r\n"
    answers = [
        await ask(gateway.port, keyed(chat())),
        await ask(gateway.port, keyed(chat(), auth=other)),
        await ask(gateway.port, keyed({"model": "embed", "input": "a"}, path=EMBEDDINGS)),
        await ask(gateway.port, keyed({"model": "chat", "message": "hello"}, path=WEB)),
        await ask(gateway.port, keyed(chat(), "order-2")),
    ]
    assert {one.status for one in answers} == {200}
    assert {one.headers["x-sekisho-cache"] for one in answers} == {"bypass"}
    assert gateway.mock.calls["calls"] == 5


@pytest.mark.parametrize("stream", [False, True])
async def test_a_failure_is_not_kept(gateway: Gateway, counts: dict[str, int], stream: bool) -> None:
    first, again = await twice(gateway, keyed(chat("mock/mock?fail_first=1", stream=stream)))
    assert (first.status, again.status) == (502, 200)
    assert again.headers["x-sekisho-cache"] == "bypass"


@pytest.mark.parametrize("faults", ["cut_after=3", "error_after=3", "no_done=1&cut_after=2"])
async def test_a_cut_stream_is_not_kept(gateway: Gateway, counts: dict[str, int], faults: str) -> None:
    first, again = await twice(gateway, keyed(chat(f"mock/mock?{faults}", stream=True)))
    assert (first.status, again.status) == (200, 200)
    assert [row.terminal_state == "completed" for row in gateway.rows] == [False, False]
    assert gateway.mock.calls["calls"] == 2


async def test_a_refusal_is_not_kept(gateway: Gateway, counts: dict[str, int]) -> None:
    assert [one.status for one in await twice(gateway, keyed(chat("nope")))] == [404, 404]
    assert [one.status for one in await twice(gateway, keyed({"model": "chat"}))] == [400, 400]
    assert [one.status for one in await twice(gateway, keyed(chat("mock/mock?status=400")))] == [400, 400]
    assert gateway.mock.calls["calls"] == 2
    assert (await ask(gateway.port, keyed(chat()))).status == 200


@pytest.mark.parametrize(
    ("model", "stream"),
    [("mock/mock?hang=1", False), ("mock/mock?chunk_ms=100&chunks=100", True)],
    ids=["plain", "stream"],
)
async def test_a_caller_who_leaves_gives_the_key_back(
    gateway: Gateway, counts: dict[str, int], model: str, stream: bool
) -> None:
    async with connected(gateway.port) as wire:
        await wire.send(keyed(chat(model, stream=stream)))
        await gateway.until(lambda: gateway.mock.calls["calls"] == 1)
        if stream:
            await wire.until(b"data: ")
        wire.leave()
    await gateway.row()
    async with asyncio.timeout(10):
        while (await ask(gateway.port, keyed(chat()))).status == 409:
            await asyncio.sleep(0.01)  # the key is given back a moment after the row
    assert gateway.rows[0].terminal_state == "client_left"
    assert gateway.rows[-1].status_code == 200


async def test_whoever_leaves_at_any_moment_leaves_no_lock(gateway: Gateway, counts: dict[str, int]) -> None:
    for rounds in range(12):
        async with connected(gateway.port) as wire:
            await wire.send(keyed(chat("mock/mock?delay_ms=5")))
            for _ in range(rounds * 4):
                await asyncio.sleep(0)
            wire.leave(reset=True)
    async with asyncio.timeout(20):
        while (await ask(gateway.port, keyed(chat("mock/mock?delay_ms=5")))).status != 200:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("key", ["", "a b", "キー", "k" * 256, "tab\there"])
async def test_a_key_that_is_none_is_refused(gateway: Gateway, counts: dict[str, int], key: str) -> None:
    data = json.dumps(chat()).encode()
    head = f"POST {CHAT} HTTP/1.1\r\nhost: g\r\n{AUTH}idempotency-key: {key}\r\ncontent-length: {len(data)}\r\n\r\n"
    answer = await ask(gateway.port, head.encode() + data)
    assert (answer.status, answer.error["code"], answer.error["param"]) == (400, "invalid_value", "Idempotency-Key")
    assert gateway.mock.calls["calls"] == 0


async def test_a_key_sent_twice_is_refused_and_the_longest_one_is_not(gateway: Gateway, counts: dict[str, int]) -> None:
    doubled = http(chat(), headers=f"{AUTH}idempotency-key: a\r\nIdempotency-Key: b\r\n")
    assert (await ask(gateway.port, doubled)).status == 400
    first, again = await twice(gateway, keyed(chat(), "!" + "~" * 254))
    assert again.body == first.body


async def test_white_space_around_a_key_is_no_part_of_it(gateway: Gateway, counts: dict[str, int]) -> None:
    first, again = await ask(gateway.port, keyed(chat())), await ask(gateway.port, keyed(chat(), " \torder-1 \t "))
    assert (again.status, again.body) == (200, first.body)
    assert gateway.mock.calls["calls"] == 1


async def test_the_message_is_in_the_callers_language(gateway: Gateway, counts: dict[str, int]) -> None:
    japanese = f"{AUTH}accept-language: ja\r\n"
    answer = await ask(gateway.port, keyed(chat(), "a b", auth=japanese))
    assert "ASCII 文字 1 文字以上 255 文字以下" in answer.error["message"]
    await ask(gateway.port, keyed(chat()))
    other = await ask(gateway.port, keyed(chat(n=1), auth=japanese))
    assert "別のリクエスト本文" in other.error["message"]


async def test_a_large_answer_comes_again_whole(gateway: Gateway, counts: dict[str, int]) -> None:
    large = [{"role": "user", "content": "長" * 200_000}]
    first, again = await twice(gateway, keyed({"model": "mock/mock?echo=1", "messages": large}))
    assert (again.headers["x-sekisho-cache"], again.body) == ("replay", first.body)


async def test_an_answer_that_is_too_large_is_given_and_not_kept(gateway: Gateway, counts: dict[str, int]) -> None:
    large = [{"role": "user", "content": "長" * 800_000}]
    for stream in (False, True):
        body = {"model": "mock/mock?echo=1&chunks=3", "messages": large, "stream": stream}
        first, again = await twice(gateway, keyed(body, f"large-{stream}"))
        assert (first.status, again.status) == (200, 200)
        assert again.headers["x-sekisho-cache"] == "bypass"
    assert counts["not_kept"] == 4


async def test_heads_with_a_key_are_not_remembered(gateway: Gateway, counts: dict[str, int]) -> None:
    async with connected(gateway.port) as wire:
        for n in range(20):
            await wire.send(keyed(chat("mock/mock?echo=1", n=1), f"key-{n}"))
            assert (await wire.answer()).status == 200
        await wire.send(keyed(chat("mock/mock?echo=1", n=1), "key-7"))
        assert (await wire.answer()).headers["x-sekisho-cache"] == "replay"


async def test_a_replay_uses_up_no_limit_and_no_budget(door: Door, tmp_path: Path) -> None:
    rules = """
limits: [{scope: {key: "*"}, qpm: 2}]
budgets: [{scope: {organisation: "*"}, usd: 1}]
"""
    async with MockProvider() as mock, running_gateway(mock, door=door, config=CONFIG.replace(WIDE, rules)) as one:
        store = sqlite_idempotency(tmp_path / FILE_NAME, timeout_s=20)
        one.pipeline.idempotency = kept = Idempotency(store, PEPPER, {})
        answers = [await ask(one.port, keyed(chat(max_tokens=20))) for _ in range(5)]
        assert [answer.status for answer in answers] == [200] * 5
        assert answers[0].headers["x-ratelimit-remaining-requests"] == "1"
        assert "x-ratelimit-remaining-requests" not in answers[4].headers
        assert (await ask(one.port, keyed(chat(max_tokens=20), "order-2"))).status == 200
        refused = [await ask(one.port, keyed(chat(max_tokens=20), "order-3")) for _ in range(2)]
        assert [answer.status for answer in refused] == [429, 429], "a call that was refused gives its key back"
        assert (await ask(one.port, keyed(chat(max_tokens=20), "order-2"))).headers["x-sekisho-cache"] == "replay"
        assert one.mock.calls["calls"] == 2
        await one.until(lambda: one.pipeline.tally.in_flight == 0)
        one.check_books()
        await kept.close()


async def test_without_its_store_a_call_with_a_key_is_refused_and_others_are_not(
    gateway: Gateway, counts: dict[str, int], tmp_path: Path
) -> None:
    assert gateway.pipeline.idempotency is not None
    counted = dict.fromkeys(counts, 0)
    store = sqlite_idempotency(tmp_path / "other.db", timeout_s=20)
    gateway.pipeline.idempotency = Idempotency(Broken(store, "claim"), PEPPER, counted)
    refused = await ask(gateway.port, keyed(chat()))
    assert (refused.status, refused.error["code"]) == (503, "store_unavailable")
    assert refused.headers["retry-after"] == "1"
    assert (await ask(gateway.port, http(chat()))).status == 200
    assert gateway.mock.calls["calls"] == 1
    assert counted["unavailable"] == 1
    await gateway.pipeline.idempotency.close()


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_that_cannot_be_put_away_is_given_all_the_same(
    gateway: Gateway, counts: dict[str, int], tmp_path: Path, stream: bool
) -> None:
    counted = dict.fromkeys(counts, 0)
    store = sqlite_idempotency(tmp_path / "other.db", timeout_s=20)
    gateway.pipeline.idempotency = broken = Idempotency(Broken(store, "keep", "release"), PEPPER, counted)
    first, again = await twice(gateway, keyed(chat(stream=stream)))
    assert first.status == 200
    assert first.complete
    assert again.status == 409, "locked until the lease ends: nobody could be told"
    assert counted["not_kept"] == 1
    await broken.close()
