"""What a changed file says that a running gateway cannot change: told when it has changed, and only then."""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from sekisho.app.build import build_keyring, build_snapshot
from sekisho.app.reload import Reloader
from sekisho.app.settings import Settings, load
from sekisho.costs.prices import PriceBook
from sekisho.domain.call import Call, Caller, Route
from sekisho.domain.errors import Refusal
from sekisho.domain.keys import digest_of
from sekisho.domain.money import ExchangeRate, Rates
from sekisho.domain.spending import Budget
from sekisho.domain.stops import Stop
from sekisho.gateway.policies.authentication import Keyring
from sekisho.gateway.policies.stops import Stops
from sekisho.gateway.snapshot import Snapshot
from sekisho.stores.control import ControlRecords, StoredBudget, Team
from sekisho.stores.memory import MemoryKeyStore
from sekisho.stores.ports import KeyRecord, StoreUnavailable
from sekisho.tables.spent import SpentUnknown

_FILE = """
providers: {local: {type: vllm, base_url: "https://llm.example/v1"}}
data_dir: data
state: {url: "redis://:${env:REDIS_PASSWORD}@redis.example"}
database: {url: "postgresql://sekisho:${env:PG_PASSWORD}@db.example/sekisho"}
tables:
  url: s3://rows
  s3: {region: ap-northeast-1, access_key_id: "${env:S3_KEY}", secret_access_key: "${env:S3_SECRET}"}
"""
_ENVIRON = {
    "REDIS_PASSWORD": "redis-password-1",
    "PG_PASSWORD": "pg-password-2",
    "S3_KEY": "s3-key-secret-3",
    "S3_SECRET": "s3-secret-secret-4",
}


class _Limits:
    """Rules that may not change."""

    def __init__(self, fault: Exception | None = None) -> None:
        self.fault = fault
        self.control: ControlRecords | None = None
        self.going_on: asyncio.Event | None = None

    async def change(self, settings: Settings, key_names: Mapping[str, str], control: ControlRecords) -> None:
        if self.going_on is not None:
            await self.going_on.wait()
        if self.fault is not None:
            raise self.fault
        self.control = control

    def planner(self) -> Any:
        """Names the rules that it is made of."""
        return self.control


class _Control(MemoryKeyStore):
    """A control database in memory."""

    records = ControlRecords()

    def control(self) -> ControlRecords:
        return self.records

    def change(self, **records: Any) -> None:
        self.records = msgspec.structs.replace(self.records, **records)
        self._version += 1


class _Pipeline:
    """What a reload does to one."""

    snapshot: Any = None
    stops = Stops()
    rate_at: Any = None

    def convert(self, rate_at: Callable[[int], ExchangeRate]) -> None:
        self.rate_at = rate_at

    def obey(self, stops: Stops) -> None:
        self.stops = stops


def _snapshot(settings: Settings) -> Snapshot:
    prices: Any = _Prices()
    return build_snapshot(settings, build_keyring(settings, b"p" * 32, []), prices)


class _Prices:
    """A price list in which every model costs the same, until another day comes."""

    rates = Rates(input_nanos_per_mtok=1, output_nanos_per_mtok=1)
    next_rates: Rates | None = None

    def get(self, provider: str | None, model: str) -> Rates:
        return self.rates

    def outdated(self, pairs: Sequence[object]) -> list[object]:
        return [] if self.next_rates is None else list(pairs)

    async def resolve(self, pairs: Sequence[object]) -> bool:
        if self.next_rates is None:
            return False
        self.rates, self.next_rates = self.next_rates, None
        return True


def _control_house(folder: Path) -> tuple[Reloader, _Control, Any]:
    path = folder / "sekisho.yaml"
    path.write_text(_FILE)
    settings = load(path, environ=_ENVIRON)
    running: Any = SimpleNamespace(settings=settings, pipeline=_Pipeline(), limits=_Limits())
    keys, prices = _Control(), PriceBook(folder / "prices.json")
    running.pipeline.snapshot = build_snapshot(settings, build_keyring(settings, b"p" * 32, []), prices)
    load_again = functools.partial(load, path, environ=_ENVIRON)
    return Reloader(running, keys, keys.version(), prices, b"p" * 32, load_again, path), keys, running


