"""What is measured: each scenario is a function from a peer to figures."""

from __future__ import annotations

import statistics
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .load import OPENING_WINDOW
from .pages import Pages
from .peers import PACKAGE, RECIPE, Peer
from .run import Run, start

__all__ = ["BUSY", "FULL", "QUICK", "SCENARIOS", "STEADY", "Figure", "Outcome", "Scenario", "Sizes", "Table"]

STEADY = 20
"""Events per second that leave nothing to gather, so that each delivery is a write."""

BUSY = 400
"""Events per second to many streams that are more than one write for each delivery can keep up with."""

BURSTS = 4
BURST_EVENTS = 500
"""
A server that gathers publishes faster than any client can take its events apart, and would only show how many
the load's sockets hold. So it does what
others cannot finish in the same time either, and then waits until everything has arrived.
"""

SLOW_READER_RATE = 1_000
"""
Events per second where the other clients must keep up with large ones; it is more than most peers reach.
"""

PACE = 500
"""
Events per second to all channels together in ``growth``: flat out, ten channels have many events for each
write, and a thousand have one.
"""


@dataclass(frozen=True)
class Sizes:
    """How much work a run is."""

    few: int
    many: int
    crowd: int
    """Streams."""
    at_once: int
    """Streams of the crowd that come at the same moment."""
    steady_seconds: float
    flat_out_seconds: float
    publishes: int
    """Events that nobody hears."""
    slow_streams: int
    slow_events: int
    slow_text: int
    """Characters in each of them."""


FULL = Sizes(
    few=100,
    many=1_000,
    crowd=10_000,
    at_once=5_000,
    steady_seconds=1.5,
    flat_out_seconds=1,
    publishes=1_000,
    slow_streams=50,
    slow_events=1_000,
    slow_text=8_000,
)
QUICK = Sizes(
    few=100,
    many=1_000,
    crowd=1_500,
    at_once=1_500,
    steady_seconds=0.4,
    flat_out_seconds=0.2,
    publishes=200,
    slow_streams=50,
    slow_events=200,
    slow_text=8_000,
)


@dataclass(frozen=True)
class Figure:
    """One column of a table."""

    key: str
    """Under which an outcome holds it."""
    title: str
    """What it is, with its unit."""
    digits: int = 0
    has_ratios: bool = False
    """Whether to show how it compares with the reference and the recipe."""


@dataclass(frozen=True)
class Table:
    """What is read from one piece of work."""

    title: str
    figures: tuple[Figure, ...]


@dataclass(frozen=True)
class Outcome:
    """What one round of one scenario gave for one peer."""

    values: dict[str, float]
    """By the key of the figure."""
    faults: Counter[str]
    """What was wrong, and how often; empty when every event arrived once and in order."""
    reason: str = ""
    """Why nothing was measured, where the peer or the machine cannot do it; that is no fault."""


@dataclass(frozen=True)
class Scenario:
    """Work for one server, one piece after the other."""

    name: str
    measure: Callable[[Peer, Sizes], Outcome]
    tables: Callable[[Sizes], tuple[Table, ...]]
    most_streams: Callable[[Sizes], int]
    """How many are open at once."""
    peers: frozenset[str] | None = None
    """The only peers that it makes sense for; ``None`` for all."""
    is_quick: bool = True
    """Whether ``--quick`` has it when no scenario is named."""


def streams(peer: Peer, sizes: Sizes) -> Outcome:
    """
    One channel, and first nobody, then few, then many: idle, at a rate that leaves nothing to gather, at one
    that asks for gathering, and flat out.
    """
    values: dict[str, float] = {}
    with start(peer) as run:
        got = run.publish(5, most=sizes.publishes, window=1)
        values["publish.cpu"] = 1e6 * got["cpu_seconds"] / max(1, got["published"])
        values["publish.wall"] = got["publish_microseconds"]
        run.open(sizes.few)
        values |= _delivered("few.steady", run.publish(sizes.steady_seconds, STEADY))
        before = run.server.pss_kib()
        run.open(sizes.many - sizes.few)
        values["many.memory"] = _added_kib(run, before, sizes.many - sizes.few)
        values |= _delivered("many.steady", run.publish(sizes.steady_seconds, STEADY))
        values |= _delivered("many.busy", run.publish(sizes.flat_out_seconds, BUSY))
        values |= _in_bursts("many.flat_out", run, sizes.flat_out_seconds)
    return Outcome(values, run.faults)


