"""The command: ``python -m benchmarks``."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from . import plots
from .errors import BrokenRun
from .peers import PEERS, REFERENCE, Peer
from .programs import BUILD, build
from .report import Report, describe_faults, machine
from .run import LOAD_CORE, raise_file_limit
from .scenarios import FULL, QUICK, SCENARIOS, Outcome, Scenario, Sizes

_SPARE_FILES = 200
"""What a server opens beside its streams, generously."""

_RESULTS = Path(__file__).with_name("results")
_OTHER_RESULTS = BUILD / "results"

_Named = TypeVar("_Named", Peer, Scenario)


def main(arguments: Sequence[str] | None = None) -> int:
    """
    Measure, print, and return the exit status: 1 when an event was lost, doubled or out of order, 2 when
    nothing could be measured.
    """
    options = _options(arguments)
    if options.list:
        _list()
        return 0
    if options.redraw is not None:
        report = Report.from_json(options.redraw.read_text(encoding="utf-8"))
        _show(report, options.output or options.redraw.parent)
        return int(report.has_failed())
    # Servers run in groups of their own: an end without clean-up would leave them.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    os.sched_setaffinity(0, {LOAD_CORE})
    try:
        build("load")
        if any(peer.name == REFERENCE for peer in options.peers):
            build("reference")
        report = measure(
            options.scenarios,
            options.peers,
            QUICK if options.quick else FULL,
            options.rounds or (1 if options.quick else 3),
        )
    except BrokenRun as error:
        print(error, file=sys.stderr)
        return 2
    is_whole = (
        not options.quick and len(options.peers) == len(PEERS) and len(options.scenarios) == len(SCENARIOS)
    )
    _show(report, options.output or (_RESULTS if is_whole else _OTHER_RESULTS))
    if options.json is not None:
        options.json.write_text(report.to_json(), encoding="utf-8")
    return int(report.has_failed())


def measure(scenarios: Sequence[Scenario], peers: Sequence[Peer], sizes: Sizes, rounds: int) -> Report:
    """
    Measure all peers side by side: in each round each scenario, and in each scenario each peer.

    Raises:
        BrokenRun: There is no peer that this machine could start.
    """
    began = time.monotonic()
    report = Report(sizes, "", machine(), scenarios=[scenario.name for scenario in scenarios])
    for peer in peers:
        missing = peer.missing()
        if missing is None:
            report.versions[peer.name] = peer.versions()
        else:
            report.left_out[peer.name] = missing
            print(f"left out: {peer.title}, because {missing}", file=sys.stderr)
    present = [peer for peer in peers if peer.name in report.versions]
    if not present:
        raise BrokenRun("None of the peers can be started here.")
    limit = raise_file_limit()
    for number in range(rounds):
        for scenario in scenarios:
            # The other way round every second time, so that nobody always comes first.
            for peer in present if number % 2 == 0 else reversed(present):
                if scenario.peers is not None and peer.name not in scenario.peers:
                    continue
                files = scenario.most_streams(sizes) * peer.files_per_stream + _SPARE_FILES
                if files > limit:
                    report.add(
                        scenario,
                        peer,
                        Outcome({}, Counter(), f"needs {files:,} open files, may have {limit:,}"),
                    )
                    continue
                try:
                    outcome = scenario.measure(peer, sizes)
                except (BrokenRun, OSError) as error:
                    outcome = Outcome({}, Counter({"broken run": 1}))
                    print(error, file=sys.stderr)
                report.add(scenario, peer, outcome)
                print(
                    f"{time.monotonic() - began:4.0f} s, round {number + 1}, {scenario.name}, "
                    f"{peer.name}: {describe_faults(outcome.faults)}",
                    file=sys.stderr,
                    flush=True,
                )
    kind = "quick, " if sizes is QUICK else ""
    middle = f"medians of {rounds} interleaved rounds" if rounds > 1 else "one round"
    report.heading = f"{kind}{middle}, {time.monotonic() - began:.0f} s in all"
    return report


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measures flask_sse_push beside other ways to push, on the same work.",
    )
    parser.add_argument(
        "--quick", action="store_true", help="less work and one round: under a minute, and noisier"
    )
    parser.add_argument(
        "--rounds",
        type=_positive,
        metavar="N",
        help="how often everything is measured; medians are printed (3, or 1 with --quick)",
    )
    parser.add_argument(
        "--peers",
        type=lambda text: _some(text, PEERS),
        default=list(PEERS),
        metavar="A,B",
        help="only these (all)",
    )
    parser.add_argument(
        "--scenarios",
        type=lambda text: _some(text, SCENARIOS),
        metavar="A,B",
        help="only these (all; --quick leaves out the slowest)",
    )
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FOLDER",
        help=f"for table, plots and raw results ({_shown(_RESULTS)}; {_shown(_OTHER_RESULTS)} when not all "
        "is measured)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="put the raw results here, too")
    parser.add_argument(
        "--redraw",
        type=Path,
        metavar="FILE",
        help="measure nothing: table and plots of these raw results, beside them",
    )
    parser.add_argument(
        "--list",
        action="store_true",
        help="say which peers and scenarios there are, and what is missing here",
    )
    options = parser.parse_args(arguments)
    options.scenarios = options.scenarios or [
        scenario for scenario in SCENARIOS if scenario.is_quick or not options.quick
    ]
    return options


def _positive(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"must be a whole number above 0, got {text!r}")
    return int(text)


def _some(text: str, all_of_them: Sequence[_Named]) -> list[_Named]:
    known = {one.name: one for one in all_of_them}
    for name in text.split(","):
        if name not in known:
            raise argparse.ArgumentTypeError(f"nothing is called {name!r}. There are: {', '.join(known)}")
    return [one for one in all_of_them if one.name in text.split(",")]


def _list() -> None:
    for peer in PEERS:
        missing = peer.missing()
        print(
            f"peer {peer.name}: {peer.title} "
            f"({f'left out, because {missing}' if missing else peer.versions()})"
        )
    for scenario in SCENARIOS:
        print(f"scenario {scenario.name}: {'; '.join(table.title for table in scenario.tables(FULL))}")


def _show(report: Report, folder: Path) -> None:
    text = report.to_markdown()
    print(text)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.md").write_text(text, encoding="utf-8")
    (folder / "results.json").write_text(report.to_json() + "\n", encoding="utf-8")
    drawn = plots.draw(report, folder)
    print(
        f"In {_shown(folder)}: results.md, results.json, "
        f"{', '.join(path.name for path in drawn) or 'no plots, because matplotlib is not installed'}",
        file=sys.stderr,
    )


def _shown(path: Path) -> str:
    return os.path.relpath(path)


if __name__ == "__main__":
    sys.exit(main())
