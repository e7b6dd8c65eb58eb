"""What callers name in `model`, and where their calls go. Must stay data: choosing and sending are the gateway's."""

from __future__ import annotations

from typing import Literal

import msgspec

from sekisho.domain.money import Rates

LogLevel = Literal["full", "metadata"]
#: what a row survives before the last byte of its answer leaves: the death of the process, or a power cut
Durability = Literal["process", "sync"]


class Timeouts(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds. first_token_s and idle_s hold for streams only; total_s for every call."""

    connect_s: float = 5.0
    first_token_s: float = 120.0
    idle_s: float = 60.0
    total_s: float = 600.0


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """One model at one provider. `rates` None means that its price is unknown."""

    provider: str
    model: str
    weight: int = 100
    rates: Rates | None = None


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """A name that callers use; `targets` share by weight, `fallbacks` follow in order."""

    name: str
    targets: tuple[Target, ...]
    fallbacks: tuple[Target, ...] = ()
    timeouts: Timeouts = Timeouts()
    log: LogLevel = "metadata"
    durability: Durability = "process"
    #: reached as `provider/model`, not by a configured name
    direct: bool = False
