"""The bus of a lone process: a counter, and a signal."""

from __future__ import annotations

import itertools
import logging
import secrets
import time
from collections import OrderedDict, deque
from heapq import heappop, heappush

from blinker import Signal

from ..core.entry import Entry
from ..platform.locks import Busy, ReentrantLock
from .base import BusOptions, Health, Listener, PublishResult, Snapshot

__all__ = ["MemoryBus"]

logger = logging.getLogger("flask_sse_push")


class MemoryBus:
    """
    Keeps events in this process alone. Thread-safe, and safe in finalizers and signal handlers.

    The listener holds the only copy of the log, so it listens from the start, not from the first stream on.

    Args:
        options (BusOptions): Idempotency keys are kept as long as events, and as many as events at most.
    """

    name = "memory"
    shared = False

    def __init__(self, options: BusOptions) -> None:
        self.entry_numbered = Signal("an entry was numbered")
        """
        Sent by the bus for each entry, with ``entry`` (:class:`core.log.Entry`), in the order of the numbers.

        Observers connect before the bus is used. They are called one at a time, in a thread or greenlet that
        publishes. An observer that waits delays publishers, and no stream; its exceptions are logged.
        """
        self._epoch = secrets.token_hex(6)
        self._head = 0
        self._numbers = itertools.count(1)
        self._unsent: list[tuple[int, Entry]] = []  # a heap
        self._unobserved: deque[Entry] = deque()
        self._retention = options.retention
        self._keys: OrderedDict[str, tuple[PublishResult, float]] = OrderedDict()
        self._listener: Listener | None = None
        self._health = Health("up", time.monotonic())
        self._lock = ReentrantLock()
        self._observers = ReentrantLock()

    def publish(self, channels: tuple[str, ...], block: bytes, key: str | None = None) -> PublishResult:
        """Number an event and hand it on; see :meth:`Bus.publish`. Never fails."""
        try:
            result = self._lock.run(self._publish, channels, block, key)
        except Busy:
            # A finalizer or a signal handler publishes in the middle of a publish, which hands on both
            # events.
            result = self._publish(channels, block, key, is_within=True)
            self._lock.post(self._hand_on_unsent)
        if self._unobserved:
            self._observers.post(self._tell_observers)
        return result

    def start(self, listener: Listener) -> None:
        """Say where the log begins; see :meth:`Bus.start`."""
        self._lock.run(self._start, listener)

    def close(self) -> None:
        """Nothing is open."""

    def health(self) -> Health:
        """Return that it is up."""
        return self._health

    def inspect(self) -> Snapshot:
        """Return what this process knows; the listener holds the history."""
        report = self._listener.report() if self._listener is not None else {}
        history = report.get("history", {})
        return Snapshot(
            self._epoch,
            self._head,
            history.get("events", 0),
            history.get("bytes", 0),
            [report] if report else [],
        )

    def _start(self, listener: Listener) -> None:
        if self._listener is None:
            self._listener = listener
            listener.log_begun(self._epoch, self._head, [])
            listener.caught_up()

    def _publish(
        self, channels: tuple[str, ...], block: bytes, key: str | None, *, is_within: bool = False
    ) -> PublishResult:
        if key is not None and (known := self._find(key)) is not None:
            return known._replace(is_repeated=True)
        number = next(self._numbers)
        id = f"{self._epoch}-{number}"
        result, now = PublishResult(id, number), time.monotonic()
        if key is not None:
            self._keys[key] = (result, now)
        entry = Entry(number, channels, f"id: {id}\n".encode() + block, now)
        if not is_within and not self._unsent:
            self._hand_on(entry)
        else:
            heappush(self._unsent, (number, entry))
            if not is_within:
                # An event that was published within this publish may have a lower number.
                self._hand_on_unsent()
        return result

    def _hand_on_unsent(self) -> None:
        while self._unsent:
            self._hand_on(heappop(self._unsent)[1])

    def _hand_on(self, entry: Entry) -> None:
        self._head = entry.sequence
        if self._listener is not None:
            self._listener.entries_came((entry,))
        if self.entry_numbered.receivers:
            self._unobserved.append(entry)

    def _tell_observers(self) -> None:
        while self._unobserved:
            entry = self._unobserved.popleft()
            for receiver in self.entry_numbered.receivers_for(self):
                try:
                    receiver(self, entry=entry)
                except Exception:
                    logger.exception("An observer of the memory bus failed.")

    def _find(self, key: str) -> PublishResult | None:
        oldest = time.monotonic() - self._retention.seconds
        while self._keys and (
            next(iter(self._keys.values()))[1] < oldest or len(self._keys) > self._retention.max_events
        ):
            self._keys.popitem(last=False)
        found = self._keys.get(key)
        return found[0] if found is not None else None
