"""Models of one name: metrics keep providers and operations apart; what is labelled by the model alone is their sum."""

from __future__ import annotations

from collections.abc import Iterator

import aiohttp
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample
from tests.support.gateway import KEY, WIDE, Gateway, running_gateway

from sekisho.costs.reconcile import counters
from sekisho.mock.server import MockProvider

CONFIG = (
    """
data_dir: ./data
language: en
providers:
  p1: {type: openai, base_url: "MOCK", allow_private: true}
  p2: {type: openai, base_url: "MOCK", allow_private: true}
endpoints:
  one: {targets: [{provider: p1, model: same}]}
  two: {targets: [{provider: p2, model: same}]}
keys:
  - {name: test, key: sk-test-0123456789abcdef, endpoints: ["*"]}
prices:
  p1/same: {input_per_mtok: 1.00, output_per_mtok: 2.00}
  p2/same: {input_per_mtok: 3.00, output_per_mtok: 5.00}
"""
    + WIDE
)


async def metrics(gateway: Gateway) -> tuple[str, list[Sample]]:
    async with aiohttp.ClientSession() as session, session.get(f"{gateway.url}/metrics") as answer:
        text = await answer.text()
    return text, [sample for family in text_string_to_metric_families(text) for sample in family.samples]


def of(samples: list[Sample], name: str) -> Iterator[tuple[tuple[str, str], float]]:
    for sample in samples:
        if sample.name == name:
            assert sample.labels["gen_ai_request_model"] == "same"
            yield (sample.labels["gen_ai_provider_name"], sample.labels["gen_ai_operation_name"]), sample.value


async def test_metrics_tell_providers_and_operations_of_one_model_apart(mock: MockProvider) -> None:
    calls = [("chat/completions", "one")] * 3 + [("chat/completions", "two")] * 2 + [("embeddings", "one")]
    async with running_gateway(mock, config=CONFIG) as gateway:
        async with aiohttp.ClientSession(headers={"authorization": f"Bearer {KEY}"}) as session:
            for route, model in calls:
                said = {"messages": [{"role": "user", "content": "hi"}]} if route[0] == "c" else {"input": "hi"}
                async with session.post(f"{gateway.base_url}/{route}", json={"model": model, **said}) as answer:
                    assert answer.status == 200
        text, samples = await metrics(gateway)
        apart = {("p1", "chat"): 3, ("p2", "chat"): 2, ("p1", "embeddings"): 1}
        for name in ("server_request", "client_operation"):
            assert dict(of(samples, f"gen_ai_{name}_duration_seconds_count")) == apart
        read = counters(text)
        assert read.requests == {("same", 200): 6}
        assert read.cost_nanos == {"same": sum(row.cost_nanos or 0 for row in gateway.rows)}
        assert read.tokens == {"same": sum((row.input_tokens or 0) + (row.output_tokens or 0) for row in gateway.rows)}
        assert text.count('llm_cost_dollars_total{model="same"}') == 1
        assert text.count('llm_latency_seconds_count{model="same"}') == 1
        gateway.check_books()
