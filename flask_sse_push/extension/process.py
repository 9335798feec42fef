"""What an app has in one process: its bus, its copy of the log, its streams and what is counted of them."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from flask import Flask, Request, Response
from flask.json.provider import DefaultJSONProvider

from .. import signals
from ..bus.auto import AUTO
from ..bus.base import Bus, Report
from ..bus.reports import Reporter, summarize
from ..core import wire
from ..core.channels import DEFAULT_CHANNEL
from ..core.event import Event
from ..core.messages import closing, forgetting, prepare, to_json
from ..platform.worker_log import use_gunicorn_log
from ..streams.hub import Hub
from ..streams.iterable import IterableSource, abandoned
from ..streams.registry import process_registry
from ..streams.snapshots import Snapshots
from ..streams.source import Source
from ..streams.stream import Place, Stream, StreamInfo
from ..streams.subscription import Begin, Subscription
from .access import Rules
from .checks import find_rate_limits
from .clients import ClientStreams, NoPlace, key_of
from .host import Host
from .identity import IDENTITY_KEY, Identities
from .query import read_rewind
from .refusals import RefusalLog
from .response import STREAM_HEADERS, EventStreamResponse, RefusalResponse
from .settings import Settings
from .snapshot import SnapshotFunctions, SnapshotMaker
from .unheard import Audience

__all__ = ["Process"]

_REFUSED = {
    "full": "Streams are refused: there are as many as SSE_PUSH_MAX_STREAMS or the server allow.",
    "abandoned": (
        "Streams of sse.response() are refused: of earlier ones whose clients have left, as many iterables "
        "still run as SSE_PUSH_MAX_STREAMS allows streams. A thread cannot be interrupted, so give what they "
        "wait for a time-out. stats()['abandoned_responses'] says how many are left."
    ),
    "client": (
        "Streams are refused: a client has as many as SSE_PUSH_MAX_STREAMS_PER_CLIENT allows. "
        "If all of them seem to be one client, wrap the app in Werkzeug's ProxyFix, or set "
        "SSE_PUSH_CLIENT_KEY."
    ),
}

_COME_BACK = (("Retry-After", "15"),)

logger = logging.getLogger("flask_sse_push")


@dataclass(slots=True)
class _Counts:
    """
    What is counted since the start.

    Each is changed by one statement without a call, in which the interpreter lets no other thread and no
    finalizer in.
    """

    opened: int = 0
    """Streams."""
    closed: int = 0
    """Of those, the ones that are over."""
    opened_direct: int = 0
    """Of the opened ones, those whose socket was written to beside the server."""
    closed_direct: int = 0
    """Of those, the ones that are over."""
    published: int = 0
    """Events."""
    unknown_clients: int = 0
    """Requests for which ``SSE_PUSH_CLIENT_KEY`` failed."""

    @property
    def streams(self) -> int:
        """Open now."""
        return self.opened - self.closed


class Process:
    """
    What one app has in one process. Thread-safe; made without any effect of its own.

    Args:
        app (Flask): Whose it is.
        settings (Settings): Those that count.
        bus (Bus): Of this process and app alone.
        rules (Rules): Who may read what; asked for a warning alone.
        identities (Identities): Say who a request is from.
        functions (SnapshotFunctions): Say what a channel shows first.
        refusals (RefusalLog): Says each thing once.
        audience (Audience): Says when nobody can hear what is published.
        imported_unpatched (bool): Whether the app was made before gevent patched the standard library.
    """

    def __init__(
        self,
        app: Flask,
        settings: Settings,
        bus: Bus,
        rules: Rules,
        identities: Identities,
        functions: SnapshotFunctions,
        refusals: RefusalLog,
        audience: Audience,
        imported_unpatched: bool,
    ) -> None:
        use_gunicorn_log()
        self.bus = bus
        """What carries the events."""
        self.hub = Hub(bus, settings.retention(), self._report)
        """This process's copy of the log."""
        self.is_served = False
        """Whether a request came to this process."""
        self.serves_default = False
        """Whether a view of the app's own has streamed the default channel."""
        self.host = Host(
            app, settings, bus.name, bus_is_shared=bus.shared, imported_unpatched=imported_unpatched
        )
        """What runs this process."""
        self._app, self._settings = app, settings
        self._rules, self._refusals, self._audience = rules, refusals, audience
        self._identities = identities
        maker = SnapshotMaker(app, functions, self._dumps, settings.max_event_bytes)
        self._snapshots = Snapshots(self.hub, maker)
        self._functions = functions.registered  # more may come
        # A client on fetch() finds out by it that a stream is dead; a native EventSource does not see it.
        heartbeat = ("SSE-Push-Heartbeat", str(round(1000 * settings.heartbeat_seconds)))
        self._headers: tuple[tuple[str, str], ...] = (*STREAM_HEADERS, heartbeat)
        self._may_be_unheard = True
        self._may_be_limited = True
        self._stream_options = settings.stream_options()
        self._counts = _Counts()
        self._refused: dict[str, int] = {}
        self._reporter = Reporter()
        most = settings.max_streams_per_client
        self._clients = ClientStreams(most) if most is not None else None

    def publish(
        self,
        data: Any,
        type: str | None,
        id: object,
        retry: int | None,
        channel: str | Iterable[str],
        idempotency_key: str | None,
        key: str | None = None,
        keep: bool = False,
        close: bool = False,
    ) -> str:
        """Check, encode and publish one event; see :meth:`SSEPush.publish`."""
        settings = self._settings
        text, message = prepare(
            data,
            type,
            id,
            retry,
            channel,
            idempotency_key,
            self._dumps,
            settings.max_event_bytes,
            key,
            keep,
            close,
        )
        channels = message.channels
        until = time.monotonic() + settings.publish_timeout_seconds
        event_id, sequence, is_repeated = self.bus.publish(message)
        if is_repeated:
            return event_id
        self._counts.published += 1
        if self.hub.fanout.listeners:
            self.hub.backpressure.hold(channels, sequence, until)
        if not settings.default_channel_public and DEFAULT_CHANNEL in channels:
            self._warn_unreadable()
        if self._may_be_unheard and self._audience.is_settled(self.bus, settings.bus_url == AUTO):
            self._may_be_unheard = False
        if signals.event_published.receivers:
            event = Event(text, type, None, retry)
            signals.send(signals.event_published, self._app, event=event, channels=channels, id=event_id)
        return event_id

    def close_channels(self, channels: Iterable[str]) -> str:
        """Close channels behind what they have; see :meth:`SSEPush.close`."""
        return self.bus.publish(closing(channels)).id

    def forget(self, channel: str | Iterable[str], key: str) -> None:
        """Forget a kept value; see :meth:`SSEPush.forget`."""
        self.bus.publish(forgetting(channel, key))

    def subscribe(self, request: Request, channels: tuple[str, ...], rewind: int | None = None) -> Response:
        """
        Return the response that streams granted channels to a request; 204 where all of them are closed and
        its client has everything.

        Args:
            request (Request): Whose client reads.
            channels (tuple[str, ...]): Checked names, each once.
            rewind (int | None): How many of the newest events a client without an id gets first; ``None`` for
                what its query asks for.

        Raises:
            UnsupportedServer: The server cannot stream.
        """
        self._meet_server(request)
        if self._may_be_limited:
            self._may_be_limited = False
            for finding in find_rate_limits(self._app.extensions):
                logger.warning("%s", finding)
        query = request.args
        # Not by get(), which raises and catches where there is none: that was a twentieth of opening a
        # stream.
        asked = query["last_event_id"] if "last_event_id" in query else None  # noqa: SIM401
        last_event_id = request.environ.get("HTTP_LAST_EVENT_ID") or asked
        heartbeat = wire.HEARTBEAT_EVENT if query.get("heartbeat") == "event" else wire.COMMENT
        if rewind is None:
            rewind = (read_rewind(query["rewind"]) or 0) if "rewind" in query else 0
        patience = self._settings.publish_timeout_seconds
        snapshots = self._snapshots if self._functions else None
        source = Subscription(
            self.hub, channels, Begin(last_event_id, rewind, heartbeat), patience, snapshots
        )
        if source.is_complete:
            return RefusalResponse(204)
        is_refused = not source.has_place and self.bus.health().is_refused
        place = NoPlace("bus") if is_refused else self._place(request)
        response = self._respond(request, source, last_event_id, place, self.host.channel_stream)
        if rewind or (snapshots is not None and snapshots.covers(channels)):
            response.headers.setdefault("SSE-Push-Sharing", "late")  # each tab begins by itself
        return response

    def respond(self, request: Request, iterable: Iterable[Any]) -> EventStreamResponse:
        """
        Return the response that streams an iterable to a request.

        Raises:
            UnsupportedServer: The server cannot stream.
        """
        self._meet_server(request)
        last_event_id = request.headers.get("Last-Event-ID")
        limit = self._settings.max_event_bytes
        source = IterableSource(iterable, lambda value: to_json(value, self._dumps), limit, last_event_id)
        # An iterable is an app's own code: it may take its time, and nobody who wakes a stream waits for
        # that.
        return self._respond(request, source, last_event_id, self._place_of_response(request), Stream)

    def why_not(self, request: Request) -> str | None:
        """
        Return why the stream of an iterable would be refused now, as :meth:`stream_refused` is told; ``None``
        when it would not.
        """
        self._meet_server(request)
        if len(process_registry.get()) >= self.host.max_streams:
            return "full"
        place = self._place_of_response(request)
        return None if place is None else place.why_not()

    def stream_opened(self, info: StreamInfo, is_direct: bool) -> None:
        """Count, and tell observers."""
        self._counts.opened += 1
        self._counts.opened_direct += is_direct
        if signals.stream_opened.receivers:
            signals.send(signals.stream_opened, self._app, stream=info)

    def stream_closed(self, info: StreamInfo, reason: str, is_direct: bool) -> None:
        """Count, and tell observers."""
        self._counts.closed += 1
        self._counts.closed_direct += is_direct
        if signals.stream_closed.receivers:
            signals.send(signals.stream_closed, self._app, stream=info, reason=reason)

    def stream_refused(self, reason: str) -> None:
        """Count, and say it the first time."""
        self._refused[reason] = count = self._refused.get(reason, 0) + 1
        if count == 1 and reason in _REFUSED:
            logger.warning("%s stats()['refused'] counts them.", _REFUSED[reason])

    def shutdown(self) -> None:
        """End the streams, stop following and close the bus; see :meth:`SSEPush.shutdown`."""
        process_registry.get().end_streams_of(self)
        self.bus.close()

    def stats(self) -> dict[str, Any]:
        """Return what this process knows; see :meth:`SSEPush.stats`."""
        counts, health = self._counts, self.bus.health()
        return {
            "streams": counts.streams,
            "direct_streams": counts.opened_direct - counts.closed_direct,
            "max_streams": self.host.find_max_streams(),
            "opened": counts.opened,
            "refused": sum(self._refused.values()),
            "abandoned_responses": len(abandoned.get()),
            "published": counts.published,
            "bus": self.bus.name,
            "bus_state": health.state,
            "bus_error": health.error,
            **self.hub.stats(),
        }

    def stats_of_all(self) -> dict[str, Any]:
        """Return what all processes of the bus know; see :meth:`SSEPush.stats`."""
        return summarize(self.bus.name, self.bus.inspect())

    def _meet_server(self, request: Request) -> None:
        if self.host.server is None:  # also after a refusal, which is raised again
            self.host.meet(request.environ)

    def _respond(
        self,
        request: Request,
        source: Source,
        last_event_id: str | None,
        place: Place | None,
        kind: type[Stream],
    ) -> EventStreamResponse:
        server = self.host.server
        assert server is not None, "a request was served"
        info = StreamInfo(source.channels, last_event_id, request.remote_addr)
        stream = kind(source, self._stream_options, info, self, self.host.max_streams, place)
        headers = self._headers
        if IDENTITY_KEY in request.environ:
            headers += self._identities.judge(self._app)
        if self._counts.streams >= self.host.max_streams or (place is not None and place.why_not()):
            headers += _COME_BACK  # it will be refused when it begins, unless a place is free by then
        return EventStreamResponse(stream, server, headers)

    def _place_of_response(self, request: Request) -> Place | None:
        """Return the place as :meth:`_place` does, or none to be had where too many iterables were left."""
        return NoPlace("abandoned") if len(abandoned.get()) >= self.host.max_streams else self._place(request)

    def _place(self, request: Request) -> Place | None:
        """
        Return the place that a stream of this request takes among those of its client; ``None`` for no limit.
        """
        if self._clients is None:
            return None
        try:
            client = key_of(request, self._settings.client_key)
        except Exception:
            self._counts.unknown_clients += 1
            if self._counts.unknown_clients == 1:
                logger.exception(
                    "Streams are refused: SSE_PUSH_CLIENT_KEY failed. "
                    "Each client is asked to come later until it works."
                )
            return NoPlace("unknown client")
        return None if client is None else self._clients.place_of(client)

    def _dumps(self, value: Any) -> str:
        """Encode as the app encodes JSON."""
        # NaN and Infinity are no JSON: JSON.parse() would throw in every client. Other providers decide for
        # themselves.
        options = {"allow_nan": False} if isinstance(self._app.json, DefaultJSONProvider) else {}
        return self._app.json.dumps(value, **options)

    def _warn_unreadable(self) -> None:
        """Say once that an event went to the closed default channel, as by publish() without a channel."""
        if self.serves_default or self._rules.cover(DEFAULT_CHANNEL):
            return
        if self._refusals.count("closed default", None) != 1:
            return
        logger.warning(
            "An event was published to channel %r, which nobody may read by the blueprint's route: "
            "SSE_PUSH_DEFAULT_CHANNEL_PUBLIC is False and no rule covers it. Give publish() a channel, or "
            'add a rule: @sse.authorize("%s"). A view of your own that returns sse.stream() can read it.',
            DEFAULT_CHANNEL,
            DEFAULT_CHANNEL,
        )

    def _report(self) -> Report:
        """Return what this process says of itself to the others; called by the bus, from one thread."""
        return self._reporter.make(
            streams=self._counts.streams, published=self._counts.published, **self.hub.stats()
        )
