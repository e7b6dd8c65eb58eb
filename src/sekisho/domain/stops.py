"""What an operator has stopped: a user, a team, a model, or everything. Must stay data: refusing is the gateway's."""

from __future__ import annotations

import hashlib
from typing import Literal

import msgspec

StopKind = Literal["user", "team", "model", "all"]
STOP_KINDS: tuple[StopKind, ...] = ("user", "team", "model", "all")


class Stop(msgspec.Struct, frozen=True, kw_only=True):
    """Calls that are refused, and ended where they run, until the stop is lifted.

    `value` is a requester, a team, or a model: an endpoint's name, `provider/model`, its model alone, or `provider/*`;
    empty for `all`. `at_us`: microseconds since 1970, UTC.
    """

    kind: StopKind
    value: str = ""
    reason: str = ""
    #: who set it, for people
    by: str = ""
    at_us: int = 0

    @property
    def id(self) -> str:
        """The same for the same thing, so that it is stopped once."""
        if self.kind == "all":
            return "stop_all"
        return f"stop_{hashlib.sha256(f'{self.kind}:{self.value}'.encode()).hexdigest()[:12]}"
