"""The warning for events that stay where no client can hear them."""

from __future__ import annotations

import logging
import os
import weakref

from flask import Flask

from ..bus.base import Bus
from ..platform.fork import Children, forks
from ..platform.gunicorn import gunicorn_worker

__all__ = ["Audience"]

_serving: dict[
    tuple[int, str, str], weakref.ref[Audience]
] = {}  # of each name the one that served last, here

_told: set[tuple[int, str, str]] = set()  # the names of which it was said that there are several

logger = logging.getLogger("flask_sse_push")


class Audience:
    """
    Knows where an app is served, and says when an event cannot reach that place.

    Args:
        app (Flask): Whose events they are.
    """

    def __init__(self, app: Flask) -> None:
        self._app = app
        self._served_in: int | None = None  # the process in which a request came last, as forks() counts them
        self._children = Children()

    @property
    def _name(self) -> tuple[int, str, str]:
        return forks(), self._app.import_name, self._app.name

    def request_came(self) -> None:
        """Note that the app is served by this process; called before each request."""
        if self._served_in != forks():
            self._served_in = forks()
            _serving[self._name] = weakref.ref(self)
            self._children.tell_parent()

    def is_settled(self, bus: Bus, is_auto: bool) -> bool:
        """
        Say whether the question is settled for this process: clients can hear, or the warning was given.

        Args:
            bus (Bus): To which an event was published just now.
            is_auto (bool): Whether the app left the choice of the bus to this package.
        """
        app = self._app
        is_named = bus.shared and not is_auto
        if is_named or (self._served_in == forks() and not app.testing):
            return True
        if self._children.serve:
            logger.warning(
                "Clients of app %r do not hear this event: it stays in process %d (bus %s), and the app is "
                "served by a process that was forked from this one, as by pytest-flask's live_server. "
                "Publish in a view of the app, or set SSE_PUSH_BUS_URL to a bus that both reach, "
                'for instance "sqlite:////tmp/%s-events.db", before the fork.',
                app.name,
                os.getpid(),
                bus.name,
                app.name,
            )
            return True
        if app.testing:
            return False
        if (serving := _serving.get(self._name)) is not None and serving() is not None:
            if self._name not in _told:
                _told.add(self._name)
                logger.warning(
                    "Clients do not hear this event: process %d has several apps %r, each with a bus of its "
                    "own (%s), and it was published by one that has served no request. Publish with the app "
                    "that serves: hand current_app._get_current_object() to the job or thread, and do not "
                    "call create_app() again. Or "
                    'set SSE_PUSH_BUS_URL, for instance to "sqlite:////var/lib/%s/events.db".',
                    os.getpid(),
                    app.name,
                    bus.name,
                    app.name,
                )
            return True
        if gunicorn_worker() is None and not bus.shared:
            logger.warning(
                "Nobody can hear this event: it stays in process %d, which has served no request. To publish "
                "from scripts, shells and tasks, set SSE_PUSH_BUS_URL in them and in the app, "
                'for instance to "sqlite:////var/lib/%s/events.db".',
                os.getpid(),
                app.name,
            )
            return True
        return False
