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
from .connection import RefusedStream, Request, connect, reason_of

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
    retry_milliseconds, pauses = _FIRST_RETRY_MILLISECONDS, backoff()
    is_lost = has_complained = False
    while True:
        reason = "it ended"
        try:
            with connect(request, last_event_id) as response:
                if response is None:
                    return
                if is_lost:
                    say("The stream is back.")
                is_lost, pauses = False, backoff()
                decoder = _BrowserDecoder(last_event_id)
                while chunk := response.read1(65_536):
                    events = _feed(decoder, chunk, address)
                    # Only the first thing that a browser would repair: all of them might be a line per event.
                    if decoder.complaint and not has_complained:
                        say(f"This is not quite an event stream: {decoder.complaint}")
                        has_complained = True
                    last_event_id = decoder.last_event_id
                    if decoder.retry is not None:
                        retry_milliseconds = min(
                            max(decoder.retry, MIN_RETRY_MILLISECONDS), MAX_RETRY_MILLISECONDS
                        )
                    yield chunk, events
        except (OSError, http.client.HTTPException) as error:
            reason = reason_of(error, request)
        if not is_lost:
            say(f"The stream is lost ({reason}); trying again.")
            is_lost = True
        time.sleep(retry_milliseconds / 1000 + next(pauses))  # never less than the server asked for


def _feed(decoder: _BrowserDecoder, chunk: bytes, address: Address) -> list[DecodedEvent]:
    try:
        return decoder.feed(chunk)
    except InvalidStream as error:  # raised by _BrowserDecoder for nothing else
        raise RefusedStream(
            f"{address} sends an event of more than {MAX_EVENT_BYTES >> 20} MiB, "
            "and no end of it has come. Look at what answers there."
        ) from error


class _BrowserDecoder(Decoder):
    """
    Reads as a browser does where a :class:`Decoder` would refuse, because the stream may be of any server.

    Args:
        last_event_id (str): The id of the connection before. By the standard's letter a blank line before the
            first ``id:`` would forget it. Nothing is lost by keeping it.
    """

    def __init__(self, last_event_id: str) -> None:
        super().__init__()
        self.last_event_id = self._id_buffer = last_event_id
        self.complaint = ""
        """The first thing that a decoder would have refused."""

    def _field(self, field: bytes, value: bytes) -> None:
        try:
            super()._field(field, value)
        except InvalidStream as error:
            self.complaint = self.complaint or str(error)

    def _text(self, raw: bytes | bytearray) -> str:
        try:
            return super()._text(raw)
        except InvalidStream as error:
            self.complaint = self.complaint or str(error)
            return raw.decode(errors="replace")
