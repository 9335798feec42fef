"""The command: ``python -m benchmarks``."""

from __future__ import annotations

import argparse
import resource
import signal
import sys
import time
from collections import Counter

from . import load, report
from .peers import PEERS, Peer
from .scenarios import FULL, QUICK, SCENARIOS, Outcome, Scenario, Sizes

_SPARE_FILES = 200
"""What a server opens beside its streams, generously."""


def main() -> int:
    """Measure, print, and return the exit status: 1 when an event was lost, doubled or out of order, 2 when nothing could be measured."""
    arguments = _arguments()
    # Servers run in groups of their own: an end without clean-up would leave them.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    sizes = QUICK if arguments.quick else FULL
    rounds = arguments.rounds or (1 if arguments.quick else 3)
    try:
        load.build()
        _raise_file_limit(max(sizes.crowd, sizes.listeners) + _SPARE_FILES)
    except load.BrokenRun as error:
        print(error, file=sys.stderr)
        return 2
    started = time.monotonic()
    results = _measure(arguments.scenarios, list(PEERS), sizes, rounds)
    print(report.environment())
    print(f"- {'quick, ' if arguments.quick else ''}medians of {rounds} interleaved round{'s' * (rounds > 1)}, {time.monotonic() - started:.0f} s in all\n")
    print(report.table(arguments.scenarios, list(PEERS), results))
    return int(report.has_failed(results))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measures flask_sse_push beside the hand-rolled recipe, on the same work.")
    parser.add_argument("--quick", action="store_true", help="less work and one round: under a minute, and noisier")
    parser.add_argument("--rounds", type=_positive, metavar="N", help="how often everything is measured; medians are printed (3, or 1 with --quick)")
    parser.add_argument(
        "--scenarios",
        type=_scenarios,
        default=list(SCENARIOS),
        metavar="A,B",
        help="some of " + ",".join(scenario.name for scenario in SCENARIOS) + " (all)",
    )
    return parser.parse_args()


def _positive(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"must be a whole number above 0, got {text!r}")
    return int(text)


def _scenarios(text: str) -> list[Scenario]:
    known = {scenario.name: scenario for scenario in SCENARIOS}
    for name in text.split(","):
        if name not in known:
            raise argparse.ArgumentTypeError(f"no scenario is called {name!r}. There are: {', '.join(known)}")
    return [known[name] for name in text.split(",")]


def _raise_file_limit(needed: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard if hard == resource.RLIM_INFINITY else max(needed, hard)))
    except (OSError, ValueError) as error:
        raise load.BrokenRun(
            f"RLIMIT_NOFILE is {soft:,} and cannot be raised to the {needed:,} files that the streams need ({error}; hard limit {hard:,}). "
            f"Run this where `ulimit -n {needed}` works, or try --quick, which needs fewer."
        ) from error


def _measure(scenarios: list[Scenario], peers: list[Peer], sizes: Sizes, rounds: int) -> report.Results:
    results: report.Results = {}
    for number in range(rounds):
        for scenario in scenarios:
            # The other way round every second time, so that nobody always comes first.
            for peer in peers if number % 2 == 0 else reversed(peers):
                if scenario.peers is not None and peer.name not in scenario.peers:
                    continue
                try:
                    outcome = scenario.measure(peer, sizes)
                except (load.BrokenRun, OSError) as error:
                    outcome = Outcome({}, Counter({"broken run": 1}))
                    print(error, file=sys.stderr)
                results.setdefault((scenario.name, peer.name), []).append(outcome)
                figures = ", ".join(f"{figure.title}: {outcome.values[figure.key]:,.{figure.digits}f}" for figure in scenario.figures if figure.key in outcome.values)
                print(f"round {number + 1}, {scenario.name}, {peer.name}: {figures} ({report.describe_faults(outcome.faults)})", file=sys.stderr, flush=True)
    return results


if __name__ == "__main__":
    sys.exit(main())
