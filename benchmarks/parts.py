"""The parts of ``python -m benchmarks.buses``: each is a function from a server's bus to figures."""

from __future__ import annotations

import json
import statistics
import time
import urllib.request
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from .checkouts import Checkout, Workers, counted_server, peer_of
from .errors import BrokenRun
from .openings import Openings
from .peers import Peer
from .run import START_SECONDS, Server, start
from .scenarios import Outcome
from .stores import open_store

__all__ = [
    "LARGE",
    "SMALL",
    "Checkout",
    "Work",
    "broadcast",
    "capacity",
    "kept",
    "opening",
    "private",
    "publish",
]


class Work(NamedTuple):
    """How much is measured."""

    publishes: int
    """Events that nobody hears."""
    streams: int
    """With a channel each, over all processes."""
    per_process: int
    """Streams of each process, where it is counted what a process reads."""
    growth: tuple[int, ...]
    """Numbers of channels with a stream each."""
    workers: tuple[int, ...]
    """Numbers of processes."""
    rate: int
    """Events per second over all channels."""
    listeners: int
    """Streams on one channel."""
    openings: int
    """Streams that are opened, one after the other."""
    crowd: int
    """Streams that are opened at once."""
    kept: int
    """Channels that keep an event each."""
    starts: int
    """Processes that start beside them; the median is taken."""
    seconds: float
    """How long events are published."""


LARGE = Work(
    publishes=2_000,
    streams=400,
    per_process=500,
    growth=(10, 100, 1_000, 10_000),
    workers=(1, 2, 4, 8),
    rate=1_000,
    listeners=1_000,
    openings=200,
    crowd=1_000,
    kept=100_000,
    starts=5,
    seconds=3,
)
SMALL = Work(
    publishes=100,
    streams=40,
    per_process=10,
    growth=(10, 40),
    workers=(1, 2),
    rate=200,
    listeners=40,
    openings=10,
    crowd=40,
    kept=300,
    starts=1,
    seconds=0.4,
)

STEADY = 20
"""Events per second to many streams of one channel: nothing is left to gather."""

PUBLISHERS = 16
"""Requests that publish at the same time, where one alone would leave Redis idle between its events."""


def publish(of: Checkout, bus: str, workers: int, work: Work) -> Outcome:
    """Publish, and nobody listens."""
    with open_store(bus) as store, start(peer_of(of, store, workers)) as run:
        own = store.cpu_seconds()
        got = _checked(run.publish(60, most=work.publishes), "published")
        own = store.cpu_seconds() - own
    values = {
        "publish.p50": got["publish_microseconds"],
        "publish.cpu": 1e6 * got["cpu_seconds"] / got["published"],
        "publish.own": 1e6 * own / got["published"],
    }
    return Outcome(values, run.faults)


def private(of: Checkout, bus: str, workers: int, work: Work, streams: int) -> Outcome:
    """Give each stream a channel of its own, and publish to all of them in turn."""
    with open_store(bus) as store, counted_server(of, store, workers) as (run, counted):
        run.open(streams, channels=streams)
        run.publish(0.3, work.rate, channels=streams)  # what a process does at its first event only
        sent = store.info().get("total_net_output_bytes", 0)
        before, own = counted.counts(), store.cpu_seconds()
        # As many to each channel, however long it takes, so that a process delivers its share.
        events = streams * max(1, round(work.rate * work.seconds / streams))
        got = _checked(run.publish(60, work.rate, channels=streams, most=events), "deliveries")
        own = store.cpu_seconds() - own
        after = counted.counts()
        sent = store.info().get("total_net_output_bytes", 0) - sent
    deliveries = got["deliveries"]
    ratios = [
        (after[process][0] - before[process][0]) / (got["published"] * here / streams)
        for process, (_, here) in after.items()
        if here
    ]
    values = {
        "private.cpu": 1e6 * got["cpu_seconds"] / deliveries,
        "private.own": 1e6 * own / deliveries,
        "private.sent": sent / deliveries,
        "private.read": sum(after[name][0] - before[name][0] for name in after) / deliveries,
        "private.most_read": max(ratios),
        "private.most_streams": max(here for _, here in after.values()),
        "private.events": got["published"] / got["publishing_seconds"],
        "private.publish": got["publish_microseconds"],
        "private.p50": got["p50_milliseconds"],
        "private.p99": got["p99_milliseconds"],
    }
    return Outcome(values, run.faults)


def broadcast(of: Checkout, bus: str, workers: int, work: Work) -> Outcome:
    """Give all streams the same channel."""
    with open_store(bus) as store, counted_server(of, store, workers) as (run, counted):
        run.open(work.listeners)
        run.publish(0.3, STEADY)
        own = store.cpu_seconds()
        got = _checked(run.publish(work.seconds, STEADY), "deliveries")
        own = store.cpu_seconds() - own
        here = [streams for _, streams in counted.counts().values()]
    values = {
        "broadcast.per_cpu_second": got["deliveries"] / got["cpu_seconds"],
        "broadcast.own": 1e6 * own / got["published"],
        "broadcast.processes": sum(map(bool, here)),
        "broadcast.p50": got["p50_milliseconds"],
        "broadcast.p99": got["p99_milliseconds"],
    }
    return Outcome(values, run.faults)