def crowd(peer: Peer, sizes: Sizes) -> Outcome:
    """
    Everybody comes at once, as after a restart, and stays; then 20 events a second to all, which may be more
    than the server can send.
    """
    values: dict[str, float] = {}
    with start(peer) as run:
        before = run.server.pss_kib()
        got = run.open(sizes.at_once, window=_window_of_a_rush())
        values["crowd.connects"] = _ratio(sizes.at_once, got["seconds"])
        values["crowd.connect_cpu"] = 1e3 * got["cpu_seconds"] / sizes.at_once
        run.open(sizes.crowd - sizes.at_once)
        values["crowd.memory"] = _added_kib(run, before, sizes.crowd)
        values |= _delivered("crowd.steady", run.publish(sizes.steady_seconds, STEADY))
    return Outcome(values, run.faults)


def channels(peer: Peer, sizes: Sizes) -> Outcome:
    """As many channels as streams, each with one, flat out."""
    with start(peer) as run:
        run.open(sizes.many, channels=sizes.many)
        values = _delivered("channels", run.publish(sizes.flat_out_seconds, channels=sizes.many))
    return Outcome(values, run.faults)


def slow_reader(peer: Peer, sizes: Sizes) -> Outcome:
    """
    Streams of which one never reads, and more events than its socket takes. The others must have all of them.
    """
    with start(peer) as run:
        run.open(sizes.slow_streams, slow=1)
        before = run.server.pss_kib()
        values = _delivered(
            "slow", run.publish(60, SLOW_READER_RATE, most=sizes.slow_events, text=sizes.slow_text)
        )
        values["slow.growth"] = (run.server.pss_kib() - before) / 1024
    return Outcome(values, run.faults)


def pages(peer: Peer, sizes: Sizes) -> Outcome:
    """
    Ordinary requests, while nothing is published to many streams, and while they are fed flat out, one burst
    behind the other.
    """
    values: dict[str, float] = {}
    with start(peer) as run:
        run.open(sizes.many)
        with Pages(run.server.port) as asked:
            run.settle(sizes.flat_out_seconds)
        values["pages.idle.p50"], values["pages.idle.p99"] = asked.percentiles()
        until = time.monotonic() + 3 * sizes.flat_out_seconds
        with Pages(run.server.port) as asked:
            published = 0.0
            while time.monotonic() < until:
                published += run.publish(sizes.flat_out_seconds, most=BURST_EVENTS)["published"]
        values["pages.p50"], values["pages.p99"] = asked.percentiles()
        values["pages.events"] = _ratio(published, 3 * sizes.flat_out_seconds)
    return Outcome(values, run.faults)


def growth(peer: Peer, sizes: Sizes) -> Outcome:
    """
    The same number of events to 10 and to 1,000 channels, with nobody there and with one stream each.

    Without streams it is publishing alone, flat out. With them the events are paced, so that both have one
    delivery and one write for each.
    """
    values: dict[str, float] = {}
    faults: Counter[str] = Counter()
    for count in (10, 1_000):
        with start(peer) as run:
            got = run.publish(60, channels=count, most=10 * sizes.publishes)
            values[f"growth.unheard.{count}"] = 1e6 * got["cpu_seconds"] / got["published"]
            run.open(count, channels=count)
            got = run.publish(sizes.steady_seconds, rate=PACE, channels=count)
            values[f"growth.heard.{count}"] = 1e6 * got["cpu_seconds"] / got["published"]
        faults += run.faults
    for what in ("unheard", "heard"):
        values[f"growth.{what}"] = _ratio(values[f"growth.{what}.1000"], values[f"growth.{what}.10"])
    return Outcome(values, faults)


def _delivered(key: str, got: dict[str, float]) -> dict[str, float]:
    return {
        f"{key}.events": _ratio(got["published"], got["publishing_seconds"]),
        f"{key}.per_second": _ratio(got["deliveries"], got["seconds"]),
        f"{key}.per_cpu_second": _ratio(got["deliveries"], got["cpu_seconds"]),
        f"{key}.p50": got["p50_milliseconds"],
        f"{key}.p99": got["p99_milliseconds"],
        f"{key}.events_per_read": got["events_per_read"],
        f"{key}.load": 100 * _ratio(got["load_cpu_seconds"], got["seconds"]),
    }


def _in_bursts(key: str, run: Run, seconds: float) -> dict[str, float]:
    """Publish flat out, and return the same figures for all bursts together; of latency the median burst."""
    bursts = [run.publish(seconds / BURSTS, most=BURST_EVENTS) for _ in range(BURSTS)]
    means = ("events_per_read", "p50_milliseconds", "p99_milliseconds")
    return _delivered(
        key,
        {
            name: (statistics.median if name in means else sum)(burst[name] for burst in bursts)
            for name in bursts[0]
        },
    )


def _added_kib(run: Run, before: int, streams: int) -> float:
    """Return the KiB that each stream has added, after a moment in which the server comes to rest."""
    run.settle(0.2)
    return (run.server.pss_kib() - before) / streams


