"""Health, metrics and the list of models."""

from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.component.http.client import AUTH, Answer, ask, chat, connected, http
from tests.support.gateway import CHAT_ONLY_KEY, CONFIG, EXPIRED_KEY, KEY, Gateway

from sekisho.gateway.snapshot import Snapshot

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def get(gateway: Gateway, path: str, headers: str = "", method: str = "GET") -> Answer:
    return await ask(gateway.port, http(b"", path, method, headers))


async def samples(gateway: Gateway) -> dict[str, dict[tuple[str, ...], float]]:
    """name -> values of the labels, in the order of their names -> value."""
    answer = await get(gateway, "/metrics")
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(answer.body.decode()):
        for sample in family.samples:
            labels = tuple(value for _, value in sorted(sample.labels.items()))
            assert labels not in found.setdefault(sample.name, {}), f"{sample.name}{labels} stands there twice"
            found[sample.name][labels] = sample.value
    return found


async def test_health_needs_no_key(gateway: Gateway) -> None:
    for path in ("/health/live", "/health/ready"):
        answer = await get(gateway, path)
        assert (answer.status, answer.json["status"]) == (200, "ok")
        assert (await get(gateway, path, "authorization: Bearer sk-wrong\r\n")).status == 200
    assert not gateway.rows


async def test_health_has_a_request_id(gateway: Gateway) -> None:
    for path in ("/health/live", "/health/ready"):
        assert (await get(gateway, path)).headers["x-request-id"].startswith("req_")


async def test_what_asks_no_provider_says_so_as_every_answer_does(gateway: Gateway) -> None:
    for method, path, headers, status in (
        ("GET", "/v1/models", AUTH, 200),
        ("GET", "/v1/models/chat", AUTH, 200),
        ("GET", "/v1/models", "", 401),
        ("GET", "/v1/models/nothing", AUTH, 404),
        ("GET", "/nothing", AUTH, 404),
        ("POST", "/v1/models", AUTH, 405),
        ("GET", "/v1/chat/completions", AUTH, 405),
    ):
        answer = await get(gateway, path, headers, method)
        assert answer.status == status
        assert answer.headers["x-request-id"].startswith("req_")
        assert answer.headers["x-sekisho-attempts"] == "0"
        assert answer.headers["x-sekisho-cache"] == "bypass"
        assert answer.headers["x-sekisho-cost-usd"] == "0"
        assert 0 <= float(answer.headers["x-sekisho-overhead-ms"]) < 5000
        assert "." in answer.headers["x-sekisho-overhead-ms"]


