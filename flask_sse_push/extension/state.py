"""What one app has of this package: its settings, and per process its bus, hub and counts."""

from __future__ import annotations

import logging
import os
import time
import weakref
from collections import Counter
from collections.abc import Iterable
from functools import partial
from typing import Any

from flask import Flask, Request
from flask.json.provider import DefaultJSONProvider

from .. import signals
from ..bus.auto import open_auto
from ..bus.base import Bus, BusOptions, Report
from ..bus.reports import Reporter, summarize
from ..bus.urls import open_bus
from ..core.channels import DEFAULT_CHANNEL
from ..core.event import Event
from ..core.messages import prepare, to_json
from ..errors import UnsupportedServer
from ..platform.children import Children
from ..platform.fork import PerProcess, forks
from ..platform.gunicorn import gunicorn_worker
from ..platform.locks import reentrant_lock
from ..platform.server import (
    Server,
    client_socket,
    close_after_answer,
    inspect_server,
    is_gevent_patched,
    plain_response,
)
from ..platform.worker_log import use_gunicorn_log
from ..streams.heartbeat import process_heartbeat
from ..streams.hub import Hub
from ..streams.iterable import Pump
from ..streams.stream import Source, Stream, StreamInfo
from ..streams.subscription import Subscription
from ..version import __version__
from . import checks
from .access import Rules
from .clients import ANYBODY, CUT_OFF, NOBODY, ClientStreams, Place, key_of
from .cors import add_cors_headers
from .identity import identify
from .refusals import RefusalLog
from .response import EventStreamResponse
from .settings import Settings, key_of_flask_sse, read_settings, snapshot

__all__ = ["AUTO", "AppState"]

AUTO = "auto"
"""The URL of the bus that fits the server: memory in a lone process, a private database when gunicorn runs several workers."""

_apps: Counter[tuple[str, str]] = Counter()  # how many of the same name this process has made

_serving: dict[
    tuple[int, str, str], weakref.ref[AppState]
] = {}  # of each name the one that served a request last, in this process

_told: set[tuple[int, str, str]] = set()  # the names of which it was said that there are several

_REFUSED = {
    "full": "Streams are refused: there are as many as SSE_PUSH_MAX_STREAMS or the server allow.",
    "client": (
        "Streams are refused: a client has as many as SSE_PUSH_MAX_STREAMS_PER_CLIENT allows. "
        "If all of them seem to be one client, wrap the app in Werkzeug's ProxyFix, or set SSE_PUSH_CLIENT_KEY."
    ),
}

logger = logging.getLogger("flask_sse_push")


class _Process:
    """What an app has in one process. Made without any effect of its own."""

    def __init__(self, state: AppState) -> None:
        use_gunicorn_log()
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
        self.may_be_unheard = (
            True  # until a request shows that the app is served here, or a warning was given
        )

    def count(self, what: str) -> int:
        with self.lock:
            self.counts[what] = now = self.counts[what] + 1
        return now


