"""
What runs this process: which server, how much it can hold, whether it stops; and what it sends a response by.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from .backends import current_backend
from .gunicorn import gunicorn_worker, worker_count
from .server_kinds import (
    GUESSED_THREADS,
    TEST_CLIENT,
    UNKNOWN,
    ServerKind,
    class_of_gunicorn,
    find_kind,
    find_worker_kind,
)
from .sockets import shut

# Here, and not where it is asked: a signal handler that asks would meet a module that is half imported.
try:
    import resource
except ImportError:  # Windows has no such limit
    resource = None  # type: ignore[assignment]

__all__ = ["Connection", "Server", "close_after_answer", "connect", "inspect_server", "is_gevent_patched"]

# Streams may take this part of what a server can hold; the rest is for ordinary pages.
_STREAMS_SHARE = 0.8
_UNBOUNDED_CAPACITY = 1_250
_UNLIMITED_FILES = 1_000_000

STREAM_SECONDS = 60.0
"""
After how long a stream ends, and its client comes back, on a server that may never end a stream by itself: so
long at most a client that left unnoticed keeps a thread, and a server that waits for its streams takes to
stop.
"""
# So many more files are left to the bus, which opens up to ten, to the log and to pages.
_OTHER_FILES = 24


@dataclass(frozen=True, slots=True)
class Server:
    """What is known of the server of this process."""

    name: str
    """What it is, for people."""
    worker: Any = None
    """gunicorn's worker object, or ``None``."""
    capacity: int | None = None
    """How many requests it handles at once; ``None`` where there is no bound, or no server yet."""
    several_processes: bool = False
    """Whether other processes serve the same app, or may."""
    is_capacity_guessed: bool = False
    """Whether it has threads and does not say how many."""
    more_threads: str | None = None
    """What lets it handle more requests at once, for people; ``None`` where that is unknown."""
    one_process: str | None = None
    """What makes it run one process, for people; ``None`` where that is unknown."""
    flaw: str | None = None
    """Why streams cannot work, as the predicate of a sentence about the server."""
    stream_seconds: float | None = None
    """After how long a stream of channels ends, and its client comes back; ``None`` where none has to."""

    @property
    def stopping(self) -> bool:
        """Whether it was told to stop, and waits for its requests to end."""
        return self.worker is not None and not self.worker.alive

    @property
    def is_gevent_worker(self) -> bool:
        """Whether this is gunicorn's gevent worker, or a kind of it."""
        return self.worker is not None and "gevent" in sys.modules

    @property
    def kind(self) -> str:
        """The class of gunicorn's worker, or what that is derived from; else the first word of the name."""
        if self.worker is None:
            return self.name.split()[0]
        return class_of_gunicorn(self.worker) or type(self.worker).__name__

    def default_max_streams(self) -> int:
        """
        Return how many streams this process may have, so that requests for pages and open files have room.

        Ask before the first stream: the files that are open then are not for streams.
        """
        capacity = self.capacity or _UNBOUNDED_CAPACITY
        return max(1, min(int(capacity * _STREAMS_SHARE), capacity - 1, _files_for_streams()))


def _files_for_streams() -> int:
    """Return how many of the files that this process may open are for streams; each is one."""
    if resource is None:
        return _UNBOUNDED_CAPACITY
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most == resource.RLIM_INFINITY:
        return _UNLIMITED_FILES
    try:
        open_files = len(list(Path("/dev/fd").iterdir()))
    except OSError:  # nothing shows them
        open_files = 0
    return most - open_files - max(_OTHER_FILES, int(most * (1 - _STREAMS_SHARE)))


def inspect_server(environ: dict[str, Any] | None = None) -> Server:
    """
    Return what runs this process.

    Args:
        environ (dict | None): A request's; the caller is in that request. Without one only gunicorn is
            recognized.
    """
    worker = gunicorn_worker()
    if worker is not None:
        known = find_worker_kind(worker)
        name = f"gunicorn {type(worker).__name__.removesuffix('Worker').lower()} worker"
        if known is not None or environ is None:
            known = known or ServerKind(name)
            known = replace(known, name=name, processes=lambda _: worker_count(worker))
            return _describe(known, worker.cfg, worker)
    elif environ is None:
        return Server("unknown server")
    kind, shown = find_kind(environ)
    has_threads = bool(environ.get("wsgi.multithread"))
    if kind is None:
        if not has_threads and "REMOTE_ADDR" not in environ:
            return Server("unknown server", worker)  # none: a test made this request
        kind = replace(UNKNOWN, name=environ.get("SERVER_SOFTWARE") or UNKNOWN.name)
    # The request says so whatever the server is called: but greenlets are one thread, and many requests.
    if not has_threads and kind is not TEST_CLIENT and current_backend().is_preemptive:
        kind = replace(kind, threads=lambda _: 1)
    if kind.processes is None:
        several = bool(environ.get("wsgi.multiprocess")) if worker is None else worker_count(worker) > 1
        kind = replace(kind, processes=lambda _: 1 + several)
    return _describe(kind, shown, worker)