def _window_of_a_rush() -> int:
    """
    Return how many connections may wait: what does not fit into the backlog is dropped by the kernel, and the
    client tries again only after a second.
    """
    backlog = min(4_096, int(Path("/proc/sys/net/core/somaxconn").read_text()))
    return max(OPENING_WINDOW // 4, backlog - backlog // 32)


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


def _deliveries(key: str) -> tuple[Figure, ...]:
    return (
        Figure(f"{key}.events", "events per second", 1),
        Figure(f"{key}.per_second", "deliveries per second"),
        Figure(f"{key}.per_cpu_second", "per server CPU second", has_ratios=True),
        Figure(f"{key}.p50", "latency p50, ms", 1),
        Figure(f"{key}.p99", "p99, ms", 1),
        Figure(f"{key}.events_per_read", "events per read", 1),
        Figure(f"{key}.load", "load's core busy, %"),
    )


def _streams_tables(sizes: Sizes) -> tuple[Table, ...]:
    return (
        Table(
            "Publish, nobody listens",
            (
                Figure("publish.wall", "median time of a publish, µs", 1),
                Figure("publish.cpu", "server CPU per publish, µs", 1),
            ),
        ),
        Table(f"{STEADY} events a second to {sizes.few:,} streams", _deliveries("few.steady")),
        Table(f"{sizes.many:,} idle streams", (Figure("many.memory", "memory per stream (PSS), KiB", 1),)),
        Table(f"{STEADY} events a second to {sizes.many:,} streams", _deliveries("many.steady")),
        Table(f"{BUSY} events a second to {sizes.many:,} streams", _deliveries("many.busy")),
        Table(
            f"Flat out to {sizes.many:,} streams, in {BURSTS} bursts of {BURST_EVENTS} events at most",
            _deliveries("many.flat_out"),
        ),
    )


def _crowd_tables(sizes: Sizes) -> tuple[Table, ...]:
    return (
        Table(
            f"{sizes.at_once:,} connections at once",
            (
                Figure("crowd.connects", "streams opened per second"),
                Figure("crowd.connect_cpu", "server CPU per connection, ms", 3),
            ),
        ),
        Table(f"{sizes.crowd:,} idle streams", (Figure("crowd.memory", "memory per stream (PSS), KiB", 1),)),
        Table(f"{STEADY} events a second to {sizes.crowd:,} streams", _deliveries("crowd.steady")),
    )


def _channels_tables(sizes: Sizes) -> tuple[Table, ...]:
    return (Table(f"Flat out to {sizes.many:,} channels with a stream each", _deliveries("channels")),)


def _slow_reader_tables(sizes: Sizes) -> tuple[Table, ...]:
    return (
        Table(
            f"{sizes.slow_streams} streams, one never reads, {sizes.slow_events:,} events of "
            f"{sizes.slow_text / 1000:g} kB at {SLOW_READER_RATE:,} a second",
            (
                Figure("slow.growth", "growth of the server, MiB", 1),
                Figure("slow.per_second", "deliveries per second to the others"),
                Figure("slow.p99", "their latency p99, ms", 1),
            ),
        ),
    )


def _pages_tables(sizes: Sizes) -> tuple[Table, ...]:
    return (
        Table(
            f"An ordinary page, beside {sizes.many:,} streams",
            (
                Figure("pages.idle.p50", "nothing published: p50, ms", 1),
                Figure("pages.idle.p99", "p99, ms", 1),
                Figure("pages.p50", "fed flat out: p50, ms", 1),
                Figure("pages.p99", "p99, ms", 1),
                Figure("pages.events", "events per second meanwhile"),
            ),
        ),
    )


def _growth_tables(sizes: Sizes) -> tuple[Table, ...]:
    return tuple(
        Table(
            f"Server CPU per publish, {what}",
            (
                Figure(f"growth.{key}.10", "10 channels, µs", 1),
                Figure(f"growth.{key}.1000", "1,000 channels, µs", 1),
                Figure(f"growth.{key}", "1,000 channels to 10", 2),
            ),
        )
        for key, what in (
            ("heard", f"a stream on each channel, {PACE} events a second"),
            ("unheard", "nobody listens, flat out"),
        )
    )


_WITH_PAGES = frozenset({PACKAGE, "portable", RECIPE})

SCENARIOS = (
    Scenario("streams", streams, _streams_tables, lambda sizes: sizes.many),
    Scenario("crowd", crowd, _crowd_tables, lambda sizes: sizes.crowd),
    Scenario("channels", channels, _channels_tables, lambda sizes: sizes.many),
    Scenario("slow_reader", slow_reader, _slow_reader_tables, lambda sizes: sizes.slow_streams),
    Scenario("pages", pages, _pages_tables, lambda sizes: sizes.many, _WITH_PAGES, is_quick=False),
    Scenario("growth", growth, _growth_tables, lambda sizes: 1_000, frozenset({PACKAGE}), is_quick=False),
)
"""All of them, in the order of the tables."""
