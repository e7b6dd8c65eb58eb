"""Every refusal in the envelope that official clients read, with its status, type, code and field; on both doors."""

from __future__ import annotations

import gzip
import json
import re
from typing import Any

import pytest
from tests.component.http.client import AUTH, Answer, ask, chat, chunked, connected, http
from tests.support.gateway import CHAT_ONLY_KEY, EXPIRED_KEY, KEY, Door, Gateway

pytestmark = pytest.mark.asyncio(loop_scope="module")

EMBED = "/v1/embeddings"
STREAM = "/chat/stream"


def check(answer: Answer, status: int, code: str, *, type: str = "invalid_request_error", param: Any = None) -> None:
    """The whole envelope: nothing missing, nothing more."""
    error = answer.error
    assert (answer.status, error["code"]) == (status, code), answer.body
    assert list(error) == ["message", "type", "param", "code", "request_id"]
    assert (error["type"], error["param"]) == (type, param)
    assert error["request_id"] == answer.headers["x-request-id"]
    assert re.fullmatch(r"req_[0-9a-f]{32}", error["request_id"])
    assert error["message"].isprintable()
    assert not re.search(r"[{}]", error["message"].replace('{"', "").replace('"}', ""))
    assert int(answer.headers["content-length"]) == len(answer.body)


# -- the caller's mistakes


@pytest.mark.parametrize("path", ["/v1/chat/completions", EMBED, STREAM])
@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "it is empty"),
        (b" \r\n\t", "it is empty"),
        (b"{", "it ends too early"),
        (b'{"model": "chat" "messages"}', "there is a mistake at byte"),
        (b"[]", "it must be a JSON object"),
        (b'"text"', "it must be a JSON object"),
        (b"null", "it must be a JSON object"),
        (b"{}{}", "there is a mistake at byte"),
        (b"{'model': 'chat'}", "there is a mistake at byte"),
        (b'{"model": "chat", "messages": [{"role": "user", "content": "\xff\xfe"}]}', "it is not valid UTF-8"),
        (b'{"model": "chat", "messages": "\xed\xa0\x80"}', "it is not valid UTF-8"),
        (b'{"model": "chat", "messages": [{"role": "user", "content": "a\\ud83d"}]}', "by half"),
        (b'{"model": "chat", "messages": [{"content": "a\\uD83D"}]} \n', "by half"),
        (b'{"model": "chat", "messages": [{"content": "a\\ud83d and more of it"}]}', "by half"),
        (b'{"model": "chat", "messages": [{"content": "a\\ud83d\\u0041 and more"}]}', "by half"),
        (b'{"model": "chat", "messages": [{"content": "a\\ude00 and more of it"}]}', "by half"),
        (b'{"model": "chat", "messages": [{"role": "user", "content": "a\\ud83d', "it ends too early"),
        (b'{"model": "chat", "messages": ' + b"[" * 200_000 + b"]" * 200_000 + b"}", "it is nested too deeply"),
        (b'{"a": ' * 200_000 + b"1" + b"}" * 200_000, "it is nested too deeply"),
    ],
)
async def test_a_body_that_is_no_json_object(gateway: Gateway, path: str, body: bytes, said: str) -> None:
    answer = await ask(gateway.port, http(body, path))
    check(answer, 400, "invalid_json")
    assert said in answer.error["message"]
    row = await gateway.row()
    assert (row.status_code, row.error_code, row.api_key_id is not None) == (400, "invalid_json", True)
    assert gateway.mock.calls["calls"] == 0


def deep(depth: int) -> bytes:
    return b'{"model": "mock/mock-small", "messages": [{"role": "user", "content": "a"}], "more": %b%b}' % (
        b"[" * depth,
        b"]" * depth,
    )


async def test_deep_nesting_passes_or_is_refused_but_never_breaks(gateway: Gateway) -> None:
    for depth in (10, 500, 900, 1100, 5000):
        answer = await ask(gateway.port, http(deep(depth)))
        if answer.status != 200:
            assert depth > 500
            check(answer, 400, "invalid_json")


