"""
Helps to test apps that push.

    def test_an_order_is_announced(client):
        with capture() as published:
            client.post("/orders")
        assert published[0].type == "created"

    def test_a_stream_shows_what_is_published(client):
        with client.get("/events?channel=orders") as response:
            publish({"id": 7}, type="created", channel="orders")
            assert read_stream(response, events=1)[0].json == {"id": 7}
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from flask import Flask
from werkzeug.test import TestResponse

from .core.event import Event
from .decoder import DecodedEvent, Decoder, decode
from .response import ENVIRON_KEY
from .signals import event_published

__all__ = ["DecodedEvent", "Decoder", "PublishedEvent", "StreamTimeout", "StreamedEvent", "capture", "decode", "read_stream"]


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


def read_stream(response: TestResponse, events: int, timeout: float = 5.0) -> list[StreamedEvent]:
    """
    Read events from a stream that the test client opened, without waiting for ever.

    Call it again to read on: pieces of later events are kept. The stream ends when the response is closed, so open it
    in a ``with`` block.

    Args:
        response (TestResponse): From ``client.get(...)``, not buffered.
        events (int): How many to wait for, at least 1. More may have come in the same chunk; they are returned by the next call.
        timeout (float): Seconds.

    Raises:
        StreamTimeout: Fewer came in time, or the stream ended before. The message shows what came. The stream is over then.
        TypeError: The response is not a stream of this package.
    """
    stream = response.request.environ.get(ENVIRON_KEY) if response.request is not None else None
    if stream is None:
        raise TypeError(f'"response" must be an event stream of this package, got {response!r} of {response.mimetype}. Was it refused?')
    reader: _Reader = response.request.environ.setdefault("flask_sse_push.testing", _Reader())
    # The stream is asked to end from beside: this thread waits inside of it.
    timer = threading.Timer(timeout, stream.end, ("timeout",))
    timer.start()
    try:
        return reader.read(response, events)
    finally:
        timer.cancel()
        timer.join()


class _Reader:
    def __init__(self) -> None:
        self._decoder = Decoder()
        self._ready: list[StreamedEvent] = []

    def read(self, response: TestResponse, events: int) -> list[StreamedEvent]:
        while len(self._ready) < events:
            chunk = next(iter(response.response), None)
            if chunk is None:
                raise StreamTimeout(f"the stream brought {len(self._ready)} of {events} events: {self._ready!r}")
            assert isinstance(chunk, bytes)
            self._ready += [StreamedEvent(event.type, event.data, event.last_event_id) for event in self._decoder.feed(chunk)]
        read, self._ready = self._ready[:events], self._ready[events:]
        return read
