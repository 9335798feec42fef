"""The load generator: ``load.c``, spoken to line by line."""

from __future__ import annotations

import json
import os
import subprocess
from collections import Counter
from typing import Any

from .errors import BrokenRun
from .peers import Peer
from .programs import program

__all__ = ["EVERYTHING", "OPENING_WINDOW", "QUIET_SECONDS", "TEXT", "Load"]

QUIET_SECONDS = 8.0
"""A server from which nothing comes for so long, while something is due, has failed."""

EVERYTHING = 200_000
"""More events than any server publishes in the seconds that it is given, for what ends by the clock."""

TEXT = 61
"""Characters of filling in an event, which make it about 120 bytes."""

OPENING_WINDOW = 256
"""How many streams wait for their header at once, where nothing is said about it."""


class Load:
    """
    Many clients of one server, in one process on a core of its own.

    Args:
        peer (Peer): Whose server it is.
        port (int): The server's, on 127.0.0.1.
        core (int): Where it runs.
        quiet_seconds (float): How long to wait, where nothing comes, for what is due.
    """

    def __init__(self, peer: Peer, port: int, core: int, quiet_seconds: float = QUIET_SECONDS) -> None:
        self._peer = peer
        self._quiet_seconds = quiet_seconds
        self._process = subprocess.Popen(
            [program("load"), str(port)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        os.sched_setaffinity(self._process.pid, {core})

    def __enter__(self) -> Load:
        return self

    def __exit__(self, *error: object) -> None:
        self._process.kill()
        self._process.communicate()

    def open(
        self, streams: int, channels: int = 1, window: int = OPENING_WINDOW, slow: int = 0
    ) -> dict[str, float]:
        """
        Open more streams, spread over channels, until all have their headers.

        Args:
            streams (int): How many.
            channels (int): Stream ``i`` reads channel ``i`` modulo this.
            window (int): How many may wait for their header at once.
            slow (int): How many of them never read.

        Returns:
            dict: ``opened`` and ``seconds``, and ``load_cpu_seconds`` of the load generator itself.
        """
        return self._ask(
            f"open {streams} {channels} {window} {slow} {self._peer.is_silent:d} "
            f"{self._quiet_seconds} {self._peer.path}"
        )

    def publish(
        self,
        seconds: float,
        rate: float = 0,
        channels: int = 1,
        most: int = EVERYTHING,
        text: int = TEXT,
        window: int = 32,
    ) -> dict[str, float]:
        """
        Have events published, and wait until every stream has every event of its channel.

        Args:
            seconds (float): How long.
            rate (float): Events per second; 0 is flat out.
            channels (int): As in :meth:`open`.
            most (int): How many events end it sooner.
            text (int): Characters of filling in each.
            window (int): How many requests may be unanswered, where each event is one.

        Returns:
            dict: ``published`` (events) in ``publishing_seconds``, ``deliveries`` in ``seconds``, which end
                when both are over, ``p50_milliseconds`` and
            ``p99_milliseconds`` of latency, ``events_per_read``, ``publish_microseconds`` (median),
            ``load_cpu_seconds``.
        """
        if self._peer.post_path is not None:
            return self._ask(
                f"post {most} {self._quiet_seconds} {seconds} {rate:g} {window} {text} {self._peer.post_path}"
            )
        return self._ask(
            f"publish {most} {self._quiet_seconds} "
            f"/publish?seconds={seconds:g}&rate={rate:g}&channels={channels}&most={most}&text={text}"
        )

    def settle(self, seconds: float) -> Counter[str]:
        """
        Go on reading for a while, and return how often which fault was seen since the start: empty when none
        was.
        """
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
        return dict(json.loads(answer))
