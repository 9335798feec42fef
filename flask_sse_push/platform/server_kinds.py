"""
The servers that were tried: by what each is recognized, and what was seen of it.

docs/servers.md has the versions and what was measured. A server that is in no table is judged by what its
requests say (``wsgi.multithread``, ``wsgi.multiprocess``).
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType
from typing import Any

__all__ = [
    "GUESSED_THREADS",
    "TEST_CLIENT",
    "UNKNOWN",
    "ServerKind",
    "class_of_gunicorn",
    "find_kind",
    "find_worker_kind",
]

GUESSED_THREADS = 4
"""
How many requests a server handles at once that has threads and does not say how many: the smallest default of
all servers that were tried (waitress). Three streams then leave a thread for pages.
"""

_BRIDGE = (
    "runs the app below an ASGI server and does not tell it when a client leaves, "
    "so every closed tab keeps a thread until the site hangs"
)
_EVENTLET = "does not tell the app when a client leaves, so closed tabs hold their places for ever"
_TORNADO = "sends a response when it is complete, so a stream never begins and blocks the site"


@dataclass(frozen=True, slots=True)
class ServerKind:
    """What is known of a server. ``shown`` is the object that the server was recognized by."""

    name: str
    """What it is, for people."""
    threads: Callable[[Any], int | None] | None = None
    """
    Reads off ``shown`` how many requests a process handles at once; it returns ``None`` where that is not
    told. No function: there is no bound.
    """
    processes: Callable[[Any], int | None] | None = None
    """The same for the number of processes. No function: what the request says is true."""
    more_threads: str | None = None
    """What gives the server more threads."""
    one_process: str | None = None
    """What makes the server run one process."""
    flaw: str | None = None
    """Why streams cannot work, as the predicate of a sentence about the server."""
    waits_for_streams: bool = False
    """Whether a server that is told to stop waits for its streams, and does not tell them."""


TEST_CLIENT = ServerKind("Werkzeug's test client")
"""No server: its requests say that they are alone, and nothing else waits for them."""


def _untold(_: Any) -> None:
    """The server does not show the number."""


UNKNOWN = ServerKind("unknown server", threads=_untold, waits_for_streams=True)
"""A server that is in no table: nothing but what its requests say is taken for granted."""


def _worker(threads: Callable[[Any], int], more: str | None = None, flaw: str | None = None) -> ServerKind:
    return ServerKind("gunicorn", threads, more_threads=more, flaw=flaw)


# By the class of gunicorn's worker; shown is its configuration.
_BY_WORKER = {
    "GeventWorker": _worker(lambda cfg: int(cfg.worker_connections), "--worker-connections 2000"),
    "GeventPyWSGIWorker": _worker(lambda cfg: int(cfg.worker_connections), "--worker-connections 2000"),
    "ThreadWorker": _worker(lambda cfg: int(cfg.threads), "--threads 100"),
    "SyncWorker": _worker(lambda _: 1),  # refused by a code of its own
    "EventletWorker": _worker(lambda cfg: int(cfg.worker_connections), flaw=_EVENTLET),
    "TornadoWorker": _worker(lambda _: 1, flaw=_TORNADO),
}

# By a key of the environ, with the module that the server puts into its processes.
_BY_KEY = {
    "werkzeug.socket": (
        None,
        ServerKind("Werkzeug development server", more_threads="flask run without --without-threads"),
    ),
    "uwsgi.version": (
        "uwsgi",
        ServerKind(
            "uWSGI",
            threads=lambda uwsgi: int(uwsgi.cores),
            processes=lambda uwsgi: int(uwsgi.numproc),
            more_threads="--gevent 1000 --gevent-monkey-patch, or --enable-threads --threads 100",
            one_process="--processes 1",
        ),
    ),
    "mod_wsgi.version": (
        "mod_wsgi",
        ServerKind(
            "mod_wsgi",
            threads=lambda mod_wsgi: int(mod_wsgi.threads_per_process),
            processes=lambda mod_wsgi: int(mod_wsgi.maximum_processes),
            more_threads="WSGIDaemonProcess with threads=100",
            one_process="WSGIDaemonProcess with processes=1",
        ),
    ),
}

# By a module whose function is below the app on the stack; shown is that function's self.
_BY_MODULE = {
    "gevent.pywsgi": ServerKind("gevent pywsgi"),
    "waitress.task": ServerKind(
        "waitress",
        threads=lambda task: int(task.channel.server.adj.threads),
        more_threads="threads=100 (waitress-serve --threads=100)",
    ),
    "cheroot.wsgi": ServerKind(
        "cheroot",
        threads=lambda gateway: int(gateway.req.server.requests.min),
        more_threads="numthreads=100",
        waits_for_streams=True,  # in its stop(); without a handler of its own SIGTERM ends it at once
    ),
    "granian.wsgi": ServerKind(
        "Granian",
        threads=_untold,
        processes=_untold,  # wsgi.multiprocess is False also with --workers 4
        more_threads="--blocking-threads 100",
        waits_for_streams=True,
    ),
    "bjoern": ServerKind("bjoern"),
    "a2wsgi.wsgi": ServerKind("a2wsgi", threads=_untold, flaw=_BRIDGE),
    "starlette.middleware.wsgi": ServerKind("Starlette's WSGIMiddleware", threads=_untold, flaw=_BRIDGE),
    "uvicorn.middleware.wsgi": ServerKind("uvicorn's WSGI interface", threads=_untold, flaw=_BRIDGE),
    "hypercorn.app_wrappers": ServerKind("hypercorn's WSGI mode", threads=_untold, flaw=_BRIDGE),
    "asgiref.wsgi": ServerKind(
        "asgiref's WsgiToAsgi",
        threads=_untold,
        flaw="runs all requests in one thread and does not tell the app when a client leaves, "
        "so the first stream blocks the site",
    ),
    "twisted.web.wsgi": ServerKind(
        "Twisted",
        threads=_untold,
        flaw="lets the threads of open streams wait for ever when it is told to stop, so it never ends",
    ),
    "tornado.wsgi": ServerKind("Tornado", flaw=_TORNADO),
    "eventlet.wsgi": ServerKind("eventlet", threads=_untold, flaw=_EVENTLET),
    "werkzeug.test": TEST_CLIENT,
}


def class_of_gunicorn(worker: Any) -> str | None:
    """Return the name of the class of gunicorn's own that a worker is of, or is derived from."""
    return next((cls.__name__ for cls in type(worker).__mro__ if cls.__name__ in _BY_WORKER), None)


def find_worker_kind(worker: Any) -> ServerKind | None:
    """Return what a worker of gunicorn is, ``None`` where it is like none of its own; its name is for all."""
    return _BY_WORKER.get(class_of_gunicorn(worker) or "")


def find_kind(environ: dict[str, Any]) -> tuple[ServerKind | None, Any]:
    """
    Return what serves the request of the caller, ``None`` where it is not in the tables, and what shows it.

    Args:
        environ (dict): The request's.
    """
    for key, (module, kind) in _BY_KEY.items():
        if key in environ:
            return kind, sys.modules.get(module) if module is not None else None
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001
    while frame is not None:
        found = _BY_MODULE.get(str(frame.f_globals.get("__name__")))
        if found is not None:
            return found, frame.f_locals.get("self")
        frame = frame.f_back
    return None, None
