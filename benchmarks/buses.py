"""The command ``python -m benchmarks.buses``: what a shared bus costs, and how that grows."""

from __future__ import annotations

import argparse
import functools
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from . import parts, plots
from .bus_report import BusReport, Case, Record
from .checkouts import Checkout, checkout
from .errors import BrokenRun
from .parts import LARGE, SMALL, Work
from .peers import gunicorn_versions, version_of
from .programs import BUILD, build
from .report import describe_faults, machine
from .run import LOAD_CORE, raise_file_limit
from .scenarios import Outcome
from .stores import BUSES, lacks

__all__ = ["main"]

_ROOT = Path(__file__).parent.parent
_RESULTS = Path(__file__).with_name("results")


class _Part(NamedTuple):
    cases: Callable[[Work], Iterator[Case]]
    measure: Callable[[Checkout, Case, Work], Outcome]
    is_once: bool = False
    """Whether it takes so long that it is measured in the first round only."""


def _each(workers: int) -> Callable[[Work], Iterator[Case]]:
    """Return the memory of one process beside shared buses with so many processes."""

    def cases(work: Work) -> Iterator[Case]:
        yield Case("memory", 1)
        for bus in ("sqlite", "redis"):
            yield Case(bus, workers)

    return cases


def _private(work: Work) -> Iterator[Case]:
    yield Case("memory", 1, work.streams)
    for bus in ("sqlite", "redis"):
        for workers in work.workers:
            yield Case(bus, workers, work.streams)
    yield Case("auto", 4, work.streams)


def _reading(work: Work) -> Iterator[Case]:
    for bus in ("sqlite", "redis"):
        yield Case(bus, work.workers[-1], work.workers[-1] * work.per_process)


def _growth(work: Work) -> Iterator[Case]:
    for channels in work.growth:
        yield Case("memory", 1, channels)
    for bus in ("sqlite", "redis"):
        for workers in work.workers:
            for channels in work.growth:
                yield Case(bus, workers, channels)


def _kept(work: Work) -> Iterator[Case]:
    for bus in ("sqlite", "redis"):
        yield Case(bus, 1, work.kept)


def _capacity(work: Work) -> Iterator[Case]:
    for workers in (0, 1, work.workers[-1]):
        yield Case("redis", workers)


def _of_private(of: Checkout, case: Case, work: Work) -> Outcome:
    return parts.private(of, case.bus, case.workers, work, case.channels)


PARTS = {
    "publish": _Part(_each(1), lambda of, case, work: parts.publish(of, case.bus, case.workers, work)),
    "private": _Part(_private, _of_private),
    "reading": _Part(_reading, _of_private),
    "broadcast": _Part(_each(4), lambda of, case, work: parts.broadcast(of, case.bus, case.workers, work)),
    "opening": _Part(_each(1), lambda of, case, work: parts.opening(of, case.bus, case.workers, work)),
    "capacity": _Part(_capacity, lambda of, case, work: parts.capacity(of, case.bus, case.workers, work)),
    "growth": _Part(_growth, _of_private, is_once=True),
    "kept": _Part(_kept, lambda of, case, work: parts.kept(of, case.bus, case.workers, work), is_once=True),
}
"""What can be measured, in the order of the tables."""


def main(arguments: Sequence[str] | None = None) -> int:
    """
    Measure and print, and return the exit status: 1 when an event was lost, doubled or out of order, 2 when
    nothing could be measured.
    """
    options = _options(arguments)
    if options.redraw is not None:
        report = BusReport.from_json(options.redraw.read_text(encoding="utf-8"))
        _show(report, options.output or options.redraw.parent)
        return int(report.has_failed())
    # Servers run in groups of their own: an end without clean-up would leave them.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    # Here and in Redis, which is started from here.
    os.sched_setaffinity(0, {LOAD_CORE})
    raise_file_limit()
    try:
        build("load")
    except BrokenRun as error:
        print(error, file=sys.stderr)
        return 2
    with ExitStack() as stack:
        trees = [stack.enter_context(checkout("this checkout", _ROOT))]
        if options.before is not None:
            trees.append(stack.enter_context(checkout("before", options.before)))
        work = SMALL if options.quick else LARGE
        is_whole = not options.quick and options.parts == list(PARTS) and options.buses == list(BUSES)
        folder = options.output or (_RESULTS if is_whole else BUILD / "results")
        report = measure(options.parts, options.buses, trees, work, options.rounds, folder)
    _show(report, folder)
    return int(report.has_failed())


