"""
The long runs: ``python -m tests.soak [--list] [--scenario NAME,...] [--quick] [--seed N] [--record FOLDER]``.

Ends with a table in Markdown, and with status 1 if anything failed. A record that was kept can be judged
again: ``python -m tests.soak.check``.
"""

import argparse
import contextlib
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.soak.report import FAULTS
from tests.soak.resets import EXPECTED_FALSE_RESETS
from tests.soak.scenarios import SCENARIOS, play

_COLUMNS = [
    "published",
    "refused",
    "unknown",
    "delivered",
    "resets",
    "false_resets",
    "finished",
    "repeats",
    "reconnects",
    "epochs",
]


def main(arguments=None):
    """Run what was asked for, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak")
    parser.add_argument("--list", action="store_true", help="say what there is")
    parser.add_argument("--scenario", help="names, separated by commas; all without it")
    parser.add_argument("--quick", action="store_true", help="the short versions")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--record", type=Path, help="a folder to keep the records in")
    options = parser.parse_args(arguments)
    if options.list:
        for scenario in SCENARIOS:
            print(f"{scenario.name:24} {scenario.what}")
        return 0
    by_name = {scenario.name: scenario for scenario in SCENARIOS}
    names = options.scenario.split(",") if options.scenario else list(by_name)
    if unknown := set(names) - by_name.keys():
        parser.error(f"there is no scenario {', '.join(sorted(unknown))}; --list says what there is")
    with contextlib.ExitStack() as stack:
        folder = options.record or Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="sse-push-soak-"))
        )
        rows = [_play(by_name[name], folder / f"{name}-{options.seed}", options) for name in names]
    print(_table(rows))
    print(_explained(rows))
    return 1 if any(row[1] == "FAILED" for row in rows) else 0


def _play(scenario, record, options):
    print(f"{scenario.name}: {scenario.what} ...", file=sys.stderr, flush=True)
    for old in record.glob("*"):
        old.unlink()
    begun = time.monotonic()
    try:
        report = play(scenario, record, seed=options.seed, quick=options.quick)
    except pytest.skip.Exception as reason:
        return scenario.name, f"skipped: {reason}", None, time.monotonic() - begun
    verdict = "passed" if report.passed else "FAILED"
    print(f"  {verdict} in {time.monotonic() - begun:.0f} s\n{report}", file=sys.stderr, flush=True)
    return scenario.name, verdict, report, time.monotonic() - begun


def _table(rows):
    titles = [
        "scenario",
        "verdict",
        "seconds",
        *FAULTS,
        *(column.replace("_", " ") for column in _COLUMNS),
        "longest publish",
        "latency median",
        "p99",
        "memory",
    ]
    lines = [f"| {' | '.join(titles)} |", f"|{' --- |' * len(titles)}"]
    for name, verdict, report, seconds in rows:
        cells = [name, verdict, f"{seconds:.0f}"]
        if report is not None:
            figures = report.figures
            cells += [str(report.faults[fault]) for fault in FAULTS] + [
                str(figures[column]) for column in _COLUMNS
            ]
            cells += [
                f"{figures['longest_publish']:.2f} s",
                f"{figures['latency_median'] * 1000:.1f} ms",
                f"{figures['latency_p99'] * 1000:.0f} ms",
            ]
            cells.append(
                " to ".join(f"{figures.get(f'{phase}_bytes', 0) / 1024**2:.0f}" for phase in ("warm", "end"))
                + " MiB"
            )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _explained(rows):
    """Return each kind of reset that came although nothing was lost, with its reason."""
    kinds = sum((report.false_resets for _, _, report, _ in rows if report is not None), Counter())
    lines = ["", "Resets where nothing was lost:", ""]
    for (reason, cause), count in sorted(kinds.items()):
        why = EXPECTED_FALSE_RESETS.get((reason, cause), "nobody has explained it")
        lines.append(f"- {count} for `{reason}`, behind {cause!r}: {why}")
    return "\n".join(lines if kinds else [*lines[:-1], "none"])


if __name__ == "__main__":
    # Servers, stores and networks are taken away also when somebody ends this.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sys.exit(main())
