"""
Helpers for the tests of apps that push.

    def test_an_order_is_announced(client):
        with capture() as published:
            client.post("/orders")
        assert published[0].type == "created"

    def test_a_stream_shows_what_is_published(client):
        with open_stream(client, "/events?channel=orders") as stream:
            publish({"id": 7}, type="created", channel="orders")
            assert stream.read(1)[0].json == {"id": 7}
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

from flask import Flask
from werkzeug.test import Client, TestResponse

from .core.decoder import DecodedEvent, Decoder, decode
from .core.event import Event
from .core.session import Cause
from .core.values import shown
from .extension.blueprint import EXTENSION_KEY
from .extension.response import ENVIRON_KEY
from .signals import event_published
from .streams.stream import Stream

__all__ = [
    "DecodedEvent",
    "Decoder",
    "OpenStream",
    "PublishedEvent",
    "StreamTimeout",
    "StreamedEvent",
    "capture",
    "decode",
    "open_stream",
    "shutdown_after",
]


_SHOWN_CHARACTERS = 2_000  # of the events that came, when those that a test waited for did not


class StreamTimeout(AssertionError):
    """A stream did not bring the events that a test waited for."""


@dataclass(frozen=True, slots=True)
class PublishedEvent:
    """An event as ``publish`` sent it, with the id that ``publish`` returned."""

    data: str
    """What clients get: JSON, unless a ``str`` was published."""
    type: str | None
    channels: tuple[str, ...]
    id: str

    @property
    def json(self) -> Any:
        """``data``, parsed."""
        return json.loads(self.data)


@dataclass(frozen=True, slots=True)
class StreamedEvent(DecodedEvent):
    """What a browser would dispatch."""

    @property
    def json(self) -> Any:
        """``data``, parsed."""
        return json.loads(self.data)


@contextmanager
def capture(app: Flask | None = None) -> Iterator[list[PublishedEvent]]:
    """
    Collect the events that any thread of this process publishes while the block runs.

    Args:
        app (Flask | None): Collects the events of this app only; ``None`` for all apps.

    Yields:
        list[PublishedEvent]: Grows with each event. Clients get the events all the same.
    """
    published: list[PublishedEvent] = []

    def receive(sender: Flask, event: Event, channels: tuple[str, ...], id: str) -> None:
        if app is None or sender is app:
            published.append(PublishedEvent(event.data, event.type, channels, id))

    with event_published.connected_to(receive):
        yield published


@contextmanager
def shutdown_after(app: Flask) -> Iterator[Flask]:
    """
    Call :meth:`SSEPush.shutdown` for an app at the end of the block, also after an exception.

    Nothing of one test is there in the next one then: no stream, no thread, no file, no counter and, on a
    memory bus, no history.

    Args:
        app (Flask): The blueprint is registered on it at the end of the block, if at all.

    Yields:
        Flask: The app.
    """
    try:
        yield app
    finally:
        if (state := app.extensions.get(EXTENSION_KEY)) is not None:
            state.shutdown()


class OpenStream:
    """
    A stream that a test client reads, made by :func:`open_stream`. Not thread-safe.
    """

    def __init__(self, response: TestResponse, opened: list[Stream]) -> None:
        self.response = response
        """
        The response to the client. Its status and headers may be read; only :meth:`read` may read its body.
        """
        self._stream = opened[0] if opened else None
        self._decoder = Decoder()
        self._ready: list[StreamedEvent] = []

    @property
    def last_event_id(self) -> str:
        """What a browser would send as ``Last-Event-ID`` if it reconnected now."""
        return self._decoder.last_event_id

    def read(self, events: int = 1, timeout: float = 5.0) -> list[StreamedEvent]:
        """
        Return the next events.

        Args:
            events (int): How many, at least 1. Events that came with them are kept for the next call.
            timeout (float): Seconds to wait for all of them.

        Raises:
            StreamTimeout: Fewer events came in time, or the stream ended before. The stream is over then, and
                the message shows the events that came.
            InvalidStream: A :class:`Decoder` refuses the stream: the view sends what a browser would repair
                or drop.
            TypeError: The response is no stream: it was refused, or the view sends something else.
        """
        if self._stream is None:
            raise TypeError(
                f'"response" must be an event stream, got {self.response.status} {self.response.mimetype}. '
                "Look at stream.response."
            )
        # By a timer of another thread, because this one waits inside the stream.
        timer = threading.Timer(timeout, self._stream.end, (Cause.HANG_UP,))
        timer.start()
        try:
            while len(self._ready) < events:
                chunk = next(iter(self.response.response), None)
                if chunk is None:
                    came = shown(self._ready, _SHOWN_CHARACTERS)
                    raise StreamTimeout(f"the stream brought {len(self._ready)} of {events} events: {came}")
                assert isinstance(chunk, bytes)
                self._ready += [
                    StreamedEvent(event.type, event.data, event.last_event_id)
                    for event in self._decoder.feed(chunk)
                ]
        finally:
            timer.cancel()
            timer.join()
        read, self._ready = self._ready[:events], self._ready[events:]
        return read


@contextmanager
def open_stream(client: Client, path: str, **options: Any) -> Iterator[OpenStream]:
    """
    Open a stream with a test client, and close it at the end of the block.

    Args:
        client (Client): A client from ``app.test_client()``.
        path (str): The path of the stream, with its query.
        **options (Any): Options of ``client.open``: ``headers``, ``method``, ``json`` and so on.

    Yields:
        OpenStream: Its first bytes are there, so every event that is published from now on arrives.
    """
    opened: list[Stream] = []
    environ = {**options.pop("environ_overrides", {}), ENVIRON_KEY: opened}
    with client.open(path, environ_overrides=environ, **options) as response:
        yield OpenStream(cast(TestResponse, response), opened)
