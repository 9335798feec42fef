"""What is measured: each scenario is a function from a peer to figures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from .peers import PACKAGE, Peer
from .run import start

__all__ = ["FULL", "QUICK", "SCENARIOS", "Figure", "Outcome", "Scenario", "Sizes"]

STORM_WINDOW = 4_000
"""Below the backlog of 4,096: the kernel drops what does not fit in there, and the client would try again after a whole second."""


PACE = 500
"""Events per second that leave nothing to gather: flat out, ten channels have many events for each write, and a thousand have one."""


@dataclass(frozen=True)
class Sizes:
    """How much work a run is."""

    listeners: int
    """Streams on one channel in ``flat_out`` and ``steady``."""
    flat_out_events: int
    steady_seconds: int
    channels_events: int
    crowd: int
    """Streams in ``storm`` and ``idle``."""


FULL = Sizes(listeners=1_000, flat_out_events=500, steady_seconds=8, channels_events=20_000, crowd=5_000)
QUICK = Sizes(listeners=1_000, flat_out_events=100, steady_seconds=2, channels_events=10_000, crowd=2_000)


@dataclass(frozen=True)
class Figure:
    """One line of the table."""

    key: str
    """Under which an outcome holds it."""
    title: str
    """What it is, with its unit."""
    digits: int = 0


@dataclass(frozen=True)
class Outcome:
    """What one round of one scenario gave for one peer."""

    values: dict[str, float]
    """By the key of the figure."""
    faults: Counter[str]
    """What was wrong, and how often; empty when every event arrived once and in order."""


@dataclass(frozen=True)
class Scenario:
    """A piece of work, and what is read from it."""

    name: str
    measure: Callable[[Peer, Sizes], Outcome]
    figures: tuple[Figure, ...]
    peers: frozenset[str] | None = None
    """The only peers that it makes sense for; ``None`` for all."""


def flat_out(peer: Peer, sizes: Sizes) -> Outcome:
    """One channel, many listeners, events as fast as the server's own loop can publish them."""
    with start(peer) as run:
        run.load.open(sizes.listeners)
        cpu = run.server.cpu_seconds()
        got = run.load.publish(sizes.flat_out_events)
        cpu = run.server.cpu_seconds() - cpu
    values = {
        "per_cpu_second": _ratio(got["deliveries"], cpu),
        "per_second": _ratio(got["deliveries"], got["seconds"]),
        "events_per_read": got["events_per_read"],
    }
    return Outcome(values, run.faults)


def steady(peer: Peer, sizes: Sizes) -> Outcome:
    """One channel, many listeners, 20 events a second: nothing to gather, so each delivery is a write."""
    with start(peer) as run:
        run.load.open(sizes.listeners)
        cpu = run.server.cpu_seconds()
        got = run.load.publish(20 * sizes.steady_seconds, rate=20)
        cpu = run.server.cpu_seconds() - cpu
    values = {"per_cpu_second": _ratio(got["deliveries"], cpu), "p50": got["p50_milliseconds"], "p99": got["p99_milliseconds"]}
    return Outcome(values, run.faults)


def channels(peer: Peer, sizes: Sizes) -> Outcome:
    """
    The same number of events to 10 and to 1,000 channels, with nobody there and with one listener each.

    Without listeners it is publishing alone, flat out. With them the events are paced, so that both have one delivery and one write for each.
    """
    values: dict[str, float] = {}
    faults: Counter[str] = Counter()
    n = sizes.channels_events
    for count in (10, 1_000):
        with start(peer) as run:
            cpu = run.server.cpu_seconds()
            run.server.publish(n, channels=count)
            values[f"unheard_{count}"] = 1e6 * (run.server.cpu_seconds() - cpu) / n
            run.load.open(count, channels=count)
            cpu = run.server.cpu_seconds()
            got = run.load.publish(n // 5, rate=PACE, channels=count)
            values[f"heard_{count}"] = 1e6 * (run.server.cpu_seconds() - cpu) / (n // 5)
            values[f"events_per_read_{count}"] = got["events_per_read"]
        faults += run.faults
    values["unheard_growth"] = _ratio(values["unheard_1000"], values["unheard_10"])
    values["heard_growth"] = _ratio(values["heard_1000"], values["heard_10"])
    return Outcome(values, faults)


def storm(peer: Peer, sizes: Sizes) -> Outcome:
    """Everybody comes at once, as after a restart. One event at the end shows that all of them listen."""
    with start(peer) as run:
        cpu = run.server.cpu_seconds()
        got = run.load.open(sizes.crowd, window=STORM_WINDOW)
        cpu = run.server.cpu_seconds() - cpu
        run.load.publish(1)
    return Outcome({"seconds": got["seconds"], "cpu": 1e3 * cpu / sizes.crowd}, run.faults)


def idle(peer: Peer, sizes: Sizes) -> Outcome:
    """Many streams and no event, until one at the end shows that all of them listen."""
    with start(peer) as run:
        before = run.server.pss_kib()
        run.load.open(sizes.crowd)
        run.load.settle(1)
        after = run.server.pss_kib()
        run.load.publish(1)
    return Outcome({"kib": (after - before) / sizes.crowd}, run.faults)


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


SCENARIOS = (
    Scenario(
        "flat_out",
        flat_out,
        (
            Figure("per_cpu_second", "deliveries per server CPU second"),
            Figure("per_second", "deliveries per second"),
            Figure("events_per_read", "events per read of a client", 1),
        ),
    ),
    Scenario(
        "steady",
        steady,
        (
            Figure("per_cpu_second", "deliveries per server CPU second"),
            Figure("p50", "latency p50, ms", 1),
            Figure("p99", "latency p99, ms", 1),
        ),
    ),
    Scenario(
        "channels",
        channels,
        (
            Figure("heard_10", "server CPU per publish, 10 channels with a listener each, µs", 1),
            Figure("heard_1000", "server CPU per publish, 1,000 channels with a listener each, µs", 1),
            Figure("heard_growth", "the same, 1,000 channels to 10", 2),
            Figure("events_per_read_10", "events per read of a client, 10 channels", 1),
            Figure("events_per_read_1000", "events per read of a client, 1,000 channels", 1),
            Figure("unheard_10", "server CPU per publish, 10 channels without listeners, µs", 1),
            Figure("unheard_1000", "server CPU per publish, 1,000 channels without listeners, µs", 1),
            Figure("unheard_growth", "the same, 1,000 channels to 10", 2),
        ),
        frozenset({PACKAGE}),
    ),
    Scenario("storm", storm, (Figure("seconds", "until all have their headers, s", 2), Figure("cpu", "server CPU per connection, ms", 3))),
    Scenario("idle", idle, (Figure("kib", "memory per stream (PSS), KiB", 1),)),
)
"""All of them, in the order of the table."""
