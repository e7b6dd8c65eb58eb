"""What the caller says about a call, for its row: tags, feature, conversation, end user. Must not change the call."""

from __future__ import annotations

import unicodedata

import msgspec

from sekisho.domain.call import Entry
from sekisho.domain.errors import Refusal
from sekisho.domain.keys import MOST_NAME_CHARS, name_problem, normal_name, visible_name
from sekisho.formats.json import Fields
from sekisho.wire.openai_chat import end_user_member

MAX_TAGS_BYTES = 10 * 1024
_SAYING = frozenset({b"x-sekisho-tags", b"databricks-ai-gateway-request-tags", b"x-sekisho-conversation"})
#: names of features that were read before, by what was sent
_features: dict[str, str] = {}
_MOST_FEATURES, _MOST_FEATURE_CHARS = 1_000, 512
_decode_tags = msgspec.json.Decoder(dict[str, str]).decode


def annotate(entry: Entry, metadata: dict[str, str] | None, end_user: str | None, fields: Fields | None = None) -> None:
    """HOT. Headers win over the body, whose members are `fields`. Raises Refusal 400 for tags that are not a JSON
    object of strings, and for an end user who is to be the requester and has a name that nobody may have."""
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
        feature = entry.tags.get("feature")
        if feature is not None:
            entry.feature = _feature(feature)
    entry.end_user = end_user
    caller = entry.caller
    if end_user and caller is not None and caller.on_behalf:
        entry.caller = msgspec.structs.replace(caller, user=_requester(end_user, fields or {}))


def _feature(text: str) -> str:
    """By which limits, budgets and rows know it; the tag stays as it was sent."""
    if text.isascii() and text.isprintable():
        return text.strip()
    known = _features.get(text)
    if known is None:
        known = visible_name(text)
        if len(text) <= _MOST_FEATURE_CHARS:
            if len(_features) >= _MOST_FEATURES:
                _features.clear()
            _features[text] = known
    return known


def _requester(end_user: str, fields: Fields) -> str:
    """A name like any other user's: stops, limits and budgets of a user must not miss one that looks the same."""
    name = normal_name(end_user)
    problem = name_problem(name)
    if problem is None:
        return name
    param = end_user_member(fields)
    if problem == "characters":
        sent = end_user.strip() + name
        char = next(one for one in sent if name_problem(unicodedata.normalize("NFKC", one)) == "characters")
        reason = "the key calls on behalf of this user, and the name has a character that cannot be seen: {char}"
        raise Refusal(400, "invalid_value", param=param, reason=reason, char=f"U+{ord(char):04X}")
    reason = "the key calls on behalf of this user: 1 to {most} characters, not `*`, and not beginning like a key"
    raise Refusal(400, "invalid_value", param=param, reason=reason, most=MOST_NAME_CHARS)


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
