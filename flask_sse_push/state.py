"""What one app has of this package: its settings, and per process its bus, hub and counts."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Iterable
from functools import partial
from typing import Any

from flask import Flask, Request, has_request_context
from flask.json.provider import DefaultJSONProvider

from . import checks, signals
from .bus import Bus, Report, open_bus
from .clients import ANYBODY, NOBODY, ClientStreams, Place, key_of
from .concurrency import PerProcess, reentrant_lock
from .core.event import Event
from .cors import add_cors_headers
from .errors import UnsupportedServer
from .heartbeat import process_heartbeat
from .hub import Hub
from .publishing import prepare, to_json
from .pump import Pump
from .reports import Reporter, summarize
from .response import EventStreamResponse
from .runtime import shared_database
from .server import Server, client_socket, close_after_answer, gunicorn_worker, inspect_server, is_gevent_patched, plain_response
from .settings import read_settings
from .stream import Source, Stream, StreamInfo
from .subscription import Subscription
from .version import __version__

__all__ = ["AUTO", "AppState"]

AUTO = "auto"
"""The URL of the bus that fits the server: memory in a lone process, a private database when gunicorn runs several workers."""

_apps: Counter[tuple[str, str]] = Counter()  # how many of the same name this process has made

_REFUSED = {
    "full": "Streams are refused: there are as many as SSE_PUSH_MAX_STREAMS or the server allow.",
    "client": (
        "Streams are refused: a client has as many as SSE_PUSH_MAX_STREAMS_PER_CLIENT allows. "
        "If all of them seem to be one client, wrap the app in Werkzeug's ProxyFix, or set SSE_PUSH_CLIENT_KEY."
    ),
}

logger = logging.getLogger(__package__)


class _Process:
    """What an app has in one process. Made without any effect of its own."""

    def __init__(self, state: AppState) -> None:
        self.bus = state.open_bus()
        self.hub = Hub(self.bus, state.settings, lambda: state.report(self))
        self.lock = reentrant_lock()  # a finalizer may publish while something is counted
        self.counts: Counter[str] = Counter()
        most = state.settings.max_streams_per_client
        self.clients = ClientStreams(most) if most is not None else None
        self.published = 0
        self.reporter = Reporter()
        self.findings: list[checks.Finding] | None = None
        self.server: Server | None = None
        self.has_served = False  # a request came, so this process is more than a script

    def count(self, what: str) -> int:
        with self.lock:
            self.counts[what] = now = self.counts[what] + 1
        return now


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
        if self.settings.bus_url != AUTO:
            open_bus(self.settings.bus_url, self.settings.bus_options())  # a wrong URL is met here, and not in the first request
        _apps[app.import_name, app.name] += 1
        self._number = _apps[app.import_name, app.name]
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
            process.findings = list(
                checks.find_problems(server, self.settings, self.app.config, imported_unpatched=self._imported_unpatched, bus_is_shared=process.bus.shared)
            )
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
        if self.settings.strict and (errors := [finding for finding in process.findings if finding.is_error]):
            raise UnsupportedServer(" ".join(map(str, errors)) + " (SSE_PUSH_STRICT=False makes this a warning.)")

    def open_bus(self) -> Bus:
        """Return a new bus for this process; ``"auto"`` is what fits its server."""
        url, options = self.settings.bus_url, self.settings.bus_options()
        if url != AUTO:
            return open_bus(url, options)
        worker = gunicorn_worker()
        if worker is None or worker.cfg.workers < 2:
            return open_bus("memory://", options)
        from .bus.sqlite import SqliteBus  # not on every machine: Python can be built without it

        return SqliteBus(shared_database(worker, f"{self.app.import_name}:{self.app.name}:{self._number}"), options, volatile=True)

    def publish(
        self, data: Any, type: str | None, id: object, retry: int | None, channel: str | Iterable[str], idempotency_key: str | None
    ) -> str:
        """Check, encode and publish one event; see :meth:`SSEPush.publish`."""
        text, channels, block = prepare(data, type, id, retry, channel, idempotency_key, self.dumps, self.settings.max_event_bytes)
        process = self._processes.get()
        accepted = process.bus.publish(channels, block, idempotency_key)
        if accepted.is_repeated:
            return accepted.id
        with process.lock:
            process.published = published = process.published + 1
        if published == 1 and not process.bus.shared:
            self._warn_unheard(process)
        process.hub.let_streams_read(channels, accepted.sequence)
        if signals.event_published.receivers:
            signals.send(signals.event_published, self.app, event=Event(text, type, None, retry), channels=channels, id=accepted.id)
        return accepted.id

    def bus(self) -> Bus:
        """Return the bus of this process."""
        return self._processes.get().bus

    def dumps(self, value: Any) -> str:
        """Encode as the app encodes JSON."""
        # NaN and Infinity are no JSON: JSON.parse() would throw in every client. Other providers decide for themselves.
        options = {"allow_nan": False} if isinstance(self.app.json, DefaultJSONProvider) else {}
        return self.app.json.dumps(value, **options)

    def subscribe(self, request: Request, channels: tuple[str, ...]) -> EventStreamResponse:
        """Return the response that streams granted channels to a request."""
        query = request.args
        # Not by get(), which raises and catches where there is none: that was a twentieth of what opening a stream costs here.
        last_event_id = request.environ.get("HTTP_LAST_EVENT_ID") or (query["last_event_id"] if "last_event_id" in query else None)  # noqa: SIM401
        process = self._processes.get()
        process.has_served = True
        process.hub.wait_until_ready(self.settings.publish_timeout_seconds)
        return self._respond(request, Subscription(process.hub, channels, last_event_id), last_event_id)

    def respond(self, request: Request, iterable: Iterable[Any]) -> EventStreamResponse:
        """Return the response that streams an iterable to a request."""
        last_event_id = request.headers.get("Last-Event-ID")
        pump = Pump(iterable, lambda value: to_json(value, self.dumps), self.settings.max_event_bytes, last_event_id)
        return self._respond(request, pump, last_event_id)

    def why_not(self, request: Request) -> str | None:
        """Return why a stream would be refused now, as :meth:`stream_refused` is told; ``None`` when it would not."""
        if len(process_heartbeat.get()) >= self._max_streams(self._server(request.environ)):
            return "full"
        return self._place(request).why_not()

    def stats(self) -> dict[str, Any]:
        """Return what this process knows; see :meth:`SSEPush.stats`."""
        process = self._processes.get()
        with process.lock:
            counts = process.counts.copy()
        health = process.bus.health()
        return {
            **_count_streams(counts),
            "max_streams": self._max_streams(self._server(None)),
            "opened": counts["opened"] + counts["opened direct"],
            "refused": sum(count for what, count in counts.items() if what.startswith("refused ")),
            "published": process.published,
            "bus": process.bus.name,
            "bus_state": health.state,
            "bus_error": health.error,
            **process.hub.stats(),
        }

    def stats_of_all(self) -> dict[str, Any]:
        """Return what all processes of the bus know; see :meth:`SSEPush.stats`."""
        process = self._processes.get()
        return summarize(process.bus.name, process.bus.inspect())

    def report(self, process: _Process) -> Report:
        """Return what a process says of itself to the others; called by the bus, from one thread."""
        known = process.hub.stats()
        with process.lock:
            counts = process.counts.copy()
        return process.reporter.make(
            streams=_count_streams(counts)["streams"],
            published=process.published,
            last_event_id=known["last_event_id"],
            channels=known["channels"],
            history=known["history"],
        )

    def stream_opened(self, info: StreamInfo, is_direct: bool) -> None:
        """Count, and tell observers."""
        self._count("opened direct" if is_direct else "opened")
        signals.send(signals.stream_opened, self.app, stream=info)

    def stream_closed(self, info: StreamInfo, reason: str, is_direct: bool) -> None:
        """Count, and tell observers."""
        self._count("closed direct" if is_direct else "closed")
        signals.send(signals.stream_closed, self.app, stream=info, reason=reason)

    def stream_refused(self, reason: str) -> None:
        """Count, and say it the first time."""
        if self._count(f"refused {reason}") == 1 and reason in _REFUSED:
            logger.warning("%s stats()['refused'] counts them.", _REFUSED[reason])

    def _count(self, what: str) -> int:
        return self._processes.get().count(what)

    def _warn_unheard(self, process: _Process) -> None:
        """A process that serves nobody and keeps its events to itself: a script, a shell, a task."""
        if self.app.testing or process.has_served or has_request_context() or gunicorn_worker() is not None:
            return
        logger.warning(
            "Nobody can hear this event: it stays in process %d, which has served no request. To publish from scripts, shells and tasks, "
            'set SSE_PUSH_BUS_URL in them and in the app, for instance to "sqlite:////var/lib/%s/events.db".',
            os.getpid(),
            self.app.name,
        )

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
        response = EventStreamResponse(Stream(source, self.settings, info, self, self._place(request)), self._bind)
        add_cors_headers(response.headers, request, self.settings)
        return response

    def _place(self, request: Request) -> Place:
        """Return the place that a stream of this request takes among those of its client."""
        process = self._processes.get()
        if process.clients is None:
            return ANYBODY
        try:
            client = key_of(request, self.settings.client_key)
        except Exception:
            if process.count("unknown clients") == 1:
                logger.exception("Streams are refused: SSE_PUSH_CLIENT_KEY failed. Each client is asked to come later until it works.")
            return NOBODY
        return ANYBODY if client is None else process.clients.place_of(client)

    def _bind(self, stream: Stream, environ: dict[str, Any], start_response: Any) -> None:
        server = self._server(environ)
        response = plain_response(server.worker, environ, start_response) if self.settings.direct_write else None
        close_connection = partial(close_after_answer, environ, start_response)
        stream.bind(server, client_socket(environ, start_response), self._max_streams(server), response, close_connection)


def _count_streams(counts: Counter[str]) -> dict[str, int]:
    direct = counts["opened direct"] - counts["closed direct"]
    return {"streams": counts["opened"] - counts["closed"] + direct, "direct_streams": direct}
