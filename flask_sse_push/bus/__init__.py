"""What carries an accepted event to every process: numbered, in one order."""

from __future__ import annotations

from ..errors import ConfigurationError
from .base import Bus
from .memory import MemoryBus

__all__ = ["Bus", "MemoryBus", "open_bus"]


def open_bus(url: str) -> Bus:
    """
    Return the bus that a URL names. Opens nothing yet.

    Args:
        url (str): ``"memory://"``, or ``"auto"`` for the bus that fits the server.

    Raises:
        ConfigurationError: No bus is known by this URL.
    """
    if url in ("auto", "memory://"):
        return MemoryBus()
    raise ConfigurationError(f'SSE_PUSH_BUS_URL must be "auto" or "memory://", got {url!r}. Leave it out for "auto".')