@pytest.mark.parametrize(
    ("path", "wrong", "param"),
    [
        ("", {"model": None}, "model"),
        ("", {"model": 5}, "model"),
        ("", {"model": ""}, "model"),
        ("", {"model": "a" * 257}, "model"),
        ("", {"model": "chat\r\nx-evil: 1"}, "model"),
        ("", {"model": "chat\u0000"}, "model"),
        ("", {"model": "chat\u202e"}, "model"),
        ("", {"model": ["chat"]}, "model"),
        ("", {"messages": None}, "messages"),
        ("", {"messages": []}, "messages"),
        ("", {"messages": "hello"}, "messages"),
        ("", {"stream": "yes"}, "stream"),
        ("", {"stream_options": 1}, "stream_options"),
        ("", {"stream_options": {"include_usage": "yes"}}, "stream_options"),
        ("", {"n": 0}, "n"),
        ("", {"n": 1.5}, "n"),
        ("", {"n": "2"}, "n"),
        ("", {"user": 5}, "user"),
        ("", {"user": "u" * 257}, "user"),
        ("", {"metadata": []}, "metadata"),
        ("", {"metadata": {"a": 1}}, "metadata"),
        ("", {"metadata": {"a" * 65: "b"}}, "metadata"),
        ("", {"metadata": {str(n): "b" for n in range(17)}}, "metadata"),
        (EMBED, {"input": ""}, "input"),
        (EMBED, {"input": []}, "input"),
        (EMBED, {"input": None}, "input"),
        (EMBED, {"input": {}}, "input"),
        (EMBED, {"encoding_format": "int8"}, "encoding_format"),
        (STREAM, {"message": ""}, "message"),
        (STREAM, {"message": 1}, "message"),
        (STREAM, {"messages": []}, "messages"),
        (STREAM, {"history": [{"role": "system", "content": "x"}]}, "history"),
        (STREAM, {"history": "x"}, "history"),
    ],
)
async def test_a_bad_field(gateway: Gateway, path: str, wrong: dict[str, Any], param: str) -> None:
    good = {
        "": chat("mock/mock-small"),
        EMBED: {"model": "embed", "input": "text"},
        STREAM: {"model": "chat", "message": "hello"},
    }[path]
    answer = await ask(gateway.port, http({**good, **wrong}, path or "/v1/chat/completions"))
    check(answer, 400, "invalid_value", param=param)
    assert f"`{param}`" in answer.error["message"]
    row = await gateway.row()
    assert (row.status_code, row.error_code) == (400, "invalid_value")
    assert row.request_model == (None if param == "model" else good["model"])
    assert gateway.mock.calls["calls"] == 0


@pytest.mark.parametrize("path", ["/v1/chat/completions", EMBED])
@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"base_url": "http://evil.example"}, "base_url"),
        ({"api_base": "http://evil.example"}, "api_base"),
        ({"api_key": "sk-mine"}, "api_key"),
        ({"API-Key": "sk-mine"}, "API-Key"),
        ({"baseUrl": None}, "baseUrl"),
        ({"extra_headers": {}}, "extra_headers"),
        ({"extra_body": {"base_url": "http://evil.example"}}, "extra_body.base_url"),
        ({"extra_body": {"extra_body": {"api_key": "x"}}}, "extra_body.extra_body.api_key"),
        ({"aws_session_token": "x"}, "aws_session_token"),
    ],
)
async def test_a_field_that_could_turn_the_call_elsewhere(
    gateway: Gateway, path: str, more: dict[str, Any], param: str
) -> None:
    good = chat("mock/mock-small") if path != EMBED else {"model": "embed", "input": "a"}
    answer = await ask(gateway.port, http({**good, **more}, path))
    check(answer, 400, "forbidden_field", param=param)
    assert "evil" not in answer.body.decode()
    assert (await gateway.row()).request_model == good["model"]
    assert gateway.mock.calls["calls"] == 0


async def test_a_header_of_tags_that_is_no_object_of_strings(gateway: Gateway) -> None:
    for tags in ("[]", '{"a": 1}', "{", '{"a": "' + "b" * 11_000 + '"}'):
        answer = await ask(gateway.port, http(chat(), headers=f"{AUTH}x-sekisho-tags: {tags}\r\n"))
        check(answer, 400, "invalid_value", param="x-sekisho-tags")


