"""What a model wrote in pieces of a stream that are not plain text. Must leave out what the wire adds around it.

A tool call comes a token at a time in JSON of a dozen: an estimate of tokens by that JSON would be as many times too
high.
"""

from __future__ import annotations

import msgspec

from sekisho.formats.json import UNREADABLE


class _Inner(msgspec.Struct, gc=False):
    name: str | None = None
    arguments: str | None = None
    #: of a custom tool
    input: str | None = None

    def text(self) -> str:
        return (self.name or "") + (self.arguments or self.input or "")


class _Call(msgspec.Struct, gc=False):
    function: _Inner | None = None
    custom: _Inner | None = None


class _Thought(msgspec.Struct, gc=False):
    text: str | None = None


class _Part(msgspec.Struct, gc=False):
    text: str | None = None
    #: Mistral
    thinking: list[_Thought] | None = None


_decode_calls = msgspec.json.Decoder(list[_Call]).decode
_decode_inner = msgspec.json.Decoder(_Inner).decode
_decode_part = msgspec.json.Decoder(_Part).decode


def text_of_calls(raw: bytes) -> str:
    """Of `tool_calls`: names and arguments; empty where there are none yet. Of another shape: its JSON."""
    try:
        calls = _decode_calls(raw)
    except UNREADABLE:
        return raw.decode("utf-8", "replace")
    text = ""
    for call in calls:
        if (inner := call.function or call.custom) is not None:
            text += inner.text()
    return text


def text_of_function(raw: bytes) -> str:
    """The same of `function_call`."""
    try:
        return _decode_inner(raw).text()
    except UNREADABLE:
        return raw.decode("utf-8", "replace")


def text_of_part(raw: bytes) -> str:
    """Of a part of a content: its text or its thoughts. Of another kind: its JSON."""
    try:
        part = _decode_part(raw)
    except UNREADABLE:
        return raw.decode("utf-8", "replace")
    if part.thinking is not None:
        return "".join(thought.text or "" for thought in part.thinking)
    return raw.decode("utf-8", "replace") if part.text is None else part.text
