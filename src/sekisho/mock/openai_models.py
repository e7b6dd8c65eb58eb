"""OpenAI's list of models. Pure. Every name is a model here; the list has the ones without a script."""

from __future__ import annotations

import msgspec

from sekisho.mock.openai_chat import CREATED

_NAMES = ("mock-small", "mock-large", "mock-embedding")


def models() -> bytes:
    """The body of GET /models."""
    return msgspec.json.encode({"object": "list", "data": [_model(name) for name in _NAMES]})


def model(name: str) -> bytes:
    """The body of GET /models/{name}."""
    return msgspec.json.encode(_model(name))


def _model(name: str) -> dict[str, object]:
    return {"id": name, "object": "model", "created": CREATED, "owned_by": "sekisho-mock"}
