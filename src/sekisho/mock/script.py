"""The script that a model name carries. Pure; must not know any wire format.

`mock-small` has none; `mock?status=429&retry_after=2` has two keys; what stands before the `?` does not matter.
"""

from __future__ import annotations

from typing import Annotated
from urllib.parse import unquote

import msgspec

_Count = Annotated[int, msgspec.Meta(ge=0, le=100_000)]
_Millis = Annotated[int, msgspec.Meta(ge=0, le=3_600_000)]
_Header = Annotated[str, msgspec.Meta(pattern=r"^[ -~]*\Z", max_length=64)]


#: what one answer may hold: a model name must not fill the memory of whoever tests with it
MOST_ANSWER_BYTES = 100_000_000


class ScriptError(ValueError):
    """The script cannot be read; the message says which key and what is allowed."""


class Script(msgspec.Struct, frozen=True, kw_only=True):
    """What one call shall do; the fields are the keys. Times in milliseconds.

    A "chunk" is one piece of content (text, reasoning, refusal, tool call) as a stream sends it; the event with the
    role and the ones with finish reason and usage are none. Plain answers have the same content in one piece.
    """

    #: answer with this status and an error body
    status: Annotated[int, msgspec.Meta(ge=300, le=599)] | None = None
    #: `retry-after` header of an error answer: seconds or an HTTP date
    retry_after: _Header | None = None
    #: code of an error; also the type where the code is `insufficient_quota`
    code: str | None = None
    #: request field that an error names
    param: str | None = None
    #: the faults in this script (status=500 if it has none) hold for that many calls, then none of them
    fail_first: _Count = 0

    #: before the answer starts, also an error answer
    delay_ms: _Millis = 0
    #: streams: from the headers and the role to the first chunk
    first_token_ms: _Millis = 0
    #: streams: between two chunks
    chunk_ms: _Millis = 0

    #: number of text chunks; never more than the text has characters
    chunks: _Count | None = None
    #: the text of the answer
    answer: str | None = None
    #: the text is the last user message
    echo: bool = False
    #: the text is one chunk of that many million bytes
    line_mb: Annotated[int, msgspec.Meta(ge=0, le=64)] = 0
    #: call a tool of the request (`get_weather` where it has none), unless a tool's result was sent last
    tools: bool = False
    #: number of tool calls
    parallel: Annotated[int, msgspec.Meta(ge=1, le=16)] = 1
    #: reasoning before the text
    reasoning: bool = False
    #: a refusal instead of the text
    refusal: bool = False
    #: log probabilities, as if the request had asked for them
    logprobs: bool = False
    #: finish reason
    finish: str | None = None
    #: input, output and cached tokens; the later ones may be left out
    usage: Annotated[list[_Count], msgspec.Meta(min_length=1, max_length=3)] | None = None

    #: never a word about usage
    no_usage: bool = False
    #: a stream ends well but without its last word
    no_done: bool = False
    #: the body, or the first chunk of a stream, is broken JSON
    bad_json: bool = False
    #: status 200 with an error body, or an error as the first event
    ok_error: bool = False
    #: streams: an error event after that many chunks, then the end
    error_after: _Count | None = None
    #: FIN after that many chunks, or after half of a plain body; 0 = before any byte
    cut_after: _Count | None = None
    #: RST instead of FIN
    reset_after: _Count | None = None
    #: silence after that many chunks (0 = after headers and role), or after half of a plain body
    hang_after: _Count | None = None
    #: never answer
    hang: bool = False
    #: every byte in a packet of its own
    split: bool = False

    def for_call(self, earlier: int) -> Script:
        """The script after `earlier` calls of the same model: `fail_first` decides if the faults still hold."""
        if not self.fail_first:
            return self
        if earlier >= self.fail_first:
            return msgspec.structs.replace(self, **_NO_FAULT)
        if all(getattr(self, name) == calm for name, calm in _NO_FAULT.items()):
            return msgspec.structs.replace(self, status=500)
        return self


KEYS: tuple[str, ...] = Script.__struct_fields__

_NO_FAULT: dict[str, object] = {
    "status": None,
    "bad_json": False,
    "ok_error": False,
    "error_after": None,
    "cut_after": None,
    "reset_after": None,
    "hang_after": None,
    "hang": False,
}


def parse(model: str, *, delay_ms: int = 0, chunk_ms: int = 0) -> Script:
    """Reads the script of a model name; the times are used where it says nothing. Raises ScriptError.

    Values are percent-decoded; a `+` stays a plus.
    """
    values: dict[str, object] = {"delay_ms": delay_ms, "chunk_ms": chunk_ms}
    seen: set[str] = set()
    for pair in model.partition("?")[2].split("&"):
        if not pair:
            continue
        key, mark, text = pair.partition("=")
        if key not in KEYS:
            raise ScriptError(f"unknown script key '{key}'; valid keys: {', '.join(KEYS)}")
        if not mark:
            raise ScriptError(f"script key '{key}' has no value; write {key}=1")
        if key in seen:
            raise ScriptError(f"script key '{key}' is given twice")
        seen.add(key)
        value = unquote(text)
        values[key] = value.split(",") if key == "usage" else value
    try:
        return msgspec.convert(values, Script, strict=False)
    except msgspec.ValidationError as error:
        reason, _, place = str(error).replace(" | null", "").partition(" - at `$.")
        raise ScriptError(f"script key '{place.partition('[')[0].rstrip('`')}': {reason}") from None
