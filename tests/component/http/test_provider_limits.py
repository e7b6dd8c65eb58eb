"""`x-ratelimit-*` of a provider reach the caller where no limit of ours says the same, and nothing else of it does."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import pytest
from tests.component.gateway.raw import Peer, raw_server
from tests.component.http.client import Answer, ask, chat, http
from tests.support.counting import WIDE
from tests.support.gateway import CONFIG, DOORS, Door, Gateway, running_gateway

from sekisho.mock.server import MockProvider

REQUESTS = {
    "x-ratelimit-limit-requests": "500",
    "x-ratelimit-remaining-requests": "499",
    "x-ratelimit-reset-requests": "120ms",
}
TOKENS = {
    "x-ratelimit-limit-tokens": "30000",
    "x-ratelimit-remaining-tokens": "29,000",
    "x-ratelimit-reset-tokens": "6m0s",
}
BODY = (
    b'{"choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}],'
    b'"usage":{"prompt_tokens":1,"completion_tokens":1}}'
)
EVENT = b'data: {"choices":[{"index":0,"delta":{"content":"hi"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
SAYS = "".join(f"{name.title()}: {value}\r\n" for name, value in (REQUESTS | TOKENS).items())


def limits_in(answer: Answer) -> dict[str, str]:
    return {name: value for name, value in answer.headers.items() if name.startswith("x-ratelimit")}


@contextlib.asynccontextmanager
async def gateway_before(door: Door, says: str, form: str, limits: str = "") -> AsyncIterator[Gateway]:
    """Its provider `raw` answers with these header lines, in this form."""
    head = f"{says}x-openai-org: secret\r\n"

    async def script(peer: Peer) -> None:
        while await peer.request() is not None:
            if form == "plain":
                start = f"HTTP/1.1 200 OK\r\n{head}content-length: {len(BODY)}\r\n\r\n"
                await peer.say(start.encode("latin-1") + BODY)
            elif form == "error":
                await peer.say(f"HTTP/1.1 429 No\r\n{head}content-length: 2\r\n\r\n".encode("latin-1") + b"{}")
            else:
                kind, body = ("text/event-stream", EVENT) if form == "stream" else ("application/json", BODY)
                start = f"HTTP/1.1 200 OK\r\n{head}content-type: {kind}\r\ntransfer-encoding: chunked\r\n\r\n"
                await peer.say(start.encode("latin-1"), b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body))

    async with raw_server(script) as raw, MockProvider() as mock:
        config = CONFIG.replace(WIDE, limits).replace("DEAD", raw.base_url)
        config = config.replace(
            "  embed:\n",
            "  raw:\n    targets: [{provider: dead, model: gone}]\n"
            '  saved:\n    targets: [{provider: mock, model: "mock?status=500"}]\n'
            "    fallbacks: [{provider: dead, model: gone}]\n  embed:\n",
        )
        async with running_gateway(mock, door=door, config=config) as one:
            yield one
            await one.until(lambda: one.pipeline.tally.in_flight == 0)


async def asked(gateway: Gateway, form: str, model: str = "raw") -> Answer:
    return await ask(gateway.port, http(chat(model, stream=form == "stream")))


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("form", ["plain", "chunked", "stream", "error"])
async def test_what_the_provider_says_of_its_limits_is_passed_on(door: Door, form: str) -> None:
    async with gateway_before(door, SAYS, form) as gateway:
        answer = await asked(gateway, form)
        assert answer.status == (429 if form == "error" else 200)
        assert limits_in(answer) == REQUESTS | TOKENS
        assert "secret" not in str(answer.headers)


@pytest.mark.parametrize("form", ["plain", "stream"])
async def test_ours_come_first_and_the_other_kind_is_the_providers(form: str) -> None:
    async with gateway_before("hot", SAYS, form, 'limits: [{scope: {key: "*"}, qpm: 7}]\n') as gateway:
        found = limits_in(await asked(gateway, form))
        assert found["x-ratelimit-limit-requests"] == "7"
        assert found == found | TOKENS
        assert len(found) == 6


@pytest.mark.parametrize("form", ["plain", "chunked", "stream"])
async def test_only_harmless_values_of_known_names_are_passed_on(form: str) -> None:
    says = (
        f"x-ratelimit-limit-requests: {'9' * 65}\r\nx-ratelimit-limit-tokens: \xe9\r\n"
        "x-ratelimit-remaining-tokens:\r\nx-ratelimit-reset-tokens: a\tb\r\nx-ratelimit-other: 1\r\n"
        "x-ratelimit-remaining-requests: 3\r\n"
    )
    async with gateway_before("hot", says, form) as gateway:
        answer = await asked(gateway, form)
        assert answer.status == 200
        assert limits_in(answer) == {"x-ratelimit-remaining-requests": "3"}


@pytest.mark.parametrize("form", ["plain", "stream"])
async def test_a_fallback_says_nothing_of_its_limits(form: str) -> None:
    async with gateway_before("hot", SAYS, form) as gateway:
        answer = await asked(gateway, form, "saved")
        assert (answer.status, answer.headers["x-sekisho-attempts"]) == (200, "2")
        assert limits_in(answer) == {}
