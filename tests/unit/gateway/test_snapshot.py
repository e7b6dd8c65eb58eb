"""One configuration as the call path uses it: who may reach what, and by which weights."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from sekisho.domain.call import Call, Caller, Entry, Route
from sekisho.domain.endpoint import Endpoint, Target, Timeouts
from sekisho.domain.errors import Refusal
from sekisho.domain.http import HttpRequest, Origin, Secret
from sekisho.domain.money import Rates
from sekisho.gateway import snapshot as module
from sekisho.gateway.drive import Drive
from sekisho.gateway.policies.authentication import Keyring
from sekisho.gateway.snapshot import Choice, Provider, Snapshot
from sekisho.providers.catalog import CATALOG, chat_dialect, embeddings_dialect

ROUTE = Route(path="/v1/chat/completions", protocol="openai_chat", operation="chat", api_type="openai/v1/chat")
RATES = Rates(input_nanos_per_mtok=1, output_nanos_per_mtok=2)


def provider(name: str = "openai", *, api_key: str | None = "sk-canary", **headers: str) -> Provider:
    row = CATALOG["openai"]
    return Provider(
        name,
        row,
        chat_dialect(row),
        embeddings_dialect(row),
        origin=Origin(scheme="https", host="api.example", port=8443),
        base_path="/v1/",
        api_key=None if api_key is None else Secret(api_key),
        headers={key.replace("_", "-"): Secret(value) for key, value in headers.items()},
        user_agent="sekisho/0",
    )


def endpoint(name: str, *weights: int, fallbacks: int = 0) -> Endpoint:
    return Endpoint(
        name=name,
        targets=tuple(Target(provider="openai", model=f"t{n}", weight=weight) for n, weight in enumerate(weights)),
        fallbacks=tuple(Target(provider="openai", model=f"f{n}") for n in range(fallbacks)),
    )


class Prices:
    """Counts what it is asked for."""

    def __init__(self, rates: Rates | None = RATES) -> None:
        self.asked: list[tuple[str, str]] = []
        self.rates = rates

    async def __call__(self, provider: str, model: str) -> Rates | None:
        self.asked.append((provider, model))
        async with asyncio.timeout(1):  # as the price book does: it needs a task
            await asyncio.sleep(0)
        return self.rates


def snapshot(prices: Prices | None = None, *, default_provider: str | None = None, **endpoints: Endpoint) -> Snapshot:
    return Snapshot(
        providers={"openai": provider(), "local": provider("local", api_key=None)},
        endpoints={name.replace("_", "-"): one for name, one in endpoints.items()},
        keyring=Keyring(b"p" * 32, {}),
        rates_of=prices or Prices(),
        default_provider=default_provider,
        default_timeouts=Timeouts(total_s=77),
        default_log="full",
        default_durability="sync",
        block_unpriced=False,
        language="en",
        max_body_bytes=1,
        keepalive_s=15,
        config_hash="c",
    )


def caller(*endpoints: str) -> Caller:
    return Caller(key_id="key_1", key_name="one", endpoints=frozenset(endpoints))


def entry() -> Entry:
    return Entry(Call(ROUTE, {}, b"", "req_1", 0, None))


# -- weights


def test_targets_share_by_weight() -> None:
    choice = Choice(endpoint("chat", 70, 30, 0, fallbacks=1))
    counts = Counter(choice.order()[0].model for _ in range(4_000))
    assert counts["t2"] == 0, "weight 0 is never first"
    assert 0.65 < counts["t0"] / 4_000 < 0.75
    assert all(len(order) == 2 and order[1].model == "f0" for order in (choice.order() for _ in range(20)))


def test_a_single_target_needs_no_dice() -> None:
    choice = Choice(endpoint("chat", 1, fallbacks=2))
    assert [target.model for target in choice.order()] == ["t0", "f0", "f1"]
    assert choice.order() is choice.order()


def test_the_reason_of_a_first_attempt_says_how_its_target_was_chosen() -> None:
    assert Choice(endpoint("chat", 1)).first_reason == "primary"
    assert Choice(endpoint("chat", 1, 1)).first_reason == "weighted"


# -- endpoints by name


@pytest.mark.parametrize(
    ("names", "allowed"), [(["*"], True), (["chat"], True), (["other"], False), ([], False), (["openai/*"], False)]
)
def test_a_key_reaches_the_endpoints_it_names(names: list[str], allowed: bool) -> None:
    configured = endpoint("chat", 1)
    one = entry()
    if allowed:
        assert snapshot(chat=configured).named(one, caller(*names), "chat") is configured
        return
    with pytest.raises(Refusal) as refused:
        snapshot(chat=configured).named(one, caller(*names), "chat")
    assert (refused.value.status, refused.value.code, refused.value.param) == (403, "model_not_allowed", "model")
    assert one.endpoint is configured, "the row says what was wanted"


def test_an_unknown_name_is_no_endpoint_and_no_refusal_yet() -> None:
    assert snapshot(chat=endpoint("chat", 1)).named(entry(), caller("*"), "gpt-4o") is None


def test_models_lists_what_the_key_may_use_and_nothing_else() -> None:
    one = snapshot(chat=endpoint("chat", 1), admin_only=endpoint("admin-only", 1), all=endpoint("all", 1))
    assert one.models(caller("chat", "all", "gone")) == ["all", "chat"]
    assert one.models(caller("*")) == ["admin-only", "all", "chat"]
    assert one.models(caller()) == []


def test_who_names_no_model_gets_the_endpoint_that_is_called_chat_else_the_first() -> None:
    first, chat = endpoint("first", 1), endpoint("chat", 1)
    assert snapshot(first=first, chat=chat).default_model == "chat"
    assert snapshot(first=first, second=endpoint("second", 1)).default_model == "first"
    assert snapshot().default_model is None


# -- providers addressed directly


async def test_a_key_that_names_a_provider_addresses_its_models() -> None:
    prices = Prices()
    one = snapshot(prices)
    found = await one.direct(caller("openai/*"), "openai/org/model:free")
    assert [(target.provider, target.model, target.rates) for target in found.targets] == [
        ("openai", "org/model:free", RATES)
    ]
    assert (found.direct, found.log, found.timeouts.total_s, found.fallbacks) == (True, "full", 77, ())
    assert found.durability == "sync", "as the configuration has it for what is not an endpoint of its own"
    assert await one.direct(caller("openai/*"), "openai/org/model:free") is found
    assert prices.asked == [("openai", "org/model:free")], "asked once"


@pytest.mark.parametrize(
    ("names", "model"),
    [
        (["*"], "openai/gpt-4o"),  # `*` is every configured endpoint, not every model of the world
        (["local/*"], "openai/gpt-4o"),
        (["openai/gpt-4o"], "openai/gpt-4o"),
        (["openai/*"], "openai/"),
        (["openai/*"], "/gpt-4o"),
        (["openai/*"], "gpt-4o"),
        (["openai/*"], "OpenAI/gpt-4o"),
        (["nobody/*"], "nobody/gpt-4o"),
        (["/*"], "/gpt-4o"),
    ],
)
async def test_what_a_key_may_not_address_does_not_exist_for_it(names: list[str], model: str) -> None:
    one = snapshot()
    await one.direct(caller("openai/*"), "openai/gpt-4o")  # known to another key: no difference
    with pytest.raises(Refusal) as refused:
        await one.direct(caller(*names), model)
    assert (refused.value.status, refused.value.code) == (404, "model_not_found")


async def test_a_default_provider_takes_names_without_a_provider() -> None:
    one = snapshot(default_provider="local")
    found = await one.direct(caller("local/*"), "qwen3")
    assert (found.targets[0].provider, found.targets[0].model) == ("local", "qwen3")
    slashed = await one.direct(caller("local/*"), "Qwen/Qwen3-8B")
    assert (slashed.targets[0].provider, slashed.targets[0].model) == ("local", "Qwen/Qwen3-8B")
    with pytest.raises(Refusal):
        await one.direct(caller("openai/*"), "qwen3")


async def test_the_price_of_a_model_may_be_looked_up_without_a_task_of_the_call() -> None:
    """The call path runs without a task, and looking a price up needs one. That once was a 500."""
    ended: list[Endpoint | None] = []
    drive = Drive(snapshot().direct(caller("openai/*"), "openai/gpt-4o"), ended.append)
    asyncio.get_running_loop().call_soon(drive.go_on)  # from a callback, where no task is the current one
    while not drive.finished:
        await asyncio.sleep(0)
    assert ended[0] is not None
    assert ended[0].targets[0].rates is RATES


async def test_models_that_callers_make_up_are_not_all_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MAX_DIRECT_ENDPOINTS", 3)
    one = snapshot()
    for n in range(10):
        assert (await one.direct(caller("openai/*"), f"openai/m{n}")).targets[0].model == f"m{n}"
    assert len(one._direct) == 3
    for n in range(10):
        found = one.meant(caller("openai/*"), f"openai/refused{n}")
        assert found is not None
        assert found.targets[0].model == f"refused{n}"
    assert (len(one._refused), len(one._direct)) == (3, 3)


async def test_new_keys_keep_what_is_known_of_direct_models() -> None:
    one = snapshot(chat=endpoint("chat", 1))
    known = await one.direct(caller("openai/*"), "openai/gpt-4o")
    ring = Keyring(b"q" * 32, {})
    other = one.with_keyring(ring, None)
    assert (other.keyring, one.keyring is ring) == (ring, False)
    assert other.endpoints is one.endpoints
    assert await other.direct(caller("openai/*"), "openai/gpt-4o") is known


# -- the head of a request


def test_a_head_has_credentials_and_its_bodys_length() -> None:
    one = provider(x_team="research", user_agent="own")
    head = one.head(HttpRequest(path="/chat/completions", body=[b"12345", b"678"]))
    lines = head.decode().split("\r\n")
    assert lines[0] == "POST /v1/chat/completions HTTP/1.1"
    assert lines[-2:] == ["", ""]
    fields = dict(line.split(": ", 1) for line in lines[1:-2])
    assert fields["host"] == "api.example:8443"
    assert fields["authorization"] == "Bearer sk-canary"
    assert fields["content-length"] == "8"
    assert fields["x-team"] == "research"
    assert fields["accept-encoding"] == "identity", "an answer passes as it comes, and is read"
    assert fields["user-agent"] == "own", "what the operator says wins"


def test_a_header_that_the_operator_spells_another_way_takes_the_place_of_ours() -> None:
    head = provider(Authorization="Token own-credential").head(HttpRequest(path="/x", body=[b"1"]))
    assert [line for line in head.split(b"\r\n") if line.lower().startswith(b"authorization")] == [
        b"authorization: Token own-credential"
    ]


def test_headers_of_one_request_do_not_stay_for_the_next() -> None:
    one = provider()
    with_more = one.head(HttpRequest(path="/x", body=[b"1"], headers={"x-once": "yes"}))
    without = one.head(HttpRequest(path="/x", body=[b"12"]))
    assert b"x-once: yes\r\n" in with_more
    assert b"x-once" not in without
    assert with_more.endswith(b"content-length: 1\r\n\r\n")
    assert without.endswith(b"content-length: 2\r\n\r\n")


@pytest.mark.parametrize("show", [repr, str, lambda one: f"{one}", lambda one: repr([one])])
def test_a_provider_does_not_show_its_key(show: Callable[[Any], str]) -> None:
    assert "canary" not in show(provider(x_token="canary"))


def test_what_a_provider_writes_is_kept_without_the_credentials_it_was_sent() -> None:
    """Also where it was cut in the middle of one; a part of a few characters could be of any word."""
    sent = provider(api_key="sk-canary-0123", x_token="Bearer token-canary-77", x_short="night")
    written = "no sk-canary-0123, no Bearer token-canary-77, no token-canary-77: night sk-can"
    assert sent.hide(written) == "no ***, no ***, no ***: night sk-can"
    assert sent.hide("no sk-canary-01") == "no ***"
    assert provider(api_key=None).hide(written) == written


@pytest.mark.parametrize("secret", ["12345678", "sk-canary-0123"])
def test_a_credential_is_hidden_wherever_it_was_cut(secret: str) -> None:
    """From eight characters on, to all but its last one; also the shortest credential that is one."""
    sent = provider(api_key=secret)
    for size in range(8, len(secret) + 1):
        assert sent.hide(f"no {secret[:size]}") == "no ***"
    assert sent.hide(f"no {secret[:7]}") == f"no {secret[:7]}", "could be of any word"


def test_no_text_is_searched_for_beginnings_that_are_longer_than_it_is() -> None:
    """Tokens of some clouds have thousands of characters: comparing each of their beginnings would hold up calls."""

    longest: list[int] = []

    class Token(str):
        __slots__ = ()

        def __getitem__(self, at: Any) -> str:
            longest.append(at.stop)
            return super().__getitem__(at)

    sent = provider()
    sent._secrets = (Token("t" * 5_000),)  # pyright: ignore[reportPrivateUsage]
    assert sent.hide("no such model") == "no such model"
    assert max(longest) <= len("no such model")
