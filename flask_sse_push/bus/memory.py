"""The bus of a lone process: a signal, and a lock that gives the numbers."""

from __future__ import annotations

import itertools
import secrets
import time
from collections import deque

from blinker import Signal

from ..concurrency import reentrant_lock
from ..core.ids import EventId
from ..core.log import Entry

__all__ = ["MemoryBus"]


class MemoryBus:
    """Events live in this process and end with it. Thread-safe, and safe in finalizers and signal handlers."""

    name = "memory"

    def __init__(self) -> None:
        self.epoch = secrets.token_hex(6)
        self.head = 0
        self.entry_numbered = Signal("one entry was numbered")
        self._numbers = itertools.count(1)
        self._unsent: deque[Entry] = deque()
        self._sending = False
        # Reentrant, because the collector and signals can call publish() from within publish().
        self._lock = reentrant_lock()

    def publish(self, channels: tuple[str, ...], block: bytes) -> EventId:
        """Number an event and hand it on; see :meth:`Bus.publish`. Never fails."""
        id, outer = None, False
        with self._lock:
            while id is None or (outer and self._unsent):
                # Numbered and handed on under one lock, so that the order of numbers is the order of arrival. A call from within leaves
                # its entry to the outer one, which is on its way through the hub, and looks again if it came at the very end.
                outer = not self._sending
                try:
                    self._sending = True
                    if id is None:
                        id = EventId(self.epoch, next(self._numbers))
                        self._unsent.append(Entry(id.sequence, channels, b"id: %s\n%s" % (str(id).encode(), block), time.monotonic()))
                    if outer:
                        self._send()
                finally:
                    if outer:
                        self._sending = False
        return id

    def _send(self) -> None:
        while self._unsent:
            entry = min(self._unsent)  # a call from within may have added its higher number first
            self._unsent.remove(entry)
            self.head = entry.sequence
            self.entry_numbered.send(self, entry=entry)
