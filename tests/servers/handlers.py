"""
An app with a handler of its own for SIGTERM, as TEST_HANDLER says: what it does, by what it is set, and when.

It does: ``calls`` (the handler that was there before), ``swallows`` (nothing) or ``exits`` (raises
SystemExit). It is set by ``signal`` or ``gevent``, or by ``signal`` for ``all`` that gunicorn handles, or as
the ``docs`` have it, and set ``before``
or ``after`` the blueprint is registered, or in the first ``request``.
"""

import os
import re
import signal
import sys
from pathlib import Path

DOES, BY, WHEN = os.environ["TEST_HANDLER"].split("-")


def set_handler():
    if BY == "all":
        for name in ("QUIT", "INT", "ABRT", "USR1", "WINCH"):
            signal.signal(getattr(signal, f"SIG{name}"), lambda number, frame: None)
    if BY == "docs":
        [code] = re.findall(
            r"```python\n(import signal\n.*?)```", Path("docs/stopping.md").read_text(), re.DOTALL
        )
        exec(code, {})
        return
    before = signal.getsignal(signal.SIGTERM)

    def handle(number=signal.SIGTERM, frame=None):
        if DOES == "calls":
            before(number, frame)
        elif DOES == "exits":
            sys.exit(0)

    if BY == "gevent":
        import gevent

        gevent.signal_handler(signal.SIGTERM, handle)
    else:
        signal.signal(signal.SIGTERM, handle)


if WHEN == "before":
    set_handler()

from tests.servers.app import app  # noqa: E402

if WHEN == "after":
    set_handler()

if WHEN == "request":
    is_set = []

    @app.before_request
    def set_once():
        if not is_set:
            is_set.append(True)
            set_handler()
