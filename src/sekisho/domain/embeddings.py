"""A request for embeddings. Must not decode its input: it may be long, and it passes as it came."""

from __future__ import annotations

import msgspec


class EmbeddingRequest(msgspec.Struct, frozen=True, kw_only=True):
    """`fields` are the top-level JSON members as raw bytes in the order they came, in the client's `protocol`."""

    model: str
    protocol: str
    fields: dict[str, msgspec.Raw]
