"""The bus that fits the server, for an app that names none."""

from __future__ import annotations

from ..platform.gunicorn import nearest_worker
from .base import Bus, BusOptions
from .memory import MemoryBus
from .private_folder import private_folder

__all__ = ["AUTO", "open_auto"]

AUTO = "auto"
"""What ``SSE_PUSH_BUS_URL`` is for such an app."""


def open_auto(options: BusOptions, app: str) -> Bus:
    """
    Return a private database when gunicorn runs several workers, else a memory bus.

    Args:
        options (BusOptions): What the bus is told.
        app (str): What tells the apps of a server apart.

    Raises:
        ConfigurationError: The workers can share no folder.
    """
    worker = nearest_worker()  # a child that a view forks publishes where its parent does
    if worker is None or worker.cfg.workers < 2:
        return MemoryBus(options)
    from .sqlite.bus import SqliteBus  # not on every machine: Python can be built without it

    folder = private_folder(worker)
    return SqliteBus(folder.database(app), options, volatile=True, make_folder=folder.make)
