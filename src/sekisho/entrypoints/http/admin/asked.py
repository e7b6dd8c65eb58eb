"""One request that was let in, as a route sees it. Must not hold the text of a key."""

from __future__ import annotations

from typing import Any

import msgspec

from sekisho.entrypoints.http.admin.access import Asker
from sekisho.entrypoints.http.admin.desk import Desk
from sekisho.entrypoints.http.admin.live import NOTHING_KNOWN, States


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """`form` is of the route's type, `path` and `query` are texts."""

    by: Asker
    desk: Desk
    form: Any = None
    path: dict[str, str] = {}
    query: dict[str, str] = {}
    states: States = NOTHING_KNOWN
