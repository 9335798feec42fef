"""What runs this process: found out with its first request, told once, and refused where it cannot work."""

from __future__ import annotations

import logging
from typing import Any

from flask import Flask

from ..errors import UnsupportedServer
from ..platform.locks import ReentrantLock
from ..platform.server import Server, inspect_server
from ..streams.stream import Stream
from ..version import __version__
from .checks import Finding, find_problems
from .settings import Settings

__all__ = ["Host"]

logger = logging.getLogger("flask_sse_push")


class Host:
    """
    The server of one process, as one app sees it. Thread-safe; made without any effect of its own.

    Args:
        app (Flask): Whose streams it sends.
        settings (Settings): Those that count.
        bus_name (str): How the bus of the app is called.
        bus_is_shared (bool): Whether it carries an event to all processes.
        imported_unpatched (bool): Whether the app was made before gevent patched the standard library.
    """

    def __init__(
        self, app: Flask, settings: Settings, bus_name: str, *, bus_is_shared: bool, imported_unpatched: bool
    ) -> None:
        self.server: Server | None = None
        """What runs this process; ``None`` until a request came that it can stream to."""
        self.max_streams = 0
        """How many streams there may be; 0 until the server was looked at."""
        self.channel_stream: type[Stream] = Stream
        """What sends channels here."""
        self._app, self._settings = app, settings
        self._bus_name, self._bus_is_shared = bus_name, bus_is_shared
        self._imported_unpatched = imported_unpatched
        self._lock = ReentrantLock()
        self._checked: Server | None = None
        self._findings: list[Finding] = []

    def meet(self, environ: dict[str, Any]) -> None:
        """
        Find out with a request what runs this process.

        Raises:
            UnsupportedServer: It cannot stream.
        """
        server = inspect_server(environ)
        self.check(server)
        if self._settings.direct_write and server.is_gevent_worker:
            from ..streams.direct import DirectStream  # only where gevent runs

            self.channel_stream = DirectStream
        self.server = server

    def check(self, server: Server) -> None:
        """
        Say once what this process runs under, and refuse a server that cannot work.

        Args:
            server (Server): What was found.

        Raises:
            UnsupportedServer: One sentence and the cure for each reason.
        """
        with self._lock:  # two requests may be the first at once, and neither may go on unchecked
            # The first request may show a server that gunicorn's worker alone did not.
            if self._checked != server:
                self._look_at(server)
                self._checked = server
        if self._settings.strict and (errors := [finding for finding in self._findings if finding.is_error]):
            raise UnsupportedServer(
                " ".join(map(str, errors)) + " (SSE_PUSH_STRICT=False makes this a warning.)"
            )

    def find_max_streams(self) -> int:
        """Return how many streams there may be, also before the server was looked at."""
        return self.max_streams or self._max_streams_of(inspect_server())

    def _max_streams_of(self, server: Server) -> int:
        return self._settings.max_streams or server.default_max_streams()

    def _look_at(self, server: Server) -> None:
        settings = self._settings
        self.max_streams = self._max_streams_of(server)
        found = find_problems(
            server,
            settings,
            self._app.config,
            imported_unpatched=self._imported_unpatched,
            bus_is_shared=self._bus_is_shared,
        )
        self._findings = list(found)
        for finding in self._findings:
            if not (finding.is_error and settings.strict):
                logger.warning("%s", finding)
        if not (settings.strict and any(finding.is_error for finding in self._findings)):
            logger.info(
                "flask_sse_push %s on %s: bus %s, at most %d streams%s, a heartbeat every %g s.",
                __version__,
                server.name,
                self._bus_name,
                self.max_streams,
                f" of {server.stream_seconds:g} s" if server.stream_seconds is not None else "",
                settings.heartbeat_seconds,
            )
