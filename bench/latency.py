"""What a gateway adds to one call when it has time: a steady rate instead of a flood. For information, without a limit.

Latency counts from when a request was due, not from when it could be sent, and is given as the difference to the same
load without a gateway in the same run.
"""

from collections.abc import Sequence

from measure import Load, Phase, Rig, load_on, run_load
from results import cell, spread, table
from targets import Failed, Target, forget, running
from visits import Plan, say


def latency(rig: Rig, targets: Sequence[Target], plan: Plan, rate: float) -> list[str]:
    """The table, after `plan.runs` runs of `plan.seconds` for each target."""
    phase = Phase(name="latency", prompt="plain", connections=64, seconds=plan.seconds, rate=rate)
    added: dict[str, list[tuple[float, float]]] = {target.name: [] for target in targets}
    direct: list[Load] = []
    for run in range(plan.runs):
        direct.append(run_load(rig.mock_port, phase))
        for target in targets:
            try:
                with running(target, rig.mock_port, rig.gateway_core) as started:
                    load_on(started, Phase(name="warm", prompt="plain", connections=8, seconds=plan.warm_s))
                    load = load_on(started, phase)
            except Failed as failure:
                say(f"run {run + 1}: {target.title}: {failure}")
                continue
            finally:
                forget(target)
            added[target.name].append((load.p50_ms - direct[-1].p50_ms, load.p99_ms - direct[-1].p99_ms))
            say(
                f"run {run + 1} of {plan.runs}: {target.title}: p50 {load.p50_ms} ms, p99 {load.p99_ms} ms {load.fault}"
            )
    rows = [["no gateway: the figures themselves", *_cells([(load.p50_ms, load.p99_ms) for load in direct])]]
    rows += [[target.title, *_cells(added[target.name])] for target in targets]
    title = f"Added latency at {rate:g} requests a second"
    return ["", title, "", *table(["", "p50, ms", "p99, ms"], rows)]


def _cells(pairs: Sequence[tuple[float, float]]) -> list[str]:
    return [cell(spread([pair[i] for pair in pairs])) for i in (0, 1)]
