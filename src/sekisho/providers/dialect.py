"""The contract of a dialect: one wire format that upstreams speak. Must stay free of I/O, clocks and logging."""

from __future__ import annotations

from typing import Protocol

from sekisho.domain.chat import ChatRequest, ChatResponse
from sekisho.domain.embeddings import EmbeddingRequest
from sekisho.domain.endpoint import Target
from sekisho.domain.errors import UpstreamError
from sekisho.domain.events import ChatEvent
from sekisho.domain.http import Headers, HttpRequest


class Decoder(Protocol):
    """One stream's bytes to events, cut anywhere. Never raises on bytes: what is broken is `Failed`, then silence."""

    def feed(self, packet: bytes) -> list[ChatEvent]: ...
    def end(self) -> list[ChatEvent]:
        """The body has ended: events of a last payload whose blank line never came."""
        ...

    @property
    def complete(self) -> bool:
        """Every choice that began has its finish reason."""
        ...


class Dialect(Protocol):
    """Pure: no I/O, no clock, no logging. Golden-tested."""

    def request(self, request: ChatRequest, target: Target) -> HttpRequest:
        """The request without origin and credentials; its path is relative to the provider's base URL."""
        ...

    def response(self, body: bytes) -> ChatResponse:
        """A whole answer of status 200. Raises UpstreamError where it is none."""
        ...

    def decoder(self) -> Decoder:
        """Fresh per stream."""
        ...

    def error(self, status: int, headers: Headers, body: bytes) -> UpstreamError:
        """What an error answer means; also for a 200 whose body is an error."""
        ...

    def error_in_body(self, body: bytes) -> UpstreamError | None:
        """The error inside an answer of status 200, or inside the payload of a stream; None where there is none."""
        ...


class EmbeddingsDialect(Protocol):
    """As `Dialect`, for embeddings, whose answers pass as they came."""

    def request(self, request: EmbeddingRequest, target: Target) -> HttpRequest: ...
    def error(self, status: int, headers: Headers, body: bytes) -> UpstreamError: ...
    def error_in_body(self, body: bytes) -> UpstreamError | None: ...
