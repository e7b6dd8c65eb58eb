"""What an operator has stopped: calls that may not begin, targets to skip, running calls to end. Must never wait."""

from __future__ import annotations

import random
from collections.abc import Iterable

from sekisho.domain.call import Entry
from sekisho.domain.endpoint import Endpoint, Target
from sekisho.domain.errors import Refusal
from sekisho.domain.stops import Stop


class Stops:
    """The stops of one moment. Ask `active` first: it is false nearly always, and then nothing else is to be done."""

    __slots__ = ("_everything", "_models", "_teams", "_users", "active")

    def __init__(self, stops: Iterable[Stop] = ()) -> None:
        stops = tuple(stops)
        self.active = bool(stops)
        self._everything = any(stop.kind == "all" for stop in stops)
        self._users = frozenset(stop.value for stop in stops if stop.kind == "user")
        self._teams = frozenset(stop.value for stop in stops if stop.kind == "team")
        self._models = frozenset(stop.value for stop in stops if stop.kind == "model")

    def check(self, entry: Entry) -> None:
        """Takes stopped targets out of those to be tried. Raises Refusal 403 where none is left, or where the caller
        or the endpoint is stopped."""
        endpoint = entry.endpoint
        if endpoint is None or self._holds_caller(entry) or endpoint.name in self._models:
            raise refusal()
        if self._models:
            first, fallbacks = self._left(entry.targets[:1]) or self._drawn(endpoint), self._left(entry.targets[1:])
            entry.targets = (*first, *fallbacks)
            if not entry.targets:
                raise refusal()
            if not first:
                entry.reason = "fallback"

    def skips(self, target: Target) -> bool:
        """No attempt is made at this target."""
        models = self._models
        return bool(models) and (
            f"{target.provider}/{target.model}" in models or target.model in models or f"{target.provider}/*" in models
        )

    def ends(self, entry: Entry) -> bool:
        """A call that runs is to be ended: its caller or endpoint is stopped, or the target that it runs at."""
        if self._holds_caller(entry) or (entry.endpoint is not None and entry.endpoint.name in self._models):
            return True
        if entry.attempts:
            return self.skips(entry.attempts[-1].target)
        return bool(entry.targets) and not self._left(entry.targets)

    def _drawn(self, endpoint: Endpoint) -> tuple[Target, ...]:
        """One of the targets that are left of an endpoint, by weight; nothing where none is."""
        left = self._left(endpoint.targets)
        return (random.choices(left, [target.weight for target in left])[0],) if left else ()

    def _left(self, targets: Iterable[Target]) -> tuple[Target, ...]:
        return tuple(target for target in targets if not self.skips(target))

    def _holds_caller(self, entry: Entry) -> bool:
        if self._everything:
            return True
        caller = entry.caller
        if caller is None:
            return False
        if caller.team is not None and caller.team in self._teams:
            return True
        # the requester as the row names it
        return (caller.user or caller.key_name) in self._users


def refusal() -> Refusal:
    """403, and official SDKs are told not to try again by themselves."""
    return Refusal(403, "stopped", type="permission_error", retry=False)
