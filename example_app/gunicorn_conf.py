"""How gunicorn runs the example: two workers in greenlets, each of which holds thousands of streams."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from typing import Any

from example_app.plug import Plug
from example_app.store import FOLDER_VARIABLE, Store

worker_class = "gevent"
workers = 2
graceful_timeout = 5
loglevel = "warning"
control_socket_disable = True  # gunicorn before 25.1 has none, and takes no notice of this line


def on_starting(_server: Any) -> None:
    """Make the folder of the database that the workers share."""
    os.environ[FOLDER_VARIABLE] = tempfile.mkdtemp(prefix="example-app-")


def on_exit(_server: Any) -> None:
    """Remove it."""
    shutil.rmtree(os.environ[FOLDER_VARIABLE], ignore_errors=True)


def child_exit(_server: Any, worker: Any) -> None:
    """Note that the streams of a worker are gone, also when it crashed."""
    Plug(Store()).forget_process(worker.pid)


def post_fork(_server: Any, _worker: Any) -> None:
    """Leave Ctrl-C to gunicorn's master, which passes it on."""
    # A terminal sends it to both. The worker would be told twice, and end the second time with a traceback.
    # Blocked, and not ignored: gunicorn sets a handler of its own after this.
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])


def when_ready(server: Any) -> None:
    """Say where the page is, once it is there."""
    urls = ", ".join(str(listener) for listener in server.LISTENERS)
    # it is what the terminal is for
    print(f"The page is at {urls} (Ctrl-C stops it).", flush=True)  # noqa: T201