def capacity(of: Checkout, bus: str, workers: int, work: Work) -> Outcome:
    """
    Publish from many requests at once, so that Redis always has some to answer, to processes that all listen.

    No workers is one process that only publishes.
    """
    # What its clients do not read fits into their sockets.
    with (
        open_store(bus) as store,
        counted_server(of, store, workers or 1) as (run, counted),
        Openings(run.server.port) as clients,
    ):
        _open_everywhere(clients, "c0", counted, workers)
        query = f"seconds=60&rate=0&channels=1&most={2 * work.publishes // PUBLISHERS}&text=61"
        url = f"http://127.0.0.1:{run.server.port}/publish?{query}"
        own = store.cpu_seconds()
        with ThreadPoolExecutor(PUBLISHERS) as pool:
            published = sum(json.loads(answer)["published"] for answer in pool.map(_post, [url] * PUBLISHERS))
        own = store.cpu_seconds() - own
    values = {
        "capacity.own": 1e6 * own / _checked({"published": published}, "published")["published"],
    }
    return Outcome(values, run.faults)


def opening(of: Checkout, bus: str, workers: int, work: Work) -> Outcome:
    """Open streams on channels that nobody has used: one after the other, and then a crowd."""
    with (
        open_store(bus) as store,
        counted_server(of, store, workers) as (run, counted),
        Openings(run.server.port) as clients,
    ):
        # The first stream of a process makes it follow the bus.
        _open_everywhere(clients, "held", counted, workers)
        run.settle(0.3)
        quiet = clients.open([f"q{number}" for number in range(work.openings)])
        run.settle(0.3)
        requests, own, cpu = (
            store.info().get("total_reads_processed", 0),
            store.cpu_seconds(),
            run.server.cpu_seconds(),
        )
        began = time.monotonic()
        clients.open([f"n{number}" for number in range(work.crowd)], at_once=work.crowd)
        seconds = time.monotonic() - began
        own, cpu = store.cpu_seconds() - own, run.server.cpu_seconds() - cpu
        requests = store.info().get("total_reads_processed", 0) - requests
    values = {
        "opening.p50": 1e3 * statistics.median(quiet),
        "opening.p99": 1e3 * sorted(quiet)[int(0.99 * len(quiet))],
        "opening.crowd": 1e3 * seconds,
        "opening.cpu": 1e6 * cpu / work.crowd,
        "opening.own": 1e6 * own / work.crowd,
        "opening.requests": requests / work.crowd,
    }
    return Outcome(values, run.faults)


def kept(of: Checkout, bus: str, workers: int, work: Work) -> Outcome:
    """Keep an event in each of many channels, and start processes that find them."""
    settings = {
        "FLASK_SSE_PUSH_HISTORY_BYTES": str(1 << 30),
        "FLASK_SSE_PUSH_HISTORY_SECONDS": "86400",
    }
    values = {}
    with open_store(bus) as store:
        for key, channels in (("empty", 1), ("full", work.kept)):
            memory = store.info().get("used_memory", 0)
            if channels > 1:
                _fill(peer_of(of, store, workers, **settings), channels)
            if store.is_redis:
                values[f"kept.memory.{key}"] = (store.info()["used_memory"] - memory) / 1e6
            values[f"kept.{key}"] = statistics.median(
                _first_stream(peer_of(of, store, workers, **settings)) for _ in range(work.starts)
            )
    values["kept.more"] = values["kept.full"] - values["kept.empty"]
    return Outcome(values, Counter())


def _checked(got: dict[str, float], key: str) -> dict[str, float]:
    """
    Return what was measured.

    Raises:
        BrokenRun: There was nothing to measure.
    """
    if not got[key]:
        raise BrokenRun(f"Nothing was measured: {key} is 0.")
    return got


def _open_everywhere(clients: Openings, channel: str, counted: Workers, workers: int) -> None:
    """Open streams on a channel until each process has one: nothing says which of them takes a connection."""
    give_up_at = time.monotonic() + START_SECONDS
    while sum(streams > 0 for _, streams in counted.counts().values()) < workers:
        clients.open([channel] * 8 * workers, at_once=8 * workers)
        if time.monotonic() > give_up_at:
            raise BrokenRun(f"Not every one of {workers} workers takes connections.")


def _fill(peer: Peer, channels: int) -> None:
    """Publish an event to each of so many channels."""
    server = Server(peer)
    try:
        server.wait_until_ready()
        query = f"seconds=600&rate=0&channels={channels}&most={channels}&text=61"
        _post(f"http://127.0.0.1:{server.port}/publish?{query}")
    finally:
        server.stop()


def _post(url: str) -> bytes:
    with urllib.request.urlopen(urllib.request.Request(url, method="POST"), timeout=630) as response:
        return bytes(response.read())


def _first_stream(peer: Peer) -> float:
    """Return the milliseconds in which a process that has just started begins its first stream."""
    server = Server(peer)
    try:
        server.wait_until_ready()
        with Openings(server.port) as clients:
            return 1e3 * clients.open(["c7"])[0]
    finally:
        server.stop()
