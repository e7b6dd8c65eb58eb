"""What the caller says about a call, for its row: tags, feature, conversation, end user. Must not change the call."""

from __future__ import annotations

import unicodedata

import msgspec

from sekisho.domain.call import Entry
from sekisho.domain.errors import Refusal
from sekisho.domain.keys import normal_name

MAX_TAGS_BYTES = 10 * 1024
_SAYING = frozenset({b"x-sekisho-tags", b"databricks-ai-gateway-request-tags", b"x-sekisho-conversation"})
_decode_tags = msgspec.json.Decoder(dict[str, str]).decode


def annotate(entry: Entry, metadata: dict[str, str] | None, end_user: str | None) -> None:
    """Headers win over the body. Raises Refusal 400 for tags that are not a JSON object of strings."""
    headers = entry.call.headers
    if _SAYING.isdisjoint(headers):
        entry.tags = metadata
    else:
        raw = headers.get(b"x-sekisho-tags") or headers.get(b"databricks-ai-gateway-request-tags")
        tags = None if raw is None else _tags(raw)
        entry.tags = {**metadata, **tags} if metadata and tags else tags or metadata
        conversation = headers.get(b"x-sekisho-conversation")
        if conversation is not None:
            entry.conversation_id = _clean(conversation)
    if entry.tags:
        entry.feature = entry.tags.get("feature")
    entry.end_user = end_user
    caller = entry.caller
    if end_user and caller is not None and caller.on_behalf:
        entry.caller = msgspec.structs.replace(caller, user=normal_name(end_user))


def _tags(raw: bytes) -> dict[str, str]:
    if len(raw) > MAX_TAGS_BYTES:
        raise Refusal(
            400, "invalid_value", param="x-sekisho-tags", reason="longer than {limit} bytes", limit=MAX_TAGS_BYTES
        )
    try:
        return _decode_tags(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Refusal(
            400,
            "invalid_value",
            param="x-sekisho-tags",
            reason='not a JSON object of strings, as {"feature":"summary"}',
        ) from None


def _clean(value: bytes) -> str:
    text = value[:256].decode("utf-8", "replace")
    return "".join(char for char in text if unicodedata.category(char) not in ("Cc", "Cf"))