@pytest.mark.parametrize("member", ["user", "safety_identifier"])
async def test_a_requester_that_looks_like_another_one(gateway: Gateway, member: str) -> None:
    headers = "authorization: Bearer sk-behalf-0123456789abcdef\r\n"
    for sent, said, japanese in [
        ("ali\u200bce", "U+200B", "目に見えない文字 U+200B"),
        ("x" * 65, "1 to 64 characters", "1 文字以上 64 文字以下"),
    ]:
        answer = await ask(gateway.port, http(chat(**{member: sent}), headers=headers))
        check(answer, 400, "invalid_value", param=member)
        assert said in answer.error["message"]
        answer = await ask(gateway.port, http(chat(**{member: sent}), headers=f"{headers}accept-language: ja\r\n"))
        assert japanese in answer.error["message"]
    assert (await ask(gateway.port, http(chat(**{member: "ａｌｉｃｅ"}), headers=headers))).status == 200
    row = await gateway.row(5)
    assert (row.requester, row.end_user) == ("alice", "ａｌｉｃｅ")
    assert (gateway.rows[0].requester, gateway.rows[0].end_user) == ("behalf", "ali\u200bce")
    assert gateway.mock.calls["calls"] == 1


# -- keys


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        ("", "No API key was sent"),
        ("authorization: Bearer\r\n", "No API key was sent"),
        ("authorization: Bearer \r\n", "No API key was sent"),
        (f"authorization: {KEY}\r\n", "No API key was sent"),
        (f"authorization: Basic {KEY}\r\n", "No API key was sent"),
        ("x-api-key:\r\n", "No API key was sent"),
        (f"cookie: authorization={KEY}\r\n", "No API key was sent"),
        ("authorization: Bearer sk-wrong\r\n", "is not valid"),
        (f"authorization: Bearer {KEY}x\r\n", "is not valid"),
        (f"authorization: Bearer {KEY[:-1]}\r\n", "is not valid"),
        (f"authorization: Bearer {KEY},{KEY}\r\n", "is not valid"),
        (f"authorization: Bearer {KEY.upper()}\r\n", "is not valid"),
        (f"authorization: Bearer {EXPIRED_KEY}\r\n", "is not valid"),
        (f"authorization: Bearer {'k' * 5000}\r\n", "is not valid"),
        ("authorization: Bearer sk-日本\r\n", "is not valid"),
    ],
)
@pytest.mark.parametrize("path", ["/v1/chat/completions", EMBED, STREAM])
async def test_no_good_key(gateway: Gateway, path: str, headers: str, said: str) -> None:
    answer = await ask(gateway.port, http(chat(), path, headers=headers))
    check(answer, 401, "invalid_api_key")
    assert said in answer.error["message"]
    row = await gateway.row()
    assert (row.status_code, row.error_code, row.request, row.request_model) == (401, "invalid_api_key", None, None)


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/models", "/v1/models/chat"])
@pytest.mark.parametrize("name", ["api_key", "key", "api-key", "x-api-key", "Authorization"])
async def test_a_key_in_the_query_string_is_no_key(gateway: Gateway, path: str, name: str) -> None:
    method = "POST" if "chat/" in path else "GET"
    answer = await ask(gateway.port, http(chat(), f"{path}?{name}={KEY}", method, headers=""))
    check(answer, 401, "invalid_api_key")
    assert KEY not in str(gateway.rows)


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/chat/completions?api-version=2026-01-01"])
@pytest.mark.parametrize(
    "headers",
    [
        f"authorization: Bearer {KEY}\r\n",
        f"Authorization: bearer {KEY}\r\n",
        f"AUTHORIZATION: BEARER   {KEY}  \r\n",
        f"x-api-key: {KEY}\r\n",
        f"X-Api-Key: {KEY}\r\n",
        f"x-goog-api-key: {KEY}\r\n",
        f"api-key: {KEY}\r\n",
        f"x-api-key:  {KEY} \t\r\n",
        f"api-key: {KEY} \r\nx-api-key: {KEY}\r\n",
        f"api-key: {KEY}\r\nx-api-key: {KEY}\r\nauthorization: Bearer {KEY}\r\n",
        f"x-api-key: {KEY}\r\nx-api-key: {KEY}\r\n",
        f"authorization: Basic dXNlcjpwYXNz\r\nx-api-key: {KEY}\r\n",
    ],
)
async def test_every_header_of_a_key(gateway: Gateway, path: str, headers: str) -> None:
    assert (await ask(gateway.port, http(chat(), path, headers=headers))).status == 200
    assert (await ask(gateway.port, chunked(json.dumps(chat()).encode(), path, headers))).status == 200
    assert (await ask(gateway.port, http(b"", "/v1/models", "GET", headers))).status == 200
    assert KEY not in str(gateway.mock.last)


