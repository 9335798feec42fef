"""The bus of a lone process: a signal, and a lock that gives the numbers."""

from __future__ import annotations

import itertools
import secrets
import time
from collections import OrderedDict, deque

from ..core.entry import Entry
from ..platform.locks import reentrant_lock
from .base import BusOptions, Health, Listener, PublishResult, Snapshot

__all__ = ["MemoryBus"]


class MemoryBus:
    """
    Events live in this process and end with it. Thread-safe, and safe in finalizers and signal handlers.

    The hub holds the only copy of the log, so it listens from the start and not with the first stream.

    Args:
        options (BusOptions): Idempotency keys are kept as long as events, and as many as events at most.
    """

    name = "memory"
    shared = False

    def __init__(self, options: BusOptions) -> None:
        self._epoch = secrets.token_hex(6)
        self._head = 0
        self._numbers = itertools.count(1)
        self._unsent: deque[Entry] = deque()
        self._sending = False
        self._retention = options.retention
        self._keys: OrderedDict[str, tuple[PublishResult, float]] = OrderedDict()
        self._listener: Listener | None = None
        self._health = Health("up", time.monotonic())
        # Reentrant, because the collector and signals can call publish() from within publish().
        self._lock = reentrant_lock()

    def publish(self, channels: tuple[str, ...], block: bytes, key: str | None = None) -> PublishResult:
        """Number an event and hand it on; see :meth:`Bus.publish`. Never fails."""
        accepted, outer = None, False
        with self._lock:
            if key is not None and (known := self._find(key)) is not None:
                return PublishResult(known.id, known.sequence, is_repeated=True)
            while accepted is None or (outer and self._unsent):
                # Numbered and handed on under one lock, so that the order of numbers is the order of arrival. A call from within leaves
                # its entry to the outer one, which is on its way through the hub, and looks again if it came at the very end.
                outer = not self._sending
                try:
                    self._sending = True
                    if accepted is None:
                        number = next(self._numbers)
                        id = f"{self._epoch}-{number}"
                        accepted = PublishResult(id, number)
                        now = time.monotonic()
                        if key is not None:
                            self._keys[key] = (accepted, now)
                        self._unsent.append(Entry(number, channels, f"id: {id}\n".encode() + block, now))
                    if outer:
                        self._send()
                finally:
                    if outer:
                        self._sending = False
        return accepted

    def start(self, listener: Listener) -> None:
        """Say where the log begins; see :meth:`Bus.start`."""
        with self._lock:
            if self._listener is None:
                self._listener = listener
                listener.log_begun(self._epoch, self._head, [])
                listener.caught_up()

    def close(self) -> None:
        """Nothing is open."""

    def health(self) -> Health:
        """Return that it is up."""
        return self._health

    def inspect(self) -> Snapshot:
        """Return what this process knows; the hub holds the history."""
        report = self._listener.report() if self._listener is not None else {}
        history = report.get("history", {})
        return Snapshot(
            self._epoch,
            self._head,
            history.get("events", 0),
            history.get("bytes", 0),
            [report] if report else [],
        )

    def _find(self, key: str) -> PublishResult | None:
        oldest = time.monotonic() - self._retention.seconds
        while self._keys and (
            next(iter(self._keys.values()))[1] < oldest or len(self._keys) > self._retention.max_events
        ):
            self._keys.popitem(last=False)
        found = self._keys.get(key)
        return found[0] if found is not None else None

    def _send(self) -> None:
        while self._unsent:
            if len(self._unsent) == 1:
                entry = self._unsent.popleft()
            else:
                entry = min(
                    self._unsent, key=lambda entry: entry.sequence
                )  # a call from within may have added its higher number first
                self._unsent.remove(entry)
            self._head = entry.sequence
            if self._listener is not None:
                self._listener.entries_came((entry,))
