"""Which path belongs to which wire format. Must not know sockets; a new wire format is a row in `_MODEL_ROUTES`."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import unquote

import msgspec

from sekisho.mock import openai_models
from sekisho.mock.calls import Calls
from sekisho.mock.openai_chat import Director, chat
from sekisho.mock.openai_embeddings import embeddings
from sekisho.mock.openai_errors import envelope
from sekisho.mock.replies import Reply, Request, json_reply

_MODEL_ROUTES: dict[str, Callable[[Request, Director], Reply]] = {
    "/chat/completions": chat,
    "/embeddings": embeddings,
}


def answer(request: Request, calls: Calls) -> Reply:
    """The reply to any request, by path with or without `/v1`. Counts calls of model routes."""
    path = request.path.removeprefix("/v1").rstrip("/")
    if handler := _MODEL_ROUTES.get(path):
        if request.method != "POST":
            return _wrong_method("POST")
        calls.begin(request)
        return handler(request, calls.direct)
    if path == "/models" or path.startswith("/models/"):
        if request.method != "GET":
            return _wrong_method("GET")
        name = unquote(path.removeprefix("/models").lstrip("/"))
        return json_reply(openai_models.model(name) if name else openai_models.models())
    return _own(request, path, calls)


def _own(request: Request, path: str, calls: Calls) -> Reply:
    """What tests ask the mock itself."""
    if path in ("/_mock/calls", "/_mock/last"):
        if request.method != "GET":
            return _wrong_method("GET")
        return json_reply(msgspec.json.encode(calls.counts() if path.endswith("calls") else calls.last()))
    if path == "/_mock/reset":
        if request.method != "POST":
            return _wrong_method("POST")
        calls.reset()
        return json_reply(msgspec.json.encode(calls.counts()))
    return json_reply(envelope(404, f"No such path: {request.path}", None, "not_found"), 404)


def _wrong_method(allowed: str) -> Reply:
    body = envelope(405, f"Only {allowed} is allowed here.", None, "method_not_allowed")
    return json_reply(body, 405, {"allow": allowed})
