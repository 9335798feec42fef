"""The results as Markdown."""

from __future__ import annotations

import os
import platform
import statistics
from collections import Counter
from importlib import metadata
from pathlib import Path

from .peers import BASE, Peer
from .run import LOAD_CORE, SERVER_CORE
from .scenarios import Figure, Outcome, Scenario

__all__ = ["Results", "describe_faults", "environment", "has_failed", "table"]

Results = dict[tuple[str, str], list[Outcome]]
"""The outcomes of all rounds, by the names of scenario and peer."""

_DISTRIBUTIONS = ("gunicorn", "gevent", "flask", "flask_sse_push")


def environment() -> str:
    """Return what it ran on, as a list."""
    model = next((line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")), platform.machine())
    pins = f"server on core {SERVER_CORE}, load on core {LOAD_CORE}"
    if SERVER_CORE == LOAD_CORE:
        pins = "server and load share the only core, so nothing here can be compared with runs elsewhere"
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in _DISTRIBUTIONS)
    return "\n".join((
        f"- machine: {model}, {os.cpu_count()} cores, {platform.system()} {platform.release()}; {pins}",
        f"- versions: Python {platform.python_version()}, {versions}",
    ))  # fmt: skip


def table(scenarios: list[Scenario], peers: list[Peer], results: Results) -> str:
    """Return the medians of all figures, and beside each peer its ratio to the base."""
    header = ["scenario", "figure"]
    for peer in peers:
        header += [peer.name] if peer.name == BASE else [peer.name, f"to {BASE}"]
    rows = [[*header, "every event once, in order"], ["---", "---", *["--:"] * (len(header) - 2), "---"]]
    for scenario in scenarios:
        for figure in scenario.figures:
            row = [scenario.name, figure.title]
            base = _median(figure, results.get((scenario.name, BASE), []))
            for peer in peers:
                value = _median(figure, results.get((scenario.name, peer.name), []))
                row.append(_shown(value, figure.digits))
                if peer.name != BASE:
                    row.append(f"{value / base:.2f}x" if value is not None and base else "-")
            rows.append([*row, _verdict(scenario, peers, results)])
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def has_failed(results: Results) -> bool:
    """Say whether any round of any scenario failed its check."""
    return any(outcome.faults for outcomes in results.values() for outcome in outcomes)


def describe_faults(faults: Counter[str]) -> str:
    """Return what was wrong in a few words."""
    return ", ".join(f"{count:,} {fault}" for fault, count in sorted(faults.items())) or "ok"


def _median(figure: Figure, outcomes: list[Outcome]) -> float | None:
    values = [outcome.values[figure.key] for outcome in outcomes if figure.key in outcome.values]
    return statistics.median(values) if values else None


def _shown(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:,.{digits}f}"


def _verdict(scenario: Scenario, peers: list[Peer], results: Results) -> str:
    failures = []
    for peer in peers:
        faults = sum((outcome.faults for outcome in results.get((scenario.name, peer.name), [])), Counter())
        if faults:
            failures.append(f"**FAILED** {peer.name}: {describe_faults(faults)}")
    return "; ".join(failures) or "yes"