class AppState:
    """
    The extension's state on one app: ``app.extensions["flask_sse_push"]``. Thread-safe.

    Args:
        app (Flask): Its config is read and checked here, to meet a mistake early, and by :meth:`freeze`.
        rules (Rules): Who may read what.

    Raises:
        ConfigurationError: A setting is wrong.
        UnsupportedServer: This is a worker of a server that cannot work.
    """

    def __init__(self, app: Flask, rules: Rules) -> None:
        self.app = app
        """Whose state this is."""
        self.rules = rules
        """Asked by the blueprint's own route."""
        self.refusals = RefusalLog()
        """Says each reason for a refusal once."""
        self.is_frozen = False
        """Whether the settings are those that count: they may change until the first use."""
        self.serves_default = False
        """Whether a view of the app's own has streamed the default channel."""
        self._configured = snapshot(app.config)
        self.settings = _read_settings(app)
        """What was configured at the registration; after the first use, what was configured then."""
        self._lock = reentrant_lock()
        _apps[app.import_name, app.name] += 1
        self._number = _apps[app.import_name, app.name]
        self._served_in: int | None = None  # the process in which a request came last, as forks() counts them
        self._children = Children()
        self._imported_unpatched = not is_gevent_patched()
        self._processes: PerProcess[_Process] = PerProcess(lambda: _Process(self))
        server = inspect_server()
        if server.worker is not None:
            self.check_server(server)

    def freeze(self) -> None:
        """
        Read the config again where it has changed since the registration. From now on the settings stay.

        Called with the first request, event or question. Thread-safe.

        Raises:
            ConfigurationError: A setting is wrong. The next call reads again.
        """
        configured = snapshot(self.app.config)
        fresh = None if configured == self._configured else _read_settings(self.app)
        with self._lock:  # who comes second must not throw away what the first has begun to use
            if self.is_frozen:
                return
            if fresh is not None:
                self._configured, self.settings = configured, fresh
                self._processes.forget()  # the check at the registration made a bus, which nobody has used
            self.is_frozen = True
        if (key := key_of_flask_sse(self.app.config)) is not None and self.refusals.count("config", key) == 1:
            logger.warning(
                "%s is a setting of Flask-SSE, and nothing here reads it. To carry events by that Redis set "
                "SSE_PUSH_BUS_URL to the same URL; if it is for something else, set SSE_PUSH_BUS_URL to "
                '"auto", and this is not said again.',
                key,
            )

    def warn_of_late_settings(self) -> None:
        """Say once which settings have changed since the first use, and so have no effect."""
        configured = snapshot(self.app.config)
        if configured == self._configured:
            return
        before = self._configured
        late = [key for key in sorted({**before, **configured}) if configured.get(key) != before.get(key)]
        fresh = [key for key in late if self.refusals.count("config", key) == 1]
        if fresh:
            logger.warning(
                "%s changed in app.config after the first use, and has no effect: settings are fixed by the "
                "first request, event or call of stats(). Set it before, best before register_blueprint().",
                ", ".join(fresh),
            )

    @property
    def _name(self) -> tuple[int, str, str]:
        return forks(), self.app.import_name, self.app.name

    def request_came(self) -> None:
        """Note that the app is served by this process; called before each request."""
        if self._served_in != forks():
            self._served_in = forks()
            _serving[self._name] = weakref.ref(self)
            self._children.tell_parent()

    def check_server(self, server: Server) -> None:
        """
        Say once per process what it runs under, and refuse a server that cannot work.

        Raises:
            UnsupportedServer: One sentence and the cure for each reason.
        """
        process = self._processes.get()
        if process.findings is None:
            process.findings = findings = list(
                checks.find_problems(
                    server,
                    self.settings,
                    self.app.config,
                    imported_unpatched=self._imported_unpatched,
                    bus_is_shared=process.bus.shared,
                )
            )
            for finding in findings:
                if not (finding.is_error and self.settings.strict):
                    logger.warning("%s", finding)
            if not (self.settings.strict and any(finding.is_error for finding in findings)):
                logger.info(
                    "flask_sse_push %s on %s: bus %s, at most %d streams, a heartbeat every %g s.",
                    __version__,
                    server.name,
                    process.bus.name,
                    self._max_streams(server),
                    self.settings.heartbeat_seconds,
                )
        if self.settings.strict and (errors := [finding for finding in process.findings if finding.is_error]):
            raise UnsupportedServer(
                " ".join(map(str, errors)) + " (SSE_PUSH_STRICT=False makes this a warning.)"
            )

    def open_bus(self) -> Bus:
        """Return a new bus for this process; ``"auto"`` is what fits its server."""
        url, options = self.settings.bus_url, self._bus_options()
        if url == AUTO:
            return open_auto(options, f"{self.app.import_name}:{self.app.name}:{self._number}")
        return open_bus(url, options)

    def publish(
        self,
        data: Any,
        type: str | None,
        id: object,
        retry: int | None,
        channel: str | Iterable[str],
        idempotency_key: str | None,
    ) -> str:
        """Check, encode and publish one event; see :meth:`SSEPush.publish`."""
        text, channels, block, key = prepare(
            data, type, id, retry, channel, idempotency_key, self.dumps, self.settings.max_event_bytes
        )
        process = self._processes.get()
        until = time.monotonic() + self.settings.publish_timeout_seconds
        accepted = process.bus.publish(channels, block, key)
        if accepted.is_repeated:
            return accepted.id
        if not self.settings.default_channel_public and DEFAULT_CHANNEL in channels:
            self._warn_unreadable()
        with process.lock:
            process.published += 1
        if process.may_be_unheard:
            self._warn_unheard(process)
        process.hub.let_streams_read(channels, accepted.sequence, until)
        if signals.event_published.receivers:
            signals.send(
                signals.event_published,
                self.app,
                event=Event(text, type, None, retry),
                channels=channels,
                id=accepted.id,
            )
        return accepted.id

    def bus(self) -> Bus:
        """Return the bus of this process. This is a use of the settings."""
        if not self.is_frozen:
            self.freeze()
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
        last_event_id = request.environ.get("HTTP_LAST_EVENT_ID") or (
            query["last_event_id"] if "last_event_id" in query else None  # noqa: SIM401
        )
        process = self._processes.get()
        process.hub.wait_until_ready(self.settings.publish_timeout_seconds)
        place = CUT_OFF if process.bus.health().is_refused else self._place(request)
        return self._respond(
            request, Subscription(process.hub, channels, last_event_id), last_event_id, place
        )

    def respond(self, request: Request, iterable: Iterable[Any]) -> EventStreamResponse:
        """Return the response that streams an iterable to a request."""
        last_event_id = request.headers.get("Last-Event-ID")
        pump = Pump(
            iterable, lambda value: to_json(value, self.dumps), self.settings.max_event_bytes, last_event_id
        )
        return self._respond(request, pump, last_event_id, self._place(request))

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

    def _warn_unreadable(self) -> None:
        """Say once that an event went to the closed default channel, as by publish() without a channel."""
        if self.serves_default or self.rules.cover(DEFAULT_CHANNEL):
            return
        if self.refusals.count("closed default", None) != 1:
            return
        logger.warning(
            "An event was published to channel %r, which nobody may read by the blueprint's route: "
            "SSE_PUSH_DEFAULT_CHANNEL_PUBLIC is False and no rule covers it. Give publish() a channel, or add a "
            'rule: @sse.authorize("%s"). A view of your own that returns sse.stream() can read it.',
            DEFAULT_CHANNEL,
            DEFAULT_CHANNEL,
        )

    def _warn_unheard(self, process: _Process) -> None:
        """Say it once when this app keeps its events to itself, and its clients are somewhere else."""
        is_named = process.bus.shared and self.settings.bus_url != AUTO
        if is_named or (self._served_in == forks() and not self.app.testing):
            process.may_be_unheard = False
        elif self._children.serve:
            process.may_be_unheard = False
            logger.warning(
                "Clients of app %r do not hear this event: it stays in process %d (bus %s), and the app is served by a process that was forked from "
                "this one, as by pytest-flask's live_server. Publish in a view of the app, or set SSE_PUSH_BUS_URL to a bus that both reach, "
                'for instance "sqlite:////tmp/%s-events.db", before the fork.',
                self.app.name,
                os.getpid(),
                process.bus.name,
                self.app.name,
            )
        elif self.app.testing:
            return
        elif (serving := _serving.get(self._name)) is not None and serving() is not None:
            process.may_be_unheard = False
            if self._name not in _told:
                _told.add(self._name)
                logger.warning(
                    "Clients do not hear this event: process %d has several apps %r, each with a bus of its own (%s), and it was published by one "
                    "that has served no request. Publish with the app that serves: hand current_app._get_current_object() to the job or thread, and do "
                    'not call create_app() again. Or set SSE_PUSH_BUS_URL, for instance to "sqlite:////var/lib/%s/events.db".',
                    os.getpid(),
                    self.app.name,
                    process.bus.name,
                    self.app.name,
                )
        elif gunicorn_worker() is None and not process.bus.shared:
            process.may_be_unheard = False
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

    def _bus_options(self) -> BusOptions:
        return self.settings.bus_options()._replace(identity=lambda: identify(self.app))

    def _respond(
        self, request: Request, source: Source, last_event_id: str | None, place: Place
    ) -> EventStreamResponse:
        self.check_server(self._server(request.environ))
        info = StreamInfo(source.channels, last_event_id, request.remote_addr)
        response = EventStreamResponse(Stream(source, self.settings, info, self, place), self._bind)
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
                logger.exception(
                    "Streams are refused: SSE_PUSH_CLIENT_KEY failed. Each client is asked to come later until it works."
                )
            return NOBODY
        return ANYBODY if client is None else process.clients.place_of(client)

    def _bind(self, stream: Stream, environ: dict[str, Any], start_response: Any) -> None:
        server = self._server(environ)
        response = (
            plain_response(server.worker, environ, start_response) if self.settings.direct_write else None
        )
        close_connection = partial(close_after_answer, environ, start_response)
        stream.bind(
            server,
            client_socket(environ, start_response),
            self._max_streams(server),
            response,
            close_connection,
        )


def _read_settings(app: Flask) -> Settings:
    settings = read_settings(app.config)
    if settings.bus_url != AUTO:
        open_bus(settings.bus_url, settings.bus_options())  # a wrong URL is met here
    return settings


def _count_streams(counts: Counter[str]) -> dict[str, int]:
    direct = counts["opened direct"] - counts["closed direct"]
    return {"streams": counts["opened"] - counts["closed"] + direct, "direct_streams": direct}
