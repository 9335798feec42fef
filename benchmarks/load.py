"""The load generator: ``load.c``, built when needed, and spoken to line by line."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

__all__ = ["QUIET_SECONDS", "BrokenRun", "Load", "build"]

QUIET_SECONDS = 8.0
"""A server from which nothing comes for so long, while something is due, has failed."""

_SOURCE = Path(__file__).with_name("load.c")
_PROGRAM = _SOURCE.parent / "build" / "load"


class BrokenRun(Exception):
    """A server or the load generator did not work at all."""


def build() -> None:
    """
    Compile the load generator, unless it is newer than its source.

    Raises:
        BrokenRun: There is no gcc, or it refuses.
    """
    if _PROGRAM.exists() and _PROGRAM.stat().st_mtime > _SOURCE.stat().st_mtime:
        return
    gcc = shutil.which("gcc")
    if gcc is None:
        raise BrokenRun("The load generator is written in C and needs gcc, which is not on PATH. Install it (Debian, Ubuntu: apt install gcc libc6-dev).")
    _PROGRAM.parent.mkdir(exist_ok=True)
    done = subprocess.run([gcc, "-O2", "-Wall", "-Wextra", "-o", str(_PROGRAM), str(_SOURCE)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise BrokenRun(f"gcc could not compile {_SOURCE.name}:\n{done.stderr}")


class Load:
    """
    Many clients of one server, in one process on a core of its own.

    Args:
        port (int): The server's, on 127.0.0.1.
        core (int): Where it runs.
        path (str): Of a stream; ``%d`` becomes the number of the channel.
    """

    def __init__(self, port: int, core: int, path: str) -> None:
        self._path = path
        self._process = subprocess.Popen([_PROGRAM, str(port)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        os.sched_setaffinity(self._process.pid, {core})

    def __enter__(self) -> Load:
        return self

    def __exit__(self, *error: object) -> None:
        self._process.kill()
        self._process.communicate()

    def open(self, streams: int, channels: int = 1, window: int = 256) -> dict[str, float]:
        """
        Open streams, spread over channels, until all have their headers.

        Args:
            streams (int): How many.
            channels (int): Stream ``i`` reads channel ``i`` modulo this.
            window (int): How many may wait for their header at once.

        Returns:
            dict: ``opened`` and ``seconds``, and ``load_cpu_seconds`` of the load generator itself.
        """
        return self._ask(f"open {streams} {channels} {window} {QUIET_SECONDS} {self._path}")

    def publish(self, n: int, rate: float = 0, channels: int = 1) -> dict[str, float]:
        """
        Let the server publish, and wait until every stream has every event of its channel.

        Args:
            n (int): Events in all channels together: a multiple of ``channels``.
            rate (float): Events per second; 0 is flat out.
            channels (int): As in :meth:`open`.

        Returns:
            dict: ``deliveries``, ``seconds``, ``p50_milliseconds`` and ``p99_milliseconds`` of latency, ``events_per_read``, ``load_cpu_seconds``.
        """
        return self._ask(f"publish {n // channels} {QUIET_SECONDS} /publish?n={n}&rate={rate:g}&channels={channels}")

    def settle(self, seconds: float) -> Counter[str]:
        """Go on reading for a while, and return how often which fault was seen since the start: empty when none was."""
        return +Counter(self._ask(f"settle {seconds}"))

    def _ask(self, command: str) -> dict[str, Any]:
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.write(command + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # its own words are on standard error, and what it did not answer says the rest
        answer = self._process.stdout.readline()
        if not answer:
            raise BrokenRun(f"The load generator ended at the command {command!r}.")
        return json.loads(answer)
