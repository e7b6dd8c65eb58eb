"""Events of a chat stream -> the answer that the same call without `stream` would have had. Must lose no text.

Source: OpenAI API reference, "The chat completion chunk object" and "The chat completion object". Fields that no
reference knows are kept: text is concatenated, lists are appended, objects grow by member, of anything else the last
value counts.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, cast

import msgspec

from sekisho.formats.call_places import CallPlaces
from sekisho.formats.json import encode
from sekisho.tables.collapse import collapse

_decode = msgspec.json.Decoder().decode
_scan = json.JSONDecoder().raw_decode
_BLANK = " \t\r\n"
#: padding against traffic analysis; no part of the answer
_PADDING = "obfuscation"
#: members that are whole in every piece that has them
_WHOLE = frozenset(("id", "type", "format"))
#: kinds of tool calls -> their member that comes in pieces
_PIECEMEAL = {"function": "arguments", "custom": "input"}

Object = dict[str, Any]


def assemble(events: bytes) -> Object | None:
    """The `chat.completion` of JSON payloads joined by newlines; None when no payload is a JSON object.

    Payloads that do not parse (the torn last one of a broken stream, `[DONE]`) are passed over. Raises TypeError,
    ValueError or AttributeError for payloads that are no chunks of a chat.
    """
    return _merged(_parsed(collapse(events)))


def _merged(values: Iterable[Any]) -> Object | None:
    whole: Object = {}
    choices: dict[int, _Choice] = {}
    for value in values:
        if not isinstance(value, dict):
            continue
        event = cast("Object", value)
        listed: Any = event.pop("choices", None)
        for key, found in event.items():
            if found is not None or key not in whole:
                whole[key] = found
        for choice in listed or ():
            index = choice.get("index") or 0
            if index not in choices:
                choices[index] = _Choice(index)
            choices[index].add(choice)
    if not whole and not choices:
        return None
    whole.pop(_PADDING, None)
    usage = whole.pop("usage", None)
    if whole.get("object") == "chat.completion.chunk":
        whole["object"] = "chat.completion"
    if choices or "error" not in whole:
        whole["choices"] = [choices[index].finished() for index in sorted(choices)]
    if usage is not None:
        whole["usage"] = usage
    return whole


class _Choice:
    """One choice while its pieces come in."""

    __slots__ = ("_calls", "_fields", "_function", "_logprobs", "_pieces", "_places", "_role")

    def __init__(self, index: int) -> None:
        self._fields: Object = {"index": index, "finish_reason": None}
        self._pieces: dict[str, list[Any]] = {"content": []}
        self._calls: dict[int, Object] = {}
        self._places = CallPlaces()
        #: the older form of a tool call
        self._function: Object = {}
        self._logprobs: dict[str, list[Any]] = {}
        self._role = "assistant"

    def add(self, choice: Object) -> None:
        for key, value in choice.items():
            if value is None:
                continue
            if key == "delta":
                self._add_delta(value)
            elif key == "logprobs":
                for name, tokens in value.items():
                    self._logprobs.setdefault(name, []).extend(tokens or ())
            elif key != "index":
                self._fields[key] = value

    def finished(self) -> Object:
        message: Object = {"role": self._role}
        message.update((name, _joined(pieces)) for name, pieces in self._pieces.items())
        if self._calls:
            message["tool_calls"] = [_call(self._calls[at]) for at in sorted(self._calls)]
        if self._function:
            message["function_call"] = _call(self._function)["function"]
        reason = self._fields.pop("finish_reason")
        logprobs = {name: tokens or None for name, tokens in self._logprobs.items()}
        rest: Object = {"logprobs": logprobs} if logprobs else {}
        return {**self._fields, "message": message, **rest, "finish_reason": reason}

    def _add_delta(self, delta: Object) -> None:
        for key, value in delta.items():
            if value is None:
                continue
            if key == "role":
                self._role = value
            elif key == "tool_calls":
                for piece in value:
                    at, _ = self._places.place(piece.get("index"), piece.get("id") or "")
                    _merge_call(self._calls.setdefault(at, {}), piece)
            elif key == "function_call":
                _merge_call(self._function, {"function": value})
            else:
                self._pieces.setdefault(key, []).append(value)


def _merge_call(call: Object, piece: Object) -> None:
    """Arguments come in pieces, everything else whole; some servers repeat the name with every piece, or empty."""
    for key, value in piece.items():
        if key in _PIECEMEAL and value is not None:
            inner: Object = call.setdefault(key, {"name": None, _PIECEMEAL[key]: []})
            inner["name"] = value.get("name") or inner["name"]
            found = value.get(_PIECEMEAL[key])
            # servers that do not stream arguments send an object
            inner[_PIECEMEAL[key]].append(found if isinstance(found, str) else _as_text(found))
        elif key != "index" and value not in (None, ""):
            call[key] = value


def _call(call: Object) -> Object:
    kinds = {kind: call[kind] for kind in _PIECEMEAL if kind in call}
    return call | {kind: inner | {_PIECEMEAL[kind]: "".join(inner[_PIECEMEAL[kind]])} for kind, inner in kinds.items()}


def _as_text(value: Any) -> str:
    return "" if value is None else encode(value).decode()


def _joined(pieces: list[Any]) -> Any:
    """One value out of its pieces, none of which is None."""
    if not pieces:
        return None
    if all(isinstance(piece, str) for piece in pieces):
        return "".join(pieces)
    if all(isinstance(piece, list) for piece in pieces):
        return _parts(pieces)
    if all(isinstance(piece, dict) for piece in pieces):
        return _members(pieces)
    if all(isinstance(piece, str | list) for piece in pieces):
        return _parts(pieces) or ""
    return pieces[-1]


def _members(pieces: list[Object]) -> Object:
    found: dict[str, list[Any]] = {}
    for piece in pieces:
        for name, value in piece.items():
            if value is not None:
                found.setdefault(name, []).append(value)
    return {name: values[-1] if name in _WHOLE else _joined(values) for name, values in found.items()}


def _parts(pieces: list[list[Any] | str]) -> list[Any]:
    """Lists in a row. Of a content that is texts and thoughts, as that of Mistral's reasoning models, what belongs
    together becomes one part, as a plain answer has it."""
    runs: list[list[Any]] = []
    for piece in pieces:
        for part in _as_parts(piece):
            if runs and (kind := _kind(part)) is not None and kind == _kind(runs[-1][0]):
                runs[-1].append(part)
            else:
                runs.append([part])
    return [run[0] if len(run) == 1 else _members(run) for run in runs]


def _as_parts(piece: list[Any] | str) -> list[Any]:
    if isinstance(piece, list):
        return piece
    return [{"type": "text", "text": piece}] if piece else []


def _kind(part: Any) -> str | None:
    """`text` or `thinking` for a part that has nothing else in it."""
    if not isinstance(part, dict):
        return None
    members = cast("Object", part)
    kind = members.get("type")
    return kind if kind in ("text", "thinking") and members.keys() == {"type", kind} else None


def _parsed(events: bytes) -> list[Any]:
    """One decode for a whole stream: a line break between payloads becomes a comma. Inside a payload a line break can
    only be blank space, where a comma is an error, so a wrong guess never passes."""
    try:
        return _decode(b"[" + events.replace(b"\n", b",") + b"]")
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _parsed_one_by_one(events.decode("utf-8", "replace"))


def _parsed_one_by_one(text: str) -> list[Any]:
    found: list[Any] = []
    at = 0
    while at < len(text):
        if text[at] in _BLANK:
            at += 1
            continue
        try:
            value, at = _scan(text, at)
        except ValueError:
            at = text.find("\n", at)
            if at < 0:
                break
        else:
            found.append(value)
    return found
