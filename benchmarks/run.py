"""One server under one load: started, warmed up, measured, ended."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .load import BrokenRun, Load
from .peers import Peer

__all__ = ["LOAD_CORE", "SERVER_CORE", "Run", "start"]

_CORES = sorted(os.sched_getaffinity(0))

SERVER_CORE = _CORES[0]
"""Where every process of a server runs."""

LOAD_CORE = _CORES[min(1, len(_CORES) - 1)]
"""Where the load generator runs: the same core only when there is no other."""

START_SECONDS = 20.0
STOP_SECONDS = 0.5

_ROOT = Path(__file__).parent.parent
_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


class Server:
    """
    The processes of one server, all in one group and on one core.

    Args:
        peer (Peer): What to start.
    """

    def __init__(self, peer: Peer) -> None:
        self.port = _free_port()
        """Where it listens, on 127.0.0.1."""
        self._peer = peer
        self._log = tempfile.TemporaryFile("w+")
        self._process = subprocess.Popen(
            peer.command(self.port),
            cwd=_ROOT,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            start_new_session=True,
            # Before it starts, so that no thread or child is ever elsewhere.
            preexec_fn=lambda: os.sched_setaffinity(0, {SERVER_CORE}),
        )

    def wait_until_ready(self) -> None:
        """
        Wait until it answers a request.

        Raises:
            BrokenRun: It ended, or did not answer in time.
        """
        give_up_at = time.monotonic() + START_SECONDS
        while True:
            try:
                return self.publish(1)
            except OSError as error:
                if self._process.poll() is not None or time.monotonic() > give_up_at:
                    raise BrokenRun(f"{self._peer.name} did not start ({error}). Its last words:\n{self.last_words()}") from error
                time.sleep(0.05)

    def publish(self, n: int, rate: float = 0, channels: int = 1) -> None:
        """Let it publish, and wait until it has; nobody is asked whether anything arrived."""
        address = f"http://127.0.0.1:{self.port}/publish?n={n}&rate={rate:g}&channels={channels}"
        with urllib.request.urlopen(urllib.request.Request(address, method="POST"), timeout=START_SECONDS) as response:
            response.read()

    def cpu_seconds(self) -> float:
        """Return the time that all its processes have used, in user and in kernel mode."""
        # Fields 14 and 15 of the manual page, counted from the third, which is the first after the name.
        return sum(int(fields[11]) + int(fields[12]) for _, fields in self._processes()) / _TICKS_PER_SECOND

    def pss_kib(self) -> int:
        """Return the proportional set size of all its processes: shared pages are counted once."""
        total = 0
        for pid, _ in self._processes():
            try:
                lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
            except OSError:
                continue  # it ended in between
            total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
        return total

    def last_words(self) -> str:
        """Return the end of what it logged."""
        self._log.seek(0)
        return "".join(self._log.readlines()[-15:])

    def stop(self) -> None:
        """End all its processes. The recipe does not notice that it is to end: what is still there after a moment is killed."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self._process.pid, number)
            except ProcessLookupError:
                break
            give_up_at = time.monotonic() + STOP_SECONDS
            while time.monotonic() < give_up_at and (self._process.poll() is None or any(self._processes())):
                time.sleep(0.02)
        self._process.wait()
        self._log.close()

    def _processes(self) -> Iterator[tuple[int, list[str]]]:
        for directory in Path("/proc").glob("[0-9]*"):
            try:
                fields = (directory / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue  # it ended in between
            if int(fields[2]) == self._process.pid and fields[0] != "Z":
                yield int(directory.name), fields


class Run:
    """What a scenario works with: a server that is warm, and a load that has not begun."""

    def __init__(self, server: Server, load: Load) -> None:
        self.server = server
        """Its costs."""
        self.load = load
        """Its clients."""
        self.faults: Counter[str] = Counter()
        """What was wrong, and how often; complete after :func:`start`'s block."""


@contextmanager
def start(peer: Peer) -> Iterator[Run]:
    """
    Run a peer for the length of a block.

    Everything is checked once more at the end of the block, after a while in which duplicates and hang-ups show.
    """
    server = Server(peer)
    try:
        server.wait_until_ready()
        with Load(server.port, LOAD_CORE, peer.path) as load:
            load.open(20)
            load.publish(50)
        # A generator learns at its second write that its client is gone: these make those of the warm-up go too.
        server.publish(3, rate=20)
        with Load(server.port, LOAD_CORE, peer.path) as load:
            run = Run(server, load)
            yield run
            run.faults = load.settle(0.3)
    finally:
        server.stop()


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]