@pytest.mark.parametrize(
    "headers",
    [
        f"authorization: Bearer {KEY}\r\nx-api-key: {CHAT_ONLY_KEY}\r\n",
        f"x-api-key: {KEY}\r\napi-key: {CHAT_ONLY_KEY}\r\n",
        f"x-goog-api-key: {KEY}\r\napi-key: sk-wrong\r\n",
    ],
)
async def test_two_different_keys(gateway: Gateway, headers: str) -> None:
    check(await ask(gateway.port, http(chat(), headers=headers)), 400, "conflicting_credentials")
    check(await ask(gateway.port, http(b"", "/v1/models", "GET", headers)), 400, "conflicting_credentials")


@pytest.mark.parametrize(
    "headers",
    [
        f"authorization: Bearer {KEY}\r\nauthorization: Bearer {CHAT_ONLY_KEY}\r\n",
        f"authorization: Bearer sk-wrong\r\nauthorization: Bearer {KEY}\r\n",
        f"authorization: Bearer {KEY}\r\nauthorization: Bearer sk-wrong\r\nauthorization: Bearer {KEY}\r\n",
        f"authorization: Basic dXNlcjpwYXNz\r\nauthorization: Bearer {KEY}\r\nx-api-key: {KEY}\r\n",
        f"x-api-key: {CHAT_ONLY_KEY}\r\nx-api-key: {KEY}\r\n",
        f"x-api-key: {CHAT_ONLY_KEY}\r\nx-api-key: {KEY}\r\nauthorization: Bearer {KEY}\r\n",
        f"authorization: Bearer {KEY}\r\nx-api-key: {CHAT_ONLY_KEY}\r\nx-api-key: {KEY}\r\n",
    ],
)
async def test_a_header_of_a_key_twice_with_different_values(gateway: Gateway, headers: str) -> None:
    for data in (http(chat(), headers=headers), http(b"", "/v1/models", "GET", headers)):
        answer = await ask(gateway.port, data)
        check(answer, 401, "invalid_api_key")
        assert "twice" in answer.error["message"]


async def test_other_headers_may_repeat(gateway: Gateway) -> None:
    more = (
        "accept-language: fr\r\naccept-language: ja\r\nuser-agent: one\r\nuser-agent: two\r\n"
        "x-request-id: a\r\nx-request-id: b\r\n"
    )
    answer = await ask(gateway.port, http(chat("nothing"), headers=AUTH + more))
    check(answer, 404, "model_not_found", param="model")
    assert "存在しない" in answer.error["message"]


async def test_a_model_the_key_may_not_use(gateway: Gateway) -> None:
    auth = f"authorization: Bearer {CHAT_ONLY_KEY}\r\n"
    answer = await ask(gateway.port, http(chat("safe"), headers=auth))
    check(answer, 403, "model_not_allowed", type="permission_error", param="model")
    for model in ("mock/mock-small", "dead/x", "nothing"):
        check(await ask(gateway.port, http(chat(model), headers=auth)), 404, "model_not_found", param="model")
    assert [row.status_code for row in gateway.rows] == [403, 404, 404, 404]


