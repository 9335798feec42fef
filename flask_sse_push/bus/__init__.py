"""How an event reaches every process, numbered."""

from .base import Accepted, Bus, BusFactory, BusOptions, Health, Identity, Report, Retention, Snapshot
from .memory import MemoryBus
from .urls import open_bus

__all__ = [
    "Accepted",
    "Bus",
    "BusFactory",
    "BusOptions",
    "Health",
    "Identity",
    "MemoryBus",
    "Report",
    "Retention",
    "Snapshot",
    "open_bus",
]
