"""The caller's side of a stream: payloads that pass as they came, or events rebuilt for another protocol."""

from __future__ import annotations

import msgspec

from sekisho.domain.call import Entry
from sekisho.domain.chat import ChatRequest
from sekisho.domain.errors import Refusal
from sekisho.domain.events import Failed
from sekisho.formats.openai import ChunkFacts
from sekisho.formats.sse import DONE_FRAME, PING_FRAME, frame
from sekisho.gateway.odd_events import Broken
from sekisho.gateway.policies.stops import refusal as stopped
from sekisho.gateway.snapshot import Provider
from sekisho.gateway.upstream import EdgeOf
from sekisho.wire import errors
from sekisho.wire.chat_stream import ContentRenderer

_decode_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class PassThrough:
    """OpenAI in, OpenAI out: the payload goes on as it came, but for usage nobody asked for."""

    __slots__ = ("_entry", "_wants_usage")

    def __init__(self, entry: Entry, wants_usage: bool) -> None:
        self._entry = entry
        self._wants_usage = wants_usage

    def frames(self, payload: bytes, facts: ChunkFacts) -> bytes:
        if facts.usage is not None and not self._wants_usage:
            if not facts.choices:
                return b""
            members = _decode_members(payload)
            members.pop("usage", None)
            payload = msgspec.json.encode(members)
        return b"data: " + payload + b"\n\n"

    def end(self) -> bytes:
        return DONE_FRAME

    def error(self, code: str) -> bytes:
        return error_frame(self._entry, code)

    def ping(self) -> bytes:
        return PING_FRAME


class Rebuilt:
    """The provider's events read into ours and written in the caller's protocol."""

    __slots__ = ("_decoder", "_entry", "_renderer")

    def __init__(self, entry: Entry, provider: Provider, renderer: ContentRenderer) -> None:
        self._entry = entry
        self._decoder = provider.chat.decoder()
        self._renderer = renderer

    def frames(self, payload: bytes, facts: ChunkFacts) -> bytes:
        """Raises Broken."""
        out = b""
        for event in self._decoder.feed(frame(payload)):
            if isinstance(event, Failed):  # and nothing follows it: what came is not the whole answer
                raise Broken("upstream_error", event.detail)
            for rendered in self._renderer.render(event):
                out += frame(rendered)
        return out

    def end(self) -> bytes:
        return b"".join(frame(rendered) for rendered in self._renderer.finish()) + DONE_FRAME

    def error(self, code: str) -> bytes:
        return error_frame(self._entry, code)

    def ping(self) -> bytes:
        return PING_FRAME


def edge_for(entry: Entry, request: ChatRequest) -> EdgeOf:
    """Bytes may pass where the caller and the provider speak the same protocol."""
    if request.protocol == "openai_chat":
        return lambda provider: PassThrough(entry, request.include_usage)
    return lambda provider: Rebuilt(entry, provider, ContentRenderer())


def error_frame(entry: Entry, code: str) -> bytes:
    """The error object of the route's protocol in a frame of its own. Official SDKs raise on it."""
    refusal = stopped() if code == "stopped" else Refusal(502, code, type="server_error")
    return frame(errors.render(refusal, entry.call.request_id, entry.language))
