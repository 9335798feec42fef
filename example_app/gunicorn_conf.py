"""How gunicorn runs the example: one worker in greenlets, which holds thousands of streams."""

from __future__ import annotations

import signal
from typing import Any

worker_class = "gevent"
workers = 1
graceful_timeout = 5
loglevel = "warning"
control_socket_disable = True  # gunicorn before 25.1 has none, and takes no notice of this line


def post_worker_init(_worker: Any) -> None:
    """Leave Ctrl-C to gunicorn's master, which passes it on."""
    # A terminal sends it to both. The worker would be told twice, and end the second time with a traceback.
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def when_ready(server: Any) -> None:
    """Say where the page is, once it is there."""
    urls = ", ".join(str(listener) for listener in server.LISTENERS)
    # it is what the terminal is for
    print(f"The page is at {urls} (Ctrl-C stops it).", flush=True)  # noqa: T201