def measure(
    names: Sequence[str],
    buses: Sequence[str],
    trees: Sequence[Checkout],
    work: Work,
    rounds: int,
    folder: Path,
) -> BusReport:
    """
    Measure parts of :data:`PARTS` on some buses, in all trees side by side.

    The raw results are written into the folder after each part, so that half an hour is not lost when it is
    interrupted.
    """
    began = time.monotonic()
    versions = f"{gunicorn_versions()}, redis-server {version_of('redis-server', '--version')}"
    report = BusReport("", f"{machine()}\n- versions: {versions}")
    for number in range(rounds):
        for name in names:
            part = PARTS[name]
            if part.is_once and number:
                continue
            cases = [(case, tree) for case in part.cases(work) if case.bus in buses for tree in trees]
            # The other way round every second time, so that nobody always comes first.
            for case, tree in cases if number % 2 == 0 else reversed(cases):
                if (missing := lacks(case.bus)) is not None:
                    print(f"left out: {name}, {case.title()}, because {missing}", file=sys.stderr)
                    continue
                try:
                    outcome = part.measure(tree, case, work)
                except (BrokenRun, OSError) as error:
                    outcome = Outcome({}, Counter({"broken run": 1}))
                    print(error, file=sys.stderr)
                report.records.append(Record(name, case, tree.title, outcome.values, outcome.faults))
                print(
                    f"{time.monotonic() - began:4.0f} s, round {number + 1}, {name}, {case.title()}, "
                    f"{tree.title}: {describe_faults(outcome.faults)}",
                    file=sys.stderr,
                    flush=True,
                )
            _save(report, folder)
    report.heading = f"medians of {rounds} interleaved rounds" if rounds > 1 else "one round"
    report.heading += f", {time.monotonic() - began:.0f} s in all"
    return report


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.buses",
        description="Measures what a shared bus costs the processes that listen, and how that grows.",
    )
    parser.add_argument("--quick", action="store_true", help="little of everything, to see that it works")
    parser.add_argument(
        "--rounds",
        type=int,
        default=3,
        metavar="N",
        help="how often everything but growth and kept is measured; medians are printed (3)",
    )
    for name, known in (("parts", list(PARTS)), ("buses", list(BUSES))):
        parser.add_argument(
            f"--{name}",
            type=functools.partial(_some, known),
            default=known,
            metavar="A,B",
            help=f"only these of {', '.join(known)}",
        )
    parser.add_argument(
        "--before",
        type=Path,
        metavar="FOLDER",
        help="also measure the package of this other checkout, side by side",
    )
    parser.add_argument("--output", type=Path, metavar="FOLDER", help="for tables, plot and raw results")
    parser.add_argument(
        "--redraw",
        type=Path,
        metavar="FILE",
        help="measure nothing: tables and plot of these raw results, beside them",
    )
    return parser.parse_args(arguments)


def _some(known: Sequence[str], text: str) -> list[str]:
    for name in text.split(","):
        if name not in known:
            raise argparse.ArgumentTypeError(f"nothing is called {name!r}. There are: {', '.join(known)}")
    return [name for name in known if name in text.split(",")]


def _save(report: BusReport, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "buses.json").write_text(report.to_json() + "\n", encoding="utf-8")


def _show(report: BusReport, folder: Path) -> None:
    text = report.to_markdown()
    print(text)
    _save(report, folder)
    (folder / "buses.md").write_text(text, encoding="utf-8")
    drawn = plots.draw_growth(report, folder / "growth.svg")
    print(f"In {folder}: buses.md, buses.json{', growth.svg' if drawn else ''}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
