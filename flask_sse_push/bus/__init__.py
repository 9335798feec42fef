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
    "Snapshot",
    "open_bus",
]
