"""One turn of one target: start it, load it in each way, read its memory, stop it. Each run gives each target one."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from measure import EVENTS, Phase, Rig, Sample, load_on, sample
from targets import Failed, Running, Target, forget, running


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How long and how hard; what is left out of `phases` is not measured."""

    runs: int
    seconds: float
    warm_s: float
    connections: int
    stream_connections: int
    large_requests: int
    phases: tuple[str, ...]

    def phase(self, name: str) -> Phase:
        """The load of this name: plain, stream or large."""
        if name == "stream":
            return Phase(
                name=name, prompt=name, connections=self.stream_connections, seconds=self.seconds, events=EVENTS
            )
        if name == "large":  # counted, not timed: with log: full each of them is 300 KB on the disk
            return Phase(name=name, prompt=name, connections=16, seconds=60, requests=self.large_requests)
        return Phase(name="plain", prompt="plain", connections=self.connections, seconds=self.seconds)

    def warm_up(self, name: str) -> Phase:
        """The same load for a moment: pools fill, buffers grow, code is met for the first time."""
        phase = self.phase(name)
        return replace(phase, seconds=self.warm_s, requests=phase.requests and 200)


@dataclass(slots=True, kw_only=True)
class Visit:
    """What one turn gave."""

    target: str
    run: int
    created_s: float | None = None  # to the first answer, with nothing on the disk yet
    existing_s: float | None = None  # to the first answer, with the data of an earlier start
    samples: dict[str, Sample] = field(default_factory=dict[str, Sample])
    fault: str = ""

    @property
    def faults(self) -> list[str]:
        """Everything that makes this turn's figures doubtful."""
        found = [f"{name}: {fault}" for name, one in self.samples.items() for fault in one.faults]
        return [self.fault, *found] if self.fault else found


def visit(rig: Rig, target: Target, plan: Plan, run: int) -> Visit:
    """One turn; what goes wrong is noted in it, so that the other targets still get theirs."""
    turn = Visit(target=target.name, run=run)
    loads = [name for name in plan.phases if name != "start"]
    try:
        if "start" in plan.phases:
            with running(target, rig.mock_port, rig.gateway_core) as first:
                turn.created_s = first.first_answer_s
        if target.keeps_rows or loads:
            with running(target, rig.mock_port, rig.gateway_core, fresh="start" not in plan.phases) as again:
                turn.existing_s = again.first_answer_s if turn.created_s else None
                _load(rig, again, plan, loads, turn)
    except Failed as failure:
        turn.fault = str(failure)
        say(f"run {run + 1}: {target.title}: {failure}")
    finally:
        forget(target)
    return turn


def _load(rig: Rig, started: Running, plan: Plan, names: Sequence[str], turn: Visit) -> None:
    for name in names:
        load_on(started, plan.warm_up(name))
        one = sample(rig, started, plan.phase(name))
        turn.samples[name] = one
        say(
            f"run {turn.run + 1} of {plan.runs}: {started.target.title}: {name} {one.tree_us:.1f} us, "
            f"{one.load.per_second:.0f}/s, core {one.ran:.0%}" + "".join(f"\n  ! {fault}" for fault in one.faults)
        )


def say(text: str) -> None:
    """Progress; the tables alone go to standard output."""
    print(text, file=sys.stderr, flush=True)