def _describe(kind: ServerKind, shown: Any, worker: Any) -> Server:
    threads = _read(kind.threads, shown) if kind.threads is not None else None
    is_guessed = threads is None and kind.threads is not None
    return Server(
        kind.name,
        worker,
        GUESSED_THREADS if is_guessed else threads,
        kind.processes is not None and _read(kind.processes, shown) != 1,
        is_guessed,
        kind.more_threads,
        kind.one_process,
        kind.flaw,
        STREAM_SECONDS if kind.waits_for_streams or kind.flaw is not None else None,
    )


def _read(read: Callable[[Any], int | None], shown: Any) -> int | None:
    """Return what a server shows, ``None`` where its insides are not what they were."""
    try:
        return read(shown)
    except (AttributeError, TypeError, ValueError):
        return None


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
    start_response: Any
    """
    What the server gave; its owner is the server's own object for this response, where no middleware is
    between.
    """
    close_after_answer: Callable[[], None]
    """Lets the connection end with this answer, see :func:`close_after_answer`."""


def connect(server: Server, environ: dict[str, Any], start_response: Callable[..., Any] | None) -> Connection:
    """
    Return what the response to a request is sent by.

    Args:
        server (Server): The server of this process.
        environ (dict): The request's.
        start_response (Callable | None): What the server gave.
    """
    sock = client_socket(environ, start_response)
    return Connection(server, sock, start_response, partial(close_after_answer, environ, start_response))


def client_socket(environ: dict[str, Any], start_response: Callable[..., Any] | None) -> socket.socket | None:
    """
    Return the socket that a response goes to, or ``None`` where the server does not show it.

    Args:
        environ (dict): The request's.
        start_response (Callable | None): What the server gave; the only way to pywsgi's socket.
    """
    if _is_http2(environ):
        return None  # the socket of a whole connection, not of this stream
    for key in ("gunicorn.socket", "gunicorn.sock", "werkzeug.socket"):
        if key in environ:
            return _usable(environ[key])
    handler = getattr(start_response, "__self__", None)
    if type(handler).__module__ == "gevent.pywsgi":
        return _usable(getattr(handler, "socket", None))
    return None


def close_after_answer(environ: dict[str, Any], start_response: Callable[..., Any] | None) -> None:
    """
    Let a connection end with the answer that begins or is on its way, where the server keeps it open
    otherwise and lets itself be told.

    A header cannot say so: PEP 3333 leaves connections to the server, and gunicorn drops it. Werkzeug's
    server closes every connection.

    Args:
        environ (dict): The request's. A request with a body is left alone: to close before it was read resets
            the connection, and may take the answer with it.
        start_response (Callable | None): What the server gave; behind a middleware's own, nothing is known.
    """
    if environ.get("CONTENT_LENGTH", "0") not in ("", "0") or "HTTP_TRANSFER_ENCODING" in environ:
        return
    handler: Any = getattr(start_response, "__self__", None)
    module = (
        type(handler).__module__
    )  # gunicorn's response over HTTP/2, whose connection carries others, is in a module of its own
    if module == "gunicorn.http.wsgi" and hasattr(handler, "force_close"):
        handler.force_close()
        # gthread lets its only accepting thread wait for the other end to close, up to 2 s for each: now it
        # sees that at once.
        shut(handler.sock, socket.SHUT_RD)
    elif module == "gevent.pywsgi":
        handler.close_connection = True


def _is_http2(environ: dict[str, Any]) -> bool:
    # Not by gunicorn's HTTP_VERSION: a client that sends a header "Version" sets that too, and its stream
    # would be watched by nobody.
    return str(environ.get("SERVER_PROTOCOL", "")).startswith("HTTP/2")


def _usable(sock: Any) -> socket.socket | None:
    return sock if hasattr(sock, "fileno") and hasattr(sock, "setsockopt") else None
