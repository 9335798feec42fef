"""What this machine does: measured once a second, and only while somebody looks."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TypedDict

import psutil

__all__ = ["HISTORY_LENGTH", "INTERVAL_SECONDS", "Meter", "Sample", "measure"]

INTERVAL_SECONDS = 1.0
"""Between two measurements."""

HISTORY_LENGTH = 120
"""How many measurements are kept for pages that open later: a little more than the charts are wide."""

# psutil compares with the call before, and nothing useful can be compared with less than a few ticks of the
# kernel's clock.
_FIRST_SECONDS = 0.25

logger = logging.getLogger(__name__)


class Sample(TypedDict):
    """One measurement, ready for JSON."""

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


def measure() -> Sample:
    """
    Return what the machine does now.

    The processor's share is that since the same thread's call before; the first call of a thread can say
    nothing but 0.
    """
    cores = [float(percent) for percent in psutil.cpu_percent(percpu=True)]
    memory = psutil.virtual_memory()
    return {
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
    Measures once a second in a thread of its own (a greenlet under gevent), from :meth:`start` until nobody
    listens. Thread-safe.

    Args:
        publish (Callable[[Sample], object]): Called with each measurement.
        is_wanted (Callable[[], bool]): Asked before each measurement whether anybody listens; must not wait.
    """

    def __init__(self, publish: Callable[[Sample], object], is_wanted: Callable[[], bool]) -> None:
        self._publish = publish
        self._is_wanted = is_wanted
        self._lock = threading.Lock()
        self._running = False
        self._samples: deque[Sample] = deque(maxlen=HISTORY_LENGTH)

    @property
    def running(self) -> bool:
        """Whether it measures now."""
        with self._lock:
            return self._running

    @property
    def samples(self) -> list[Sample]:
        """The last measurements, oldest first."""
        with self._lock:
            return list(self._samples)

    def start(self) -> None:
        """Measure from now on. Call it when somebody is listening already; any number of times."""
        with self._lock:
            if self._running:
                return
            self._running = True
        threading.Thread(target=self._run, name="machine", daemon=True).start()

    def _run(self) -> None:
        due = time.monotonic() + _FIRST_SECONDS
        is_first = True
        while self._goes_on():
            try:
                sample = measure()
                if not is_first:
                    with self._lock:
                        self._samples.append(sample)
                    self._publish(sample)
            except Exception:
                logger.exception("A measurement failed.")
            is_first = False
            time.sleep(max(0.0, due - time.monotonic()))
            # A machine that was asleep must not catch up on what it missed.
            due = max(due, time.monotonic() - INTERVAL_SECONDS) + INTERVAL_SECONDS

    def _goes_on(self) -> bool:
        # Asked under the lock: who begins to listen after this was answered "no" finds nothing running, and
        # starts it again.
        with self._lock:
            self._running = self._is_wanted()
            return self._running
