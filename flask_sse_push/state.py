"""What one app has of this package: its settings, and per process its bus, hub and counts."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable
from typing import Any

from flask import Flask, Request
from flask.json.provider import DefaultJSONProvider

from . import checks, signals
from .bus import open_bus
from .concurrency import PerProcess, reentrant_lock
from .core.channels import check_channels
from .core.event import Event, encode
from .cors import add_cors_headers
from .errors import InvalidEvent, UnsupportedServer
from .heartbeat import process_heartbeat
from .hub import Hub
from .pump import Pump
from .response import EventStreamResponse
from .server import Server, client_socket, inspect_server, is_gevent_patched
from .settings import read_settings
from .stream import Source, Stream, StreamInfo
from .subscription import Subscription
from .version import __version__

__all__ = ["MAX_CHANNELS_PER_EVENT", "AppState"]

MAX_CHANNELS_PER_EVENT = 1_000
"""An event holds a place in the history of each of its channels; more readers than this share a channel better."""

logger = logging.getLogger(__package__)


class _Process:
    """What an app has in one process. Made without any effect of its own."""

    def __init__(self, state: AppState) -> None:
        self.bus = open_bus(state.settings.bus_url)
        self.hub = Hub(self.bus, state.settings)
        self.lock = reentrant_lock()  # a finalizer may publish while something is counted
        self.counts: Counter[str] = Counter()
        self.findings: list[checks.Finding] | None = None
        self.server: Server | None = None


class AppState:
    """
    The extension's state on one app: ``app.extensions["flask_sse_push"]``. Thread-safe.

    Args:
        app (Flask): Its config is read and checked here, once.

    Raises:
        ConfigurationError: A setting is wrong.
        UnsupportedServer: This is a worker of a server that cannot work.
    """

    def __init__(self, app: Flask) -> None:
        self.app = app
        """Whose state this is."""
        self.settings = read_settings(app.config)
        """What was configured when the blueprint was registered."""
        open_bus(self.settings.bus_url)  # a wrong URL is met here, and not in the first request
        self._imported_unpatched = not is_gevent_patched()
        self._processes: PerProcess[_Process] = PerProcess(lambda: _Process(self))
        server = inspect_server()
        if server.worker is not None:
            self.check_server(server)

    def check_server(self, server: Server) -> None:
        """
        Say once per process what it runs under, and refuse a server that cannot work.

        Raises:
            UnsupportedServer: One sentence and the cure for each reason.
        """
        process = self._processes.get()
        if process.findings is None:
            process.findings = list(checks.find_problems(server, self.settings, self.app.config, self._imported_unpatched))
            for finding in process.findings:
                if not (finding.is_error and self.settings.strict):
                    logger.warning("%s", finding)
            logger.info(
                "flask_sse_push %s on %s: bus %s, at most %d streams, a heartbeat every %g s.",
                __version__,
                server.name,
                process.bus.name,
                self._max_streams(server),
                self.settings.heartbeat_seconds,
            )
        errors = [finding for finding in process.findings if finding.is_error]
        if errors and self.settings.strict:
            raise UnsupportedServer(" ".join(map(str, errors)) + " (SSE_PUSH_STRICT=False makes this a warning.)")

    def publish(self, data: Any, type: str | None, retry: int | None, channel: str | Iterable[str]) -> str:
        """Check, encode and publish one event; see :meth:`SSEPush.publish`."""
        channels = check_channels(channel, MAX_CHANNELS_PER_EVENT)
        event = Event(data if isinstance(data, str) else self.dumps(data), type, None, retry)
        block = encode(event)
        if len(block) > self.settings.max_event_bytes:
            raise InvalidEvent(
                f'"data" makes an event of {len(block):,} bytes, SSE_PUSH_MAX_EVENT_BYTES allows {self.settings.max_event_bytes:,}. '
                "Publish where to fetch it instead, or raise the limit."
            )
        process = self._processes.get()
        id = str(process.bus.publish(channels, block))
        with process.lock:
            process.counts["published"] += 1
        process.hub.let_streams_read(channels)
        if signals.event_published.receivers:
            signals.send(signals.event_published, self.app, event=event, channels=channels, id=id)
        return id

    def dumps(self, value: Any) -> str:
        """
        Encode as the app encodes JSON.

        Raises:
            InvalidEvent: It cannot be encoded, or a browser could not parse the result.
        """
        # NaN and Infinity are no JSON: JSON.parse() would throw in every client. Other providers decide for themselves.
        options = {"allow_nan": False} if isinstance(self.app.json, DefaultJSONProvider) else {}
        try:
            return self.app.json.dumps(value, **options)
        except (TypeError, ValueError, RecursionError) as error:
            shown = repr(value) if not isinstance(error, RecursionError) else f"a {value.__class__.__name__} within itself"
            shown = shown if len(shown) <= 200 else shown[:197] + "..."
            raise InvalidEvent(f'"data" must be a str or something that app.json can encode, got {shown} ({error}). Convert it first.') from error

    def subscribe(self, request: Request, channels: tuple[str, ...]) -> EventStreamResponse:
        """Return the response that streams granted channels to a request."""
        last_event_id = request.headers.get("Last-Event-ID") or request.args.get("last_event_id")
        return self._respond(request, Subscription(self._processes.get().hub, channels, last_event_id), last_event_id)

    def respond(self, request: Request, iterable: Iterable[Any]) -> EventStreamResponse:
        """Return the response that streams an iterable to a request."""
        return self._respond(request, Pump(iterable, self.dumps, self.settings.max_event_bytes), request.headers.get("Last-Event-ID"))

    def is_full(self, request: Request) -> bool:
        """Say whether a stream would be refused now."""
        return len(process_heartbeat.get()) >= self._max_streams(self._server(request.environ))

    def stats(self) -> dict[str, Any]:
        """Return what this process knows; see :meth:`SSEPush.stats`."""
        process = self._processes.get()
        with process.lock:
            counts = process.counts.copy()
        return {
            "streams": counts["opened"] - counts["closed"],
            "max_streams": self._max_streams(self._server(None)),
            "opened": counts["opened"],
            "refused": counts["refused full"] + counts["refused draining"],
            "published": counts["published"],
            "bus": process.bus.name,
            **process.hub.stats(),
        }

    def stream_opened(self, info: StreamInfo) -> None:
        """Count, and tell observers."""
        self._count("opened")
        signals.send(signals.stream_opened, self.app, stream=info)

    def stream_closed(self, info: StreamInfo, reason: str) -> None:
        """Count, and tell observers."""
        self._count("closed")
        signals.send(signals.stream_closed, self.app, stream=info, reason=reason)

    def stream_refused(self, reason: str) -> None:
        """Count, and say it the first time."""
        if self._count(f"refused {reason}") == 1 and reason == "full":
            logger.warning("Streams are refused: there are as many as SSE_PUSH_MAX_STREAMS or the server allow. stats()['refused'] counts them.")

    def _count(self, what: str) -> int:
        process = self._processes.get()
        with process.lock:
            process.counts[what] += 1
            return process.counts[what]

    def _server(self, environ: dict[str, Any] | None) -> Server:
        """Return what runs this process, found out with the first request."""
        process = self._processes.get()
        if process.server is None:
            server = inspect_server(environ)
            if environ is None:
                return server
            process.server = server
        return process.server

    def _max_streams(self, server: Server) -> int:
        return self.settings.max_streams or server.default_max_streams()

    def _respond(self, request: Request, source: Source, last_event_id: str | None) -> EventStreamResponse:
        self.check_server(self._server(request.environ))
        info = StreamInfo(source.channels, last_event_id, request.remote_addr)
        response = EventStreamResponse(Stream(source, self.settings, info, self), self._bind)
        add_cors_headers(response.headers, request, self.settings)
        return response

    def _bind(self, stream: Stream, environ: dict[str, Any], start_response: Any) -> None:
        server = self._server(environ)
        stream.bind(server, client_socket(environ, start_response), self._max_streams(server))
