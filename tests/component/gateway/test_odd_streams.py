"""Events of providers that are legal and unusual: what each means before the first content and after it."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import pytest
from tests.component.gateway.raw import Peer, Script, raw_server
from tests.property.house import ask, request
from tests.support.gateway import KEY, Door, Gateway, running_gateway

from sekisho.formats.openai_chunks import assemble

CONFIG = """
data_dir: ./data
language: en
providers:
  mock: {type: openai, base_url: "MOCK", allow_private: true}
defaults: {timeouts: {connect_s: 1, first_token_s: 2, idle_s: 2, total_s: 4}}
endpoints:
  chat: {targets: [{provider: mock, model: m}]}
  rescued: {targets: [{provider: mock, model: m}], fallbacks: [{provider: mock, model: rescue}]}
keys:
  - {name: test, key: sk-test-0123456789abcdef, endpoints: ["*"]}
prices:
  mock/*: {input_per_mtok: 1.00, output_per_mtok: 2.00}
"""
TEXT = b'{"choices":[{"index":0,"delta":{"content":"hi"},"finish_reason":null}]}'
STOP = b'{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}'
DONE = b"[DONE]"


def saying(*payloads: bytes, kind: bytes = b"text/event-stream") -> Script:
    """These events to everything but the model `rescue`."""

    async def script(peer: Peer) -> None:
        while (asked := await peer.request()) is not None:
            events = (TEXT, STOP, DONE) if b'"rescue"' in asked else payloads
            body = b"".join(b"data: " + one + b"\n\n" for one in events) if kind[:4] == b"text" else payloads[0]
            await peer.say(
                b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\ncontent-length: %d\r\n\r\n" % (kind, len(body)) + body
            )

    return script


def house(server: Any, door: Door) -> Any:
    return running_gateway(server, door=door, config=CONFIG)


async def said(gateway: Gateway, model: str = "chat", *, stream: bool = True) -> Any:
    return await ask(gateway.port, request(model, stream=stream, request_id="one"))


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (b'{"error":{"message":"slow down","code":429}}', 429, "rate_limit_exceeded"),
        (b'{"error":{"message":"x","code":"context_length_exceeded"}}', 400, "context_length_exceeded"),
        (b'{"error":{"message":"x","code":"content_filter"}}', 400, "content_policy_violation"),
        (b'{"error":{"message":"x","code":"invalid_api_key"}}', 502, "upstream_credentials"),
        (b'{"error":{"message":"overloaded"}}', 502, "upstream_error"),
        (b'{"object":"error","message":"overloaded","code":503}', 502, "upstream_error"),
    ],
)
async def test_an_error_as_the_first_event_means_what_it_says(door: Door, error: bytes, status: int, code: str) -> None:
    async with raw_server(saying(error)) as server, house(server, door) as gateway:
        seen = await said(gateway)
        assert (seen.status, seen.error_code) == (status, code)
        row = await gateway.row()
        assert (row.status_code, row.error_code, row.cost_nanos) == (status, code, 0)
        gateway.check_books()


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("error", [b"false", b"0", b"[]", b"null", b"{}", b'""'])
async def test_an_error_that_is_false_is_none(error: bytes, stream: bool) -> None:
    """So official SDKs read it, and so does /chat/stream."""
    text, stop = TEXT[:-1] + b',"error":' + error + b"}", STOP[:-1] + b',"error":' + error + b"}"
    script = saying(text, stop, DONE) if stream else saying(text, kind=b"application/json")
    async with raw_server(script) as server, house(server, "hot") as gateway:
        seen = await said(gateway, stream=stream)
        assert (seen.status, seen.whole) == (200, True)
        assert (await gateway.row()).terminal_state == "completed"


@pytest.mark.parametrize("end", [b"[DONE] ", b"[DONE]\t", b"[DONE]."])
async def test_whatever_stands_behind_the_word_that_ends_a_stream(door: Door, end: bytes) -> None:
    async with raw_server(saying(TEXT, STOP, end)) as server, house(server, door) as gateway:
        seen = await said(gateway)
        assert (seen.status, seen.error_code) == (200, None)
        assert (await gateway.row()).terminal_state == "completed"


@pytest.mark.parametrize("stream", [False, True])
async def test_half_a_character_fails_no_answer(stream: bool) -> None:
    r"""A server in JavaScript cut an emoji in two. `\\ud83d` is a text of seven characters, and none of its halves."""
    written = rb"\ud83d\\ud83d \ud83d\ude00"
    half = TEXT.replace(b"hi", written)
    script = saying(half, STOP, DONE) if stream else saying(half, kind=b"application/json")
    async with raw_server(script) as server, house(server, "hot") as gateway:
        seen = await said(gateway, "rescued", stream=stream)
        assert (seen.status, seen.error_code) == (200, None)
        assert written.replace(rb"\ud83d", rb"\ufffd", 1) in seen.body
        row = await gateway.row()
        assert (row.terminal_state, len(row.attempts)) == ("completed", 1)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("counts", [b"", b',"usage":{"prompt_tokens":"3","completion_tokens":"2"}'], ids=["", "odd"])
async def test_a_character_without_its_last_byte_fails_no_answer(stream: bool, counts: bytes) -> None:
    """A server that cuts its text by bytes. Plain, the answer went on as it was, and no SDK could read it."""
    cut, mended = "関所".encode()[:-1], "関\ufffd".encode()
    text = TEXT.replace(b"hi", cut)[:-1] + counts + b"}"
    script = saying(text, STOP, DONE) if stream else saying(text, kind=b"application/json")
    async with raw_server(script) as server, house(server, "hot") as gateway:
        seen = await said(gateway, "rescued", stream=stream)
        assert (seen.status, seen.error_code) == (200, None)
        assert mended in seen.body
        assert seen.body.decode()
        row = await gateway.row()
        assert (row.terminal_state, len(row.attempts)) == ("completed", 1)


def choice(index: int, *, text: str = "", reason: str = "") -> bytes:
    delta, finish = f'{{"content":"{text}"}}' if text else "{}", f'"{reason}"' if reason else "null"
    return f'{{"choices":[{{"index":{index},"delta":{delta},"finish_reason":{finish}}}]}}'.encode()


async def test_a_stream_is_whole_when_every_choice_has_ended(door: Door) -> None:
    begun = choice(1, text="b"), choice(0, text="a")
    stop, length = choice(0, reason="stop"), choice(1, reason="length")
    async with raw_server(saying(*begun, stop, DONE)) as server, house(server, door) as gateway:
        seen = await said(gateway)
        assert (DONE in seen.frames, seen.error_code) == (False, "stream_truncated"), "the other is cut"
        assert (await gateway.row()).terminal_state == "truncated"
        gateway.check_books()
    async with raw_server(saying(*begun, length, stop, DONE)) as server, house(server, door) as gateway:
        assert (await said(gateway)).frames[-1] == DONE
        row = await gateway.row()
        assert (row.terminal_state, row.finish_reasons) == ("completed", ["stop", "length"]), "by index"
        gateway.check_books()


async def test_an_answer_of_no_words_is_an_answer(door: Door) -> None:
    """No other target is paid for it: the model had nothing to say."""
    async with raw_server(saying(STOP, DONE)) as server, house(server, door) as gateway:
        seen = await asyncio.wait_for(said(gateway, "rescued"), 10)
        assert (seen.status, seen.frames) == (200, [STOP, DONE])
        row = await gateway.row()
        assert (row.terminal_state, row.status_code, row.finish_reasons) == ("completed", 200, ["stop"])
        assert (len(row.attempts), row.output_tokens, row.usage_source) == (1, 0, "estimated")
        assert row.time_to_first_byte_us is not None
        gateway.check_books()


USAGE = b'"usage":{"prompt_tokens":9,"completion_tokens":3,"total_tokens":12}'


@pytest.mark.parametrize("reason", [b"error", b"abort", b"insufficient_system_resource"])
async def test_a_finish_reason_that_says_that_the_answer_broke_off_ends_none_well(door: Door, reason: bytes) -> None:
    """Mistral and OpenRouter, vLLM and SGLang, DeepSeek."""
    stop, counted = STOP.replace(b"stop", reason), b'{"choices":[],' + USAGE + b"}"
    async with raw_server(saying(TEXT, stop, counted, DONE)) as server, house(server, door) as gateway:
        seen = await said(gateway)
        assert (seen.status, DONE in seen.frames, seen.error_code) == (200, False, "stream_truncated")
        row = await gateway.row()
        assert (row.terminal_state, row.error_code) == ("truncated", "stream_truncated")
        assert (row.usage_source, row.input_tokens, row.output_tokens) == ("provider", 9, 3)
        gateway.check_books()
    async with raw_server(saying(stop, counted, DONE)) as server, house(server, door) as gateway:
        seen = await said(gateway, "rescued")
        assert (seen.status, seen.frames[-1]) == (200, DONE), "no content had come"
        assert [one.cost_nanos is None for one in (await gateway.row()).attempts] == [False, False]
        gateway.check_books()


@pytest.mark.parametrize("reason", [b"error", b"abort", b"insufficient_system_resource"])
async def test_a_plain_answer_that_broke_off_is_none(door: Door, reason: bytes) -> None:
    choice = b'{"index":0,"message":{"content":"hi"},"finish_reason":"%b"}'
    for choices in (choice % reason, choice % b"stop" + b"," + choice % reason):
        script = saying(b'{"choices":[' + choices + b"]," + USAGE + b"}", kind=b"application/json")
        async with raw_server(script) as server, house(server, door) as gateway:
            seen = await said(gateway, stream=False)
            assert (seen.status, seen.error_code) == (502, "upstream_error")
            row = await gateway.row()
            assert (row.terminal_state, row.input_tokens, row.cost_nanos) == ("upstream_error", 9, 15_000)
            gateway.check_books()


async def test_a_tool_call_in_pieces_is_estimated_by_its_text_and_not_by_the_json_around_it() -> None:
    pieces = [f"word{n} " for n in range(60)]
    call = b'{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"%b"}}]}}]}'
    estimated: list[int] = []
    for form in (call, TEXT.replace(b"hi", b"%b")):
        script = saying(*(form % piece.encode() for piece in pieces), STOP, DONE)
        async with raw_server(script) as server, house(server, "hot") as gateway:
            assert (await said(gateway)).status == 200
            row = await gateway.row()
            assert row.usage_source == "estimated"
            estimated.append(row.output_tokens or 0)
    assert estimated[0] == pytest.approx(estimated[1], rel=0.1)


async def test_a_content_filter_as_the_first_event_is_not_passed_by(door: Door) -> None:
    error = b'{"error":{"message":"x","code":"content_filter"}}'
    async with raw_server(saying(error)) as server, house(server, door) as gateway:
        seen = await said(gateway, "rescued")
        assert (seen.status, seen.error_code) == (400, "content_policy_violation")
        assert len((await gateway.row()).attempts) == 1


@pytest.mark.parametrize(
    "error",
    [
        b'{"message":"CANARY","type":"server_error"}',
        b'{"detail":"CANARY"}',
        b'{"object":"error","reason":"CANARY"}',
        b'{"type":"error","reason":"CANARY"}',
    ],
)
async def test_an_error_without_the_envelope_does_not_reach_the_caller(door: Door, error: bytes) -> None:
    async with raw_server(saying(TEXT, error)) as server, house(server, door) as gateway:
        seen = await said(gateway)
        assert (seen.status, seen.error_code) == (200, "stream_failed")
        assert not any(b"CANARY" in frame for frame in seen.frames)
        row = await gateway.row()
        assert (row.error_code, row.terminal_state) == ("stream_failed", "upstream_error")
        assert "CANARY" in (row.error_message or "")


async def test_events_that_only_look_like_errors_pass(door: Door) -> None:
    events = (b'{"choices":[],"message":"a"}', TEXT, b'{"note":"b"}', STOP, DONE)
    async with raw_server(saying(*events)) as server, house(server, door) as gateway:
        seen = await said(gateway)
        assert seen.frames == list(events)
        assert (await gateway.row()).terminal_state == "completed"


async def test_an_empty_finish_reason_ends_nothing(door: Door) -> None:
    """Some servers send one with every piece: the stream that breaks off after it is no whole answer."""
    running = TEXT.replace(b"null", b'""')
    async with raw_server(saying(running, running)) as server, house(server, door) as gateway:
        seen = await said(gateway)
        assert (seen.error_code, DONE in seen.frames) == ("stream_truncated", False)
        assert (await gateway.row()).terminal_state == "truncated"
    async with raw_server(saying(running, running, STOP)) as server, house(server, door) as gateway:
        assert (await said(gateway)).frames[-1] == DONE
        assert (await gateway.row()).finish_reasons == ["stop"]


USAGES = [
    (b"[]", "estimated"),
    (b'"none"', "estimated"),
    (b'{"prompt_tokens":"3"}', "provider"),
    (b'{"prompt_tokens":3,"prompt_tokens_details":[]}', "provider"),
]


@pytest.mark.parametrize(("usage", "source"), USAGES)
async def test_a_text_is_an_answer_whatever_its_usage_looks_like(door: Door, usage: bytes, source: str) -> None:
    last = b'{"choices":[],"usage":%b}' % usage
    async with raw_server(saying(TEXT, STOP, last, DONE)) as server, house(server, door) as gateway:
        assert (await said(gateway)).frames == [TEXT, STOP, DONE]
        row = await gateway.row()
        assert (row.terminal_state, row.usage_source) == ("completed", source)
    whole = b'{"choices":[{"message":{"content":"hi"},"finish_reason":"stop"}],"usage":%b}' % usage
    async with raw_server(saying(whole, kind=b"application/json")) as server, house(server, door) as gateway:
        assert (await said(gateway, stream=False)).status == 200
        row = await gateway.row()
        assert (row.terminal_state, row.usage_source, row.finish_reasons) == ("completed", source, ["stop"])


@pytest.mark.parametrize(
    ("delta", "most_tokens"),
    [
        (b'{"function_call":{"name":"f","arguments":""}}', 40),  # before there were tool calls
        (b'{"audio":{"id":"a","transcript":"hi"}}', 10),
        (b'{"audio":{"id":"a","data":"%b"}}' % (b"UklGRg" * 5000), 10),  # a second of sound is 20 tokens, and 64 kB
        (b'{"images":[{"type":"image_url","image_url":{"url":"data:image/png;base64,%b"}}]}' % (b"iVBORw" * 5000), 10),
    ],
    ids=["function", "transcript", "sound", "picture"],
)
async def test_what_is_no_text_is_content_too_and_its_bytes_are_no_tokens(delta: bytes, most_tokens: int) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        event = b'data: {"choices":[{"index":0,"delta":%b}]}\n\n' % delta
        await peer.say(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n" + event)
        await peer.gone()

    config = CONFIG.replace("first_token_s: 2, idle_s: 2", "first_token_s: 0.2, idle_s: 0.2")
    async with raw_server(script) as server, running_gateway(server, config=config) as gateway:  # type: ignore[arg-type]
        seen = await said(gateway)
        row = await gateway.row()
        assert (seen.status, row.error_code, row.usage_source) == (200, "upstream_timeout", "estimated")
        assert row.time_to_first_byte_us is not None
        assert row.output_tokens is not None
        assert row.output_tokens <= most_tokens
        gateway.check_books()


@pytest.mark.parametrize("delta", [b'{"function_call":null}', b'{"audio":null}', b'{"images":[]}', b'{"audio":{}}'])
async def test_what_is_empty_is_no_content(delta: bytes) -> None:
    script = saying(b'{"choices":[{"index":0,"delta":%b}]}' % delta)
    async with raw_server(script) as server, house(server, "hot") as gateway:
        assert (await said(gateway)).status == 502


@pytest.mark.parametrize(
    "calls",
    [b"[null]", b'["a"]', b'{"a":1}', b'[{"function":"f"}]', b'[{"index":[0],"function":{"name":"f"}}]'],
    ids=str,
)
async def test_odd_tool_calls_cost_no_text(calls: bytes) -> None:
    """Neither a web page's, nor that of the row."""
    odd = b'{"choices":[{"index":0,"delta":{"content":" there","tool_calls":%b},"finish_reason":null}]}' % calls
    async with (
        raw_server(saying(TEXT, odd, TEXT, STOP, DONE)) as server,
        house(server, "hot") as gateway,
        aiohttp.ClientSession(headers={"authorization": f"Bearer {KEY}"}) as session,
        session.post(f"{gateway.url}/chat/stream", json={"message": "hello"}) as answer,
    ):
        frames = [frame.removeprefix(b"data: ") for frame in (await answer.read()).split(b"\n\n") if frame]
        assert frames == [b'{"content":"hi"}', b'{"content":" there"}', b'{"content":"hi"}', DONE]
    assert b'"content":"hi therehi"' in assemble([TEXT, odd, TEXT, STOP])
