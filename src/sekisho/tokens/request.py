"""Input tokens of a request before it is sent, from its top-level JSON members. Must not fail on any shape.

Chat completions are read as deep as needed and no deeper; other shapes (Responses, Anthropic, Gemini) are walked. The
framing is OpenAI's: 3 tokens a message, its role, and 3 before the answer. Source: OpenAI cookbook, "How to count
tokens with tiktoken", https://cookbook.openai.com/examples/how_to_count_tokens_with_tiktoken
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, cast

import msgspec

from sekisho.formats.json import UNREADABLE
from sekisho.tokens.images import UNKNOWN_SIZE, ImageRule, rule_for, size_of
from sekisho.tokens.text import NOTHING, Parts, measure

_A_MESSAGE: Final = 3
_BEFORE_THE_ANSWER: Final = 3
#: functions are given to a model in a form denser than their JSON, with some words around them
_TOOLS_BY_THEIR_JSON: Final = 0.75
_AROUND_TOOLS: Final = 12
#: tokens a KB of base64 that is no picture: sound at some 32 tokens a second and 2 to 4 KB a second, files likewise
_OTHER_MEDIA_BY_KB: Final = 10.0
_DEEPEST: Final = 64

#: members that hold the content of a request, by protocol: chat, Responses and embeddings, Anthropic, Gemini
_CONTENT: Final = ("messages", "input", "instructions", "system", "contents", "systemInstruction", "system_instruction")
#: the same of the plain chat for web pages
_PAGE: Final = ("system", "history", "message")
_TOOLS: Final = ("tools", "functions", "response_format", "text")
#: names of members that steer and are not shown to the model
_STEERING: Final = frozenset(
    ("type", "role", "cache_control", "id", "tool_use_id", "tool_call_id", "call_id", "status")
)


class _ImageUrl(msgspec.Struct, gc=False):
    url: str = ""
    detail: str | None = None


class _Part(msgspec.Struct, gc=False):
    type: str = ""
    text: str | None = None
    image_url: _ImageUrl | None = None


class _Function(msgspec.Struct, gc=False):
    name: str = ""
    arguments: str = ""


class _ToolCall(msgspec.Struct, gc=False):
    function: _Function | None = None


class _Message(msgspec.Struct, gc=False):
    content: str | list[_Part] | None = None
    name: str | None = None
    tool_calls: list[_ToolCall] | None = None


_decode_messages = msgspec.json.Decoder(list[_Message]).decode
_decode = msgspec.json.Decoder().decode


def estimate_request(fields: Mapping[str, msgspec.Raw], model: str) -> Parts:
    """Input tokens by kind. `fields` are the top-level members of the body, as in `ChatRequest.fields`.

    `model` is that of the target: it says how pictures are counted. Give the sum of the parts a correction by what the
    model's own counts taught, see `Calibration.correct`.
    """
    found = NOTHING
    for name in _CONTENT:
        raw = fields.get(name)
        if raw is None:
            continue
        chat = _chat(raw, model) if name == "messages" else None
        found += chat if chat is not None else _walked(raw, model)
    tools = 0.0
    for name in _TOOLS:
        if (raw := fields.get(name)) is not None and len(raw) > 4:
            tools += sum(measure(_text(bytes(raw)))) * _TOOLS_BY_THEIR_JSON + _AROUND_TOOLS
    return found._replace(words=found.words + _BEFORE_THE_ANSWER, tools=tools)


def estimate_body(body: bytes, model: str) -> Parts:
    """The same from a whole body. One that is no JSON object is taken as text."""
    try:
        fields = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    except (*UNREADABLE, msgspec.ValidationError):
        return measure(_text(body))
    return estimate_request(fields, model)


def estimate_page_body(body: bytes, model: str) -> Parts:
    """The same of a body of the plain chat for web pages, whose members have names of their own."""
    try:
        fields = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    except (*UNREADABLE, msgspec.ValidationError):
        return measure(_text(body))
    found = NOTHING
    for name in _PAGE:
        if (raw := fields.get(name)) is not None:
            found += _walked(raw, model)
    return found._replace(words=found.words + _BEFORE_THE_ANSWER)


def estimate_embeddings(fields: Mapping[str, msgspec.Raw]) -> Parts:
    """Input tokens of a request for embeddings: texts without frames, or tokens that the client has made itself."""
    raw = fields.get("input")
    if raw is None:
        return NOTHING
    try:
        given = _decode(raw)
    except UNREADABLE:
        return measure(_text(bytes(raw)))
    texts: list[str] = []
    tokens = _embedded(given, texts)
    found = measure("\n".join(texts))
    return found._replace(words=found.words + tokens)


def estimate_embeddings_body(body: bytes) -> Parts:
    """The same from a whole body. One that is no JSON object is taken as text."""
    try:
        fields = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    except (*UNREADABLE, msgspec.ValidationError):
        return measure(_text(body))
    return estimate_embeddings(fields)


def _embedded(given: Any, texts: list[str]) -> int:
    """A text, a list of texts, a list of tokens, or a list of such lists."""
    if isinstance(given, str):
        texts.append(given)
    elif isinstance(given, int | float):
        return 1
    elif isinstance(given, list):
        return sum(_embedded(item, texts) for item in cast("list[Any]", given))
    return 0


def _chat(raw: msgspec.Raw, model: str) -> Parts | None:
    """HOT. None where the messages are not of the shape of chat completions."""
    try:
        messages = _decode_messages(raw)
    except (*UNREADABLE, msgspec.ValidationError):
        return None
    texts: list[str] = []
    images: list[_ImageUrl] = []
    names = 0
    for message in messages:
        content = message.content
        if type(content) is str:
            texts.append(content)
        elif content is not None:
            for part in cast("list[_Part]", content):
                if part.text is not None:
                    texts.append(part.text)
                elif part.image_url is not None:
                    images.append(part.image_url)
                else:
                    return None
        if message.tool_calls is not None:
            for call in message.tool_calls:
                if call.function is None:
                    return None
                texts += call.function.name, call.function.arguments
        if message.name is not None:
            texts.append(message.name)
            names += 1
    # the line break between two texts stands for the role of the second
    found = measure("\n".join(texts))
    seen = 0.0
    if images:
        rule = rule_for(model)
        seen = float(sum(rule.tokens(*size_of(image.url), image.detail) for image in images))
    return found._replace(words=found.words + _A_MESSAGE * len(messages) + names, images=seen)


def _walked(raw: msgspec.Raw, model: str) -> Parts:
    try:
        content = _decode(raw)
    except UNREADABLE:
        return measure(_text(bytes(raw)))
    walk = _Walk(rule_for(model))
    walk.visit(content, 0)
    items = len(cast("list[Any]", content)) if isinstance(content, list) else 1
    found = measure("\n".join(walk.texts))
    return found._replace(words=found.words + _A_MESSAGE * items + walk.other, images=walk.images)


class _Walk:
    """Texts and media of a content of any shape."""

    __slots__ = ("_rule", "images", "other", "texts")

    def __init__(self, rule: ImageRule) -> None:
        self._rule = rule
        self.texts: list[str] = []
        self.images = 0.0
        self.other = 0.0

    def visit(self, value: Any, depth: int) -> None:
        if isinstance(value, str):
            if value.startswith("data:"):
                self._medium(value, value[5:16], None)
            else:
                self.texts.append(value)
        elif depth > _DEEPEST:
            return
        elif isinstance(value, list):
            for item in cast("list[Any]", value):
                self.visit(item, depth + 1)
        elif isinstance(value, dict):
            self._object(cast("dict[str, Any]", value), depth + 1)
        elif value is not None:
            self.texts.append(str(value))

    def _object(self, members: dict[str, Any], depth: int) -> None:
        kind = members.get("media_type") or members.get("mimeType") or members.get("mime_type")
        data = members.get("data") or members.get("fileUri") or members.get("file_uri")
        if isinstance(kind, str) and isinstance(data, str):
            self._medium(data, kind, members.get("detail"))
            return
        address = members.get("url") if members.get("type") == "url" else members.get("image_url")
        if isinstance(address, str):
            self._medium(address, "image", members.get("detail"))
            return
        for name, value in members.items():
            if name not in _STEERING:
                self.visit(value, depth)

    def _medium(self, data: str, kind: str, detail: Any) -> None:
        if kind.startswith("image"):
            size = size_of(data) if data else UNKNOWN_SIZE
            self.images += self._rule.tokens(*size, detail if isinstance(detail, str) else None)
        else:
            self.other += len(data) / 1024 * _OTHER_MEDIA_BY_KB


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")
