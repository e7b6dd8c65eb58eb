"""What `/admin` works with: the file in force, the control database, the counters. Opened with its first request.

Must be called in a thread: it imports SQLAlchemy, which costs more than the start of the gateway may.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from sekisho.app.control import control_store, declared_keys, key_store
from sekisho.app.limits import rules_of
from sekisho.app.settings.model import Settings
from sekisho.costs.currency import UsdJpy
from sekisho.entrypoints.http.admin.access import Door
from sekisho.entrypoints.http.admin.desk import Declared, Desk
from sekisho.entrypoints.http.admin.live import Counted
from sekisho.entrypoints.http.admin.wiring import Office

if TYPE_CHECKING:
    from sekisho.app.installation import Installation


def open_office(running: Installation, pepper: bytes) -> Office:
    """Raises StoreUnavailable; the next request tries again."""
    settings = running.settings
    desk = Desk(lambda: declared_of(running.settings, pepper), key_store(settings), control_store(settings), pepper)
    return Office(
        door=Door(pepper, lambda: running.pipeline.snapshot.keyring, lambda: running.settings.admin_key),
        desk=desk,
        counted=lambda: Counted(rules=running.limits.rules, counters=running.limits.counters, now_s=time.perf_counter),
        language=lambda: running.pipeline.snapshot.language,
    )


def declared_of(settings: Settings, pepper: bytes) -> Declared:
    """What the file says, in the words of the database."""
    rules, rates = rules_of(settings), UsdJpy(settings.fx_rates)
    return Declared(
        # the folders that it lies in concern nobody who reads an answer
        source=Path(settings.source).name,
        teams={team.name: team.department for team in settings.teams.values()},
        keys=tuple(declared_keys(settings, pepper)),
        budgets=rules.budgets,
        limits=rules.limits,
        endpoints=frozenset(settings.endpoints),
        models=frozenset(
            f"{target.provider}/{target.model}"
            for endpoint in settings.endpoints.values()
            for target in (*endpoint.targets, *endpoint.fallbacks)
        ),
        providers=frozenset(settings.providers),
        usd_jpy=lambda us: rates.rate_at(us, settings.timezone),
    )
