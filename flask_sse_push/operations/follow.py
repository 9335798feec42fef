"""Follows a stream over HTTP as a browser does: it reconnects, resumes, and ends only when told to."""

from __future__ import annotations

import http.client
import time
from collections.abc import Callable, Generator, Iterable

from ..core.decoder import MAX_EVENT_BYTES, DecodedEvent, Decoder
from ..core.event import MAX_RETRY_MILLISECONDS, MIN_RETRY_MILLISECONDS
from ..errors import InvalidStream
from ..platform.backoff import backoff
from .address import Address
from .connection import RefusedStream, Request, connect, reason_of, status_line

__all__ = ["follow"]

_FIRST_RETRY_MILLISECONDS = 3_000
"""How long browsers wait to reconnect until a stream says otherwise."""


def follow(
    address: Address,
    headers: Iterable[tuple[str, str]],
    last_event_id: str,
    timeout_seconds: float,
    say: Callable[[str], None],
) -> Generator[tuple[bytes, list[DecodedEvent]], None, None]:
    """
    Yield bytes as they come, each time with the events that they complete, until the server says 204.

    The stream may be of any server: what a browser repairs or drops is repaired or dropped here too, and the
    first time is reported. A new connection keeps the id of the one before, until the server sends another
    id, or an empty one.

    Args:
        address (Address): Where the stream is.
        headers (Iterable): Names and values, see :func:`parse_header`. They are added to those of a request
            for an event stream, or replace them.
        last_event_id (str): Where to resume, printable; empty for the end of the stream.
        timeout_seconds (float): How long an answer may take until its headers are there, and how long a
            connection may be silent before it counts as dead.
        say (Callable): Called with a line of text when the stream is lost and when it is back. The line may
            quote the server, printably.

    Raises:
        RefusedStream: The answer is neither 200 nor 204, nor one that will pass (5xx, 408, 425, 429); it is
            200 without an event stream; the certificate cannot be trusted; or an event does not end.
    """
    request = Request(address, tuple(headers), timeout_seconds)
    state = _State(last_event_id, say)
    while True:
        reason = "it ended"
        try:
            if (yield from _read_once(request, state)):
                return
        except (OSError, http.client.HTTPException) as error:
            reason = reason_of(error, request)
        time.sleep(state.lost(reason))


class _State:
    """What outlives a connection: where to resume, when to reconnect, and what was reported."""

    def __init__(self, last_event_id: str, say: Callable[[str], None]) -> None:
        self.last_event_id = last_event_id
        self._retry_milliseconds = _FIRST_RETRY_MILLISECONDS
        self._pauses = backoff()
        self._say = say
        self._is_lost = self._has_complained = False

    def begun(self) -> None:
        """Note that the stream is there."""
        if self._is_lost:
            self._say("The stream is back.")
        self._is_lost, self._pauses = False, backoff()

    def read(self, decoder: Decoder) -> None:
        """Note what a decoder has learned from some more bytes."""
        self.last_event_id = decoder.last_event_id
        if decoder.retry is not None:
            self._retry_milliseconds = min(max(decoder.retry, MIN_RETRY_MILLISECONDS), MAX_RETRY_MILLISECONDS)

    def lost(self, reason: str) -> float:
        """
        Note that a connection is over, and return the seconds until the next: never fewer than the server
        asked for.
        """
        if not self._is_lost:
            self._say(f"The stream is lost ({reason}); trying again.")
            self._is_lost = True
        return self._retry_milliseconds / 1000 + next(self._pauses)

    def complain(self, text: str) -> None:
        """
        Report the first thing that a browser would repair. To report all of them might be a line per event.
        """
        if not self._has_complained:
            self._say(f"This is not quite an event stream: {text}")
            self._has_complained = True


def _read_once(request: Request, state: _State) -> Generator[tuple[bytes, list[DecodedEvent]], None, bool]:
    """Yield what one connection brings, and return whether the server said that there is no more."""
    connection, response = connect(request, state.last_event_id)
    try:
        if response.status == 204:
            return True
        if response.status != 200:
            raise OSError(status_line(response))
        state.begun()
        decoder = _BrowserDecoder(state.last_event_id, state.complain)
        while chunk := response.read1(65_536):
            try:
                events = decoder.feed(chunk)
            except InvalidStream as error:  # raised by _BrowserDecoder for nothing else
                raise RefusedStream(
                    f"{request.address} sends an event of more than {MAX_EVENT_BYTES >> 20} MiB, "
                    "and no end of it has come. Look at what answers there."
                ) from error
            state.read(decoder)
            yield chunk, events
        return False
    finally:
        response.close()
        connection.close()


class _BrowserDecoder(Decoder):
    """
    Reads as a browser does where a :class:`Decoder` would refuse, because the stream may be of any server.

    Args:
        last_event_id (str): The id of the connection before. By the standard's letter a blank line before the
            first ``id:`` would forget it. Nothing is lost by keeping it.
        complain (Callable): Called with what a decoder would refuse.
    """

    def __init__(self, last_event_id: str, complain: Callable[[str], None]) -> None:
        super().__init__()
        self.last_event_id = self._id_buffer = last_event_id
        self._complain = complain

    def _field(self, field: bytes, value: bytes) -> None:
        try:
            super()._field(field, value)
        except InvalidStream as error:
            self._complain(str(error))

    def _text(self, raw: bytes | bytearray) -> str:
        try:
            return super()._text(raw)
        except InvalidStream as error:
            self._complain(str(error))
            return raw.decode(errors="replace")
