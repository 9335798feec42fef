"""What this machine does: measured once a second, by one of the workers."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable
from typing import TypedDict

import psutil

from .store import Store

__all__ = ["HISTORY_LENGTH", "INTERVAL_SECONDS", "Meter", "Sample", "measure"]

INTERVAL_SECONDS = 1.0
"""Between two measurements."""

HISTORY_LENGTH = 120
"""How many measurements are kept for pages that open later: a little more than the charts are wide."""

# A measurement that is younger is the other worker's of this second. Timers are late now and then, so it is
# less than a second.
_FRESH_SECONDS = 0.8 * INTERVAL_SECONDS

# psutil compares with the call before, and nothing useful can be compared with less than a few ticks of the
# kernel's clock.
_FIRST_SECONDS = 0.25

logger = logging.getLogger(__name__)


class Sample(TypedDict):
    """One measurement, ready for JSON."""

    number: int
    """Counts the measurements from 1, without holes: a page that misses one sees it."""
    streams: int
    """Open now, in all workers."""
    time: float
    """Seconds since 1970."""
    cpu: float
    """Per cent of all cores together."""
    cores: list[float]
    """Per cent of each core."""
    memory_percent: float
    """Of all memory, what programs cannot get without swapping."""
    memory_used: int
    """The same in bytes."""
    memory_total: int
    """Bytes."""
    load: list[float]
    """Processes that ran or waited, averaged over 1, 5 and 15 minutes."""


def measure(number: int, streams: int) -> Sample:
    """
    Return what the machine does now.

    The processor's share is that since the same thread's call before; the first call of a thread can say
    nothing but 0.
    """
    cores = [float(percent) for percent in psutil.cpu_percent(percpu=True)]
    memory = psutil.virtual_memory()
    return {
        "number": number,
        "streams": streams,
        "time": round(time.time(), 3),
        "cpu": round(sum(cores) / max(1, len(cores)), 1),
        "cores": cores,
        "memory_percent": round(100 * (memory.total - memory.available) / memory.total, 1),
        "memory_used": memory.total - memory.available,
        "memory_total": memory.total,
        "load": [round(average, 2) for average in psutil.getloadavg()],
    }


class Meter:
    """
    Measures once a second in a thread of its own (a greenlet under gevent). Thread-safe.

    Every worker has one, and the database decides which of them has the turn: who finds no fresh measurement
    there adds one. So when a worker ends, another goes on, and nobody has to be chosen.

    Args:
        store (Store): Keeps the measurements.
        publish (Callable[[Sample], object]): Called with each measurement, in the order of their numbers.
        count_streams (Callable[[], int]): Asked with each measurement.
    """

    def __init__(
        self, store: Store, publish: Callable[[Sample], object], count_streams: Callable[[], int]
    ) -> None:
        self._store = store
        self._publish = publish
        self._count_streams = count_streams
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    @property
    def samples(self) -> list[Sample]:
        """The last measurements, oldest first."""
        with self._store.read() as database:
            rows = database.execute("SELECT body FROM samples ORDER BY number").fetchall()
        return [json.loads(body) for (body,) in rows]

    def start(self) -> None:
        """Measure from now on; call it in the process that serves, any number of times."""
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="machine", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        psutil.cpu_percent(percpu=True)
        due = time.monotonic() + _FIRST_SECONDS
        while True:
            time.sleep(max(0.0, due - time.monotonic()))
            try:
                self._take_turn()
            except Exception:
                logger.exception("A measurement failed.")
            # A machine that was asleep must not catch up on what it missed.
            due = max(due, time.monotonic() - INTERVAL_SECONDS) + INTERVAL_SECONDS

    def _take_turn(self) -> None:
        streams = self._count_streams()
        # Published before it is committed: a number that no page was told of would look like a loss.
        with self._store.transaction() as database:
            number, newest = database.execute(
                "SELECT coalesce(max(number), 0), coalesce(max(time), 0) FROM samples"
            ).fetchone()
            sample = measure(number + 1, streams)
            if 0 <= sample["time"] - newest < _FRESH_SECONDS:
                return
            database.execute(
                "INSERT INTO samples VALUES (?, ?, ?)", (number + 1, sample["time"], json.dumps(sample))
            )
            database.execute("DELETE FROM samples WHERE number <= ?", (number + 1 - HISTORY_LENGTH,))
            self._publish(sample)