# -- routes


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", "/v1"),
        ("POST", "/v1/chat"),
        ("POST", "/v1/chat/completions/"),
        ("POST", "/V1/chat/completions"),
        ("POST", "/v1//chat/completions"),
        ("POST", "/chat/completions"),
        ("POST", "/v1/responses/x/y"),
        ("GET", "/health"),
        ("GET", "/health/live/"),
        ("GET", "/nothing%0d%0ax-evil:%201"),
        ("GET", "/%E6%97%A5%E6%9C%AC?%FF"),
        ("GET", "/../etc/passwd"),
        ("DELETE", "/v1/files/abc"),
    ],
)
async def test_a_route_that_does_not_exist(gateway: Gateway, method: str, path: str) -> None:
    answer = await ask(gateway.port, http(b"", path, method))
    check(answer, 404, "not_found")
    assert "location" not in answer.headers
    assert "x-evil" not in answer.headers
    assert not gateway.rows


async def test_the_host_header_changes_nothing(gateway: Gateway) -> None:
    for host in ("[", "evil.example/x", "a b", "日本", ""):
        data = f"GET /nothing HTTP/1.1\r\nhost: {host}\r\n\r\n".encode()
        check(await ask(gateway.port, data), 404, "not_found")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/v1/chat/completions", "POST"),
        ("PUT", "/v1/chat/completions", "POST"),
        ("DELETE", EMBED, "POST"),
        ("OPTIONS", STREAM, "POST"),
        ("PATCH", "/v1/chat/completions?x=1", "POST"),
        ("POST", "/v1/models", "GET, HEAD"),
        ("DELETE", "/v1/models/chat", "GET, HEAD"),
        ("POST", "/health/live", "GET, HEAD"),
        ("PUT", "/metrics", "GET, HEAD"),
    ],
)
async def test_a_method_that_does_not_fit(gateway: Gateway, method: str, path: str, allowed: str) -> None:
    answer = await ask(gateway.port, http(b"", path, method))
    check(answer, 405, "method_not_allowed")
    assert sorted(answer.headers["allow"].split(", ")) == sorted(allowed.split(", "))
    assert method in answer.error["message"]


# -- what the model refuses

TOO_LONG = "mock/mock?status=400&code=context_length_exceeded"


@pytest.mark.parametrize(
    ("path", "said", "param", "english", "japanese"),
    [
        (
            "/v1/chat/completions",
            {"messages": [{"role": "user", "content": "hi"}]},
            "messages",
            "Shorten the messages",
            "メッセージを短く",
        ),
        (EMBED, {"input": "hi"}, "input", "Shorten the texts", "テキストを短く"),
        (STREAM, {"message": "hi"}, "message", "Shorten the message or its history", "メッセージまたは履歴を短く"),
    ],
)
async def test_an_input_that_is_too_long_is_named_as_the_caller_sent_it(
    gateway: Gateway, path: str, said: dict[str, Any], param: str, english: str, japanese: str
) -> None:
    for language, words in (("en", english), ("ja", japanese)):
        headers = f"{AUTH}accept-language: {language}\r\n"
        answer = await ask(gateway.port, http({"model": TOO_LONG, **said}, path, headers=headers))
        check(answer, 400, "context_length_exceeded", param=param)
        assert words in answer.error["message"]
        assert ("output" in answer.error["message"]) == (param == "messages" and language == "en")


# -- sizes

LIMIT = 12 * 1024 * 1024


async def test_a_content_length_that_is_too_large_is_answered_before_the_body(gateway: Gateway) -> None:
    async with connected(gateway.port) as wire:
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: g\r\n{AUTH}content-length: {LIMIT + 1}\r\n\r\n"
        await wire.send(head.encode())
        answer = await wire.answer()
    check(answer, 413, "request_too_large")
    assert "12 MiB" in answer.error["message"]
    row = await gateway.row()
    assert (row.status_code, row.error_code, row.request) == (413, "request_too_large", None)


async def test_no_invitation_to_send_what_is_too_large(gateway: Gateway) -> None:
    async with connected(gateway.port) as wire:
        head = f"POST {EMBED} HTTP/1.1\r\nhost: g\r\n{AUTH}expect: 100-continue\r\ncontent-length: {LIMIT + 1}\r\n\r\n"
        await wire.send(head.encode())
        check(await wire.answer(), 413, "request_too_large")


