"""
gunicorn's insides: its worker object, its response object, and what can be seen of its master.

gunicorn gives its worker object to nobody. But the worker is ``self`` in most of its signal handlers, and in
the frames below an app, at import and in a request. An app may replace any of the handlers, so all of them
are looked at, and then the stack. Where a version of gunicorn looks different, the answer is "unknown".
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

__all__ = [
    "MasterWatch",
    "gunicorn_worker",
    "is_server_asking",
    "listening_sockets",
    "lost_master",
    "master_listens",
    "nearest_worker",
    "oldest_sibling",
    "plain_response",
    "sends_whole_body",
    "worker_count",
]

# The signals that the worker handles itself, from before it loads the app.
_SIGNALS = tuple(
    getattr(signal, name)
    for name in ("SIGTERM", "SIGQUIT", "SIGINT", "SIGABRT", "SIGUSR1", "SIGWINCH")
    if hasattr(signal, name)  # not on every system
)

logger = logging.getLogger("flask_sse_push")

_known: Any = None  # the worker object found last: of this process, or of one that it was forked from


def gunicorn_worker() -> Any:
    """Return gunicorn's worker object if this is its process, else ``None``."""
    worker = nearest_worker()
    return worker if worker is not None and worker.pid == os.getpid() else None


def nearest_worker() -> Any:
    """
    Return gunicorn's worker object if this is its process, or one that was forked from it, else ``None``.

    A worker that was found is remembered: later calls come from threads that have nothing of gunicorn on
    their stack, or after the app has replaced the signal handlers.
    """
    global _known  # noqa: PLW0603
    pid = os.getpid()
    if _known is None or _known.pid != pid:
        worker_class = getattr(sys.modules.get("gunicorn.workers.base"), "Worker", ())
        for found in _candidates() if worker_class else ():
            if isinstance(found, worker_class) and (_known is None or found.pid == pid):
                _known = found
                if found.pid == pid:
                    break
    return _known


def _candidates() -> Iterator[Any]:
    for number in _SIGNALS:
        yield getattr(signal.getsignal(number), "__self__", None)
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001
    while frame is not None:
        if str(frame.f_globals.get("__name__")).startswith("gunicorn."):
            yield frame.f_locals.get("self")
        frame = frame.f_back


def worker_count(worker: Any) -> int:
    """
    Return how many workers the master wants, as it was when it forked this one.

    It is more than ``--workers`` says where some were added to the running server (SIGTTIN).
    """
    return max(int(worker.cfg.workers), getattr(_master(), "num_workers", None) or 0)


def oldest_sibling() -> int | None:
    """Return the process of the oldest worker that ran when this one was forked; ``None`` without any."""
    ages = {pid: sibling.age for pid, sibling in getattr(_master(), "WORKERS", {}).items()}
    return min(ages, key=ages.__getitem__, default=None)


def _master() -> Any:
    """
    Return this process's copy of gunicorn's master as it was at the fork, or ``None``.

    It still handles the signals that a worker leaves alone.
    """
    master_class = getattr(sys.modules.get("gunicorn.arbiter"), "Arbiter", ())
    found = getattr(signal.getsignal(signal.SIGTTIN), "__self__", None) if master_class else None
    return found if isinstance(found, master_class) else None


def plain_response(worker: Any, start_response: Callable[..., Any] | None, sock: socket.socket | None) -> Any:
    """
    Return gunicorn's response object if its gevent worker writes a body to the socket as it is, else
    ``None``.

    It does not under TLS, HTTP/2 or uWSGI's protocol, nor where a middleware has put its own
    ``start_response`` in between. Whether the worker sends this very body is another question: see
    :func:`is_server_asking`.

    Args:
        worker (Any): gunicorn's worker object of this process, or ``None``.
        start_response (Callable | None): What the app was called with.
        sock (socket.socket | None): What :func:`sockets.client_socket` returned.
    """
    ggevent, wsgi, sockets = (
        sys.modules.get(name) for name in ("gunicorn.workers.ggevent", "gunicorn.http.wsgi", "gevent.socket")
    )
    if ggevent is None or wsgi is None or sockets is None:
        return None
    response: Any = getattr(start_response, "__self__", None)
    known = (
        type(response) is wsgi.Response
        and response.sock is sock
        and type(sock) is sockets.socket
        and isinstance(worker, ggevent.GeventWorker)
        and type(worker).handle_request is ggevent.GeventWorker.handle_request
        and getattr(worker.cfg, "protocol", "http") == "http"
    )
    return response if known else None


def sends_whole_body(response: Any) -> bool:
    """
    Return whether gunicorn's response, whose headers are set, sends all of its body.

    It does not where a length was announced, nor, since gunicorn 26.1, where the status allows no body.
    """
    return response.response_length is None and not getattr(response, "_omits_body", False)


