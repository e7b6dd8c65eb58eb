"""Events of a provider that are no plain chunk of an answer. Must not let one pass that says that the answer failed.

Runs for odd events only, so none of it costs the usual one.
"""

from __future__ import annotations

from sekisho.formats.halves import with_whole_characters
from sekisho.formats.json import UNREADABLE
from sekisho.formats.odd_counts import chunk_despite_counts
from sekisho.formats.openai import ChunkFacts, decode_error
from sekisho.formats.sse import DONE


class Broken(Exception):
    """An event that ends the stream."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(code)
        self.code = code
        self.detail = detail


def another_look(payload: bytes, error: Exception) -> tuple[bytes, ChunkFacts]:
    """An event that could not be read at first, as one that can be, and what it says: a text is one, whatever its usage
    looks like, and with a character by half.

    Raises Broken.
    """
    if (facts := chunk_despite_counts(payload)) is not None:
        return payload, facts
    whole = with_whole_characters(payload)
    if (facts := chunk_despite_counts(whole)) is not None:
        return whole, facts
    raise Broken("upstream_error", f"an event that is not valid: {error}") from None


def tells_of_failure(payload: bytes) -> bool:
    """Whether an event with neither choices nor usage is an error without the envelope, as some servers send after
    `event: error`: `{"message": "…"}`, `{"detail": "…"}`, `{"object": "error", …}`."""
    try:
        found = decode_error(payload)
    except UNREADABLE:
        return False
    return bool(found.message or found.detail) or "error" in (found.object, found.type)


def is_whole(payload: bytes) -> bool:
    """Whether an event that lacks its empty line was all there: some servers leave out the last one."""
    return payload.startswith(DONE) or chunk_despite_counts(with_whole_characters(payload)) is not None