async def test_a_mistake_of_ours_is_an_answer_and_does_not_say_more(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def mistaken(*_: object) -> list[str]:
        raise LookupError("of the inside")

    monkeypatch.setattr(Snapshot, "models", mistaken)
    answer = await get(gateway, "/v1/models", f"{AUTH}accept-language: ja\r\n")
    assert (answer.status, answer.error["code"], answer.error["type"]) == (500, "internal_error", "server_error")
    assert answer.headers["x-request-id"].startswith("req_")
    assert not answer.error["message"].isascii()
    assert b"inside" not in answer.body
    assert "of the inside" in caplog.text
    assert (await get(gateway, "/v1/models/chat", AUTH)).status == 200


async def test_a_gateway_that_takes_no_calls_is_not_ready_and_says_why(gateway: Gateway) -> None:
    gateway.sink.takes_calls = False
    try:
        answer = await get(gateway, "/health/ready")
        alive = await get(gateway, "/health/live")
    finally:
        gateway.sink.takes_calls = True
    assert (answer.status, answer.json["status"]) == (503, "rows_unavailable")
    assert answer.headers["retry-after"] == "5"
    assert alive.status == 200, "to begin it anew would not make room"
    assert (await get(gateway, "/health/ready")).status == 200


async def test_the_list_of_models(gateway: Gateway) -> None:
    answer = await get(gateway, "/v1/models", AUTH)
    assert answer.json["object"] == "list"
    assert [model["id"] for model in answer.json["data"]] == sorted(gateway.settings.endpoints)
    assert all(list(model) == ["id", "object", "created", "owned_by"] for model in answer.json["data"])
    assert answer.headers["x-request-id"].startswith("req_")
    own = await get(gateway, "/v1/models", f"x-api-key: {CHAT_ONLY_KEY}\r\n")
    assert [model["id"] for model in own.json["data"]] == ["chat"]
    one = await get(gateway, "/v1/models/metadata-only", AUTH)
    assert one.json["id"] == "metadata-only"
    assert not gateway.rows, "only calls of a model are rows"


async def test_a_model_that_is_addressed_directly_is_there_for_whom_it_may_be(gateway: Gateway) -> None:
    one = await get(gateway, "/v1/models/mock/gpt-9", AUTH)
    assert (one.status, one.json["id"]) == (200, "mock/gpt-9")
    assert list(one.json) == ["id", "object", "created", "owned_by"]
    chat_only = f"authorization: Bearer {CHAT_ONLY_KEY}\r\n"
    for path, headers in (
        ("/v1/models/mock/gpt-9", chat_only),
        ("/v1/models/mock/", AUTH),
        ("/v1/models/safe", chat_only),
    ):
        answer = await get(gateway, path, headers)
        assert (answer.status, answer.error["code"]) == (404, "model_not_found")


async def test_models_need_a_key(gateway: Gateway) -> None:
    for path in ("/v1/models", "/v1/models/chat", "/v1/models/nothing"):
        for headers in ("", "authorization: Bearer sk-wrong\r\n", f"api-key: {EXPIRED_KEY}\r\n"):
            answer = await get(gateway, path, headers)
            assert (answer.status, answer.error["code"]) == (401, "invalid_api_key")
    other = f"authorization: Bearer {CHAT_ONLY_KEY}\r\n"
    hidden, absent = [await get(gateway, f"/v1/models/{name}", other) for name in ("safe", "nothing")]
    assert (hidden.status, absent.status) == (404, 404)
    assert hidden.error["message"].replace("safe", "") == absent.error["message"].replace("nothing", "")


async def test_metrics_and_rows_agree(gateway: Gateway) -> None:
    for data in (
        http(chat()),
        http(chat(stream=True)),
        http(chat("safe")),
        http(chat("hopeless")),
        http(chat("nothing")),
        http(chat(), headers=""),
        http(b"{"),
        http(chat("mock/mock?usage=100,20,60")),
        http({"model": "embed", "input": "a"}, "/v1/embeddings"),
        http(b"", "/v1/chat/completions", "GET"),
        http(b"", "/nothing"),
    ):
        await ask(gateway.port, data)
    found = await samples(gateway)
    calls = found["llm_requests_total"]
    assert sum(calls.values()) == len(gateway.rows) == 10
    assert calls["mock-small", "200"] == 2
    assert calls["mock-large", "200"] == 1
    assert calls["unknown", "401"] == calls["unknown", "404"] == calls["unknown", "405"] == 1
    assert sum(found["llm_latency_seconds_count"].values()) == 10
    assert sum(found["sekisho_rows_total"].values()) == found["sekisho_rows_total"]["appended",] == 10
    assert found["sekisho_calls_in_flight"][()] == 0
    cost = sum(row.cost_nanos or 0 for row in gateway.rows)
    assert sum(found["llm_cost_dollars_total"].values()) == pytest.approx(cost / 1e9)
    tokens = found["llm_tokens_used_total"]
    assert (tokens["unknown", "cache_read"], tokens["unknown", "input"], tokens["unknown", "output"]) == (60, 40, 20)
    whole = sum((row.input_tokens or 0) + (row.output_tokens or 0) for row in gateway.rows)
    assert sum(tokens.values()) == whole


async def test_labels_name_configured_models_only(gateway: Gateway) -> None:
    """Nobody may fill the memory of whoever reads the metrics, or find callers in them."""
    for n in range(5):
        await ask(gateway.port, http(chat(f"mock/mock-{n}", user=f"user-{n}")))
        await ask(gateway.port, http(chat(f"nothing-{n}")))
    answer = await get(gateway, "/metrics")
    text = answer.body.decode()
    for word in (KEY, CHAT_ONLY_KEY, "taro", "research", "user-", "req_", "key_", "mock-1", "nothing-", "127.0.0.1"):
        assert word not in text, word
    models = {labels[0] for labels in (await samples(gateway))["llm_requests_total"]}
    assert models <= {"unknown", *(part.strip() for part in CONFIG.replace("}", " ").split())}
    async with connected(gateway.port) as wire:
        await wire.send(http(b"", "/metrics", "HEAD", ""))
        assert (await wire.until(b"\r\n\r\n")).status == 200


async def test_every_histogram_is_whole(gateway: Gateway) -> None:
    for stream in (False, True):
        await ask(gateway.port, http(chat(stream=stream)))
    text = (await get(gateway, "/metrics")).body.decode()
    histograms = [family for family in text_string_to_metric_families(text) if family.type == "histogram"]
    assert "llm_latency_seconds" in {family.name for family in histograms}
    for family in histograms:
        counts: dict[str, list[float]] = {}
        bounds: dict[str, list[str]] = {}
        for sample in family.samples:
            labels = str({name: value for name, value in sample.labels.items() if name != "le"})
            if sample.name.endswith("_bucket"):
                counts.setdefault(labels, []).append(sample.value)
                bounds.setdefault(labels, []).append(sample.labels["le"])
            elif sample.name.endswith("_count"):
                assert counts[labels][-1] == sample.value
        for labels, values in counts.items():
            assert values == sorted(values)
            assert bounds[labels][-1] == "+Inf"
        if family.name == "llm_latency_seconds":
            assert {"0.5", "1.0", "2.0", "5.0", "10.0", "30.0"} <= set(bounds["{'model': 'mock-small'}"])
