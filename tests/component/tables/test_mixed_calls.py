"""Some thousand calls of every kind: what clients saw, rows, metrics and money agree to the nano-dollar, and the ready
questions have answers. `tests/endurance/mixed_calls.py` does the same with a hundred thousand."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from tests.docs.pages import DOCS, Block, blocks
from tests.support.mixed_load import ADMIN_KEY, KINDS, House, Seen, compare, house, load, reconciled

from sekisho.tables.reader import ask

CALLS = 3_000
QUESTIONS = [block for block in blocks(DOCS / "how-to" / "ready-questions.md") if block.language == "sql"]
#: these compare with earlier days, and all of these calls are of today
WITHOUT_ROWS = {"growing_inputs"}
#: days that a page names, and some in which these calls are
NAMED_DAYS, ALL_DAYS = re.compile(r"'\d{4}-\d\d-\d\d' AND '\d{4}-\d\d-\d\d'"), "'2000-01-01' AND '2100-12-31'"


class Loaded(NamedTuple):
    house: House
    seen: list[Seen]
    #: what `reconcile` said while calls were running
    meanwhile: subprocess.CompletedProcess[str]


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loaded]:
    async def load_and_look(one: House) -> tuple[list[Seen], subprocess.CompletedProcess[str]]:
        loading = asyncio.create_task(load(one.port, CALLS, seed=20261120))
        words = ("--data-dir", str(one.data_dir), "--gateway", one.url, "--key", ADMIN_KEY)
        meanwhile = await asyncio.to_thread(reconcile, one, *words)
        return await loading, meanwhile

    with house(tmp_path_factory.mktemp("mixed")) as one:
        seen, meanwhile = asyncio.run(load_and_look(one))
        one.until_calm()
        yield Loaded(one, seen, meanwhile)


def test_calls_rows_metrics_and_money_agree(loaded: Loaded):
    one, seen, _ = loaded
    started_us: int = json.loads(one.get("/health/ready"))["started_us"]
    before, after = one.counters(), one.counters()
    verdict = compare(one.data_dir, seen, after, reconciled(one.data_dir, started_us, before, after))
    assert verdict.differences == []
    assert verdict.rows == CALLS
    assert verdict.statuses.keys() >= {200, 400, 401, 404, 429, 499}
    assert verdict.cost_nanos > 0
    assert {one.kind.name for one in seen} == {kind.name for kind in KINDS}


def reconcile(one: House, *more: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from sekisho.app.cli import main; main()", "reconcile", *more]
    environ = {"LANG": "en_US.UTF-8"}
    return subprocess.run(command, cwd=one.data_dir.parent, env=environ, capture_output=True, text=True, check=False)


def test_the_command_says_so_too(loaded: Loaded, tmp_path: Path):
    one, seen, _ = loaded
    told = tmp_path / "answers"
    told.write_text("\n".join(call.request_id for call in seen if call.request_id))
    where = ("--data-dir", str(one.data_dir), "--gateway", one.url, "--key", ADMIN_KEY)
    done = reconcile(one, *where, "--answers", str(told))
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "The books agree."
    assert f"all {CALLS} calls are accounted for: {CALLS} rows" in done.stdout
    [budgets] = [line for line in done.stdout.splitlines() if line.startswith("ok  budgets: ")]
    count, nano_dollars = map(int, re.findall(r"\d+", budgets))
    assert count >= 4 + len(KINDS), "budgets of the whole, of departments, keys, users, endpoints, models and features"
    assert nano_dollars > 0
    told.write_text(told.read_text() + "\nreq_that_was_never_given")
    done = reconcile(one, *where, "--answers", str(told), "--format", "json")
    assert done.returncode == 1
    found = json.loads(done.stdout)
    assert [check["request_ids"] for check in found["checks"] if not check["agrees"]] == [["req_that_was_never_given"]]
    assert sum(day["usage_rows"] for day in found["days"]) == CALLS


def test_the_books_agree_while_calls_are_running_too(loaded: Loaded):
    done = loaded.meanwhile
    assert done.returncode == 0, done.stdout + done.stderr
    assert "ok  budgets: what " in done.stdout


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda block: block.heading)
def test_every_ready_question_has_an_answer(loaded: Loaded, question: Block):
    answer = list(ask(loaded.house.data_dir, NAMED_DAYS.sub(ALL_DAYS, question.text)).rows())
    assert bool(answer) == WITHOUT_ROWS.isdisjoint(question.text.split()), question.place
