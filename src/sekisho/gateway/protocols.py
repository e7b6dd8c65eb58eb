"""From a client protocol to the request the gateway works with: which reader belongs to which route."""

from __future__ import annotations

from sekisho.domain.call import Call, Entry
from sekisho.domain.chat import ChatRequest
from sekisho.domain.embeddings import EmbeddingRequest
from sekisho.domain.errors import Refusal
from sekisho.formats.json import UNREADABLE, decode_foreign_fields
from sekisho.gateway.annotations import annotate
from sekisho.wire import chat_stream, openai_chat, openai_embeddings
from sekisho.wire.bodies import has_forbidden, read_model


def read(call: Call, entry: Entry, default_model: str | None) -> ChatRequest | EmbeddingRequest:
    """Parse the body by the route's protocol and note what it says about itself. Raises Refusal 400.

    `default_model` is for the plain chat of a web page, which need not name one.
    """
    match call.route.protocol:
        case "openai_chat":
            request = openai_chat.parse(call.body)
            fields = request.fields or {}
            entry.streaming = request.stream
        case "openai_embeddings":
            request = openai_embeddings.parse(call.body)
            fields = request.fields
        case "chat_stream":
            request = chat_stream.parse(call.body, default_model)
            fields = {}
            entry.streaming = True
    entry.request_model = request.model
    if openai_chat.NOTES.isdisjoint(fields):
        annotate(entry, None, None)
    else:
        annotate(entry, openai_chat.metadata(fields), openai_chat.end_user(fields), fields)
    return request


def named_model(call: Call, default_model: str | None) -> tuple[str, bool] | None:
    """The model that a refused body names all the same, and whether it may be kept; None where that cannot be read."""
    try:
        fields = decode_foreign_fields(call.body)
        kept = not has_forbidden(fields)
        if call.route.protocol == "chat_stream" and default_model and chat_stream.is_unnamed(fields):
            return default_model, kept
        return read_model(fields), kept
    except (*UNREADABLE, Refusal):
        return None
