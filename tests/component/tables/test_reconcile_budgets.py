"""`sekisho reconcile` of budgets: what a gateway says is spent, against the rows, with and without a key."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from tests.component.tables.reconciling import ADMIN_KEY, answering, run
from tests.unit.tables.rows import NOON_US, a_row, record_of

from sekisho.domain.money import format_usd
from sekisho.domain.periods import window
from sekisho.tables.spool import SpoolWriter

UTC_ZONE = ZoneInfo("UTC")


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[SpoolWriter]:
    writer = SpoolWriter(tmp_path / "spool", 64 * 1024)
    for n in range(3):
        writer.append(record_of(a_row(n)))
    yield writer
    writer.close()


def budget(spent_nanos: int, scope: dict[str, str] | None = None, zone: ZoneInfo = UTC_ZONE) -> dict[str, Any]:
    _, ends_s = window("month", zone, NOON_US / 1e6)
    ends = datetime.fromtimestamp(ends_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    scope = scope or {"team": "research"}
    state = {"scope": scope, "spent_usd": format_usd(spent_nanos), "resets_at": ends}
    return {"scope": scope, "usd": "100", "period": "month", "on_exceed": "block", "states": [state]}


def budgets(*found: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"/admin/budgets": {"data": list(found), "counters": "ok"}, **more}


def reconciled(tmp_path: Path, spool: SpoolWriter, admin: Any, *more: str, **environ: str) -> tuple[int, str, str]:
    with answering(spool.spool_id, NOON_US, 3, admin=admin) as url:
        done = run(tmp_path, "--gateway", url, *more, **environ)
        return done.exit_code, done.stdout, done.stderr


def test_budgets_that_agree_and_budgets_that_do_not(tmp_path: Path, spool: SpoolWriter):
    code, out, _ = reconciled(tmp_path, spool, budgets(budget(81_000)), "--key", ADMIN_KEY)
    assert code == 0, out
    assert "ok  budgets: what 1 of them say is spent stands on the rows, 81000 nano-dollars in all" in out
    code, out, _ = reconciled(tmp_path, spool, budgets(budget(81_001)), SEKISHO_ADMIN_KEY=ADMIN_KEY)
    assert code == 1
    assert "NO  budget team research, month, block: 81000 nano-dollars in rows, 81001 counted" in out


def test_a_difference_that_is_gone_at_the_next_look_is_none(tmp_path: Path, spool: SpoolWriter):
    told = iter([81_500, 81_500, 81_000, 81_000])
    admin = {"/admin/budgets": lambda: {"data": [budget(next(told))], "counters": "ok"}}
    code, out, _ = reconciled(tmp_path, spool, admin, "--key", ADMIN_KEY)
    assert code == 0, out


def test_the_budget_of_a_person_who_was_erased_is_said_not_to_be_compared(tmp_path: Path, spool: SpoolWriter):
    spool.append(record_of(a_row(3, requester="erased", api_key_id=None)))
    hers = budgets(budget(27_000, {"user": "山田"}), budget(108_000))
    with answering(spool.spool_id, NOON_US, 4, admin=hers) as url:
        done = run(tmp_path, "--gateway", url, "--key", ADMIN_KEY)
        japanese = run(tmp_path, "--gateway", url, "--key", ADMIN_KEY, language="ja_JP.UTF-8")
    assert done.exit_code == japanese.exit_code == 0, done.output
    assert "ok  budgets: what 1 of them say is spent stands on the rows, 108000 nano-dollars in all" in done.stdout
    assert "--  budget user 山田, month, block was not compared: 0 nano-dollars in rows, 27000 counted; " in done.stdout
    assert "rows of 27000 nano-dollars in its period were erased" in done.stdout
    assert "--  予算 user 山田, month, block は比べていません" in japanese.stdout


def test_rows_name_keys_by_their_ids(tmp_path: Path, spool: SpoolWriter):
    keys = {"/admin/keys": {"data": [{"id": "key_1", "name": "bench"}]}}
    code, out, _ = reconciled(tmp_path, spool, budgets(budget(81_000, {"key": "bench"}), **keys), "--key", ADMIN_KEY)
    assert code == 0, out


def test_without_a_key_one_line_says_what_is_missing(tmp_path: Path, spool: SpoolWriter):
    code, out, _ = reconciled(tmp_path, spool, budgets(budget(1)))
    assert code == 0
    assert "--  budgets were not compared: that takes the admin key (--key, SEKISHO_ADMIN_KEY" in out
    code, out, _ = reconciled(tmp_path, spool, budgets(budget(1)), "--format", "json")
    assert '"name":"budgets_no_key","agrees":true' in out


def test_what_cannot_be_compared_is_neither_agreement_nor_disagreement(tmp_path: Path, spool: SpoolWriter):
    away = {"/admin/budgets": {"data": [{**budget(5), "states": None}], "counters": "unavailable"}}
    tokyo = budgets(budget(5, zone=ZoneInfo("Asia/Tokyo")))
    for admin, said in ((away, "the counters do not answer"), (tokyo, "do not end with those of UTC")):
        code, out, _ = reconciled(tmp_path, spool, admin, "--key", ADMIN_KEY)
        assert code == 0, out
        assert f"--  budgets were not compared: {said}" in out or said in out
    with answering(spool.spool_id, NOON_US, 3, admin=budgets(budget(5)), failed=1) as url:
        done = run(tmp_path, "--gateway", url, "--key", ADMIN_KEY)
        assert "--  budgets were not compared: 1 rows could not be stored" in done.stdout


def test_a_key_that_does_not_open(tmp_path: Path, spool: SpoolWriter):
    code, _, err = reconciled(tmp_path, spool, budgets(budget(5)), "--key", "sk-wrong")
    assert (code, "invalid_api_key" in err) == (2, True)
    code, _, err = reconciled(tmp_path, spool, {"/admin/budgets": {"rows": []}}, "--key", ADMIN_KEY)
    assert code == 3
    code, _, err = reconciled(tmp_path, spool, {"/admin/budgets": {"data": [{"usd": 5}]}}, "--key", ADMIN_KEY)
    assert code == 3
    code, _, err = reconciled(tmp_path, spool, None, "--key", ADMIN_KEY)
    assert (code, "admin API" in err) == (3, True)


def test_a_key_of_the_environment_that_does_not_open_leaves_the_rest_compared(tmp_path: Path, spool: SpoolWriter):
    code, out, _ = reconciled(tmp_path, spool, budgets(budget(5)), SEKISHO_ADMIN_KEY="sk-of-another-gateway")
    assert code == 0, out
    assert "--  budgets were not compared: invalid_api_key" in out
    assert "ok  every row of inference_log is in usage" in out
