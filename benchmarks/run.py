"""One server under one load: started, warmed up, measured, ended."""

from __future__ import annotations

import json
import os
import resource
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
from typing import Any

from .errors import BrokenRun
from .load import EVERYTHING, OPENING_WINDOW, QUIET_SECONDS, TEXT, Load
from .peers import Peer

__all__ = [
    "LOAD_CORE",
    "SERVER_CORE",
    "START_SECONDS",
    "Run",
    "Server",
    "cpu_seconds_of",
    "free_port",
    "raise_file_limit",
    "start",
    "wait_for_port",
]

_CORES = sorted(os.sched_getaffinity(0))

SERVER_CORE = _CORES[0]
"""Where every process of a server runs."""

LOAD_CORE = _CORES[min(1, len(_CORES) - 1)]
"""Where the load generator and this program run: the same core only when there is no other."""

START_SECONDS = 60.0
"""Eight workers that load their app on one busy core take half a minute."""

SETTLE_SECONDS = 0.1
"""How long to wait for what must not come, after everything has."""

_ROOT = Path(__file__).parent.parent


class Server:
    """
    The processes of one server, all in one group and on one core.

    Args:
        peer (Peer): What to start.
    """

    def __init__(self, peer: Peer) -> None:
        self.port = free_port()
        """Where it listens, on 127.0.0.1."""
        self._peer = peer
        self._log = tempfile.TemporaryFile("w+")
        self._process = subprocess.Popen(
            peer.command(self.port),
            cwd=peer.folder or _ROOT,
            env={**os.environ, **peer.environment},
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
                if self._peer.post_path is not None:
                    return socket.create_connection(("127.0.0.1", self.port), 1).close()
                self._ask("/publish?seconds=1&rate=0&channels=1&most=1&text=1", "POST")
                return None
            except OSError as error:
                if self._process.poll() is not None or time.monotonic() > give_up_at:
                    raise BrokenRun(
                        f"{self._peer.name} did not start ({error}). Its last words:\n{self.last_words()}"
                    ) from error
                time.sleep(0.02)

    def wait_for_listeners(self, count: int) -> None:
        """
        Wait until a silent server knows of so many streams.

        Raises:
            BrokenRun: It did not get so far, and made no progress any more.
        """
        most, give_up_at = 0, time.monotonic() + QUIET_SECONDS
        while (listeners := json.loads(self._ask("/listeners", "GET"))["listeners"]) < count:
            if listeners > most:
                most, give_up_at = listeners, time.monotonic() + QUIET_SECONDS
            if time.monotonic() > give_up_at:
                raise BrokenRun(
                    f"{self._peer.name} has {listeners:,} of {count:,} streams. Its last "
                    f"words:\n{self.last_words()}"
                )
            time.sleep(0.02)

    def cpu_seconds(self) -> float:
        """Return the time that all its processes have used, in user and in kernel mode."""
        return sum(cpu_seconds_of(pid) for pid in self._pids())

    def pss_kib(self) -> int:
        """Return the proportional set size of all its processes: shared pages are counted once."""
        total = 0
        for pid in self._pids():
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
        """
        End all its processes at once: none has anything to save, and the recipe would not notice that it is
        to end.
        """
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self._process.wait()
        while any(self._pids()):
            time.sleep(0.01)
        self._log.close()

    def _ask(self, path: str, method: str) -> bytes:
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", method=method)
        with urllib.request.urlopen(request, timeout=START_SECONDS) as response:
            return bytes(response.read())

    def _pids(self) -> Iterator[int]:
        for directory in Path("/proc").glob("[0-9]*"):
            try:
                fields = (directory / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue  # it ended in between
            # State and group: fields 3 and 5 of the manual page.
            if int(fields[2]) == self._process.pid and fields[0] != "Z":
                yield int(directory.name)


class Run:
    """A server that is warm, and a load that has not begun."""

    def __init__(self, peer: Peer, server: Server, load: Load) -> None:
        self.server = server
        """Its costs."""
        self.faults: Counter[str] = Counter()
        """What was wrong, and how often; complete after :func:`start`'s block."""
        self._peer = peer
        self._load = load
        self._streams = 0

    def open(
        self, streams: int, channels: int = 1, window: int = OPENING_WINDOW, slow: int = 0
    ) -> dict[str, float]:
        """Open streams as :meth:`Load.open` does. Adds ``cpu_seconds`` of the server."""
        began, cpu = time.monotonic(), self.server.cpu_seconds()
        got = self._load.open(streams, channels, window, slow)
        self._streams += streams
        if self._peer.is_silent:
            self.server.wait_for_listeners(self._streams)
            got["seconds"] = time.monotonic() - began
        return {**got, "cpu_seconds": self.server.cpu_seconds() - cpu}

    def publish(
        self,
        seconds: float,
        rate: float = 0,
        channels: int = 1,
        most: int = EVERYTHING,
        text: int = TEXT,
        window: int = 32,
    ) -> dict[str, float]:
        """Have events published as :meth:`Load.publish` does. Adds ``cpu_seconds`` of the server."""
        cpu = self.server.cpu_seconds()
        got = self._load.publish(seconds, rate, channels, most, text, window)
        return {**got, "cpu_seconds": self.server.cpu_seconds() - cpu}

    def settle(self, seconds: float) -> Counter[str]:
        """Let some time pass, as :meth:`Load.settle` does."""
        return self._load.settle(seconds)


@contextmanager
def start(peer: Peer, *, warms_up: bool = True) -> Iterator[Run]:
    """
    Run a peer for the length of a block.

    Args:
        peer (Peer): What to start.
        warms_up (bool): Whether it has had some streams before.

    Everything is checked once more at the end of the block, after a while in which duplicates and hang-ups
    show.
    """
    server = Server(peer)
    try:
        server.wait_until_ready()
        if warms_up:
            with Load(peer, server.port, LOAD_CORE) as load:
                warm = Run(peer, server, load)
                warm.open(20)
                warm.publish(1, most=50)
        with Load(peer, server.port, LOAD_CORE) as load:
            if warms_up:
                # A generator learns at its second write that its client is gone: these make those of the
                # warm-up go too.
                load.publish(1, rate=100, most=3)
            run = Run(peer, server, load)
            yield run
            run.faults = run.settle(SETTLE_SECONDS)
    finally:
        server.stop()


def raise_file_limit() -> int:
    """Allow as many open files as the machine lets us, and return how many that are."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = int(Path("/proc/sys/fs/nr_open").read_text()) if hard == resource.RLIM_INFINITY else hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    return most


def free_port() -> int:
    """Return a port of 127.0.0.1 on which nobody listens at this moment."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def wait_for_port(port: int, process: subprocess.Popen[Any]) -> None:
    """
    Wait until a process listens.

    Raises:
        BrokenRun: It ended instead.
    """
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError as error:
            if process.poll() is not None:
                raise BrokenRun(f"{process.args!r} did not start.") from error
            time.sleep(0.02)


def cpu_seconds_of(pid: int) -> float:
    """Return the time that a process has used, in user and in kernel mode; 0 when it has ended."""
    # The clock that clock_getcpuclockid(3) gives for another process. /proc/PID/stat has the same in steps of
    # 10 ms, which is too coarse for works of a second.
    try:
        return time.clock_gettime((~pid << 3) | 2)
    except OSError:
        return 0.0
