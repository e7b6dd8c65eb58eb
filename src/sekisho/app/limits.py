"""From settings to what lets calls in: rules, counters, and what was spent before. Must not count anything itself."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import msgspec

from sekisho.app.settings.messages import Say
from sekisho.app.settings.model import Language, Settings
from sekisho.domain.periods import window
from sekisho.domain.spending import Budget, Limit, Spent
from sekisho.ledger.scopes import Rules
from sekisho.stores.control import NOTHING, ControlRecords, budget_id, limit_id
from sekisho.stores.counters import EventSink, SpentBefore
from sekisho.stores.memory_counters import MemoryCounters
from sekisho.stores.ports import StoreUnavailable
from sekisho.tables.spent import SpentUnknown

if TYPE_CHECKING:
    from sekisho.stores.redis_counters import RedisCounters

#: sums of what calls cost that began at each of these times or later and ended before another (seconds since 1970), by
#: their facts; may block
SpentRows = Callable[[Sequence[float], float], Iterable[Iterable[Spent]]]

ONE_WORKER = Say(
    "one_worker",
    "{workers} workers need shared counters, and `state.url: memory://` counts for one: each would allow the whole of "
    "every limit and budget",
    "{workers} ワーカーには共有のカウンターが必要です。`state.url: memory://` は 1 ワーカー用で、"
    "制限と予算が各ワーカーで別々に数えられてしまいます。",
    "set `state: {{url: redis://HOST:6379/0}}`, or start one worker",
    "`state: {{url: redis://ホスト:6379/0}}` と設定するか、1 ワーカーで起動してください。",
)
NO_CLIENT = Say(
    "no_client",
    "`state.url` names Redis or Valkey, and its client is not installed",
    "`state.url` に Redis か Valkey が指定されていますが、クライアントが入っていません。",
    "in the folder of Sekisho: .uv/bin/uv pip install --python .venv -e '.[redis]'",
    "Sekisho のフォルダーで .uv/bin/uv pip install --python .venv -e '.[redis]' を実行してください。",
)


def cannot_count(settings: Settings, workers: int, language: Language) -> str | None:
    """Why so many workers cannot keep the limits and budgets of these settings, and what to do; None: they can."""
    say: Say | None = None
    if settings.state_url is None:
        say = ONE_WORKER if workers > 1 else None
    elif find_spec("hiredis") is None:
        say = NO_CLIENT
    if say is None:
        return None
    return f"{say.message(language, workers=workers)}\n{say.hint(language)}"


def rules_of(settings: Settings, control: ControlRecords = NOTHING) -> Rules:
    """All limits and budgets: those of the lists, of endpoints, of the defaults, which are for each endpoint, and of
    the control database. What the file declares comes before the same in the database."""
    limits: list[Limit] = [*settings.limits]
    own = (endpoint.limits for endpoint in settings.endpoints.values())
    limits += [limit for limit in (settings.defaults.limits, *own) if limit is not None]
    declared = {limit_id(limit) for limit in limits}, {budget_id(budget) for budget in settings.budgets}
    limits += [stored.rule for stored in control.limits if stored.id not in declared[0]]
    budgets = [_reachable(stored.rule, settings) for stored in control.budgets if stored.id not in declared[1]]
    return Rules(limits, (*settings.budgets, *budgets))


def _reachable(budget: Budget, settings: Settings) -> Budget:
    """A budget whose other endpoint the file no longer has: it blocks, for that is the safe side."""
    if budget.degrade_to is None or budget.degrade_to in settings.endpoints:
        return budget
    return msgspec.structs.replace(budget, on_exceed="block", degrade_to=None)


def spent_before(settings: Settings, rules: Rules, rows: SpentRows) -> Callable[[float], Awaitable[SpentBefore]]:
    """Reads what was spent before a time, by these rules."""
    zone = ZoneInfo(settings.timezone)

    def read(as_of_s: float) -> SpentBefore:
        periods = list(rules.periods)
        sums: dict[str, int] = {}
        died: dict[str, dict[str, int]] = {}
        found = rows([window(period, zone, as_of_s)[0] for period in periods], as_of_s)
        for spent, period in zip(found, periods, strict=True):
            calls: dict[str | None, list[Spent]] = {}
            for one in spent:
                calls.setdefault(one.died, []).append(one)
            for call, known in calls.items():
                part = rules.spent_by_budget(known, period)
                for key, nanos in part.items():
                    sums[key] = sums.get(key, 0) + nanos
                if call is not None:
                    died.setdefault(call, {}).update(part)  # of another period
        return SpentBefore(nanos=sums, died=died)

    async def spent(as_of_s: float) -> SpentBefore:
        return await asyncio.to_thread(read, as_of_s) if rules.budgets else SpentBefore(nanos={})

    return spent


def or_unavailable(
    spent: Callable[[float], Awaitable[SpentBefore]],
) -> Callable[[float], Awaitable[SpentBefore]]:
    """The same for who knows stores alone: a bucket that is away is one of those, and no mistake of ours."""

    async def asked(as_of_s: float) -> SpentBefore:
        try:
            return await spent(as_of_s)
        except SpentUnknown as error:
            raise StoreUnavailable(str(error)) from None

    return asked


async def open_counters(
    settings: Settings, on_event: EventSink, spent: Callable[[float], Awaitable[SpentBefore]]
) -> MemoryCounters | RedisCounters:
    """Counters where `state` says, which know what was spent before. Redis ones are to be closed."""
    zone, now_s, wall_s = ZoneInfo(settings.timezone), time.perf_counter(), time.time()
    if settings.state_url is None:
        counters = MemoryCounters(zone, on_event, now_s, wall_s)
        counters.adopt((await spent(wall_s)).nanos, wall_s)
        return counters
    from sekisho.stores.redis_counters import RedisCounters

    shared = RedisCounters(settings.state_url.reveal(), zone, on_event, or_unavailable(spent), now_s, wall_s)
    await shared.open()
    return shared
