"""Error answers of real servers: what they mean, whether another target may help, and what stays in the row."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho.providers.failures import classify, error_in

#: (our code, whether another target may help)
REJECTED = ("upstream_rejected", False)
TOO_LONG = ("context_length_exceeded", True)
FILTERED = ("content_policy_violation", False)
NO_MODEL = ("upstream_model_not_found", True)
CREDENTIALS = ("upstream_credentials", True)
LIMITED = ("rate_limit_exceeded", True)
FAILED = ("upstream_error", True)


class Case(NamedTuple):
    name: str
    status: int
    body: Any
    meaning: tuple[str, bool]
    param: str | None = None


def openai(message: str, type: str = "invalid_request_error", param: str | None = None, code: Any = None) -> Any:
    return {"error": {"message": message, "type": type, "param": param, "code": code}}


def bare(message: Any, type: str = "invalid_request_error", code: Any = None) -> Any:
    return {"object": "error", "message": message, "type": type, "param": None, "code": code}


def openrouter(code: int, message: str) -> Any:
    return {"error": {"code": code, "message": message, "metadata": {}}}


def xai(message: str) -> Any:
    return {"code": "Client specified an invalid argument", "error": message}


def fastapi(*field: str | int) -> list[Any]:
    return [{"type": "extra_forbidden", "loc": ["body", *field], "msg": "Extra inputs are not permitted", "input": 1}]


CASES = [
    Case("openai bad value", 400, openai("Invalid 'n'", param="n"), REJECTED, "n"),
    Case("a path", 400, openai("x", param="messages[0].content"), REJECTED, "messages[0].content"),
    Case("text as param", 400, openai("x", param="your key sk-1"), REJECTED),
    Case("a long param", 400, openai("x", param="a" * 65), REJECTED),
    Case("mistral 422", 422, bare({"detail": fastapi("user")}), REJECTED, "user"),
    Case("mistral 422, newer", 422, bare(fastapi("tools"), code=3001), REJECTED, "tools"),
    Case("fastapi 422", 422, {"detail": fastapi("messages", 0, "role")}, REJECTED, "messages[0].role"),
    Case("no json", 400, "nope", REJECTED),
    # the context window, by code or by words
    Case("openai", 400, openai("x", code="context_length_exceeded"), TOO_LONG),
    Case("groq", 400, openai("Please reduce the length of the messages or completion."), TOO_LONG),
    Case("vllm", 400, openai("This model's maximum context length is 8 tokens.", code=400), TOO_LONG),
    Case("vllm, older", 400, bare("This model's maximum context length is 8 tokens.", code=400), TOO_LONG),
    Case("vllm, decoder", 400, openai("The decoder prompt is longer than the maximum model length of 8."), TOO_LONG),
    Case("mistral", 400, bare("Prompt contains 9 tokens, too large for model with 8 maximum context length"), TOO_LONG),
    Case(
        "llama.cpp",
        400,
        openai("the request exceeds the available context size", "exceed_context_size_error"),
        TOO_LONG,
    ),
    Case("ollama", 500, openai("input length exceeds the context length"), TOO_LONG),
    Case("ollama, newer", 400, openai("prompt too long; exceeded max context length by 3 tokens"), TOO_LONG),
    Case("together", 400, openai("The input (9 tokens) is longer than the model's context length (8)."), TOO_LONG),
    Case("vllm, newer", 400, openai("However, the model's context length is only 8 tokens, resulting in"), TOO_LONG),
    Case("lm studio", 400, {"error": "… from the initial prompt is greater than the context length"}, TOO_LONG),
    Case("gemini", 400, openai("The input token count (9) exceeds the maximum number of tokens allowed (8)"), TOO_LONG),
    Case("kimi", 400, openai("Invalid request: Your request exceeded model token limit: 8"), TOO_LONG),
    Case("xai", 400, xai("This model's maximum prompt length is 131072 but the request contains 9"), TOO_LONG),
    Case("together, older", 422, openai("`inputs` tokens + `max_new_tokens` must be <= 8193."), TOO_LONG),
    Case("openrouter", 400, openrouter(400, "This endpoint's maximum context length is 8 tokens."), TOO_LONG),
    Case("anthropic by openai's door", 400, openai("prompt is too long: 9 tokens > 8 maximum"), TOO_LONG),
    # the content filter
    Case("azure", 400, openai("filtered", code="content_filter"), FILTERED),
    Case("openrouter 403", 403, openrouter(403, "This model requires moderation and your input was flagged"), FILTERED),
    Case("deepseek", 400, openai("Content Exists Risk"), FILTERED),
    # the model
    Case("openai 404", 404, openai("x", code="model_not_found"), NO_MODEL),
    Case("a 404 of a proxy", 404, "<html>", NO_MODEL),
    Case("deepseek 400", 400, openai("Model Not Exist"), NO_MODEL),
    Case("mistral 400", 400, bare("Invalid model: x", "invalid_model", "1500"), NO_MODEL),
    Case("groq retired", 400, openai("x", code="model_decommissioned"), NO_MODEL),
    Case("no access", 403, openai("x", code="model_not_found"), NO_MODEL),
    # our credentials and our account
    Case("401", 401, openai("Incorrect API key"), CREDENTIALS),
    Case("401 about length", 401, openai("maximum context length"), CREDENTIALS),
    Case("403", 403, openai("x"), CREDENTIALS),
    Case("xai 400", 400, xai("Incorrect API key provided"), CREDENTIALS),
    Case("deepseek 402", 402, openai("Insufficient Balance"), CREDENTIALS),
    # the rest
    Case("408", 408, "", ("upstream_timeout", True)),
    Case("413", 413, "", ("request_too_large", True)),
    Case("groq 413", 413, openai("Request too large", "tokens", code="rate_limit_exceeded"), LIMITED),
    Case("429", 429, openai("x", "requests"), LIMITED),
    Case("500", 500, openai("x", "server_error"), FAILED),
    Case("503", 503, "busy", FAILED),
    Case("409", 409, "", FAILED),
    Case("302", 302, "", FAILED),
    Case("204", 204, "", FAILED),
    # an error in a body of status 200
    Case("200", 200, openai("x", "server_error"), FAILED),
    Case("200 with 429 inside", 200, openrouter(429, "x"), LIMITED),
    Case("200 with 400 inside", 200, openrouter(400, "x"), REJECTED),
    Case("200 too long", 200, openai("x", code="context_length_exceeded"), TOO_LONG),
]
SHAPES = st.recursive(
    st.none() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["error", "message", "detail", "loc", "code", "param", "type"]), inner)
    ),
    max_leaves=10,
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_an_error_answer_means_what_the_server_means(case: Case) -> None:
    body = case.body if isinstance(case.body, str) else json.dumps(case.body)
    error = classify(case.status, {}, body.encode())
    assert (error.code, error.fallback) == case.meaning
    assert error.param == case.param
    assert error.status == case.status
    assert error.detail.startswith(str(case.status))


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "20"}, 20.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after": "20", "retry-after-ms": "19520"}, 19.52),
        ({"retry-after-ms": "soon", "retry-after": "3"}, 3.0),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}, None),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT", "date": "Wed, 21 Oct 2026 07:26:30 GMT"}, 90.0),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT", "date": "Wed, 21 Oct 2026 07:28:00 GMT"}, None),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT", "date": "Thu, 22 Oct 2026 07:28:00 GMT"}, None),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT", "date": "today"}, None),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT", "date": "Wed, 21 Oct 2026 07:26:30 -0000"}, None),
        ({"retry-after": "soon", "date": "Wed, 21 Oct 2026 07:28:00 GMT"}, None),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "0"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "nan"}, None),
    ],
)
def test_retry_after_is_read_where_it_needs_no_clock(headers: dict[str, str], seconds: float | None) -> None:
    found = classify(429, headers, b"").retry_after_s
    assert found == (None if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize(
    ("type", "code", "expected"),
    [
        ("requests", None, "requests"),
        ("tokens", None, "tokens"),
        ("insufficient_quota", "insufficient_quota", "insufficient_quota"),
        ("x", "insufficient_quota", "insufficient_quota"),
        ("anything else", "sk-1", None),
    ],
)
def test_only_known_types_of_a_limit_are_passed_on(type: str, code: str | None, expected: str | None) -> None:
    assert classify(429, {}, json.dumps(openai("x", type, code=code)).encode()).type == expected


def test_the_detail_is_one_short_line() -> None:
    detail = classify(500, {}, b"a\n\n  b\t" + b"x" * 10_000).detail
    assert detail.startswith("500 a b x")
    assert len(detail) == 500


@pytest.mark.parametrize("body", [b"{}", b'{"error":null}', b'{"error":""}', b"no json", b'{"choices":[]}', b"[]"])
def test_a_body_without_an_error_has_none(body: bytes) -> None:
    assert error_in(body) is None


def test_a_body_with_an_error_has_one() -> None:
    error = error_in(b'{"error":{"message":"boom"}}')
    assert error is not None
    assert (error.code, error.status, error.fallback) == ("upstream_error", 200, True)


@given(
    st.integers(100, 599),
    st.binary(max_size=40) | st.text(max_size=40).map(lambda text: json.dumps({"error": text}).encode()),
)
def test_no_answer_raises(status: int, body: bytes) -> None:
    assert classify(status, {}, body).code


@given(SHAPES)
def test_no_shape_of_error_raises(body: Any) -> None:
    assert classify(422, {}, json.dumps(body).encode()).code
