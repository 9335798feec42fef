"""Which backend the caller runs in."""

from __future__ import annotations

import sys
from functools import cache
from typing import Any

from .threads import THREADS
from .waiting import Backend

__all__ = ["current_backend"]


def current_backend() -> Backend:
    """Return the backend of the caller: greenlets in a gevent greenlet, threads everywhere else."""
    gevent: Any = sys.modules.get("gevent")
    if gevent is not None and isinstance(gevent.getcurrent(), gevent.Greenlet):
        return _greenlets()
    return THREADS


@cache
def _greenlets() -> Backend:
    from .greenlets import GREENLETS

    return GREENLETS
