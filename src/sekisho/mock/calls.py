"""What the mock has seen: the memory behind /_mock/calls and /_mock/last, and what answers under way hold of the
machine's. Must not know sockets."""

from __future__ import annotations

import msgspec

from sekisho.mock.replies import Request
from sekisho.mock.script import Script, ScriptError, parse

#: of names of models: each is counted on its own, and may be as long as a body
_MOST_NAMES_BYTES = 64_000_000
#: of all answers that clients have not read to their end
MOST_HELD_BYTES = 500_000_000


class Calls:
    """Counts since the start or the last reset; one each server. `delay_ms` and `chunk_ms` serve as defaults."""

    def __init__(self, delay_ms: int = 0, chunk_ms: int = 0, most_held_bytes: int = MOST_HELD_BYTES) -> None:
        self._most_held_bytes = most_held_bytes
        self._delay_ms = delay_ms
        self._chunk_ms = chunk_ms
        self._held_bytes = 0
        self.reset()

    def reset(self) -> None:
        """Forgets everything; `fail_first` counts from the beginning."""
        self._number = 0
        self._aborted = 0
        self._by_model: dict[str, int] = {}
        self._names_bytes = 0
        self._last: Request | None = None

    def begin(self, request: Request) -> None:
        """A call of a model route came in, whether or not it can be read."""
        self._number += 1
        self._last = request

    def direct(self, model: str) -> Script:
        """Counts a call of that model and gives the script of just this call. Raises ScriptError."""
        earlier = self._by_model.get(model, 0)
        if not earlier:
            self._names_bytes += len(model)
            if self._names_bytes > _MOST_NAMES_BYTES:
                raise ScriptError("too many different model names were asked for; POST /_mock/reset forgets them")
        self._by_model[model] = earlier + 1
        return parse(model, delay_ms=self._delay_ms, chunk_ms=self._chunk_ms).for_call(earlier)

    def hold(self, size: int) -> bool:
        """Whether an answer of that many bytes may go out; it counts until `let_go`."""
        if self._held_bytes + size > self._most_held_bytes:
            return False
        self._held_bytes += size
        return True

    def let_go(self, size: int) -> None:
        """An answer was sent, or its client left."""
        self._held_bytes -= size

    def abort(self) -> None:
        """A client left before its answer was complete."""
        self._aborted += 1

    def counts(self) -> dict[str, object]:
        """`calls`, `aborted`, `by_model`; a call whose body names no model is in `calls` only."""
        return {"calls": self._number, "aborted": self._aborted, "by_model": dict(self._by_model)}

    def last(self) -> dict[str, object] | None:
        """The last call of a model route, keys and all; None if there was none. A body that is no JSON is text."""
        request = self._last
        if request is None:
            return None
        try:
            body: object = msgspec.json.decode(request.body)
        except (msgspec.DecodeError, UnicodeDecodeError):
            body = request.body.decode("utf-8", "replace")
        return {"method": request.method, "path": request.path, "headers": request.headers, "body": body}
