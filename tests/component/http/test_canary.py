"""Secrets planted everywhere, every failure provoked, and every sink read: answers, logs, metrics, rows."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Iterator

import pytest
from tests.component.http.client import AUTH, ask, chat, connected, http
from tests.support.gateway import CHAT_ONLY_KEY, EXPIRED_KEY, KEY, PEPPER, Gateway

from sekisho.app.logs import JsonLines
from sekisho.mock.openai_errors import CANARY
from sekisho.mock.script import KEYS

pytestmark = pytest.mark.asyncio(loop_scope="module")

PROMPT = "prompt-canary-7f3a"
WRONG_KEY = "sk-wrong-canary-key"
UPSTREAM_KEY = "sk-upstream-canary-key"
#: stands in fields of the provider's errors that a gateway might pass on
FIELD = "provider-field-canary"

#: every key of the script, in every failure it can be part of
FAULTS = [
    *(
        f"status={status}"
        for status in (300, 302, 400, 401, 402, 403, 404, 408, 409, 413, 418, 422, 429, 500, 503, 529)
    ),
    f"status=400&code={FIELD}&param={FIELD}",
    "status=400&code=context_length_exceeded",
    "status=400&code=content_filter",
    "status=429&code=insufficient_quota",
    f"status=429&retry_after={FIELD}",
    "status=429&retry_after=99999999999",
    "status=500&delay_ms=10&split=1",
    "fail_first=1",
    "bad_json=1",
    "bad_json=1&split=1&chunk_ms=1",
    "ok_error=1",
    "ok_error=1&split=1",
    "error_after=0",
    "error_after=2&chunk_ms=5&reasoning=1",
    "error_after=2&chunk_ms=5&tools=1&parallel=2",
    "cut_after=0",
    "cut_after=2&chunk_ms=5&refusal=1&logprobs=1",
    "cut_after=1&no_usage=1",
    "reset_after=0",
    "reset_after=2&chunk_ms=5",
    "hang=1",
    "hang_after=0",
    "hang_after=2&first_token_ms=5",
    "finish=error&chunks=0&no_done=1",
    "usage=5&answer=a&bad_json=1",
    "echo=1&cut_after=1&chunks=2",
    f"no_such_key={FIELD}",
]


class Lines(logging.Handler):
    """What this process would have written to stderr."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.setFormatter(JsonLines())
        self.text = ""

    def emit(self, record: logging.LogRecord) -> None:
        self.text += self.format(record) + "\n"


@pytest.fixture
def lines() -> Iterator[Lines]:
    handler, root = Lines(), logging.getLogger()
    names = ["", "sekisho", "uvicorn", "asyncio"]
    levels = [logging.getLogger(name).level for name in names]
    root.addHandler(handler)
    for name in names:
        logging.getLogger(name).setLevel(logging.DEBUG)
    yield handler
    root.removeHandler(handler)
    for name, level in zip(names, levels, strict=True):
        logging.getLogger(name).setLevel(level)


def secrets(gateway: Gateway) -> list[str]:
    """What no answer, no log line and no metric may hold."""
    return [
        KEY,
        CHAT_ONLY_KEY,
        EXPIRED_KEY,
        WRONG_KEY,
        PEPPER.decode(),
        UPSTREAM_KEY,
        FIELD,
        *CANARY.split("key ")[1].split(" at "),
        "provider says",
        "provider.internal",
        str(gateway.mock.port),
        "127.0.0.1:9",
        PROMPT,
    ]


def check(where: str, text: str, words: list[str]) -> None:
    for word in words:
        at = text.find(word)
        assert at < 0, f"{word!r} in {where}: …{text[max(0, at - 150) : at + 150]}…"


async def raw(gateway: Gateway, data: bytes) -> str:
    """Everything that comes back for a request: head, body, frames."""
    async with connected(gateway.port) as wire:
        await wire.send(data)
        await wire.answer()
        # the name is the caller's own, script and all
        return re.sub("x-sekisho-model: .*", "", wire.raw.decode("latin-1"))