def _asks(running: Any, secret: str) -> Caller:
    headers = {b"authorization": f"Bearer {secret}".encode()}
    route = Route(path="/v1/chat/completions", protocol="openai_chat", operation="chat", api_type="chat")
    return running.pipeline.snapshot.keyring.identify(Call(route, headers, b"", "req_1", 1, None))


async def test_control_data_are_in_force_with_the_next_look(tmp_path: Path) -> None:
    reloader, keys, running = _control_house(tmp_path)
    secret = "sk-of-a-team-0123456789"
    keys.add(KeyRecord(id="key_1", name="app", digest=digest_of(secret, b"p" * 32), team="web"))
    await reloader.look()
    assert _asks(running, secret).department is None
    budget = StoredBudget(rule=Budget(scope=(("team", "web"),), amount_nanos=5))
    keys.change(teams=(Team(name="web", department="marketing"),), stops=(Stop(kind="all"),), budgets=(budget,))
    await reloader.look()
    assert _asks(running, secret).department == "marketing"
    assert running.pipeline.stops.active
    assert running.limits.control.budgets == (budget,)
    keys.change(stops=())
    await reloader.look()
    assert not running.pipeline.stops.active


@pytest.mark.parametrize("fault", [SpentUnknown("no tables"), StoreUnavailable("away")])
async def test_stops_and_revocations_do_not_wait_for_budgets(tmp_path: Path, fault: Exception) -> None:
    """A new budget that cannot be told what was spent leaves the old ones in force, and is tried again."""
    reloader, keys, running = _control_house(tmp_path)
    secret = "sk-of-a-leaver-0123456789"
    keys.add(KeyRecord(id="key_1", name="app", digest=digest_of(secret, b"p" * 32)))
    await reloader.look()
    running.limits.fault = fault
    keys.revoke("key_1", 1)
    keys.change(stops=(Stop(kind="user", value="taro"),))
    with pytest.raises(type(fault)):
        await reloader.look()
    assert running.pipeline.stops.active
    with pytest.raises(Refusal):
        _asks(running, secret)
    running.limits.fault = None
    await reloader.look()
    assert running.limits.control.stops == keys.records.stops


@pytest.mark.parametrize("by", ["the database", "the file"])
async def test_calls_are_planned_by_the_new_rules_once_these_are_in_force(tmp_path: Path, by: str) -> None:
    reloader, keys, running = _control_house(tmp_path)
    keys.change(budgets=(StoredBudget(rule=Budget(scope=(("user", "*"),), amount_nanos=5)),))
    if by == "the file":
        reloader._version = keys.version()  # nothing else is to be done
        reloader.wanted.set()
    await reloader.look()
    assert running.pipeline.snapshot.planner is keys.records


async def test_a_revocation_that_could_not_be_read_at_once_is_read_the_next_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reloader, keys, running = _control_house(tmp_path)
    secret = "sk-of-a-leaver-0123456789"
    keys.add(KeyRecord(id="key_1", name="app", digest=digest_of(secret, b"p" * 32)))
    await reloader.look()
    keys.revoke("key_1", 1)

    def away() -> list[KeyRecord]:
        raise StoreUnavailable("away")

    with monkeypatch.context() as patched:
        patched.setattr(keys, "all", away)
        with pytest.raises(StoreUnavailable):
            reloader.obey()
    assert _asks(running, secret)
    reloader.obey()
    with pytest.raises(Refusal):
        _asks(running, secret)


