"""OpenAI's embeddings as an upstream speaks them. Must not decode the input or the vectors.

Source: OpenAI API reference, embeddings.
"""

from __future__ import annotations

from sekisho.domain.embeddings import EmbeddingRequest
from sekisho.domain.endpoint import Target
from sekisho.domain.errors import UpstreamError
from sekisho.domain.http import Headers, HttpRequest
from sekisho.formats.json import encode, splice
from sekisho.providers.failures import classify, error_in
from sekisho.providers.quirks import Quirks

PATH = "/embeddings"


class OpenAIEmbeddings:
    """See `EmbeddingsDialect`."""

    __slots__ = ()

    def __init__(self, quirks: Quirks) -> None:
        """Takes the row's quirks as every dialect does; none of them concerns embeddings so far."""

    def request(self, request: EmbeddingRequest, target: Target) -> HttpRequest:
        """HOT."""
        return HttpRequest(path=PATH, body=splice(request.fields, {"model": encode(target.model)}))

    def error(self, status: int, headers: Headers, body: bytes) -> UpstreamError:
        return classify(status, headers, body)

    def error_in_body(self, body: bytes) -> UpstreamError | None:
        return error_in(body)
