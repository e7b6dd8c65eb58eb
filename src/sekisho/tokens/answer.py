"""Output tokens where the provider gives no count: of a stream as its pieces pass, or of a whole answer.

Must cost next to nothing while the stream runs: a piece is kept or left out, and measured only if it comes to that.
"""

from __future__ import annotations

import re
from typing import Any, Final, cast

import msgspec

from sekisho.formats.json import UNREADABLE
from sekisho.tokens.text import NOTHING, Parts, measure

_BLOCK_CHARS: Final = 512
_LONGEST_BLOCK: Final = 4_096
_MOST_BLOCKS: Final = 32
#: names of members of an answer that no model wrote
_NOT_WRITTEN: Final = frozenset(
    (
        "id",
        "object",
        "model",
        "role",
        "type",
        "finish_reason",
        "stop_reason",
        "finishReason",
        "index",
        "logprobs",
        "status",
    )
)
#: members that hold what the model wrote: chat, Responses, Anthropic, Gemini
_WRITTEN: Final = ("choices", "output", "content", "candidates")
_decode = msgspec.json.Decoder().decode
#: a whole text, a bracket, or the quotation mark of a text without an end
_MARKS: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*"|[\[\]{}]|"', re.DOTALL)
_WHOLE_TEXT: Final = re.compile(rb'[^"\\]*+(?:\\(?:u[0-9a-fA-F]{4}|[^u])[^"\\]*+)*', re.DOTALL)
#: the first of two escapes that are one sign together
_HALF_SIGN: Final = re.compile(rb"\\u[dD][89abAB][0-9a-fA-F]{2}\Z")
#: a number, true, false or null that may go on; looked for at the end alone, since this takes the square of the length
_LONGEST_VALUE: Final = 64
_HALF_VALUE: Final = re.compile(rb"[\w+.-]+\Z")


class Written:
    """What a stream has brought so far, fed with the texts of its deltas in their order.

    Holds at most 32 blocks of some 512 characters. When they are full every second one goes and the next blocks count
    double, so what is held is spread evenly over the whole stream.
    """

    __slots__ = ("_block", "_block_chars", "_blocks", "_every", "_n", "chars")

    def __init__(self) -> None:
        self.chars = 0
        self._blocks: list[str] = []
        self._block: list[str] = []
        self._block_chars = 0
        #: one block of so many is kept
        self._every = 1
        self._n = 0

    def feed(self, text: str) -> None:
        """HOT. A piece of text, reasoning, refusal or arguments of a tool call."""
        size = len(text)
        self.chars += size
        self._block.append(text)
        self._block_chars += size
        if self._block_chars >= _BLOCK_CHARS:
            self._close()

    def measure(self) -> Parts:
        """The tokens of all that was fed, by kind."""
        held = self._blocks if self._every > 1 else [*self._blocks, "".join(self._block)]
        found = measure("".join(held))
        chars = sum(map(len, held))
        if chars == self.chars or not chars:
            return found
        return found.scaled(self.chars / chars)

    def _close(self) -> None:
        if self._n % self._every == 0:
            # one piece may be as long as an answer
            self._blocks.append("".join(self._block)[:_LONGEST_BLOCK])
        self._n += 1
        self._block.clear()
        self._block_chars = 0
        if len(self._blocks) > _MOST_BLOCKS:
            self._blocks = self._blocks[::2]
            self._every *= 2


def estimate_answer(body: bytes) -> Parts:
    """The output tokens of a whole plain answer, in any protocol: texts, reasoning, names and arguments of calls."""
    try:
        answer = _read(body)
    except UNREADABLE:
        return measure(body.decode("utf-8", "replace"))
    if not isinstance(answer, dict):
        return NOTHING
    texts: list[str] = []
    for name in _WRITTEN:
        _collect(cast("dict[str, Any]", answer).get(name), texts, 0)
    return measure("\n".join(texts))


def _read(body: bytes) -> Any:
    """JSON, also such that breaks off anywhere. Raises what is UNREADABLE."""
    try:
        return _decode(body)
    except UNREADABLE:
        if not body.lstrip().startswith(b"{"):
            raise
    begun, closing = _begun(body.decode("utf-8", "ignore").encode())
    for value in (b"", b":null", b"null"):  # whole so far; a name without its value; a value that is not there
        try:
            return _decode(begun + value + closing)
        except UNREADABLE:
            continue
    return None


def _begun(body: bytes) -> tuple[bytes, bytes]:
    """JSON that breaks off without what cannot be told any more at its end, and the brackets that are missing."""
    missing: list[bytes] = []
    for found in _MARKS.finditer(body):
        mark = found[0]
        if mark == b"{" or mark == b"[":
            missing.append(b"}" if mark == b"{" else b"]")
        elif mark == b"}" or mark == b"]":
            if missing:
                missing.pop()
        elif mark == b'"':
            # The rest is a text without its end.
            text = _WHOLE_TEXT.match(body, found.end())
            end = found.end() if text is None else text.end()
            body = _HALF_SIGN.sub(b"", body[:end]) + b'"'
            break
    else:
        body = (body[:-_LONGEST_VALUE] + _HALF_VALUE.sub(b"", body[-_LONGEST_VALUE:])).rstrip().removesuffix(b",")
    return body, b"".join(reversed(missing))


def _collect(value: Any, texts: list[str], depth: int) -> None:
    if isinstance(value, str):
        texts.append(value)
    elif depth > 64:
        return
    elif isinstance(value, list):
        for item in cast("list[Any]", value):
            _collect(item, texts, depth + 1)
    elif isinstance(value, dict):
        for name, inner in cast("dict[str, Any]", value).items():
            if name not in _NOT_WRITTEN:
                _collect(inner, texts, depth + 1)
