"""What Sekisho costs, as ratios to nginx doing the same hop in the same run. `make bench`; see README.md.

    make bench BENCH="--quick"                      one short run
    make bench BENCH="--only plain,stream"          some of the measures
    make bench BENCH="--endurance 1000000"          is memory flat?
    make bench BENCH="--latency"                    what a call waits longer, at 100 a second
    python bench/run.py --cmd 'gateway --port {port} --to http://127.0.0.1:{mock_port}/v1'   another gateway

Exit codes: 0 done, 1 a limit does not hold (with --check) or a target could not be measured, 2 something is missing.
"""

import argparse
import json
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import needs
import processes
import targets as kinds
from endurance import endurance
from latency import latency
from measure import Rig, rig
from report import figures, limit_lines, limits, machine, tables, warnings
from results import Results
from targets import Target
from visits import Plan, Visit, say, visit

PHASES = ("start", "plain", "stream", "large")
TARGETS = ("relay", "metadata", "full", "limits", "redis")
FIGURES = needs.HERE / "FIGURES.md"


def some_of(known: Sequence[str]) -> Callable[[str], tuple[str, ...]]:
    """Reads names with commas between them; one that is not known is an error that lists those that are."""

    def names(text: str) -> tuple[str, ...]:
        unknown = [name for name in text.split(",") if name not in known]
        if unknown:
            raise argparse.ArgumentTypeError(f"{unknown[0]!r} is none of {', '.join(known)}")
        return tuple(name for name in known if name in text.split(","))

    return names


def parser() -> argparse.ArgumentParser:
    """The options."""
    whole = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = whole.add_argument
    add("--quick", action="store_true", help="one short run: is it roughly right?")
    add("--runs", type=int, default=5, help="how often every target has its turn (5)")
    add("--seconds", type=float, default=5, help="of each load (5)")
    add("--only", type=some_of(PHASES), default=PHASES, help=f"some of {','.join(PHASES)}")
    add("--targets", type=some_of(TARGETS), help=f"some of {','.join(TARGETS)}; nginx is always there")
    add("--connections", type=int, default=32, help="of the plain load (32)")
    add("--stream-connections", type=int, default=64, help="of the streams (64)")
    add("--endurance", type=int, metavar="N", help="N requests instead, and the memory after each twentieth")
    add("--latency", action="store_true", help="a steady rate instead, and the latency added to it")
    add("--rate", type=float, default=100, help="of --latency, requests a second (100)")
    add("--check", action="store_true", help="exit 1 when a limit does not hold")
    add("--json", type=Path, metavar="FILE", help="append every sample, one line of JSON a run of this program")
    add("--write-figures", action="store_true", help=f"write the ratios into {FIGURES.name}")
    add("--cmd", help="a gateway to measure instead of Sekisho; may name {port}, {mock_port} and {dir}")
    add("--cwd", help="where --cmd is started")
    add("--env", action="append", default=[], metavar="NAME=VALUE", help="for --cmd; may name the same")
    add("--gateway-core", type=int, help="the core of what is measured (the first)")
    add("--load-core", type=int, help="the core of the load and the mock provider (the second)")
    return whole


def plan_of(options: argparse.Namespace) -> Plan:
    """How long and how hard, from the options."""
    quick: bool = options.quick
    return Plan(
        runs=1 if quick else options.runs,
        seconds=min(options.seconds, 1.5) if quick else options.seconds,
        warm_s=0.5 if quick else 1.0,
        connections=options.connections,
        stream_connections=options.stream_connections,
        large_requests=1000 if quick else 3000,
        phases=options.only,
    )


def targets_of(options: argparse.Namespace, nginx: str) -> list[Target]:
    """nginx first, then what was asked for."""
    if options.cmd:
        environment = dict(pair.split("=", 1) for pair in options.env)
        return [kinds.nginx(nginx), kinds.relay(), kinds.command(options.cmd, options.cwd, environment)]
    # A million rows with both bodies are gigabytes: only when asked for by name.
    names: tuple[str, ...] = options.targets or (TARGETS[:2] if options.endurance else TARGETS)
    found = [kinds.nginx(nginx)]
    found += [kinds.relay()] if "relay" in names else []
    return found + [kinds.sekisho(log) for log in TARGETS[1:] if log in names]


def cores_of(options: argparse.Namespace) -> tuple[int | None, int | None]:
    """The core of the gateway and the core of the load; None where nothing can be pinned."""
    free = sorted(processes.cores())
    if len(free) < 2:
        say("warning: nothing is pinned (Linux with two cores is needed for that); the figures will be rough")
        return None, None
    gateway: int = free[0] if options.gateway_core is None else options.gateway_core
    load: int = next(core for core in free if core != gateway) if options.load_core is None else options.load_core
    return gateway, load


def compare(place: Rig, chosen: Sequence[Target], plan: Plan, options: argparse.Namespace) -> int:
    """The runs and their tables; the exit code."""
    visits = [visit(place, target, plan, run) for run in range(plan.runs) for target in chosen]
    results = Results(chosen, visits)
    promises = [] if options.cmd else limits(results)
    lines = [*tables(results, plan.phases, this_machine=True), *limit_lines(promises), ""]
    print("\n".join([*lines, *(f"warning: {warning}" for warning in warnings(results))]))
    if options.json:
        _append(options.json, plan, visits)
    if options.write_figures:
        FIGURES.write_text(figures(results, plan, promises))
    broken = [promise for promise in promises if not promise.holds]
    return 1 if any(one.fault for one in visits) or (options.check and broken) else 0


def _append(path: Path, plan: Plan, visits: Sequence[Visit]) -> None:
    with path.open("a") as file:
        line = {"time": time.time(), **machine(), "plan": asdict(plan), "visits": [asdict(one) for one in visits]}
        file.write(json.dumps(line) + "\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Check what is needed, start the mock provider, measure, print."""
    options = parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C does: what was started is stopped
    try:
        compiler, nginx = needs.tools()
        needs.build(compiler)
    except needs.Missing as missing:
        print(missing, file=sys.stderr)
        return 2
    plan, chosen = plan_of(options), targets_of(options, nginx)
    with rig(*cores_of(options)) as place:
        if options.latency:
            print("\n".join(latency(place, chosen, plan, options.rate)))
            return 0
        if options.endurance:
            lines, flat = endurance(
                place, [one for one in chosen if one.name not in {"nginx", "relay"}], plan, options.endurance
            )
            print("\n".join(lines))
            return 0 if flat else 1
        return compare(place, chosen, plan, options)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
