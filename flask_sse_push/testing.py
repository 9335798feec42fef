"""
Helps to test apps that push.

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
]


_SHOWN_CHARACTERS = 2_000  # of what came instead of what a test waited for


class StreamTimeout(AssertionError):
    """A stream did not bring what a test waited for."""


@dataclass(frozen=True, slots=True)
class PublishedEvent:
    """What ``publish`` was called with, and what it returned."""

    data: str
    """As it goes to the clients: JSON, unless a ``str`` was published."""
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
    Collect what is published while the block runs, in this process and by any thread.

    Args:
        app (Flask | None): Only what this app publishes; ``None`` for all apps.

    Yields:
        list[PublishedEvent]: Grows as events are published. The events go to clients all the same.
    """
    published: list[PublishedEvent] = []

    def receive(sender: Flask, event: Event, channels: tuple[str, ...], id: str) -> None:
        if app is None or sender is app:
            published.append(PublishedEvent(event.data, event.type, channels, id))

    with event_published.connected_to(receive):
        yield published


class OpenStream:
    """
    A stream that a test client reads; made by :func:`open_stream`. For one thread.
    """

    def __init__(self, response: TestResponse, opened: list[Stream]) -> None:
        self.response = response
        """What the client got: look at its status and headers, but leave its body alone."""
        self._stream = opened[0] if opened else None
        self._decoder = Decoder()
        self._ready: list[StreamedEvent] = []

    @property
    def last_event_id(self) -> str:
        """What a browser would send as ``Last-Event-ID`` if it reconnected now."""
        return self._decoder.last_event_id

    def read(self, events: int = 1, timeout: float = 5.0) -> list[StreamedEvent]:
        """
        Return the next events, without waiting for ever.

        Args:
            events (int): How many, at least 1. What came beside them is kept for the next call.
            timeout (float): Seconds to wait for all of them.

        Raises:
            StreamTimeout: Fewer came in time, or the stream ended before. The message shows the beginning of
                what came, and the stream is over.
            InvalidStream: What came is no event stream to a :class:`Decoder`: the view sends what a browser
                would repair or drop.
            TypeError: The response is not a stream: it was refused, or the view sends something else.
        """
        if self._stream is None:
            raise TypeError(
                f'"response" must be an event stream, got {self.response.status} {self.response.mimetype}. Look at stream.response.'
            )
        # Asked to end from beside: this thread waits inside of the stream.
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
    Open a stream with a test client, and close it behind the block.

    Args:
        client (Client): From ``app.test_client()``.
        path (str): Of the stream, with its query.
        **options (Any): As for ``client.open``: ``headers``, ``method``, ``json``...

    Yields:
        OpenStream: Its first bytes are there, so whatever is published from now on arrives.
    """
    opened: list[Stream] = []
    environ = {**options.pop("environ_overrides", {}), ENVIRON_KEY: opened}
    with client.open(path, environ_overrides=environ, **options) as response:
        yield OpenStream(cast(TestResponse, response), opened)
