"""What is measured: the name of each peer and the command that starts it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["BASE", "PACKAGE", "PEERS", "Peer"]

BASE = "recipe"
"""The peer that every ratio refers to."""

PACKAGE = "flask_sse_push"
"""The peer that all this is about."""


@dataclass(frozen=True)
class Peer:
    """A way to push that can be started."""

    name: str
    """How the table calls it."""
    command: Callable[[int], list[str]]
    """Returns what to run, given a port of 127.0.0.1."""
    path: str = "/events?channel=c%d"
    """Where its streams are; ``%d`` is the number of the channel."""


def gunicorn_gevent(module: str) -> Callable[[int], list[str]]:
    """Return the command that runs a module of ``benchmarks.servers`` in one gevent worker."""

    def command(port: int) -> list[str]:
        return [
            *(sys.executable, "-m", "gunicorn", "-k", "gevent", "-w", "1", "--worker-connections", "19000", "--backlog", "4096"),
            *("--bind", f"127.0.0.1:{port}", f"benchmarks.servers.{module}:app"),
        ]

    return command


PEERS = (
    Peer(BASE, gunicorn_gevent("recipe")),
    Peer(PACKAGE, gunicorn_gevent("flask_sse_push")),
)
"""All of them, the base first."""
