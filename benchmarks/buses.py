"""
What a shared bus costs: ``python -m benchmarks.buses``. Publishing in one process, how soon the others have
it, and what it adds to a server.
"""

from __future__ import annotations

import argparse
import multiprocessing
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

from flask_sse_push.bus import BusOptions, Retention, open_bus
from flask_sse_push.extension.settings import read_settings
from flask_sse_push.platform.backends import current_backend
from flask_sse_push.streams.hub import Hub
from flask_sse_push.streams.subscription import Subscription

from .errors import BrokenRun
from .peers import PACKAGE, Peer, gunicorn_gevent, version_of
from .programs import build
from .report import describe_faults, machine
from .run import free_port, start, wait_for_port

__all__ = ["main"]

OPTIONS = BusOptions(Retention(300, 16 << 20), 2.0)
PAYLOAD = b"x" * 100
PATIENCE_SECONDS = 20.0

STREAMS = 1_000
RATE = 20
SERVER_SECONDS = 3
WORKERS = 4


def main() -> int:
    """Measure every bus that this machine can have, and print a table; 1 when an event was lost."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.buses",
        description="Measures what publishing costs on each bus, and how soon other processes have it.",
    )
    parser.add_argument("--events", type=int, default=2_000, metavar="N", help="events per bus (2000)")
    parser.add_argument(
        "--rate",
        type=float,
        default=200,
        metavar="N",
        help="events per second (200); 0 is as fast as it goes",
    )
    parser.add_argument("--processes", type=int, default=4, metavar="N", help="processes that listen (4)")
    parser.add_argument(
        "--rounds",
        type=int,
        default=3,
        metavar="N",
        help="how often the servers are measured; medians are printed (3)",
    )
    arguments = parser.parse_args()
    print(machine())
    print(
        f"- versions: flask_sse_push {metadata.version('flask_sse_push')}, redis "
        f"{metadata.version('redis')}, redis-server {version_of('redis-server', '--version')}"
    )
    pace = f"{arguments.rate:g} a second" if arguments.rate else "as fast as they go"
    print(
        f"- {arguments.events:,} events of about 140 bytes, {pace}, {arguments.processes} processes "
        "that listen; times in µs\n"
    )
    print("| bus | publish p50 | publish p99 | delivery p50 | delivery p99 | every event once, in order |")
    print("| --- | --: | --: | --: | --: | --- |")
    whole = True
    with tempfile.TemporaryDirectory() as folder, redis_url(Path(folder)) as redis:
        for name, url in (
            ("memory (this process)", "memory://"),
            ("sqlite", f"sqlite:///{folder}/events.db"),
            ("redis", redis),
        ):
            if url is None:
                print(f"| {name} | - | - | - | - | redis-server was not found |")
                continue
            published, delivered, complete = measure(
                url, arguments.events, arguments.rate, arguments.processes
            )
            whole = whole and complete
            figures = [*percentiles(published), *percentiles(delivered)]
            print(
                f"| {name} | "
                + " | ".join(f"{1e6 * figure:,.0f}" for figure in figures)
                + f" | {'yes' if complete else 'NO'} |",
                flush=True,
            )
        try:
            build("load")
            whole = compare_servers(Path(folder), redis, arguments.rounds) and whole
        except BrokenRun as error:
            print(error, file=sys.stderr)
            return 2
    return int(not whole)


def compare_servers(folder: Path, redis: str | None, rounds: int) -> bool:
    """
    Measure a server with one worker beside servers whose workers share a bus, print a table, and return
    whether everything arrived.
    """
    peers = [
        _server("memory://, 1 worker", 1, "memory://"),
        _server(f"sqlite, {WORKERS} workers", WORKERS, f"sqlite:///{folder}/server.db"),
    ]
    if redis is not None:
        peers.append(_server(f"redis, {WORKERS} workers", WORKERS, f"{redis}?prefix=server"))
    figures: dict[str, list[float]] = {peer.title: [] for peer in peers}
    faults: dict[str, Counter[str]] = {peer.title: Counter() for peer in peers}
    for number in range(rounds):
        for peer in peers if number % 2 == 0 else peers[::-1]:
            with start(peer) as run:
                run.open(STREAMS)
                got = run.publish(SERVER_SECONDS, RATE)
            figures[peer.title].append(got["deliveries"] / got["cpu_seconds"])
            faults[peer.title] += run.faults
    print(
        f"\n{RATE} events a second to {STREAMS:,} streams, all workers on one core; Redis' own CPU is "
        "not counted\n"
    )
    print("| bus | deliveries per server CPU second | to memory | every event once, in order |")
    print("| --- | --: | --: | --- |")
    base = statistics.median(figures[peers[0].title])
    for title, values in figures.items():
        value = statistics.median(values)
        print(
            f"| {title} | {value:,.0f} | {value / base:.2f} | "
            f"{f'NO: {describe_faults(faults[title])}' if faults[title] else 'yes'} |"
        )
    return not any(faults.values())


def _server(title: str, workers: int, url: str) -> Peer:
    return Peer(
        PACKAGE, title, gunicorn_gevent(PACKAGE, workers), environment={"FLASK_SSE_PUSH_BUS_URL": url}
    )


def measure(url: str, events: int, rate: float, processes: int) -> tuple[list[float], list[float], bool]:
    """Return the seconds of each publish and of each delivery, and whether everybody got everything."""
    if url == "memory://":
        bus = open_bus(url, OPTIONS)
        listener = Listener(bus)
        published = publish(bus, events, rate, listener.read)
        return published, listener.latencies, listener.numbers == list(range(events))
    context = multiprocessing.get_context("spawn")
    ready = context.Semaphore(0)
    results = context.SimpleQueue()
    listeners = [context.Process(target=listen, args=(url, events, ready, results)) for _ in range(processes)]
    for process in listeners:
        process.start()
    for _ in listeners:
        if not ready.acquire(timeout=PATIENCE_SECONDS):
            sys.exit("A listening process did not get ready.")
    bus = open_bus(url, OPTIONS)
    published = publish(bus, events, rate)
    outcomes = [results.get() for _ in listeners]
    for process in listeners:
        process.join()
    bus.close()
    return (
        published,
        [latency for latencies, _ in outcomes for latency in latencies],
        all(complete for _, complete in outcomes),
    )


def publish(bus: Any, events: int, rate: float, then: Any = None) -> list[float]:
    """Publish, and return the seconds of each."""
    seconds = []
    begun = time.monotonic()
    for number in range(events):
        if rate and (pause := begun + number / rate - time.monotonic()) > 0:
            time.sleep(pause)
        started = time.monotonic()
        bus.publish(("bench",), b"data: %d %.9f %s\n\n" % (number, started, PAYLOAD))
        seconds.append(time.monotonic() - started)
        if then is not None:
            then()
    return seconds


class Listener:
    """A hub with one subscription, as a worker with a stream has it."""

    def __init__(self, bus: Any) -> None:
        self.numbers: list[int] = []
        self.latencies: list[float] = []
        self._hub = Hub(bus, read_settings({"SSE_PUSH_HISTORY_LENGTH": 10_000}).log_options(), dict)
        self._subscription = Subscription(self._hub, ("bench",), None, PATIENCE_SECONDS)
        self.bell = current_backend().wakeup()
        self._subscription.open(self.bell)

    def read(self) -> None:
        """Take what is there."""
        chunk = self._subscription.read()
        now = time.monotonic()
        for line in chunk.split(b"\n"):
            if line.startswith(b"data: "):
                number, started = line.split()[1:3]
                self.numbers.append(int(number))
                self.latencies.append(now - float(started))

    def close(self) -> None:
        """Stop listening."""
        self._subscription.close()


def listen(url: str, events: int, ready: Any, results: Any) -> None:
    """Be another process: read until all events are there."""
    bus = open_bus(url, OPTIONS)
    listener = Listener(bus)
    ready.release()
    give_up_at = time.monotonic() + PATIENCE_SECONDS + events / 50
    while len(listener.numbers) < events and time.monotonic() < give_up_at:
        listener.bell.wait(0.5)
        listener.read()
    listener.close()
    bus.close()
    results.put((listener.latencies, listener.numbers == list(range(events))))


def percentiles(values: list[float]) -> tuple[float, float]:
    """Return the median and the 99th percentile."""
    ordered = sorted(values)
    return (statistics.median(ordered), ordered[int(len(ordered) * 0.99)]) if ordered else (0.0, 0.0)


@contextmanager
def redis_url(folder: Path) -> Iterator[str | None]:
    """Run a Redis server for the length of a block; ``None`` where there is none."""
    program = shutil.which("redis-server")
    if program is None:
        yield None
        return
    port = free_port()
    options = [
        "--port",
        str(port),
        "--bind",
        "127.0.0.1",
        "--save",
        "",
        "--appendonly",
        "no",
        "--dir",
        str(folder),
    ]
    server = subprocess.Popen([program, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for_port(port, server)
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    sys.exit(main())