async def test_a_file_that_is_gone_leaves_the_old_configuration_until_it_is_back(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    reloader, _, running = _control_house(tmp_path)
    old, path = running.settings, tmp_path / "sekisho.yaml"
    path.unlink()
    with caplog.at_level(logging.ERROR, "sekisho.app"):
        await reloader.look()
        await reloader.look()
    assert running.settings is old
    assert caplog.text.count("the old one stays in force") == 1
    path.write_text(_FILE + "language: ja\n")
    await reloader.look()
    assert running.settings.language == "ja"


@pytest.mark.parametrize("by", ["the database", "the file"])
async def test_stops_and_revocations_do_not_wait_while_it_is_read_what_was_spent(tmp_path: Path, by: str) -> None:
    reloader, keys, running = _control_house(tmp_path)
    secret = "sk-of-a-leaver-0123456789"
    keys.add(KeyRecord(id="key_1", name="app", digest=digest_of(secret, b"p" * 32)))
    await reloader.look()
    going_on = running.limits.going_on = asyncio.Event()
    if by == "the file":
        reloader.wanted.set()
    else:
        keys.change(budgets=(StoredBudget(rule=Budget(scope=(("user", "*"),), amount_nanos=5)),))
    looking = asyncio.ensure_future(reloader.look())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not looking.done()
    keys.revoke("key_1", 1)
    keys.change(stops=(Stop(kind="all"),))
    reloader.obey()
    going_on.set()
    for _ in range(2):
        # at once, and after what had begun with the older keys has come to its end
        assert running.pipeline.stops.active
        with pytest.raises(Refusal):
            _asks(running, secret)
        await looking


async def test_rows_keep_the_rate_of_exchange_of_the_file_as_it_is_now(tmp_path: Path) -> None:
    reloader, _, running = _control_house(tmp_path)
    path = tmp_path / "sekisho.yaml"
    path.write_text(
        _FILE + "currency: JPY\nfx: {usd_jpy: {2026-10-01: 148.2, 2026-11-01: 150}}\ntimezone: Asia/Tokyo\n"
    )
    reloader.wanted.set()
    await reloader.look()
    november_us = 1_793_458_800_000_000  # 2026-11-01 in Tokyo
    assert running.pipeline.rate_at(november_us)[:2] == (150_000_000_000, november_us)
    assert running.pipeline.rate_at(november_us - 1).usd_jpy_nanos == 148_200_000_000
    path.write_text(_FILE)
    reloader.wanted.set()
    await reloader.look()
    assert running.pipeline.rate_at(november_us).usd_jpy_nanos is None


async def test_calls_go_on_while_a_long_file_is_read(tmp_path: Path) -> None:
    _, keys, running = _control_house(tmp_path)
    path, went_on = tmp_path / "sekisho.yaml", threading.Event()

    def read_slowly() -> Settings:
        assert went_on.wait(30), "the loop stood still"
        return load(path, environ=_ENVIRON)

    prices = PriceBook(tmp_path / "prices.json")
    reloader = Reloader(running, keys, keys.version(), prices, b"p" * 32, read_slowly, path)
    path.write_text(_FILE + "language: ja\n")
    asyncio.get_running_loop().call_soon(went_on.set)
    await reloader.look()
    assert running.settings.language == "ja"


async def test_a_change_makes_one_keyring(tmp_path: Path) -> None:
    """Ten thousand keys hold up every call while it is made."""
    reloader, keys, running = _control_house(tmp_path)
    made: list[Keyring] = []
    limits = running.limits

    class Pipeline(_Pipeline):
        def __setattr__(self, name: str, value: Any) -> None:
            super().__setattr__(name, value)
            if name == "snapshot":
                made.append(value.keyring)

    pipeline = Pipeline()
    pipeline.snapshot = running.pipeline.snapshot
    running.pipeline = pipeline
    known = [KeyRecord(id="key_1", name="app", digest=b"d" * 32)]
    keys.all = lambda: known  # type: ignore[method-assign]
    keys.change(budgets=(StoredBudget(rule=Budget(scope=(("user", "*"),), amount_nanos=5)),))
    await reloader.look()
    assert limits.control.budgets
    assert len(made) == 3
    assert made[0] is not made[1]
    assert made[1] is made[2]
    keys.change(teams=(Team(name="web"),))
    reloader.obey()
    assert made[3] is not made[2]


async def test_prices_that_hold_from_now_on_are_in_force_with_the_next_look(tmp_path: Path) -> None:
    path, prices = tmp_path / "sekisho.yaml", _Prices()
    providers = "providers: {deepseek: {type: deepseek, api_key: '${env:S3_KEY}'}}\n"
    path.write_text(providers + "endpoints: {chat: {targets: [{provider: deepseek, model: deepseek-chat}]}}\n")
    settings = load(path, environ=_ENVIRON)
    snapshot = build_snapshot(settings, build_keyring(settings, b"p" * 32, []), prices)  # type: ignore[arg-type]
    running: Any = SimpleNamespace(settings=settings, pipeline=_Pipeline(), limits=_Limits())
    running.pipeline.snapshot = snapshot
    keys = _Control()
    reloader = Reloader(running, keys, keys.version(), prices, b"p" * 32, None, None)  # type: ignore[arg-type]
    caller = Caller(key_id="k", key_name="k", endpoints=frozenset({"deepseek/*"}))

    async def costs() -> list[Rates | None]:
        now = running.pipeline.snapshot
        direct = await now.direct(caller, "deepseek/deepseek-reasoner")
        return [now.endpoints["chat"].targets[0].rates, direct.targets[0].rates]

    assert await costs() == [_Prices.rates] * 2
    peak = prices.next_rates = Rates(input_nanos_per_mtok=2, output_nanos_per_mtok=2)
    await reloader.look()
    assert await costs() == [peak] * 2
    # new budgets that cannot be kept just now do not lose what was looked up
    night = prices.next_rates = Rates(input_nanos_per_mtok=3, output_nanos_per_mtok=3)
    running.limits.fault = StoreUnavailable("no server")
    with pytest.raises(StoreUnavailable):
        await reloader.look()
    running.limits.fault = None
    await reloader.look()
    assert await costs() == [night] * 2


async def test_what_could_not_be_priced_is_looked_up_again_after_an_hour(tmp_path: Path) -> None:
    _, keys, running = _control_house(tmp_path)

    class Prices(_Prices):
        asked = 0

        def outdated(self, pairs: Sequence[object]) -> list[object]:
            return []

        async def resolve(self, pairs: Sequence[object]) -> bool:
            self.asked += 1
            return False

    prices: Any = Prices()
    reloader = Reloader(running, keys, keys.version(), prices, b"p" * 32, None, None)
    await reloader.look()
    assert prices.asked == 0
    reloader._prices_at_s -= 3601  # pyright: ignore[reportPrivateUsage]
    for _ in range(3):
        await reloader.look()
    assert prices.asked == 1


async def test_a_new_file_is_not_in_force_before_its_models_are_priced(tmp_path: Path) -> None:
    _, keys, running = _control_house(tmp_path)
    path, prices = tmp_path / "sekisho.yaml", _Prices()
    priced: list[Rates | None] = []

    class Pipeline(_Pipeline):
        def __setattr__(self, name: str, value: Any) -> None:
            super().__setattr__(name, value)
            if name == "snapshot" and "chat" in value.endpoints:
                priced.append(value.endpoints["chat"].targets[0].rates)

    pipeline = Pipeline()
    pipeline.snapshot = running.pipeline.snapshot
    running.pipeline = pipeline
    load_again = functools.partial(load, path, environ=_ENVIRON)
    reloader = Reloader(running, keys, keys.version(), prices, b"p" * 32, load_again, path)  # type: ignore[arg-type]
    found = prices.next_rates = Rates(input_nanos_per_mtok=2, output_nanos_per_mtok=2)
    known = _FILE.replace("{local:", "{deepseek: {type: deepseek, api_key: '${env:S3_KEY}'}, local:")
    path.write_text(known + "endpoints: {chat: {targets: [{provider: deepseek, model: deepseek-chat}]}}\n")
    await reloader.look()
    assert priced == [found]


async def test_a_signal_reads_the_file_once(tmp_path: Path) -> None:
    _, keys, running = _control_house(tmp_path)
    path, prices, read = tmp_path / "sekisho.yaml", PriceBook(tmp_path / "prices.json"), list[Settings]()

    def read_again() -> Settings:
        read.append(load(path, environ=_ENVIRON))
        return read[-1]

    reloader = Reloader(running, keys, keys.version(), prices, b"p" * 32, read_again, path)
    await reloader.look()
    assert not read
    reloader.wanted.set()
    for _ in range(3):
        await reloader.look()
    assert read == [running.settings]


async def _told(
    folder: Path, change: Callable[[str, dict[str, str]], str], caplog: pytest.LogCaptureFixture, file: str = _FILE
) -> str:
    """What the log says of a restart when a running gateway sees the changed file."""
    path, environ = folder / "sekisho.yaml", dict(_ENVIRON)
    path.write_text(file)

    def read() -> Settings:
        return load(path, environ=environ)

    running: Any = SimpleNamespace(settings=read(), pipeline=_Pipeline(), limits=_Limits())
    keys = MemoryKeyStore()
    prices = PriceBook(folder / "prices.json")
    reloader = Reloader(running, keys, keys.version(), prices, b"p" * 32, read, path)
    path.write_text(change(file, environ))
    os.utime(path, (1, 1))
    with caplog.at_level(logging.WARNING, "sekisho.app"):
        await reloader.look()
    assert running.pipeline.snapshot is not None
    return " ".join(record.getMessage() for record in caplog.records if "restart" in record.getMessage())


async def test_secrets_that_are_the_same_take_no_restart(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert await _told(tmp_path, lambda text, _: text + "log_level: debug\n", caplog) == ""


async def test_another_time_zone_takes_one(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    told = await _told(tmp_path, lambda text, _: text + "timezone: Asia/Tokyo\n", caplog)
    assert "`timezone` has changed" in told


@pytest.mark.parametrize(
    ("variable", "section"),
    [("REDIS_PASSWORD", "state.url"), ("PG_PASSWORD", "database.url"), ("S3_SECRET", "tables")],
)
async def test_a_new_password_takes_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, variable: str, section: str
) -> None:
    def change(text: str, environ: dict[str, str]) -> str:
        environ[variable] = "another-secret-5"
        return text

    told = await _told(tmp_path, change, caplog)
    assert f"`{section}` has changed" in told
    assert told.count("restart") == 1
    assert "another-secret-5" not in caplog.text


@pytest.mark.parametrize("goes", [True, False])
async def test_a_database_of_another_kind_takes_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, goes: bool
) -> None:
    lines = _FILE.splitlines(keepends=True)
    without = "".join(line for line in lines if not line.startswith("database:"))
    old, new = (_FILE, without) if goes else (without, _FILE)
    told = await _told(tmp_path, lambda *_: new, caplog, old)
    assert "`database.url` has changed" in told


@pytest.mark.parametrize("fault", [SpentUnknown("no rows"), StoreUnavailable("no server")])
async def test_budgets_that_cannot_be_kept_leave_the_old_configuration(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, fault: Exception
) -> None:
    path = tmp_path / "sekisho.yaml"
    path.write_text(_FILE)
    old = load(path, environ=_ENVIRON)
    before = _snapshot(old)
    running: Any = SimpleNamespace(settings=old, pipeline=SimpleNamespace(snapshot=before), limits=_Limits(fault))
    keys = MemoryKeyStore()
    prices = PriceBook(tmp_path / "prices.json")
    reloader = Reloader(running, keys, keys.version(), prices, b"p" * 32, lambda: load(path, environ=_ENVIRON), path)
    path.write_text(_FILE + "log_level: debug\n")
    os.utime(path, (1, 1))
    with caplog.at_level(logging.ERROR, "sekisho.app"):
        await reloader.look()
    assert running.settings is old
    assert running.pipeline.snapshot is before
    assert str(fault) in caplog.text


async def test_a_file_that_changed_while_the_gateway_started_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "sekisho.yaml"
    path.write_text(_FILE)
    running: Any = SimpleNamespace(settings=load(path, environ=_ENVIRON), pipeline=_Pipeline(), limits=_Limits())
    path.write_text(_FILE + "language: ja\n")
    keys, prices = MemoryKeyStore(), PriceBook(tmp_path / "prices.json")
    reloader = Reloader(running, keys, keys.version(), prices, b"p" * 32, lambda: load(path, environ=_ENVIRON), path)
    await reloader.look()
    assert running.settings.language == "ja"


async def test_a_file_that_is_as_it_was_read_is_not_read_again(tmp_path: Path) -> None:
    path = tmp_path / "sekisho.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + _FILE.encode())
    settings = load(path, environ=_ENVIRON)
    pipeline = SimpleNamespace(snapshot=_snapshot(settings))
    running: Any = SimpleNamespace(settings=settings, pipeline=pipeline, limits=_Limits())
    keys, prices = MemoryKeyStore(), PriceBook(tmp_path / "prices.json")
    reloader = Reloader(running, keys, keys.version(), prices, b"p" * 32, lambda: load(path, environ=_ENVIRON), path)
    await reloader.look()
    assert running.settings is settings
