"""What ``python -m benchmarks.buses`` has measured: kept as JSON, shown as Markdown."""

from __future__ import annotations

import json
import statistics
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from .report import describe_faults, markdown
from .scenarios import Figure
from .stores import BUSES

__all__ = ["BusReport", "Case", "Record"]


class Case(NamedTuple):
    """A server that is measured."""

    bus: str
    workers: int
    """Processes of the server; 0 where nobody listens."""
    channels: int = 0
    """How many have a stream, or an event; 0 where that is not what is compared."""

    def title(self) -> str:
        """Return how tables call it."""
        words = [self.bus, f"{self.workers} worker{'s' * (self.workers != 1)}"]
        if self.channels:
            words.append(f"{self.channels:,} channels")
        return ", ".join(words)


class Record(NamedTuple):
    """What one round gave for one case."""

    part: str
    case: Case
    tree: str
    values: dict[str, float]
    """By the key of the figure."""
    faults: Counter[str]
    """What was wrong, and how often; empty when every event arrived once and in order."""


class _Table(NamedTuple):
    part: str
    title: str
    figures: tuple[Figure, ...]
    compared: str
    """The key of the figure that is also shown as a ratio."""


_OF_PRIVATE = (
    Figure("private.cpu", "CPU of all workers per delivery, µs", 0),
    Figure("private.own", "of Redis, µs"),
    Figure("private.sent", "bytes from Redis per delivery"),
    Figure("private.read", "read per delivered", 2),
    Figure("private.most_read", "the same, worst process", 2),
    Figure("private.most_streams", "streams of the fullest process"),
    Figure("private.publish", "publish p50, µs"),
    Figure("private.p50", "latency p50, ms", 1),
    Figure("private.p99", "p99, ms", 1),
    Figure("private.events", "events per second"),
)

_TABLES = (
    _Table(
        "publish",
        "Publish, nobody listens",
        (
            Figure("publish.p50", "`publish()` p50, µs"),
            Figure("publish.cpu", "CPU of the worker, µs"),
            Figure("publish.own", "of Redis, µs"),
        ),
        "publish.p50",
    ),
    _Table("private", "A channel for each stream", _OF_PRIVATE, "private.cpu"),
    _Table("reading", "What each of many processes reads", _OF_PRIVATE, "private.cpu"),
    _Table(
        "broadcast",
        "One channel for all streams, 20 events a second",
        (
            Figure("broadcast.per_cpu_second", "deliveries per CPU second of all workers"),
            Figure("broadcast.own", "CPU of Redis per event, µs"),
            Figure("broadcast.p50", "latency p50, ms", 1),
            Figure("broadcast.p99", "p99, ms", 1),
        ),
        "broadcast.per_cpu_second",
    ),
    _Table(
        "opening",
        "The first stream of a channel, nothing kept",
        (
            Figure("opening.p50", "first block p50, ms", 2),
            Figure("opening.p99", "p99, ms", 2),
            Figure("opening.crowd", "a crowd at once, ms in all"),
            Figure("opening.cpu", "CPU of the worker per stream of the crowd, µs"),
            Figure("opening.own", "of Redis, µs", 1),
            Figure("opening.requests", "reads of Redis per stream", 3),
        ),
        "opening.p50",
    ),
    _Table(
        "capacity",
        "Redis while it is never idle; all workers listen to the channel",
        (Figure("capacity.own", "CPU of Redis per event, µs", 1),),
        "capacity.own",
    ),
    _Table("growth", "A channel for each stream, more and more of them", _OF_PRIVATE, "private.cpu"),
    _Table(
        "kept",
        "One event kept in each channel",
        (
            Figure("kept.empty", "first stream of a new process, nothing kept, ms", 1),
            Figure("kept.full", "everything kept, ms", 1),
            Figure("kept.more", "more, ms", 1),
            Figure("kept.memory.full", "memory of Redis, MB", 1),
        ),
        "kept.full",
    ),
)


