"""How a provider departs from the wire format it speaks, as data. Must not name a provider: rows do that."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec


class Quirks(msgspec.Struct, frozen=True, kw_only=True):
    """Departures from OpenAI's chat completions; the defaults are OpenAI's own behaviour as documented."""

    #: takes `stream_options`; where not, it is left out, and usage comes unasked in the last chunk or never
    stream_options: bool = True
    #: takes `metadata` only with `store: true`, and rejects the call otherwise
    metadata_needs_store: bool = False
    #: member -> the older name it must be sent under; not sent twice where the client set both
    renames: Mapping[str, str] = {}
    #: members it rejects though they change nothing in the answer
    drops: frozenset[str] = frozenset()

    def touched(self) -> frozenset[str]:
        """Members that make a body need more than a new `model`."""
        names = self.drops.union(self.renames)
        return names | {"metadata"} if self.metadata_needs_store else names
