"""How long rows stay and when that is seen to: `retention_days`, `vacuum_days` and `maintenance` of `tables`."""

from __future__ import annotations

from sekisho.app.settings.form import Form
from sekisho.tables.maintenance.policy import Plan, Policy

_LONGEST_DAYS = 36_500


def read_maintenance(tables: Form, timezone: str) -> Plan:
    """Everything about maintenance in the section `tables`; its hour is one of the installation's time zone."""
    usual = Plan()
    policy = Policy(
        retention_days=_retention(tables), vacuum_days=tables.whole("vacuum_days", usual.policy.vacuum_days, most=365)
    )
    form = tables.form("maintenance")
    if form is None:
        return Plan(timezone=timezone, policy=policy)
    with form:
        return Plan(
            enabled=form.truth("enabled", usual.enabled),
            hour=form.whole("hour", usual.hour, least=0, most=23),
            every_s=form.seconds("every_s", usual.every_s),
            timezone=timezone,
            policy=policy,
        )


def _retention(tables: Form) -> dict[str, int]:
    usual = Policy().retention_days
    form = tables.form("retention_days")
    if form is None:
        return usual
    with form:
        return {name: form.whole(name, days, most=_LONGEST_DAYS) for name, days in usual.items()}
