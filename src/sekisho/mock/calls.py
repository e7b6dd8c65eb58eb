"""What the mock has seen: the memory behind /_mock/calls and /_mock/last. Must not know sockets."""

from __future__ import annotations

import msgspec

from sekisho.mock.replies import Request
from sekisho.mock.script import Script, parse


class Calls:
    """Counts since the start or the last reset; one each server. `delay_ms` and `chunk_ms` serve as defaults."""

    def __init__(self, delay_ms: int = 0, chunk_ms: int = 0) -> None:
        self._delay_ms = delay_ms
        self._chunk_ms = chunk_ms
        self.reset()

    def reset(self) -> None:
        """Forgets everything; `fail_first` counts from the beginning."""
        self._number = 0
        self._aborted = 0
        self._by_model: dict[str, int] = {}
        self._last: Request | None = None

    def begin(self, request: Request) -> None:
        """A call of a model route came in, whether or not it can be read."""
        self._number += 1
        self._last = request

    def direct(self, model: str) -> Script:
        """Counts a call of that model and gives the script of just this call. Raises ScriptError."""
        earlier = self._by_model.get(model, 0)
        self._by_model[model] = earlier + 1
        return parse(model, delay_ms=self._delay_ms, chunk_ms=self._chunk_ms).for_call(earlier)

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