@pytest.mark.parametrize("how", ["length", "chunked"])
async def test_a_client_that_sends_everything_first_still_gets_the_answer(gateway: Gateway, how: str) -> None:
    body = b'{"model": "chat", "messages": "' + b"x" * (LIMIT + 3_000_000)
    async with connected(gateway.port) as wire:
        await wire.send(http(body) if how == "length" else chunked(body, size=65536))
        answer = await wire.answer()
    check(answer, 413, "request_too_large")
    assert len(gateway.rows) == 1


async def test_a_body_at_the_limit_passes(gateway: Gateway) -> None:
    frame = json.dumps(chat("mock/mock-small", messages=[{"role": "user", "content": ""}]))
    body = frame.replace('"content": ""', '"content": "' + "x" * (10_000_000 - len(frame)) + '"').encode()
    assert len(body) == 10_000_000
    assert (await ask(gateway.port, http(body))).status == 200
    assert (await ask(gateway.port, chunked(body, size=1_000_000))).status == 200
    for row in gateway.rows:
        assert row.input_tokens == len(json.loads(body)["messages"][0]["content"]) // 4
        assert row.request == body


async def test_headers_that_are_too_large(gateway: Gateway, door: Door) -> None:
    for more in (f"x-large: {'a' * 70_000}\r\n", "".join(f"x-{n}: {'b' * 100}\r\n" for n in range(700))):
        answer = await ask(gateway.port, http(chat(), headers=AUTH + more))
        check(answer, 431, "header_too_large")
        assert "64 KiB" in answer.error["message"]
        if door == "hot":  # in the product every connection is the hot protocol's
            japanese = f"{AUTH}accept-language: ja\r\n{more}"
            answer = await ask(gateway.port, http(b"", "/v1/models", "GET", japanese))
            check(answer, 431, "header_too_large")
            assert "ヘッダー" in answer.error["message"]
    assert (await ask(gateway.port, http(chat(), headers=f"{AUTH}x-large: {'a' * 30_000}\r\n"))).status == 200


async def test_headers_that_are_too_large_make_a_row(gateway: Gateway) -> None:
    await ask(gateway.port, http(chat(), headers=f"{AUTH}x-large: {'a' * 70_000}\r\n"))
    row = await gateway.row()
    assert (row.status_code, row.error_code, row.request) == (431, "header_too_large", None)


# -- encodings


async def test_a_packed_body(gateway: Gateway) -> None:
    body = json.dumps(chat("mock/mock?echo=1")).encode()
    for name in ("gzip", "GZIP", "x-gzip", " gzip "):
        packed = gzip.compress(body)
        answer = await ask(gateway.port, http(packed, headers=f"{AUTH}content-encoding: {name}\r\n"))
        assert answer.json["choices"][0]["message"]["content"] == "hello there"
    assert (await ask(gateway.port, http(body, headers=f"{AUTH}content-encoding: identity\r\n"))).status == 200
    row = await gateway.row()
    assert json.loads(row.request or b"") == chat("mock/mock?echo=1")
    assert "content-encoding" not in gateway.mock.last["headers"]  # type: ignore[operator, index]


def packed(body: bytes) -> bytes:
    """Without the time, which would make another test of it in every process."""
    return gzip.compress(body, mtime=0)


@pytest.mark.parametrize(
    ("body", "encoding", "status", "code", "said"),
    [
        (packed(b" " * (LIMIT + 1)), "gzip", 413, "request_too_large", "12 MiB"),
        (packed(b"{}")[:-4], "gzip", 400, "invalid_json", "cut short"),
        (packed(b"{}" * 500)[:40] + b"damage", "gzip", 400, "invalid_json", "gzip body is"),
        (b"{}", "gzip", 400, "invalid_json", "damaged"),
        (b"", "gzip", 400, "invalid_json", "cut short"),
        (packed(b'{"model"') + packed(b': "chat"}'), "gzip", 400, "invalid_json", "damaged"),
        (b"{}", "br", 415, "unsupported_encoding", "br"),
        (b"{}", "deflate", 415, "unsupported_encoding", "deflate"),
        (packed(packed(b"{}")), "gzip, gzip", 415, "unsupported_encoding", "gzip, gzip"),
        (b"{}", "日本", 415, "unsupported_encoding", ""),
    ],
)
async def test_a_packed_body_that_cannot_be_taken(
    gateway: Gateway, body: bytes, encoding: str, status: int, code: str, said: str
) -> None:
    answer = await ask(gateway.port, http(body, headers=f"{AUTH}content-encoding: {encoding}\r\n"))
    check(answer, status, code)
    assert said in answer.error["message"]
    row = await gateway.row()
    assert (row.status_code, row.request) == (status, None)


