"""
What runs this process: which server, how much it can hold, whether it stops; and what it sends a response by.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from .gunicorn import gunicorn_worker, plain_response
from .sockets import client_socket, close_after_answer

__all__ = ["Connection", "Server", "connect", "inspect_server", "is_gevent_patched"]

# Streams may take this part of what a server can hold; the rest is for ordinary pages.
_STREAMS_SHARE = 0.8
_UNKNOWN_CAPACITY = 1_250
_UNLIMITED_FILES = 1_000_000


@dataclass(frozen=True, slots=True)
class Server:
    """What is known of the server of this process."""

    name: str
    """What it is, for people."""
    worker: Any = None
    """gunicorn's worker object, or ``None``."""
    capacity: int | None = None
    """How many requests it handles at once; ``None`` if that is unlimited or unknown."""
    several_processes: bool = False
    """Whether other processes serve the same app."""

    @property
    def stopping(self) -> bool:
        """Whether it was told to stop, and waits for its requests to end."""
        return self.worker is not None and not self.worker.alive

    @property
    def kind(self) -> str:
        """The class of gunicorn's worker, or the first word of the name."""
        return type(self.worker).__name__ if self.worker is not None else self.name.split()[0]

    def default_max_streams(self) -> int:
        """
        Return how many streams this process may have, so that requests for pages and open files have room.
        """
        capacity = min(self.capacity or _UNKNOWN_CAPACITY, _most_files())
        return max(1, min(int(capacity * _STREAMS_SHARE), capacity - 1))


def _most_files() -> int:
    try:
        import resource  # not on Windows, which has no such limit
    except ImportError:
        return _UNKNOWN_CAPACITY
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _UNLIMITED_FILES if soft == resource.RLIM_INFINITY else soft


def inspect_server(environ: dict[str, Any] | None = None) -> Server:
    """
    Return what runs this process.

    Args:
        environ (dict | None): A request's. Without one only gunicorn is recognized.
    """
    worker = gunicorn_worker()
    if worker is not None:
        kind = type(worker).__name__.removesuffix("Worker").lower()
        capacity = {
            "gevent": worker.cfg.worker_connections,
            "geventpywsgi": worker.cfg.worker_connections,
            "thread": worker.cfg.threads,
            "sync": 1,
        }.get(kind)
        return Server(f"gunicorn {kind} worker", worker, capacity, worker.cfg.workers > 1)
    if environ is None:
        return Server("unknown server")
    software, several = environ.get("SERVER_SOFTWARE", ""), bool(environ.get("wsgi.multiprocess"))
    if "werkzeug.socket" in environ:
        return Server(
            f"Werkzeug development server ({software})",
            None,
            None if environ["wsgi.multithread"] else 1,
            several,
        )
    if software.startswith("gevent/"):
        return Server(f"gevent pywsgi ({software})", several_processes=several)
    return Server(f"{software or 'unknown'} server", several_processes=several)


def is_gevent_patched() -> bool:
    """Return whether gevent has replaced the standard library's sockets and threads."""
    monkey = sys.modules.get("gevent.monkey")
    return monkey is not None and monkey.is_module_patched("socket") and monkey.is_module_patched("threading")


@dataclass(frozen=True, slots=True)
class Connection:
    """What one response is sent by, as far as the server shows it."""

    server: Server
    """The server of this process."""
    sock: socket.socket | None
    """The client's socket, where the server shows it."""
    response: Any
    """
    gunicorn's response object if the socket may be written to directly, see ``plain_response``; else
    ``None``.
    """
    close_after_answer: Callable[[], None]
    """Lets the connection end with the answer that is about to begin, see ``sockets``."""


def connect(
    server: Server, environ: dict[str, Any], start_response: Callable[..., Any] | None, *, direct_write: bool
) -> Connection:
    """
    Return what the response to a request is sent by.

    Args:
        server (Server): The server of this process.
        environ (dict): The request's.
        start_response (Callable | None): What the app was called with.
        direct_write (bool): Whether we may write to the client's socket beside the server.
    """
    sock = client_socket(environ, start_response)
    response = plain_response(server.worker, start_response, sock) if direct_write else None
    return Connection(server, sock, response, partial(close_after_answer, environ, start_response))
