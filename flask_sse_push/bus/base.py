"""What every bus can do."""

from __future__ import annotations

from typing import Protocol

from blinker import Signal

from ..core.ids import EventId

__all__ = ["Bus"]


class Bus(Protocol):
    """
    One order of events for everybody who listens.

    A bus belongs to one process: it is made there on first use, and anew after a fork.
    """

    name: str
    """How it is called in logs and statistics, such as ``"memory"``."""

    epoch: str
    """The life of the numbers it gives: ``[A-Za-z0-9._~]``, at most 40."""

    head: int
    """The number it gave last; 0 before the first."""

    entry_numbered: Signal
    """
    Sent for each entry in the order of the numbers, by the bus, with ``entry`` (Entry).

    The hub is its one receiver: one per stream would have no order, and blinker is not safe while
    receivers come and go. A receiver must neither wait nor raise.
    """

    def publish(self, channels: tuple[str, ...], block: bytes) -> EventId:
        """
        Number an event and hand it on.

        Args:
            channels (tuple[str, ...]): Checked names, each once.
            block (bytes): The encoded event without its ``id:`` line.

        Returns:
            EventId: Its position.

        Raises:
            BusUnavailable: It was not stored.
        """
