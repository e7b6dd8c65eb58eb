"""Notices gateways on the same server that count in another time zone. Must only warn: nothing is counted otherwise."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from zoneinfo import ZoneInfo

from sekisho.domain.periods import same_days

log = logging.getLogger("sekisho.stores")


class Zones:
    """`member` is how a worker is known among the others: by its name and zone. Those of older versions say no zone."""

    def __init__(self, name: str, zone: ZoneInfo) -> None:
        self.member = f"{name} {zone.key}"
        self._zone = zone
        #: those that were told of
        self._told: frozenset[str] = frozenset()

    def heard(self, members: Iterable[bytes], at_s: float) -> None:
        """All workers that live now. The end of a day, and of a month, is another one in another zone: what is spent
        there is counted under another period."""
        said = {member.decode("utf-8", "replace").partition(" ")[2] for member in members} - {"", self._zone.key}
        others = frozenset(zone for zone in said if not same_days(self._zone, zone, at_s))
        if others - self._told:
            log.warning(
                "other gateways on this counters' server have another `timezone` (%s) than this one (%s): the days, "
                "weeks and months of their budgets begin at other times and are counted apart; give all the same",
                ", ".join(sorted(others)),
                self._zone.key,
            )
        self._told = others
