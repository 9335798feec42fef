"""
Reports a configuration error in a gunicorn worker that loads the app: as one line for the whole server.

gunicorn prints a traceback for each worker, and where two fail at the same time one of its own. Only an
``AppImportError`` it prints without a traceback. So an error of ours is made one on its way out, and when
gunicorn asks for its text, one worker prints it for all.
"""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, NoReturn, ParamSpec, TypeVar

from ..errors import ConfigurationError
from .gunicorn import gunicorn_worker

__all__ = ["told_in_one_line"]

P = ParamSpec("P")
R = TypeVar("R")

_APP_LOAD_ERROR = 4  # gunicorn's own exit code: its master gives up, instead of starting the worker again
_STEP_SECONDS = 0.05
_MOST_SECONDS = 3.0


def told_in_one_line(function: Callable[P, R]) -> Callable[P, R]:
    """
    Decorate a function whose :class:`ConfigurationError` gunicorn is to print in one line.

    That is so while a worker loads the app; everywhere else it is an ordinary exception. Code that catches it
    sees no difference: its class becomes a subclass of what it was.
    """

    @wraps(function)
    def told(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except ConfigurationError as error:
            _become_import_error(error)
            raise

    return told


def _become_import_error(error: ConfigurationError) -> None:
    worker = gunicorn_worker()
    errors, arbiter = sys.modules.get("gunicorn.errors"), sys.modules.get("gunicorn.arbiter")
    if (
        worker is None
        or worker.booted
        or errors is None
        or arbiter is None
        or isinstance(error, errors.AppImportError)
    ):
        return
    kind, spawn_worker = type(error), arbiter.Arbiter.spawn_worker.__code__

    def text(self: BaseException) -> str:
        if sys._getframe(1).f_code is spawn_worker:  # noqa: SLF001
            _end(worker, kind.__str__(self))
        return kind.__str__(self)

    names = {"__module__": kind.__module__, "__qualname__": kind.__qualname__, "__str__": text}
    error.__class__ = type(kind.__name__, (kind, errors.AppImportError), names)


def _end(worker: Any, message: str) -> NoReturn:
    """
    End a worker that cannot boot: the first prints why, and the others wait for the master to stop them.

    Were a second one to exit by itself, the master would fail on it while it stops because of the first.
    """
    is_first = _take_name(worker)
    # The master starts its workers with pauses of up to 0.1 s, and only then looks whether one has ended. The
    # first worker waits until then: the master then stops at once, before another worker fails too.
    seconds = min(0.3 + 0.1 * worker.cfg.workers, _MOST_SECONDS) if is_first else 2 * _MOST_SECONDS
    until = time.monotonic() + (seconds if worker.cfg.workers > 1 else 0)
    while worker.alive and time.monotonic() < until:
        time.sleep(_STEP_SECONDS)
    if not worker.alive:
        sys.exit(0)
    _say(worker, message)  # last: what the other workers had to say is above
    sys.exit(_APP_LOAD_ERROR)


def _take_name(worker: Any) -> bool:
    """Whether this is the first worker of its server to fail; without abstract sockets each one is."""
    if not sys.platform.startswith("linux"):
        return True
    try:
        namespace = Path("/proc/self/ns/pid").stat().st_ino
    except OSError:
        namespace = 0
    name = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        name.bind(f"\0flask_sse_push.refused.{namespace}.{worker.ppid}")
    except OSError:
        name.close()
        return False
    name.detach()  # kept until the process has ended, which is when its master notices
    return True


def _say(worker: Any, message: str) -> None:
    # "critical" is printed at every --log-level: it says why there is no server.
    worker.log.critical("%s", message)
    if worker.cfg.errorlog != "-" and not worker.cfg.capture_output:
        print(message, file=sys.stderr, flush=True)  # noqa: T201  # for who started it by hand
