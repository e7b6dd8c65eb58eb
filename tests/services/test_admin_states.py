"""What `/admin` says of budgets and limits on a real Redis: what all workers have counted, also right after a start."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from tests.support.admin import House, admin_house, empty_database
from tests.support.redis_server import RedisServer

from sekisho.app.limits import rules_of
from sekisho.stores.counters import Reservation, SpentBefore
from sekisho.stores.redis_counters import RedisCounters

FACTS = {"department": "rd", "team": "research", "key": "app", "user": "taro"}


async def _worker(server: RedisServer) -> RedisCounters:
    async def nothing(_as_of_s: float) -> SpentBefore:
        return SpentBefore(nanos={})

    zone = ZoneInfo("Asia/Tokyo")
    counters = RedisCounters(
        server.url, zone, lambda event: None, nothing, time.perf_counter(), time.time(), grace_s=0.01
    )
    await counters.open()
    return counters


async def _spend(house: House, counters: RedisCounters, nanos: int) -> None:
    rules = rules_of(house.settings)
    account = counters.bind(rules.meters(FACTS), (), [spec for _, spec in rules.spending(FACTS)])
    for number, settled in ((1, True), (2, False)):
        outcome: Any = counters.admit(account, time.perf_counter(), 10, nanos, nanos, f"call-{number}")
        reservation = await outcome
        assert isinstance(reservation, Reservation)
        if settled:
            counters.end(reservation, "settled", time.perf_counter(), 10, nanos)


async def test_a_worker_tells_what_another_one_counted_and_says_when_redis_is_away(tmp_path: Path) -> None:
    async with admin_house(empty_database(tmp_path), tmp_path) as house:
        with RedisServer() as server:
            busy, idle = await _worker(server), await _worker(server)
            await _spend(house, busy, 3 * 10**9)
            house.counters, house.now_s = idle, time.perf_counter
            deadline_s = time.monotonic() + 20
            while True:
                listed = (await house.ask("GET", "/budgets")).json()
                (each, *_) = [one for one in listed["data"] if one["scope"] == {"team": "*"}]
                state = next(one for one in each["states"] if one["scope"] == {"team": "research"})
                if state["spent_usd"] == "3":  # the end of a call is told without waiting for it
                    break
                assert time.monotonic() < deadline_s
            assert (state["reserved_usd"], state["remaining_usd"]) == ("3", "94")
            limits = (await house.ask("GET", "/limits")).json()
            (limit,) = limits["data"][0]["states"]
            assert limit["scope"] == {"team": "research"}
            # a second may pass, in which one comes back
            assert limit["remaining_requests"] in (58, 59)
            server.kill()
            away = (await house.ask("GET", "/budgets")).json()
            assert (away["counters"], away["data"][0]["states"]) == ("unavailable", None)
            for counters in (busy, idle):
                await counters.close()


async def test_a_redis_that_refuses_to_be_read_is_told_as_one_that_is_away(tmp_path: Path) -> None:
    async with admin_house(empty_database(tmp_path), tmp_path) as house:
        with RedisServer() as server:
            counters = await _worker(server)
            house.counters, house.now_s = counters, time.perf_counter
            # as a server whose rights were changed, or that is busy with a script of somebody else
            assert server.ask("ACL", "SETUSER", "default", "-hmget", "-scard") == b"+OK\r\n"
            for what in ("budgets", "limits"):
                listed = await house.ask("GET", f"/{what}")
                assert (listed.status_code, listed.json()["counters"]) == (200, "unavailable")
            await counters.close()
