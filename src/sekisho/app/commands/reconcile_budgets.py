"""`reconcile` of budgets: what the running gateway says is spent, against the rows. Must only read."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple
from zoneinfo import ZoneInfo

import msgspec

from sekisho.app.commands import UNREACHABLE
from sekisho.app.commands.admin_door import Door
from sekisho.app.commands.admin_door import Stopped as DoorStopped
from sekisho.app.commands.reconcile_gateway import Stopped

if TYPE_CHECKING:
    from sekisho.app.settings.model import Language, Settings
    from sekisho.costs.budget_check import BudgetTold, Name, Spent
    from sekisho.costs.reconcile import Check
    from sekisho.domain.spending import Period
    from sekisho.tables.books import Books
    from sekisho.tables.by_period import PeriodSum

#: a failed attempt may be charged before its call ends and has a row; then the next look finds both
_LOOKS = 3


class Desk(NamedTuple):
    """Whom to ask, and with what."""

    url: str
    #: of the command line or the environment; one of the configuration is in the settings
    key: str | None
    #: the key was given to this command, so it must open
    must_open: bool
    settings: Settings | None
    language: Language


def budget_checks(desk: Desk, open_books: Callable[[], Books]) -> list[Check]:
    """The checks, or one note that says what is missing. Raises Stopped where a key was given and does not open."""
    from sekisho.costs.reconcile import Check

    configured = None if desk.settings is None else desk.settings.admin_key
    key = desk.key or (None if configured is None else configured.reveal())
    if not key:
        return [Check(name="budgets_no_key", agrees=True, note=True)]
    door = Door(desk.url, key, desk.language, desk.settings)
    try:
        checks = _looked(door, desk, open_books)
        for _ in range(_LOOKS - 1):
            if all(check.agrees for check in checks):
                break
            checks = _looked(door, desk, open_books)
        return checks
    except DoorStopped as stopped:
        if desk.must_open:
            raise Stopped(str(stopped), stopped.exit_code) from None
        reason = str(stopped).partition("\n")[0]
        return [Check(name="budgets_not_asked", agrees=True, values={"reason": reason}, note=True)]


def _looked(door: Door, desk: Desk, open_books: Callable[[], Books]) -> list[Check]:
    from sekisho.costs.budget_check import check_budgets, rules_told, spent_told, windows_of
    from sekisho.costs.reconcile import Check

    zone = ZoneInfo("UTC" if desk.settings is None else desk.settings.timezone)
    before, counted = _told(door)
    if not counted:
        return [Check(name="budgets_uncounted", agrees=True, note=True)]
    windows = windows_of(spent_told(before), zone)
    if windows is None:
        return [Check(name="budgets_other_zone", agrees=True, values={"zone": zone.key}, note=True)]
    names = _key_names(door) if any("key" in budget.scope for budget in before) else {}
    rows = _rows(open_books(), windows, names)
    after, _ = _told(door)
    shared = desk.settings is None or desk.settings.state_url is not None
    return check_budgets(spent_told(before), rules_told(after), rows, _only(windows, spent_told(after)), shared=shared)


def _told(door: Door) -> tuple[list[BudgetTold], bool]:
    """What is told of budgets, and whether the counters had a part in it."""
    from sekisho.app.commands import admin_messages as messages
    from sekisho.app.commands.admin_door import refused
    from sekisho.costs.budget_check import BudgetTold, rules_told, spent_told

    try:
        data, counted = door.every("budgets")
        budgets = msgspec.convert(data, list[BudgetTold])
        rules_told(budgets)
        spent_told(budgets)
    except (msgspec.ValidationError, ValueError, ArithmeticError, LookupError, TypeError):
        raise refused(messages.NOT_A_GATEWAY, door.language, UNREACHABLE, url=door.url, status=200) from None
    return budgets, counted


def _only(windows: dict[Period, tuple[float, float]], spent: dict[Name, Spent]) -> dict[Name, Spent]:
    """Those of the periods whose rows were summed."""
    return {
        name: one
        for name, one in spent.items()
        if name.period in windows and windows[name.period][1] == one.resets_at_s
    }


def _key_names(door: Door) -> dict[str, str]:
    keys, _ = door.every("keys")
    return {str(one.get("id")): str(one.get("name")) for one in keys}


def _rows(
    books: Books, windows: dict[Period, tuple[float, float]], key_names: dict[str, str]
) -> dict[Period, list[PeriodSum]]:
    found: dict[Period, list[PeriodSum]] = {}
    try:
        for period, (begins_s, ends_s) in windows.items():
            found[period] = books.of_period(int(begins_s * 1e6), int(ends_s * 1e6))
    finally:
        books.close()
    for sums in found.values():
        for one in sums:
            key_id = one.facts["key"]
            one.facts["key"] = None if key_id is None else key_names.get(key_id, key_id)
    return found
