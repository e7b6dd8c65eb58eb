"""Any order of questions, ends, deaths and times: one call at a time works for a key, and an answer is given again.

Two processes with one file, against an exact model of what a record is.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from sekisho.domain.call import Call, Caller, Entry, Route
from sekisho.domain.errors import Refusal
from sekisho.gateway.policies.idempotency import KEPT_S, LEASE_S, Idempotency
from sekisho.stores.sqlite_idempotency import FILE_NAME, sqlite_idempotency

ROUTE = Route(path="/v1/chat/completions", protocol="openai_chat", operation="chat", api_type="openai/v1/chat")
PROCESSES, KEYS, BODIES = st.integers(0, 1), st.sampled_from([b"a", b"b"]), st.sampled_from([b"{}", b"[]"])
US = 1_000_000


class Record:
    """What the model says is under a key."""

    def __init__(self, work: Work, until_us: int) -> None:
        self.work = work
        self.until_us = until_us
        self.answer: bytes | None = None


class Work:
    """A call that was given the key."""

    def __init__(self, process: int, key: bytes, entry: Entry) -> None:
        self.process = process
        self.key = key
        self.entry = entry


class Machine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.runner = asyncio.Runner()
        self.now_us = 1_795_000_000 * US
        self.second = 0.0
        self.processes = [self._process(), self._process()]
        self.records: dict[bytes, Record] = {}
        self.running: list[Work] = []
        self.asked = 0

    def _process(self) -> Idempotency:
        store = sqlite_idempotency(self.folder / FILE_NAME, timeout_s=20)
        return Idempotency(store, b"p" * 32, {}, lambda: self.now_us)

    def _settle(self) -> None:
        async def wait() -> None:
            async with asyncio.timeout(20):
                while any(process._tasks for process in self.processes):
                    await asyncio.sleep(0)

        self.runner.run(wait())

    @rule(process=PROCESSES, key=KEYS, body=BODIES)
    def ask(self, process: int, key: bytes, body: bytes) -> None:
        self.asked += 1
        entry = Entry(Call(ROUTE, {b"idempotency-key": key}, body, f"req_{self.asked}", 0, None))
        entry.caller = Caller(key_id="key_1", key_name="one")
        record = self.records.get(key)
        if record is not None and record.until_us <= self.now_us:
            record = None
        try:
            kept = self.runner.run(self.processes[process].claim(entry))
        except Refusal as refusal:
            assert record is not None
            expected = 422 if record.work.entry.call.body != body else 409
            assert refusal.status == expected
            assert expected == 422 or record.answer is None
            return
        if kept is not None:
            assert record is not None
            assert record.work.entry.call.body == body
            assert kept.body == record.answer
            assert kept.request_id == record.work.entry.call.request_id
            return
        assert record is None, "two calls work for one key"
        work = Work(process, key, entry)
        self.records[key] = Record(work, self.now_us + LEASE_S * US)
        self.running.append(work)

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        work = self.running.pop(data.draw(st.integers(0, len(self.running) - 1)))
        answer = b"answer of " + work.entry.call.request_id.encode()
        self.runner.run(self.processes[work.process].keep(work.entry, answer))
        record = self.records.get(work.key)
        if record is not None and record.work is work:
            record.answer, record.until_us = answer, self.now_us + KEPT_S * US

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def fail(self, data: st.DataObject) -> None:
        work = self.running.pop(data.draw(st.integers(0, len(self.running) - 1)))

        async def release() -> None:
            self.processes[work.process].release(work.entry)

        self.runner.run(release())
        self._settle()
        record = self.records.get(work.key)
        if record is not None and record.work is work:
            del self.records[work.key]

    @rule(process=PROCESSES)
    def kill(self, process: int) -> None:
        """Its calls are gone, and nobody gives their keys back."""
        self.runner.run(self.processes[process].close())
        self.processes[process] = self._process()
        self.running = [work for work in self.running if work.process != process]

    @rule(process=PROCESSES)
    def tend(self, process: int) -> None:
        async def tick() -> None:
            self.second += 15.0
            self.processes[process].tick(self.second)

        self.runner.run(tick())
        self._settle()
        mine = {id(work) for work in self.running if work.process == process}
        for key, record in list(self.records.items()):
            if id(record.work) in mine and record.answer is None:
                record.until_us = self.now_us + LEASE_S * US
            if record.until_us <= self.now_us:
                del self.records[key]

    @rule(seconds=st.sampled_from([1, 20, 30, 45, LEASE_S - 1, LEASE_S, KEPT_S - LEASE_S, KEPT_S]))
    def time_goes_on(self, seconds: int) -> None:
        self.now_us += seconds * US

    def teardown(self) -> None:
        for process in self.processes:
            self.runner.run(process.close())
        self.runner.close()
        shutil.rmtree(self.folder)


TestIdempotency = Machine.TestCase
TestIdempotency.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
