"""The bus that fits the server, for an app that names none."""

from __future__ import annotations

import logging
import os

from ..platform.gunicorn import nearest_worker, oldest_sibling, worker_count
from .base import Bus, BusOptions
from .memory import MemoryBus
from .private_folder import PrivateFolder, private_folder

__all__ = ["AUTO", "open_auto"]

AUTO = "auto"
"""What ``SSE_PUSH_BUS_URL`` is for such an app."""


logger = logging.getLogger("flask_sse_push")


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
    if worker is None or worker_count(worker) < 2:
        return MemoryBus(options)
    from .sqlite.bus import SqliteBus  # not on every machine

    folder = private_folder(worker)
    if worker.cfg.workers < 2 and worker.pid == os.getpid():
        _look_for_loner(folder)
    return SqliteBus(folder.database(app), options, volatile=True, make_folder=folder.make)


def _look_for_loner(folder: PrivateFolder) -> None:
    """Say so where the worker that a server was started with keeps its events in its memory."""
    first = oldest_sibling()
    if first is not None and not folder.is_used_by(first):
        logger.warning(
            "A worker was added to a server that was started with one. That one, process %d, keeps its "
            "events in memory, so clients of either miss what the other publishes. Let gunicorn replace it: "
            "kill -TERM %d. The next time give gunicorn --workers 2 or more.",
            first,
            first,
        )
