from __future__ import annotations

import json

import pytest

from sekisho.mock.calls import Calls
from sekisho.mock.replies import Reply, Request
from sekisho.mock.routes import answer
from sekisho.mock.script import ScriptError

_SAID = [{"role": "user", "content": "hello"}]
#: refers to itself four times: each level is four times as large
_FOUR_TIMES = {"properties": {name: {"$ref": "#"} for name in "abcd"}}


def _rows_of_rows(levels: int) -> dict[str, object]:
    return {"type": "array", "minItems": 100, "items": _rows_of_rows(levels - 1) if levels else {"type": "string"}}


def _ask(path: str, **body: object) -> Reply:
    request = Request(method="POST", path=path, headers={}, body=json.dumps(body).encode())
    return answer(request, Calls())


@pytest.mark.parametrize(
    "more",
    [
        {"model": "mock?chunks=100000", "n": 128},
        {"model": "mock?line_mb=20", "n": 128},
        {"model": "mock?line_mb=60&logprobs=1"},
        {"model": "mock?line_mb=60", "logprobs": True},
        {"model": "mock?line_mb=257"},
        {"model": "mock?echo=1", "n": 128, "messages": [{"role": "user", "content": "x" * 1_000_000}]},
        {
            "model": "mock",
            "response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": _FOUR_TIMES}},
        },
        {"model": "mock?tools=1", "tools": [{"function": {"name": "a", "parameters": _rows_of_rows(8)}}]},
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_that_would_fill_the_memory_is_refused(more: dict[str, object], stream: bool) -> None:
    reply = _ask("/v1/chat/completions", **{"messages": _SAID, "stream": stream} | more)
    assert reply.head.startswith(b"HTTP/1.1 400 ")
    assert any(word in reply.tail for word in (b"million", b"larger than", b"<= 64"))


@pytest.mark.parametrize("model", [f"{'x' * 100_000}?chunks=100000", f"mock?answer={'x' * 1_000_000}"])
def test_a_stream_in_which_each_chunk_tells_a_long_name_is_refused(model: str) -> None:
    assert _ask("/v1/chat/completions", model=model, messages=_SAID, stream=True).head.startswith(b"HTTP/1.1 400 ")
    assert _ask("/v1/chat/completions", model=model, messages=_SAID).head.startswith(b"HTTP/1.1 200 ")


def test_vectors_that_would_fill_the_memory_are_refused() -> None:
    reply = _ask("/v1/embeddings", model="mock", input=["a"] * 100_000, dimensions=4096)
    assert reply.head.startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize("more", [{"model": "mock?chunks=100000"}, {"model": "mock?line_mb=64"}, {"n": 128}])
def test_what_a_test_may_want_is_not_refused(more: dict[str, object]) -> None:
    reply = _ask("/v1/chat/completions", **{"model": "mock", "messages": _SAID, "stream": True, **more})
    assert reply.head.startswith(b"HTTP/1.1 200 ")


def test_names_of_models_are_remembered_up_to_a_bound() -> None:
    calls = Calls()
    for number in range(60):
        calls.direct(f"{number}" + "x" * 1_000_000)
    with pytest.raises(ScriptError, match="/_mock/reset"):
        calls.direct("x" * 10_000_000)
    calls.reset()
    calls.direct("mock")


def test_answers_that_nobody_reads_are_held_up_to_a_bound() -> None:
    calls = Calls(most_held_bytes=100)
    assert calls.hold(60)
    assert not calls.hold(60)
    calls.let_go(60)
    assert calls.hold(60)
