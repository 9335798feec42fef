"""A run and its results: kept as JSON, shown as Markdown."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import statistics
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .peers import PACKAGE, PEERS, RECIPE, REFERENCE, Peer
from .run import LOAD_CORE, SERVER_CORE
from .scenarios import SCENARIOS, Figure, Outcome, Scenario, Sizes, Table

__all__ = ["Report", "describe_faults", "machine", "markdown"]

_TITLES = {peer.name: peer.title for peer in PEERS}


@dataclass
class Report:
    """Everything that a run gave."""

    sizes: Sizes
    heading: str
    """How much was measured, in a line."""
    machine: str
    """What it ran on."""
    versions: dict[str, str] = field(default_factory=dict)
    """What each peer that was measured is made of, by name."""
    left_out: dict[str, str] = field(default_factory=dict)
    """Why each other one was not."""
    scenarios: list[str] = field(default_factory=list)
    """The names of those that were measured."""
    results: dict[tuple[str, str], list[Outcome]] = field(default_factory=dict)
    """The outcomes of all rounds, by the names of scenario and peer."""

    def add(self, scenario: Scenario, peer: Peer, outcome: Outcome) -> None:
        """Keep what one round of a scenario gave for a peer."""
        self.results.setdefault((scenario.name, peer.name), []).append(outcome)

    def has_failed(self) -> bool:
        """Say whether any round of any scenario failed its check."""
        return any(outcome.faults for outcomes in self.results.values() for outcome in outcomes)

    def faults(self, scenario: str, peer: str) -> Counter[str]:
        """Return what was wrong in all rounds together."""
        return sum((outcome.faults for outcome in self.results.get((scenario, peer), [])), Counter())

    def reason(self, scenario: str, peer: str) -> str:
        """Return why a scenario could not be measured for a peer; empty when it was."""
        return next((outcome.reason for outcome in self.results.get((scenario, peer), [])), "")

    def median(self, scenario: str, peer: str, key: str) -> float | None:
        """Return the median of a figure over the rounds; ``None`` where there is none."""
        values = [
            outcome.values[key] for outcome in self.results.get((scenario, peer), []) if key in outcome.values
        ]
        return statistics.median(values) if values else None

    def to_json(self) -> str:
        """Return everything, every round included."""
        raw = {
            **{
                name: getattr(self, name)
                for name in ("heading", "machine", "versions", "left_out", "scenarios")
            },
            "sizes": dataclasses.asdict(self.sizes),
            "results": [
                {
                    "scenario": scenario,
                    "peer": peer,
                    "round": number + 1,
                    "values": outcome.values,
                    "faults": outcome.faults,
                    "reason": outcome.reason,
                }
                for (scenario, peer), outcomes in self.results.items()
                for number, outcome in enumerate(outcomes)
            ],
        }
        return json.dumps(raw, indent=1)

    @classmethod
    def from_json(cls, text: str) -> Report:
        """Return what :meth:`to_json` kept."""
        raw: dict[str, Any] = json.loads(text)
        results: dict[tuple[str, str], list[Outcome]] = {}
        for result in raw.pop("results"):
            outcome = Outcome(result["values"], Counter(result["faults"]), result["reason"])
            results.setdefault((result["scenario"], result["peer"]), []).append(outcome)
        return cls(sizes=Sizes(**raw.pop("sizes")), results=results, **raw)

    def to_markdown(self) -> str:
        """Return what it ran on, a summary, and a table for each piece of work."""
        lines = [self.machine, f"- {self.heading}"]
        lines += [f"- {_TITLES[name]}: {versions}" for name, versions in self.versions.items()]
        lines += [f"- left out: {_TITLES[name]}, because {reason}" for name, reason in self.left_out.items()]
        lines += ["", *self._summary()]
        for scenario in SCENARIOS:
            if scenario.name in self.scenarios:
                for table in scenario.tables(self.sizes):
                    lines += ["", f"### {table.title}", "", *self._table(scenario, table)]
        return "\n".join(lines) + "\n"

    def _summary(self) -> list[str]:
        """Return one row for each peer, and of each work what tells most."""
        few, many, crowd = (
            f"{number:,} streams" for number in (self.sizes.few, self.sizes.many, self.sizes.crowd)
        )
        everything = (
            (f"deliveries per server CPU second, {few}", "streams", "few.steady.per_cpu_second", 0),
            (f"per server CPU second, {many}", "streams", "many.steady.per_cpu_second", 0),
            (f"per server CPU second, {crowd}", "crowd", "crowd.steady.per_cpu_second", 0),
            (f"latency p50, ms, {many}", "streams", "many.steady.p50", 1),
            (f"p99, ms, {many}", "streams", "many.steady.p99", 1),
            (f"flat out, deliveries per second, {many}", "streams", "many.flat_out.per_second", 0),
            (f"memory per idle stream, KiB, {crowd}", "crowd", "crowd.memory", 1),
            (f"streams opened per second, {self.sizes.at_once:,} at once", "crowd", "crowd.connects", 0),
            ("median time of a publish, µs", "streams", "publish.wall", 1),
        )
        columns = [column for column in everything if column[1] in self.scenarios]
        if not columns:
            return []
        rows = [["server", *(title for title, *_ in columns)]]
        for peer in self.versions:
            cells = [self._cell(scenario, peer, key, digits) for _, scenario, key, digits in columns]
            # Why something was not measured is said once, where it is met first.
            reasons = {scenario: self.reason(scenario, peer) for _, scenario, _, _ in columns}
            rows.append(
                [
                    _named(peer),
                    *(reasons.pop(scenario, "") or cell for (_, scenario, _, _), cell in zip(columns, cells)),
                ]
            )
        return markdown(rows)

    def _table(self, scenario: Scenario, table: Table) -> list[str]:
        header = ["server"]
        for figure in table.figures:
            header += (
                [figure.title, "to the reference", "to the recipe"] if figure.has_ratios else [figure.title]
            )
        rows = [[*header, "complete and in order"]]
        for peer in self.versions:
            if (scenario.name, peer) not in self.results:
                continue
            row = [_named(peer)]
            for figure in table.figures:
                row.append(self._cell(scenario.name, peer, figure.key, figure.digits))
                if figure.has_ratios:
                    row += [self._ratio(scenario.name, peer, other, figure) for other in (REFERENCE, RECIPE)]
            faults, reason = self.faults(scenario.name, peer), self.reason(scenario.name, peer)
            rows.append([*row, f"**FAILED**: {describe_faults(faults)}" if faults else reason or "yes"])
        return markdown(rows)

    def _cell(self, scenario: str, peer: str, key: str, digits: int) -> str:
        value = self.median(scenario, peer, key)
        if value is None:
            return "**FAILED**" if self.faults(scenario, peer) else "-"
        shown = f"{value:,.{digits}f}"
        return f"~~{shown}~~ **FAILED**" if self.faults(scenario, peer) else shown

    def _ratio(self, scenario: str, peer: str, other: str, figure: Figure) -> str:
        value, base = self.median(scenario, peer, figure.key), self.median(scenario, other, figure.key)
        return f"{value / base:.2f}" if value is not None and base else "-"


def machine() -> str:
    """Return what everything runs on, as a list."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    pins = f"servers on core {SERVER_CORE}, load on core {LOAD_CORE}"
    if SERVER_CORE == LOAD_CORE:
        pins = "servers and load share the only core, so nothing here can be compared with runs elsewhere"
    return (
        f"- machine: {model}, {os.cpu_count()} cores, {platform.system()} {platform.release()}, Python "
        f"{platform.python_version()}; {pins}"
    )


def describe_faults(faults: Counter[str]) -> str:
    """Return what was wrong in a few words."""
    return ", ".join(f"{count:,} {fault}" for fault, count in sorted(faults.items())) or "ok"


def _named(peer: str) -> str:
    return f"**{_TITLES[peer]}**" if peer == PACKAGE else _TITLES[peer]


def markdown(rows: list[list[str]]) -> list[str]:
    """Return the lines of a table whose first row is its head."""
    rows = [rows[0], ["---", *["--:"] * (len(rows[0]) - 1)], *rows[1:]]
    return ["| " + " | ".join(row) + " |" for row in rows]
