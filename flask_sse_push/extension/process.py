"""What an app has in one process: its bus, its copy of the log, its streams and what is counted of them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flask import Flask, Request

from .. import signals
from ..bus.base import Bus, Report
from ..bus.reports import Reporter, summarize
from ..errors import UnsupportedServer
from ..platform.server import Server, inspect_server
from ..platform.worker_log import use_gunicorn_log
from ..streams.hub import Hub
from ..streams.registry import process_registry
from ..streams.source import Source
from ..streams.stream import Place, Stream, StreamInfo
from ..version import __version__
from . import checks
from .clients import NOBODY, ClientStreams, key_of
from .response import EventStreamResponse
from .settings import Settings

__all__ = ["Counts", "Process"]

_REFUSED = {
    "full": "Streams are refused: there are as many as SSE_PUSH_MAX_STREAMS or the server allow.",
    "client": (
        "Streams are refused: a client has as many as SSE_PUSH_MAX_STREAMS_PER_CLIENT allows. "
        "If all of them seem to be one client, wrap the app in Werkzeug's ProxyFix, or set SSE_PUSH_CLIENT_KEY."
    ),
}

logger = logging.getLogger("flask_sse_push")


@dataclass(slots=True)
class Counts:
    """
    What is counted since the start.

    Each is changed by one statement without a call, in which the interpreter lets no other thread and no finalizer
    in.
    """

    opened: int = 0
    """Streams that were sent by the server."""
    closed: int = 0
    """Of those, the ones that are over."""
    opened_direct: int = 0
    """Streams whose socket was written to beside the server."""
    closed_direct: int = 0
    """Of those, the ones that are over."""
    published: int = 0
    """Events."""
    unknown_clients: int = 0
    """Requests for which ``SSE_PUSH_CLIENT_KEY`` failed."""


class Process:
    """
    What one app has in one process. Thread-safe; made without any effect of its own.

    Args:
        app (Flask): Whose it is.
        settings (Settings): Those that count.
        bus (Bus): Of this process and app alone.
    """

    def __init__(self, app: Flask, settings: Settings, bus: Bus) -> None:
        use_gunicorn_log()
        self.bus = bus
        """What carries the events."""
        self.hub = Hub(bus, settings.log_options(), self._report)
        """This process's copy of the log."""
        self.may_be_unheard = True
        """Whether a warning is due when something is published and nobody can hear it."""
        self._app = app
        self._settings = settings
        self._stream_options = settings.stream_options()
        self.counts = Counts()
        """What happened here."""
        self._refused: dict[str, int] = {}
        self._reporter = Reporter()
        self._server: Server | None = None
        self._findings: list[checks.Finding] | None = None
        most = settings.max_streams_per_client
        self._clients = ClientStreams(most) if most is not None else None

    def server(self, environ: dict[str, Any] | None) -> Server:
        """Return what runs this process, found out with the first request."""
        if self._server is None:
            server = inspect_server(environ)
            if environ is None:
                return server
            self._server = server
        return self._server

    def check_server(self, server: Server, imported_unpatched: bool) -> None:
        """
        Say once what this process runs under, and refuse a server that cannot work.

        Args:
            server (Server): What was found.
            imported_unpatched (bool): Whether the app was made before gevent patched the standard library.

        Raises:
            UnsupportedServer: One sentence and the cure for each reason.
        """
        settings = self._settings
        if self._findings is None:
            found = checks.find_problems(
                server,
                settings,
                self._app.config,
                imported_unpatched=imported_unpatched,
                bus_is_shared=self.bus.shared,
            )
            self._findings = findings = list(found)
            for finding in findings:
                if not (finding.is_error and settings.strict):
                    logger.warning("%s", finding)
            if not (settings.strict and any(finding.is_error for finding in findings)):
                logger.info(
                    "flask_sse_push %s on %s: bus %s, at most %d streams, a heartbeat every %g s.",
                    __version__,
                    server.name,
                    self.bus.name,
                    self._max_streams(server),
                    settings.heartbeat_seconds,
                )
        if settings.strict and (errors := [finding for finding in self._findings if finding.is_error]):
            raise UnsupportedServer(
                " ".join(map(str, errors)) + " (SSE_PUSH_STRICT=False makes this a warning.)"
            )

    def respond(
        self, request: Request, source: Source, last_event_id: str | None, place: Place | None
    ) -> EventStreamResponse:
        """Return the response that streams a source to a request."""
        server, direct_write = self.server(request.environ), self._settings.direct_write
        info = StreamInfo(source.channels, last_event_id, request.remote_addr)
        # An iterable is an app's own code: it may take its time, and nobody who wakes a stream waits for that.
        kind = _direct_stream() if direct_write and server.is_gevent_worker and source.channels else Stream
        stream = kind(source, self._stream_options, info, self, self._max_streams(server), place)
        return EventStreamResponse(stream, server, direct_write=direct_write)

    def place(self, request: Request) -> Place | None:
        """Return the place that a stream of this request takes among those of its client; ``None`` for no limit."""
        if self._clients is None:
            return None
        try:
            client = key_of(request, self._settings.client_key)
        except Exception:
            self.counts.unknown_clients += 1
            if self.counts.unknown_clients == 1:
                logger.exception(
                    "Streams are refused: SSE_PUSH_CLIENT_KEY failed. Each client is asked to come later until it works."
                )
            return NOBODY
        return None if client is None else self._clients.place_of(client)

    def why_not(self, request: Request) -> str | None:
        """Return why a stream would be refused now, as :meth:`stream_refused` is told; ``None`` when it would not."""
        if len(process_registry.get()) >= self._max_streams(self.server(request.environ)):
            return "full"
        place = self.place(request)
        return None if place is None else place.why_not()

    def stream_opened(self, info: StreamInfo, is_direct: bool) -> None:
        """Count, and tell observers."""
        if is_direct:
            self.counts.opened_direct += 1
        else:
            self.counts.opened += 1
        signals.send(signals.stream_opened, self._app, stream=info)

    def stream_closed(self, info: StreamInfo, reason: str, is_direct: bool) -> None:
        """Count, and tell observers."""
        if is_direct:
            self.counts.closed_direct += 1
        else:
            self.counts.closed += 1
        signals.send(signals.stream_closed, self._app, stream=info, reason=reason)

    def stream_refused(self, reason: str) -> None:
        """Count, and say it the first time."""
        self._refused[reason] = count = self._refused.get(reason, 0) + 1
        if count == 1 and reason in _REFUSED:
            logger.warning("%s stats()['refused'] counts them.", _REFUSED[reason])

    def stats(self) -> dict[str, Any]:
        """Return what this process knows; see :meth:`SSEPush.stats`."""
        counts, health = self.counts, self.bus.health()
        direct = counts.opened_direct - counts.closed_direct
        return {
            "streams": counts.opened - counts.closed + direct,
            "direct_streams": direct,
            "max_streams": self._max_streams(self.server(None)),
            "opened": counts.opened + counts.opened_direct,
            "refused": sum(self._refused.values()),
            "published": counts.published,
            "bus": self.bus.name,
            "bus_state": health.state,
            "bus_error": health.error,
            **self.hub.stats(),
        }

    def stats_of_all(self) -> dict[str, Any]:
        """Return what all processes of the bus know; see :meth:`SSEPush.stats`."""
        return summarize(self.bus.name, self.bus.inspect())

    def _report(self) -> Report:
        """Return what this process says of itself to the others; called by the bus, from one thread."""
        known: Mapping[str, Any] = self.hub.stats()
        counts = self.counts
        return self._reporter.make(
            streams=counts.opened - counts.closed + counts.opened_direct - counts.closed_direct,
            published=counts.published,
            last_event_id=known["last_event_id"],
            channels=known["channels"],
            history=known["history"],
        )

    def _max_streams(self, server: Server) -> int:
        return self._settings.max_streams or server.default_max_streams()


def _direct_stream() -> type[Stream]:
    from ..streams.direct import DirectStream  # only where gevent runs

    return DirectStream
