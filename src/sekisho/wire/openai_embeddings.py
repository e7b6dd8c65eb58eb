"""OpenAI's embeddings as clients speak them. Must not decode the input: it may be long, and it passes as it came.

Source: OpenAI API reference, embeddings.
"""

from __future__ import annotations

import msgspec

from sekisho.domain.embeddings import EmbeddingRequest
from sekisho.domain.errors import Refusal
from sekisho.wire.bodies import first_element, read_model, read_object

PROTOCOL = "openai_embeddings"
_FORMATS = (b'"float"', b'"base64"', b"null")
#: what an element of an array may begin with: a text, a token, a list of tokens
_ELEMENT = frozenset(b'"[0123456789')


def parse(body: bytes) -> EmbeddingRequest:
    """HOT. Raises Refusal 400: invalid_json, invalid_value or forbidden_field."""
    fields = read_object(body)
    model = read_model(fields)
    raw = fields.get("input")
    if raw is None or not _is_input(raw):
        reason = "it must be a non-empty string, or a non-empty array of strings, tokens or arrays of tokens"
        raise Refusal(400, "invalid_value", param="input", reason=reason)
    raw = fields.get("encoding_format")
    if raw is not None and bytes(raw) not in _FORMATS:
        raise Refusal(400, "invalid_value", param="encoding_format", reason="it must be `float` or `base64`")
    return EmbeddingRequest(model=model, protocol=PROTOCOL, fields=fields)


def _is_input(raw: msgspec.Raw) -> bool:
    """By its first bytes."""
    view = memoryview(raw)
    return len(view) > 2 if view[0] == 0x22 else first_element(raw) in _ELEMENT
