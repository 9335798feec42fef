"""What processes say of themselves, and the sum of it."""

from __future__ import annotations

import os
import secrets
import socket
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

from ..core import positions
from .base import Report, Snapshot

__all__ = ["MAX_REPORTED_CHANNELS", "Reporter", "summarize"]

MAX_REPORTED_CHANNELS = 1_000
"""
A report names so many channels, those with the most listeners, and counts the others: it is written every two
seconds.
"""


class Reporter:
    """Makes the reports of one process. Thread-safe."""

    def __init__(self) -> None:
        self._process = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        self._started = time.monotonic()
        self._last: tuple[positions.EventId | None, float] = (None, self._started)
        self._rate = 0.0

    def make(
        self,
        *,
        streams: int,
        published: int,
        last_event_id: str | None,
        channels: Mapping[str, int],
        history: Mapping[str, int],
        entries_read: int,
    ) -> Report:
        """
        Return a report.

        Args:
            streams (int): Open now.
            published (int): Events that this process published since its start.
            last_event_id (str | None): The end of its copy of the log.
            channels (Mapping[str, int]): Listeners of each.
            history (Mapping[str, int]): What its copy holds.
            entries_read (int): Events that a shared bus brought to it since its start.
        """
        now = time.monotonic()
        end = positions.parse(last_event_id or "")
        # In one step: any thread may ask the bus of a lone process.
        (before, at), self._last = self._last, (end, now)
        if now > at:
            # The numbers of another log begin anew: between the two logs there is nothing to count.
            came = (
                end.sequence - before.sequence
                if before is not None and end is not None and end.epoch == before.epoch
                else 0
            )
            self._rate = max(0, came) / (now - at)
        most = sorted(channels.items(), key=lambda item: (-item[1], item[0]))
        return {
            "process": self._process,
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "uptime_seconds": round(now - self._started, 1),
            "streams": streams,
            "published": published,
            "last_event_id": last_event_id,
            "events_per_second": round(self._rate, 2),
            "channels": dict(most[:MAX_REPORTED_CHANNELS]),
            "more_channels": len(most[MAX_REPORTED_CHANNELS:]),
            "history": dict(history),
            "entries_read": entries_read,
        }


def summarize(bus: str, snapshot: Snapshot) -> dict[str, Any]:
    """
    Return what the processes of a bus are together; see :meth:`SSEPush.stats`.

    Args:
        bus (str): Its name.
        snapshot (Snapshot): What it says now.
    """
    # A process whose connection broke reports under a new lease before the old one has ended: its later
    # report counts.
    said_last = {
        report.get("process"): report
        for report in sorted(snapshot.reports, key=lambda report: report.get("uptime_seconds", 0.0))
    }
    processes = sorted(said_last.values(), key=lambda report: str(report.get("process")))
    listeners: Counter[str] = Counter()
    for report in processes:
        listeners.update(report.get("channels", {}))
        report["lag"] = _lag(snapshot, report.get("last_event_id"))
    return {
        "bus": bus,
        "last_event_id": f"{snapshot.epoch}-{snapshot.head}" if snapshot.epoch else None,
        "history": {
            "events": snapshot.events,
            "channels": snapshot.channels,
            "kept": snapshot.kept,
            "bytes": snapshot.size_bytes,
        },
        "streams": sum(report.get("streams", 0) for report in processes),
        "entries_read": sum(report.get("entries_read", 0) for report in processes),
        # Every process sees all events of the bus, whoever published them: the highest rate is the latest.
        "events_per_second": max((report.get("events_per_second", 0.0) for report in processes), default=0.0),
        "lag": max((report["lag"] for report in processes if report["lag"] is not None), default=0),
        "channels": dict(sorted(listeners.items())),
        "more_channels": max((report.get("more_channels", 0) for report in processes), default=0),
        "processes": processes,
    }


def _lag(snapshot: Snapshot, last_event_id: str | None) -> int | None:
    """
    Return by how many events a process was behind at its report; ``None`` when it follows another log or
    none.
    """
    id = positions.parse(last_event_id or "")
    return max(0, snapshot.head - id.sequence) if id is not None and id.epoch == snapshot.epoch else None
