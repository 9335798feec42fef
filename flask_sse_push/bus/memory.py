"""The bus of a lone process: a signal, and a lock that gives the numbers."""

from __future__ import annotations

import secrets
import time

from blinker import Signal

from ..concurrency import short_lock
from ..core.ids import EventId
from ..core.log import Entry

__all__ = ["MemoryBus"]


class MemoryBus:
    """Events live in this process and end with it. Thread-safe."""

    name = "memory"

    def __init__(self) -> None:
        self.epoch = secrets.token_hex(6)
        self.head = 0
        self.entry_numbered = Signal("one entry was numbered")
        self._lock = short_lock()

    def publish(self, channels: tuple[str, ...], block: bytes) -> EventId:
        """Number an event and hand it on; see :meth:`Bus.publish`. Never fails."""
        with self._lock:
            # Numbered and handed on under one lock, so that the order of numbers is the order of arrival.
            id = EventId(self.epoch, self.head + 1)
            entry = Entry(id.sequence, channels, b"id: %s\n%s" % (str(id).encode(), block), time.monotonic())
            self.entry_numbered.send(self, entry=entry)
            self.head = id.sequence
        return id