@dataclass
class BusReport:
    """Everything that a run gave."""

    heading: str
    """How much was measured, in a line."""
    machine: str
    """What it ran on, as a list."""
    records: list[Record] = field(default_factory=list)

    def has_failed(self) -> bool:
        """Say whether any round of any case failed its check."""
        return any(record.faults for record in self.records)

    def median(self, part: str, case: Case, tree: str, key: str) -> float | None:
        """Return the median of a figure over the rounds; ``None`` where there is none, or a round failed."""
        records = [record for record in self.records if record[:3] == (part, case, tree)]
        values = [record.values[key] for record in records if key in record.values]
        return statistics.median(values) if values and not any(r.faults for r in records) else None

    def trees(self) -> list[str]:
        """Return the titles of the checkouts."""
        return list(dict.fromkeys(record.tree for record in self.records))

    def cases(self, part: str) -> list[Case]:
        """Return what was measured of a part."""
        return list(dict.fromkeys(record.case for record in self.records if record.part == part))

    def to_json(self) -> str:
        """Return everything, every round included."""
        raw = {
            "heading": self.heading,
            "machine": self.machine,
            "records": [{**record._asdict(), "case": record.case._asdict()} for record in self.records],
        }
        return json.dumps(raw, indent=1)

    @classmethod
    def from_json(cls, text: str) -> BusReport:
        """Return what :meth:`to_json` kept."""
        raw: dict[str, Any] = json.loads(text)
        for record in raw["records"]:
            record |= {"case": Case(**record["case"]), "faults": Counter(record["faults"])}
        return cls(raw["heading"], raw["machine"], [Record(**record) for record in raw["records"]])

    def to_markdown(self) -> str:
        """Return what it ran on, and a table for each part."""
        lines = [self.machine, f"- {self.heading}"]
        for table in _TABLES:
            cases = sorted(self.cases(table.part), key=lambda case: (BUSES.index(case.bus), *case[1:]))
            if cases:
                lines += ["", f"### {table.title}", "", *self._table(table, cases)]
            if table.part == "capacity" and (carried := self.carried()):
                head = ["processes that listen to an event", "CPU of Redis, µs", "events per second and core"]
                lines += ["", "Computed from it:", "", *markdown([head, *carried])]
        return "\n".join(lines) + "\n"

    def carried(self) -> list[list[str]]:
        """
        Return how many events a core of Redis carries: by the number of processes that listen to each, what
        an event costs, and how many fit into a second. Each process after the first adds the same. Empty
        where that was not measured.
        """
        tree, cases = self.trees()[0], self.cases("capacity")
        own = {case.workers: self.median("capacity", case, tree, "capacity.own") for case in cases}
        alone, one, most = own.get(0), own.get(1), own.get(max(own, default=0))
        # What two processes differ in is less than the noise.
        if alone is None or one is None or most is None or max(own) < 4 or most <= one:
            return []
        each = (most - one) / (max(own) - 1)
        costs = {0: alone, **{count: one + each * (count - 1) for count in (1, 2, 4, 8, 16, 32)}}
        return [[f"{count}", f"{cost:.0f}", f"{1e6 / cost:,.0f}"] for count, cost in costs.items()]

    def _table(self, table: _Table, cases: list[Case]) -> list[str]:
        trees = self.trees()
        # A part that has no memory bus is not compared with it, and so on.
        bases = {
            "to memory": {case: Case("memory", 1, case.channels) for case in cases},
            "to 1 worker": {case: case._replace(workers=1) for case in cases},
        }
        bases = {
            title: base
            for title, base in bases.items()
            if any(base[case] in cases and base[case] != case for case in cases)
        }
        figures = [
            figure
            for figure in table.figures
            if any(self.median(table.part, case, tree, figure.key) for case in cases for tree in trees)
        ]
        last = [f"to {trees[-1]}"] if len(trees) > 1 else []
        rows = [["server", *(f.title for f in figures), *bases, *last, "complete and in order"]]
        for case in cases:
            for tree in trees:
                name = f"{case.title()}, {tree}" if len(trees) > 1 else case.title()
                row = [name]
                for figure in figures:
                    value = self.median(table.part, case, tree, figure.key)
                    row.append("-" if value is None else f"{value:,.{figure.digits}f}")
                row += [self._ratio(table, (case, tree), (base[case], tree)) for base in bases.values()]
                if last:
                    row.append(self._ratio(table, (case, tree), (case, trees[-1])))
                faults: Counter[str] = Counter()
                for record in self.records:
                    if record[:3] == (table.part, case, tree):
                        faults += record.faults
                rows.append([*row, f"**FAILED**: {describe_faults(faults)}" if faults else "yes"])
        return markdown(rows)

    def _ratio(self, table: _Table, one: tuple[Case, str], other: tuple[Case, str]) -> str:
        value, base = (self.median(table.part, *which, table.compared) for which in (one, other))
        return f"{value / base:.2f}" if value is not None and base and one != other else "-"
