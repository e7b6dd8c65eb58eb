"""Every golden file, in both directions and by both ways: bytes that pass, and events that are rebuilt."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest

from sekisho.domain.call import Entry
from sekisho.domain.chat import ChatRequest
from sekisho.domain.embeddings import EmbeddingRequest
from sekisho.domain.endpoint import Target
from sekisho.domain.errors import UpstreamError
from sekisho.domain.http import HttpRequest
from sekisho.formats.openai import decode_chunk
from sekisho.formats.openai_answers import read_response
from sekisho.formats.openai_chunks import read_stream
from sekisho.formats.sse import DONE, SseSplitter, frame
from sekisho.gateway.edges import PassThrough
from sekisho.gateway.refusals import refusal_of
from sekisho.providers.catalog import CATALOG, chat_dialect, embeddings_dialect
from sekisho.wire import errors, openai_chat, openai_embeddings
from sekisho.wire.openai_chat_stream import StreamRenderer

from .golden_files import Golden, Response, golden_paths, load, rewrite

REQUEST_ID = "req_0198f3c1a2b34c5d8e9fa0b1c2d3e4f5"
GOLDENS = golden_paths()


@pytest.mark.parametrize("path", GOLDENS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_golden_file_holds(path: Path, golden_update: bool) -> None:
    golden = load(path)
    sent = upstream_request(golden)
    answer = client_response(golden)
    if golden_update:
        rewrite(golden, sent.path, json.loads(b"".join(sent.body)), answer)
        golden = load(path)
    assert golden.urls, "the first line names where the shape is documented"
    assert (sent.path, json.loads(b"".join(sent.body))) == (golden.upstream_path, golden.upstream_request)
    assert answer == golden.client_response


@pytest.mark.parametrize("path", GOLDENS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_rebuilt_means_the_same_as_passed(path: Path) -> None:
    golden = load(path)
    request = parsed(golden)
    if isinstance(request, EmbeddingRequest):
        return  # embeddings always pass
    talk = openai_chat.conversation(request)
    ours = ChatRequest(model=request.model, stream=request.stream, conversation=talk)
    assert json.loads(b"".join(dialect(golden).request(ours, target(golden)).body)) == golden.upstream_request
    response = golden.upstream_response
    assert golden.client_response is not None
    if response.status != 200 or golden.client_response.status != 200:
        return
    if response.events is None:
        check_rebuilt_answer(golden, response)
    elif (golden.client_response.events or [""])[-1] == "[DONE]":
        check_rebuilt_stream(golden, response, request.include_usage)


def check_rebuilt_answer(golden: Golden, response: Response) -> None:
    rebuilt = openai_chat.render_answer(dialect(golden).response(response.body_bytes()))
    if golden.rebuild == "same":
        assert json.loads(rebuilt) == response.body
    assert read_response(rebuilt) == read_response(response.body_bytes())


def check_rebuilt_stream(golden: Golden, response: Response, include_usage: bool) -> None:
    decoder = dialect(golden).decoder()
    events = [*decoder.feed(response.stream_bytes()), *decoder.end()]
    assert decoder.complete
    renderer = StreamRenderer(include_usage)
    rebuilt = [payload for event in events for payload in renderer.render(event)] + renderer.finish()
    assert golden.client_response is not None
    passed = [event.encode() for event in golden.client_response.events or ()]
    ours, theirs = read_stream(rebuilt), read_stream(passed)
    if not include_usage:
        ours = msgspec.structs.replace(ours, usage=None, usage_as_sent={})
        theirs = msgspec.structs.replace(theirs, usage=None, usage_as_sent={})
    assert ours == theirs


def upstream_request(golden: Golden) -> HttpRequest:
    request = parsed(golden)
    if isinstance(request, EmbeddingRequest):
        return embeddings_dialect(CATALOG[golden.provider]).request(request, target(golden))
    return dialect(golden).request(request, target(golden))


def client_response(golden: Golden) -> Response:
    request, response = parsed(golden), golden.upstream_response
    if isinstance(request, ChatRequest) and request.stream and response.status == 200:
        return passed_stream(golden, request)
    spoken = dialect(golden) if isinstance(request, ChatRequest) else embeddings_dialect(CATALOG[golden.provider])
    body = response.body_bytes()
    error = spoken.error_in_body(body)
    if response.status != 200 or error is not None:
        return refused(golden, spoken.error(response.status, response.headers, body))
    return Response(200, {"content-type": "application/json"}, response.body)


def passed_stream(golden: Golden, request: ChatRequest) -> Response:
    """As the gateway passes it, but for its timers: events as they came, then `[DONE]` or an error frame."""
    edge = PassThrough(entry_of(golden), request.include_usage)
    decoder = dialect(golden).decoder()
    out = b""
    for event in golden.upstream_response.events or ():
        payload = event.encode()
        decoder.feed(frame(payload))
        if payload == DONE:
            break
        facts = decode_chunk(payload)
        if facts.error is not None:
            out += edge.error("stream_failed")
            break
        out += edge.frames(payload, facts)
    else:
        decoder.end()
    if decoder.complete:
        out += edge.end()
    elif not out.endswith(edge.error("stream_failed")):
        out += edge.error("stream_truncated")
    events = [payload.decode() for payload in SseSplitter().feed(out)]
    return Response(200, {"content-type": "text/event-stream; charset=utf-8"}, events=events)


def refused(golden: Golden, error: UpstreamError) -> Response:
    refusal = refusal_of(error, entry_of(golden))
    body: Any = json.loads(errors.render(refusal, REQUEST_ID, "en"))
    return Response(refusal.status, {"content-type": "application/json", **errors.headers(refusal)}, body)


def parsed(golden: Golden) -> ChatRequest | EmbeddingRequest:
    body = json.dumps(golden.client_request).encode()
    return openai_embeddings.parse(body) if golden.client_path.endswith("/embeddings") else openai_chat.parse(body)


def dialect(golden: Golden):
    return chat_dialect(CATALOG[golden.provider])


def target(golden: Golden) -> Target:
    return Target(provider=golden.provider, model=golden.target)


def entry_of(golden: Golden) -> Entry:
    """As much of an entry as the words of a refusal depend on."""
    protocol = "openai_embeddings" if golden.client_path.endswith("/embeddings") else "openai_chat"
    body, route = json.dumps(golden.client_request).encode(), SimpleNamespace(protocol=protocol)
    call = SimpleNamespace(body=body, request_id=REQUEST_ID, route=route)
    return cast("Entry", SimpleNamespace(call=call, attempts=[target(golden)], language="en"))