def requests() -> dict[str, bytes]:
    """name -> a request that fails in one way or another."""
    said = [{"role": "user", "content": PROMPT}]
    found: dict[str, bytes] = {}
    found["a line of 20 MB"] = http(chat("mock/mock?line_mb=20", messages=said, stream=True))
    for fault in [f"mock/mock?{one}" for one in FAULTS] + ["dead/gone", "hopeless", "nothing", "second-hangs"]:
        for stream in (False, True):
            found[f"{fault} {stream}"] = http(chat(fault, messages=said, stream=stream, user=PROMPT))
        found[f"{fault} page"] = http({"model": fault, "message": PROMPT}, "/chat/stream")
        found[f"{fault} embeddings"] = http({"model": fault, "input": PROMPT}, "/v1/embeddings")
    for key in (WRONG_KEY, EXPIRED_KEY):
        found[f"key {key}"] = http(chat(messages=said), headers=f"authorization: Bearer {key}\r\n")
        found[f"two keys {key}"] = http(chat(messages=said), headers=f"{AUTH}api-key: {key}\r\n")
        found[f"models {key}"] = http(b"", "/v1/models", "GET", f"x-api-key: {key}\r\n")
    found["not allowed"] = http(chat("safe", messages=said), headers=f"api-key: {CHAT_ONLY_KEY}\r\n")
    found["bad json"] = http(b'{"model": "chat", "messages": "' + PROMPT.encode())
    found["bad field"] = http(chat(messages=PROMPT))
    found["bad field 2"] = http(chat(messages=said, metadata={"a": [PROMPT]}, user=[KEY]))
    found["forbidden"] = http(chat(messages=said, extra_body={"api_key": WRONG_KEY}))
    found["tags"] = http(chat(messages=said), headers=f"{AUTH}x-sekisho-tags: [{WRONG_KEY}]\r\n")
    found["encoding"] = http(PROMPT.encode(), headers=f"{AUTH}content-encoding: gzip\r\n")
    found["garbage"] = f"{PROMPT} {KEY}\r\n\r\n".encode()
    found["garbage headers"] = f"POST /v1/chat/completions HTTP/1.1\r\n{AUTH}{KEY} {PROMPT}\r\n\r\n".encode()
    return found


async def test_every_key_of_the_script_is_tried() -> None:
    tried = {pair.partition("=")[0] for fault in FAULTS for pair in fault.split("&")}
    assert tried | {"line_mb"} >= set(KEYS)


async def test_nothing_leaks(gateway: Gateway, lines: Lines) -> None:
    words = secrets(gateway)
    for again in (False, True):  # the second time over connections that the first left behind
        named = {name: data for name, data in requests().items() if not (again and "hang" in name)}
        texts = await asyncio.gather(*(raw(gateway, data) for data in named.values()))
        for name, text in zip(named, texts, strict=True):
            check(f"the answer to {name}", text, words)
        broken = sum(" 200 " not in text[:20] or '"error"' in text for text in texts)
        assert broken > len(texts) * 0.8
    check("the metrics", (await ask(gateway.port, http(b"", "/metrics", "GET", ""))).body.decode(), words)
    own = f"127.0.0.1:{gateway.port}"
    check("the log", lines.text.replace(own, ""), words)
    assert '"code":"upstream_error"' in lines.text
    _check_rows(gateway)


def _check_rows(gateway: Gateway) -> None:
    assert len(gateway.rows) > 200
    for row in gateway.rows:
        # a caller who puts a key into a body has put it into the row that keeps the body
        text = str(row._replace(request=None, response=None)).replace(f"end_user='{PROMPT}'", "")
        check("a row", text, [KEY, CHAT_ONLY_KEY, EXPIRED_KEY, WRONG_KEY, PEPPER.decode(), UPSTREAM_KEY, PROMPT])
        assert row.response is None or PROMPT.encode() not in row.response or "echo" in str(row.request_model)
        if row.request is not None:
            assert row.api_key_id is not None, "a body of somebody unknown was kept"


async def test_our_own_mistakes_tell_nothing_either(
    gateway: Gateway, lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object) -> bytes:
        raise RuntimeError("a mistake")

    monkeypatch.setattr(gateway.pipeline._upstream, "plain", broken)
    monkeypatch.setattr(gateway.pipeline._upstream, "stream", broken)
    for stream in (False, True):
        data = http(chat(messages=[{"role": "user", "content": PROMPT}], stream=stream))
        text = await raw(gateway, data)
        assert " 500 " in text[:20]
        check("the answer", text, [*secrets(gateway), "Traceback", "RuntimeError", "mistake\\n"])
    assert "RuntimeError: a mistake" in lines.text
    check("the log", lines.text, [KEY, UPSTREAM_KEY, PROMPT])


async def test_secrets_do_not_print(gateway: Gateway) -> None:
    """Whatever somebody logs one day."""
    snapshot = gateway.pipeline.snapshot
    for thing in (gateway.settings, snapshot.providers, snapshot.keyring, vars(snapshot), vars(snapshot.keyring)):
        check(type(thing).__name__, repr(thing), [UPSTREAM_KEY, KEY, CHAT_ONLY_KEY])