async def test_an_encoding_that_is_named_twice(gateway: Gateway) -> None:
    packed = gzip.compress(gzip.compress(json.dumps(chat()).encode()))
    answer = await ask(
        gateway.port, http(packed, headers=f"{AUTH}content-encoding: gzip\r\ncontent-encoding: gzip\r\n")
    )
    check(answer, 415, "unsupported_encoding")


# -- languages


@pytest.mark.parametrize(
    ("wanted", "japanese"),
    [
        ("ja", True),
        ("ja-JP,ja;q=0.9,en;q=0.8", True),
        ("en-US,en;q=0.9,ja;q=0.8", False),
        ("en;q=0.1, ja;q=0.2", True),
        ("ja;q=0", False),
        ("ja;q=0,en;q=0.5", False),
        ("fr, de;q=0.5", False),
        ("fr, ja;q=0.1", True),
        ("*", False),
        ("JA", True),
        ("ja;q=oops", False),
        ("日本語", False),
    ],
)
async def test_the_language_of_messages(gateway: Gateway, wanted: str, japanese: bool) -> None:
    headers = f"accept-language: {wanted}\r\n"
    answers = [
        await ask(gateway.port, http(chat(), headers=headers)),
        await ask(gateway.port, http(b"", "/v1/models", "GET", headers)),
        await ask(gateway.port, http(b"", "/nothing", "GET", headers)),
        await ask(gateway.port, http(b"", "/v1/chat/completions", "GET", headers)),
        await ask(gateway.port, http(chat("mock/mock?status=500"), headers=AUTH + headers)),
    ]
    for answer in answers:
        assert (re.search(r"[ぁ-ん]", answer.error["message"]) is not None) == japanese
    assert [answer.status for answer in answers] == [401, 401, 404, 405, 502]


async def test_an_error_in_a_stream_speaks_the_language_of_its_caller(gateway: Gateway) -> None:
    data = http(chat("mock/mock?cut_after=1&chunk_ms=5", stream=True), headers=f"{AUTH}accept-language: ja\r\n")
    answer = await ask(gateway.port, data)
    assert "応答が途中で終了しました" in json.loads(answer.events[-1])["error"]["message"]


# -- providers


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("model", "status", "code", "type", "param"),
    [
        ("mock/mock?status=400", 400, "upstream_rejected", "invalid_request_error", None),
        ("mock/mock?status=422&param=messages", 422, "upstream_rejected", "invalid_request_error", "messages"),
        ("mock/mock?status=400&param=elsewhere", 400, "upstream_rejected", "invalid_request_error", None),
        (
            "mock/mock?status=400&code=context_length_exceeded",
            400,
            "context_length_exceeded",
            "invalid_request_error",
            "messages",
        ),
        ("mock/mock?status=400&code=content_filter", 400, "content_policy_violation", "invalid_request_error", None),
        ("mock/mock?status=413", 413, "request_too_large", "invalid_request_error", None),
        ("mock/mock?status=401", 502, "upstream_credentials", "server_error", None),
        ("mock/mock?status=403", 502, "upstream_credentials", "server_error", None),
        ("mock/mock?status=404", 502, "upstream_model_not_found", "server_error", None),
        ("mock/mock?status=429", 429, "rate_limit_exceeded", "requests", None),
        ("mock/mock?status=500", 502, "upstream_error", "server_error", None),
        ("mock/mock?status=302", 502, "upstream_error", "server_error", None),
        ("mock/mock?ok_error=1", 502, "upstream_error", "server_error", None),
        ("mock/mock?bad_json=1", 502, "upstream_error", "server_error", None),
        ("mock/mock?cut_after=0", 502, "upstream_error", "server_error", None),
        ("mock/mock?reset_after=0", 502, "upstream_error", "server_error", None),
        ("mock/mock?status=408", 504, "upstream_timeout", "server_error", None),
        ("dead/x", 502, "upstream_error", "server_error", None),
    ],
)
async def test_what_a_provider_does_in_our_words(
    gateway: Gateway, model: str, status: int, code: str, type: str, param: str | None, stream: bool
) -> None:
    answer = await ask(gateway.port, http(chat(model, stream=stream)))
    check(answer, status, code, type=type, param=param)
    row = await gateway.row()
    assert (row.status_code, row.error_code, row.streaming) == (status, code, stream)
    assert answer.headers["x-sekisho-attempts"] == "1"
    assert answer.headers["x-sekisho-model"]
    assert ("retry-after" in answer.headers) == (status == 429)


