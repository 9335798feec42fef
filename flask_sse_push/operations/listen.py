"""Reads the events of a bus, and writes those of any stream to standard output."""

from __future__ import annotations

import codecs
import json
import re
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, suppress

import click

from ..bus.base import Report
from ..bus.reports import Reporter
from ..core.decoder import DecodedEvent, Decoder
from ..core.values import printable
from ..errors import ConfigurationError
from ..extension.state import AppState
from ..platform.polling import HANG_UP, is_ready
from ..platform.threads import THREADS
from ..streams.hub import Hub
from ..streams.subscription import Begin, Subscription

__all__ = ["read_bus", "write_events"]


def read_bus(
    state: AppState, channels: tuple[str, ...], since: str
) -> Generator[tuple[bytes, list[DecodedEvent]], None, None]:
    """
    Yield what a client of these channels would get, each time with the events that the bytes complete.

    Args:
        state (AppState): The app whose bus is read. The bus object is a new one, so closing it disturbs
            nobody.
        channels (tuple[str, ...]): Checked names, each once. Access rules are not asked.
        since (str): The id of the event to resume behind; empty for the end of the log.

    Raises:
        ConfigurationError: The app may not use this bus.
    """
    bus = state.open_bus()
    reporter = Reporter()

    def report() -> Report:
        return reporter.make(streams=1, published=0, **hub.stats())

    hub = Hub(bus, state.settings.retention(), report)
    with closing(bus):
        subscription = Subscription(hub, channels, Begin(since), state.settings.publish_timeout_seconds)
        health = bus.health()
        if health.is_refused:
            raise ConfigurationError(health.error)
        wakeup, decoder = THREADS.wakeup(), Decoder()
        subscription.open(wakeup)
        with closing(subscription):
            yield (chunk := subscription.prelude()), decoder.feed(chunk)
            while True:
                chunk = subscription.read()
                yield chunk, decoder.feed(chunk)
                if not chunk:
                    wakeup.wait(1)


def write_events(
    chunks: Iterator[tuple[bytes, list[DecodedEvent]]], count: int | None, *, as_bytes: bool
) -> None:
    """
    Write events to standard output as they come.

    Args:
        chunks (Iterator): Bytes, and the events that they complete.
        count (int | None): Return after so many events; ``None`` for all.
        as_bytes (bool): Write the bytes of the stream, instead of a line of JSON for each event.

    Raises:
        BrokenPipeError: Nobody reads standard output any more.
    """
    write = _byte_writer() if as_bytes else None
    written = 0
    for chunk, events in chunks:
        if write is not None:
            write(chunk)
        for event in events:
            if write is None:
                click.echo(json.dumps({"id": event.last_event_id, "type": event.type, "data": event.data}))
            written += 1
            if written == count:
                return
        _check_output()


def _byte_writer() -> Callable[[bytes], None]:
    """
    Return a function that writes bytes to standard output.

    A terminal would obey control sequences, so a terminal gets text with all but line feeds and tabs escaped.
    """
    if not sys.stdout.isatty():

        def write(chunk: bytes) -> None:
            sys.stdout.buffer.write(chunk)
            sys.stdout.buffer.flush()

        return write

    decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")

    def write_printable(chunk: bytes) -> None:
        for part in re.split("([\n\t])", decoder.decode(chunk)):
            click.echo(part if part in ("\n", "\t") else printable(part), nl=False)

    return write_printable


def _check_output() -> None:
    """
    Look whether somebody reads standard output, also when there is nothing to write.

    ``listen | head -1`` must end with its first line, and not with the next event.

    Raises:
        BrokenPipeError: The other end of the pipe was closed.
    """
    with suppress(ValueError):  # standard output has no file descriptor, for instance in an app's own tests
        if is_ready(sys.stdout.fileno(), HANG_UP):
            raise BrokenPipeError
