"""The user, password and database of an address hold, and the rights that the documentation names are enough."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

import msgspec
import pytest
from tests.services.redis_workers import BLOCK, Rows, agree, budgeted_again, granted, until, workers
from tests.support.redis_server import RedisServer

from sekisho.domain.spending import Budget, scope_of
from sekisho.stores.counters import SpentBefore
from sekisho.stores.idempotency import Lease, wall_us
from sekisho.stores.redis_idempotency import RedisIdempotency

REFERENCE = Path(__file__).parents[2] / "docs" / "reference" / "configuration.md"
#: what the reference says that a user needs
(RIGHTS,) = re.findall(r"few rights needs `([^`]*)`", REFERENCE.read_text("utf-8"))


class Asked(RedisServer):
    """A server that is asked by a user of its own."""

    who = ""
    database = 0

    @property
    def url(self) -> str:
        return super().url.replace("unix://", f"unix://{self.who}@") + f"?db={self.database}"

    def let(self, user: str, *rules: str) -> None:
        assert self.ask("ACL", "SETUSER", user, "on", *rules) == b"+OK\r\n"

    @property
    def clients(self) -> set[tuple[str, int]]:
        """Users that are connected, each with the database that it has chosen, but for who asks this."""
        told = (self.ask("CLIENT", "LIST") or b"").decode()
        lines = [line for line in told.splitlines() if "user=" in line and "cmd=client" not in line]
        found = (re.search(r" db=(\d+) .* user=(\S+)", line) for line in lines)
        return {(one[2], int(one[1])) for one in found if one is not None}


async def test_few_rights_are_enough_for_all_that_is_asked() -> None:
    rows, held = Rows(), Budget(scope=scope_of({"team": "research"}), amount_nanos=1)
    new = msgspec.structs.replace(BLOCK, key="new|month|block")
    with Asked() as server:
        server.let("few", ">p@ss", "resetkeys", *RIGHTS.split())
        server.who, server.database = "few:p%40ss", 2
        async with workers(server, 2, rows, late_s=(0.1,)) as (one, other):
            one.settle(await granted(one), 70)
            running = await granted(other)
            other.counters.dispatched(running)
            await until(lambda: not one.counters.untold and not other.counters.untold)
            server.empty()
            one.settle(await budgeted_again(one), 5)
            other.settle(running, 30)
            await until(lambda: not one.counters.untold and not other.counters.untold)
            await agree(one, rows)
            one.counters.bind([], [], [new])
            await one.counters.adopt(SpentBefore(nanos={new.key: 900}), time.time())
            assert (await one.budget(new)).spent_nanos == 900
            await one.counters.say_held([held])
            assert [budget.scope for budget, _ in await one.counters.held()] == [held.scope]
            assert abs(await one.counters.clock_s() - time.time()) < 60
            assert server.clients == {("few", 2)}
        store, lease = RedisIdempotency(server.url, wall_us()), Lease(b"k" * 32, os.urandom(16))
        await store.open()
        now_us = wall_us()
        assert (await store.claim(lease, b"a", now_us, now_us + 10**7)).state == "claimed"
        await store.tend([lease], now_us, now_us + 10**7)
        assert await store.keep(lease, b"answer", now_us + 10**7)
        await store.close()


@pytest.mark.parametrize(("who", "rules"), [("free", "nopass"), ("free:any", "nopass"), (":pw", ">pw")])
async def test_a_user_without_a_password_and_a_password_without_a_user(who: str, rules: str) -> None:
    user = who.partition(":")[0] or "default"
    with Asked() as server:
        server.who, server.database = who, 1
        server.let(user, rules, "~*", "+@all")
        async with workers(server, 1, Rows()) as (one,):
            assert one.counters.up
            if user != "default":  # which now has a password, so that this test may not ask
                assert server.clients == {(user, 1)}


@pytest.mark.parametrize("who", ["few:guessed", "few", "nobody:guessed"])
async def test_who_is_not_let_in_is_no_other_user(who: str, caplog: pytest.LogCaptureFixture) -> None:
    with Asked() as server:
        server.who = who
        server.let("few", ">right", "~*", "+@all")
        async with workers(server, 1, Rows()) as (one,):
            assert not one.counters.up
    (why,) = caplog.messages
    assert "cannot be reached: WRONGPASS" in why
    assert "guessed" not in why