def is_server_asking(body: object) -> bool:
    """
    Return, called by ``body.__eq__``, whether gunicorn's worker compares the body that it is about to send.

    Before a worker sends a body it compares that with a mark of its own. A middleware that wraps or
    transforms the body makes the worker compare the middleware's object instead. Some of these pass the
    comparison on, so what the worker holds must be this very object.
    """
    asking = sys._getframe(2)  # noqa: SLF001
    base = sys.modules.get("gunicorn.workers.base_async")
    return (
        base is not None
        and asking.f_code is base.AsyncWorker.is_already_handled.__code__
        and asking.f_locals["respiter"] is body
    )


def listening_sockets(worker: Any) -> frozenset[str]:
    """
    Return the listening sockets that gunicorn's master handed to a worker, as :func:`master_listens` takes
    them.
    """
    if worker.cfg.reuse_port:
        return frozenset()  # each process has its own
    found = set()
    for sock in worker.sockets:
        try:
            found.add(f"socket:[{os.fstat(sock.fileno()).st_ino}]")
        except (OSError, ValueError):
            return frozenset()
    return frozenset(found)


def master_listens(master: int, sockets: frozenset[str]) -> bool:
    """
    Return whether gunicorn's master goes on, as far as can be seen: when it stops, it first closes its
    sockets.

    Args:
        master (int): The number of its process.
        sockets (frozenset[str]): What :func:`listening_sockets` returned in a worker.
    """
    if not sockets:
        return True
    files = Path(f"/proc/{master}/fd")
    try:
        return any(_target(file) in sockets for file in files.iterdir())
    except OSError:
        # The master is gone; or it belongs to another user, and its files cannot be seen; or this is not
        # Linux.
        return files.parent.exists() or not Path("/proc/self").exists()


def lost_master(worker: Any) -> bool:
    """Return whether gunicorn's master is gone without having told this worker, as when it was killed."""
    return bool(os.getppid() != worker.ppid)


class MasterWatch:
    """
    Tells gunicorn's worker to stop where the app keeps the signal from it.

    An app may handle SIGTERM itself and not call the handler that was there before. Two things still show
    that the worker is to stop: its master closes the listening sockets, and a handler that raises
    ``SystemExit`` leaves the worker's loop. Nothing shows that one worker alone was told to stop (SIGHUP).
    Where the master belongs to another user, its files cannot be seen, and nothing is done.

    Args:
        worker (Any): gunicorn's worker object of this process.
    """

    def __init__(self, worker: Any) -> None:
        self._worker = worker
        self._sockets = listening_sockets(worker)
        self._seen: Path | None = None  # the file of the master by which it was last seen to listen
        self._is_missing = False

    def look(self) -> bool:
        """
        Look at the master, tell the worker if it stops, and return whether the worker is to stop.

        Called a few times a second, from one thread.
        """
        worker = self._worker
        if not worker.alive:
            return True
        if _has_left(worker) or lost_master(worker):
            # A worker without a master ends; a gthread worker would first wait for its streams, for ever.
            worker.alive = False
        elif self._sockets and self._master_stopped():
            handler = signal.getsignal(signal.SIGTERM)
            is_own = getattr(handler, "__self__", None) is worker
            # A sync worker that waits runs its handler later: the app does not keep the signal from it.
            if not is_own or "gevent" in sys.modules:
                logger.warning(
                    "gunicorn's master stops, but its worker %d was not told, because %s handles SIGTERM. "
                    "Streams end now all the same. Let the app's handler call the one that "
                    "signal.getsignal(signal.SIGTERM) returned before it was set.",
                    worker.pid,
                    # gevent's own handlers do not show there.
                    "one of gevent.signal_handler()" if is_own else repr(handler),
                )
            worker.handle_exit(signal.SIGTERM, None)
        return not worker.alive

    def _master_stopped(self) -> bool:
        """Whether the master was seen to listen before, and was not at the last two looks."""
        was_missing, self._is_missing = self._is_missing, False
        if self._seen is not None and _target(self._seen) in self._sockets:
            return False
        try:
            files = Path(f"/proc/{self._worker.ppid}/fd").iterdir()
            now = next((file for file in files if _target(file) in self._sockets), None)
        except OSError:
            return False
        if now is not None or self._seen is None:
            self._seen = now
            return False
        # Two looks, because the master closes its sockets a moment before it sends the signal.
        self._is_missing = True
        return was_missing


def _has_left(worker: Any) -> bool:
    """Whether the worker has left its loop: then gunicorn closes this file, while its threads still run."""
    try:
        worker.tmp.fileno()
    except ValueError:
        return True
    return False


def _target(file: Path) -> str:
    try:
        return str(file.readlink())
    except OSError:
        return ""  # closed in between
