"""OpenAI's chat completions as an upstream speaks them. Must not touch what the client sent but for what it has to.

A body in the same protocol passes with `model` and, on streams, `stream_options` set; anything else is written from
the conversation. Source: OpenAI API reference, chat completions; departures are data in `providers.quirks`.
"""

from __future__ import annotations

from typing import Any, cast

import msgspec

from sekisho.domain.chat import ChatRequest, ChatResponse
from sekisho.domain.endpoint import Target
from sekisho.domain.errors import UpstreamError
from sekisho.domain.events import ChatEvent, Failed
from sekisho.domain.http import Headers, HttpRequest
from sekisho.formats.json import LARGE_BYTES, UNREADABLE, encode, parts
from sekisho.formats.openai_answers import read_response
from sekisho.formats.openai_chunks import ChunkReader
from sekisho.formats.openai_messages import Json, ShapeError, write_message, write_tool
from sekisho.formats.sse import DONE, EventTooLarge, SseSplitter
from sekisho.providers.failures import classify, detail_of, error_in
from sekisho.providers.quirks import Quirks

PATH = "/chat/completions"
PROTOCOL = "openai_chat"
_WITH_USAGE = msgspec.Raw(b'{"include_usage":true}')
_decode_any = msgspec.json.Decoder().decode


class OpenAIChat:
    """See `Dialect`."""

    __slots__ = ("_quirks", "_touched")

    def __init__(self, quirks: Quirks) -> None:
        self._quirks = quirks
        self._touched = quirks.touched()

    def request(self, request: ChatRequest, target: Target) -> HttpRequest:
        """HOT. Streams always ask for usage: the books need it, and whether the client sees it is decided elsewhere."""
        fields = request.fields
        if fields is None or request.protocol != PROTOCOL:
            members = _rebuilt(request)
        else:
            members: dict[str, Any] = {**fields}
        members["model"] = target.model
        if request.stream:
            if not self._quirks.stream_options:
                members.pop("stream_options", None)
            elif not request.include_usage or "stream_options" not in members:
                members["stream_options"] = _with_usage(members.get("stream_options"))
        if not self._touched.isdisjoint(members):
            self._depart(members)
        return HttpRequest(path=PATH, body=[encode(members)] if request.size < LARGE_BYTES else parts(members))

    def response(self, body: bytes) -> ChatResponse:
        failure = error_in(body)
        if failure is not None:
            raise failure
        try:
            return read_response(body)
        except ShapeError as error:
            raise UpstreamError("upstream_error", status=200, detail=f"{error} {detail_of(200, body)}") from None

    def decoder(self) -> OpenAIChatDecoder:
        return OpenAIChatDecoder()

    def error(self, status: int, headers: Headers, body: bytes) -> UpstreamError:
        return classify(status, headers, body)

    def error_in_body(self, body: bytes) -> UpstreamError | None:
        return error_in(body)

    def _depart(self, members: dict[str, Any]) -> None:
        """What this provider wants otherwise. Members are Raw or values, so only names are compared, and `store`."""
        quirks = self._quirks
        if quirks.metadata_needs_store and "metadata" in members and not _is_true(members.get("store")):
            del members["metadata"]
        for name, older in quirks.renames.items():
            if name in members:
                value = members.pop(name)
                if _is_null(members.get(older)):
                    members[older] = value
        for name in quirks.drops:
            members.pop(name, None)


class OpenAIChatDecoder:
    """See `Decoder`."""

    __slots__ = ("_done", "_reader", "_splitter")

    def __init__(self) -> None:
        self._splitter = SseSplitter()
        self._reader = ChunkReader()
        self._done = False

    def feed(self, packet: bytes) -> list[ChatEvent]:
        if self._done:
            return []
        try:
            payloads = self._splitter.feed(packet)
        except EventTooLarge:
            self._done = True
            return [Failed(detail="an event larger than the limit")]
        return self._read(payloads)

    def end(self) -> list[ChatEvent]:
        rest = None if self._done else self._splitter.rest()
        return [] if rest is None else self._read([rest])

    @property
    def complete(self) -> bool:
        return self._reader.complete

    def _read(self, payloads: list[bytes]) -> list[ChatEvent]:
        events: list[ChatEvent] = []
        for payload in payloads:
            if payload == DONE:
                self._done = True
                break
            events += self._reader.read(payload)
            if events and isinstance(events[-1], Failed):
                self._done = True
                error = error_in(payload)
                if error is not None:
                    events[-1] = Failed(detail=error.detail, code=error.code, fallback=error.fallback)
                break
        return events


def _rebuilt(request: ChatRequest) -> Json:
    """The members of a body from the typed conversation. The request has one, or its reader made one."""
    talk = request.conversation
    if talk is None:
        raise ValueError(f"a request in {request.protocol!r} needs its conversation")
    members: Json = {"model": "", "messages": [write_message(message) for message in talk.messages]}
    members |= talk.parameters
    if talk.tools:
        members["tools"] = [write_tool(tool) for tool in talk.tools]
    if request.stream:
        members["stream"] = True
    return members


def _with_usage(options: Any) -> Any:
    """`stream_options` with include_usage set, its other members kept."""
    if isinstance(options, msgspec.Raw):
        try:
            options = _decode_any(options)
        except UNREADABLE:
            options = None
    if not isinstance(options, dict) or not options:
        return _WITH_USAGE
    return {**cast("Json", options), "include_usage": True}


def _is_null(value: Any) -> bool:
    return value is None or (isinstance(value, msgspec.Raw) and bytes(value) == b"null")


def _is_true(value: Any) -> bool:
    return value is True or (isinstance(value, msgspec.Raw) and bytes(value) == b"true")
