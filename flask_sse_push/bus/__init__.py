"""How an event reaches every process, numbered."""

from .base import (
    Bus,
    BusFactory,
    BusOptions,
    Health,
    Identity,
    Listener,
    PublishResult,
    Report,
    Retention,
    Snapshot,
)
from .memory import MemoryBus
from .urls import open_bus

__all__ = [
    "Bus",
    "BusFactory",
    "BusOptions",
    "Health",
    "Identity",
    "Listener",
    "MemoryBus",
    "PublishResult",
    "Report",
    "Retention",
    "Snapshot",
    "open_bus",
]
