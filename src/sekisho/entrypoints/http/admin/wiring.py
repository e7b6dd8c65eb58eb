"""What `app` hands to the application. Must name no adapter."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from sekisho.domain.call import Language
from sekisho.entrypoints.http.admin.access import Door
from sekisho.entrypoints.http.admin.desk import Desk
from sekisho.entrypoints.http.admin.live import Counted


class Office(msgspec.Struct, frozen=True, kw_only=True):
    """`counted` gives the rules in force and their counters."""

    door: Door
    desk: Desk
    counted: Callable[[], Counted]
    language: Callable[[], Language]