async def test_plain_bodies_that_break_off(gateway: Gateway) -> None:
    for fault in ("cut_after=1", "reset_after=1"):
        check(await ask(gateway.port, http(chat(f"mock/mock?{fault}"))), 502, "upstream_error", type="server_error")


async def test_a_provider_that_says_nothing(gateway: Gateway) -> None:
    answer = await ask(gateway.port, http(chat("mock/mock?hang=1", stream=True)))
    check(answer, 504, "upstream_timeout", type="server_error")
    row = await gateway.row()
    assert (row.status_code, row.terminal_state) == (504, "timed_out")
    await gateway.until(lambda: gateway.mock.calls["aborted"] == 1)


async def test_after_several_targets_clients_are_told_not_to_multiply_the_attempts(gateway: Gateway) -> None:
    for stream in (False, True):
        answer = await ask(gateway.port, http(chat("hopeless", stream=stream)))
        check(answer, 429, "rate_limit_exceeded", type="requests")
        assert (answer.headers["x-should-retry"], answer.headers["retry-after"]) == ("false", "7")
        assert answer.headers["x-sekisho-attempts"] == "2"


async def test_malformed_http(gateway: Gateway, door: Door) -> None:
    good = "host: g\r\ncontent-length: 2\r\n\r\n{}"
    for data in (
        "nonsense\r\n\r\n",
        "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        "GET / HTTP/9.9\r\n\r\n",
        "POST /v1/chat completions HTTP/1.1\r\n" + good,
        "POST /v1/chat/completions HTTP/1.1\r\nbad header\r\n\r\n",
        "POST /v1/chat/completions HTTP/1.1\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello",
        "POST /v1/chat/completions HTTP/1.1\r\ncontent-length: -1\r\n\r\n",
        "POST /v1/chat/completions HTTP/1.1\r\ncontent-length: 99999999999999999999\r\n\r\n",
        "POST /v1/chat/completions HTTP/1.1\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n{}",
        "POST /v1/chat/completions HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        "POST /v1/chat/completions HTTP/1.1\r\ntransfer-encoding: gzip\r\n\r\n{}",
        "GET /日本 HTTP/1.1\r\nhost: g\r\n\r\n",
        "GET http:///x y HTTP/1.1\r\nhost: g\r\n\r\n",
    ):
        async with connected(gateway.port) as wire:
            await wire.send(data.encode("latin-1") if data[0] == "\x16" else data.encode())
            answer = await wire.answer()
            assert answer.headers.get("connection") == "close", data
            assert await wire.closed()
        if door == "asgi":  # uvicorn itself answers; in the product every connection is the hot protocol's
            assert answer.status == 400
            continue
        assert answer.error["type"] == "invalid_request_error"
        assert (answer.status, answer.error["code"]) in ((400, "bad_http"), (400, "invalid_value")), data
        assert answer.headers["x-request-id"] == answer.error["request_id"]
        assert (answer.headers["x-sekisho-attempts"], answer.headers["x-sekisho-cache"]) == ("0", "bypass")
        assert "x-sekisho-overhead-ms" in answer.headers
        assert answer.headers["x-sekisho-cost-usd"] == "0"
    assert gateway.mock.calls["calls"] == 0
