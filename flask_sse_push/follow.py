"""Following a stream over HTTP as a browser does: reconnecting, resuming, and giving up only when told to."""

from __future__ import annotations

import base64
import codecs
import http.client
import json
import ssl
import time
from collections.abc import Callable, Generator
from contextlib import suppress
from typing import NamedTuple
from urllib.parse import quote, unquote, urlsplit

from .bus.follower import backoff
from .core.event import MAX_RETRY_MILLISECONDS, MIN_RETRY_MILLISECONDS
from .decoder import DecodedEvent, Decoder
from .errors import InvalidStream, SSEPushError

__all__ = ["Address", "RefusedStream", "follow", "parse_address"]

_FIRST_RETRY_MILLISECONDS = 3_000
"""What browsers wait when a stream says nothing else."""

_SAFE = "/%:@!$&'()*+,;=~"  # what may stand in a path as it is, "%" for what was quoted already


class RefusedStream(SSEPushError):
    """The server does not want this client, and will not later either."""


class Address(NamedTuple):
    """Where a stream is."""

    is_secure: bool
    host: str
    port: int | None
    target: str
    """Path and query, as they are asked for."""
    authorization: str | None
    """The header, where the URL names a user."""

    def __str__(self) -> str:
        """Without the user."""
        return f"{'https' if self.is_secure else 'http'}://{self.host}{'' if self.port is None else f':{self.port}'}{self.target}"


def parse_address(url: str) -> Address:
    """
    Read a URL.

    Raises:
        ValueError: It is none that a request can be sent to.
    """
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port
    if not host or not host.isprintable() or " " in host:
        raise ValueError("it names no host")
    host.encode("idna")  # as the connection will, after which nobody tells a wrong name from a server that is away
    authorization = None
    if parts.username is not None:
        user = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        authorization = "Basic " + base64.b64encode(user.encode()).decode()
    target = quote(parts.path or "/", safe=_SAFE) + (f"?{quote(parts.query, safe=_SAFE + '?')}" if parts.query else "")
    return Address(parts.scheme == "https", host, port, target, authorization)


def follow(address: Address, last_event_id: str, timeout_seconds: float, say: Callable[[str], None]) -> Generator[tuple[bytes, list[DecodedEvent]], None, None]:
    """
    Yield what comes: bytes, and the events that are complete by them. Ends when the server says that there is nothing more (204).

    Any server's stream will do: what a browser repairs or leaves out is repaired or left out here too, and told the first time.

    Args:
        address (Address): Where the stream is.
        last_event_id (str): Where to resume, printable; empty for now.
        timeout_seconds (float): Silence after which a connection counts as dead.
        say (Callable): Told in words when the stream is lost and when it is back.

    Raises:
        RefusedStream: Any answer but 200 and 204, unless it may be another one later (5xx, 408, 425, 429); 200 that is no event stream; or a
            certificate that cannot be trusted.
    """
    place = _Place(last_event_id, say)
    pauses, lost = backoff(), False

    def begun() -> None:
        nonlocal pauses, lost
        if lost:
            say("The stream is back.")
        pauses, lost = backoff(), False

    while True:
        reason = "it ended"
        try:
            if (yield from _read_once(address, place, timeout_seconds, begun)):
                return
        except (OSError, http.client.HTTPException) as error:
            reason = _reason(error, address, timeout_seconds)
        if not lost:
            say(f"The stream is lost ({reason}); trying again.")
            lost = True
        # Never before the time that the server asked for.
        time.sleep(place.retry_milliseconds / 1000 + next(pauses))


class _Place:
    """What outlives a connection."""

    def __init__(self, last_event_id: str, say: Callable[[str], None]) -> None:
        self.last_event_id = last_event_id
        self.retry_milliseconds = _FIRST_RETRY_MILLISECONDS
        self._say: Callable[[str], None] | None = say

    def complain(self, text: str) -> None:
        """Say the first thing that a browser would repair: with the others it might be every line."""
        if self._say is not None:
            self._say(f"This is not quite an event stream: {text}")
            self._say = None

    def keep(self, decoder: Decoder) -> None:
        self.last_event_id = decoder.last_event_id or self.last_event_id
        if decoder.retry is not None:
            self.retry_milliseconds = min(max(decoder.retry, MIN_RETRY_MILLISECONDS), MAX_RETRY_MILLISECONDS)


def _read_once(
    address: Address, place: _Place, timeout_seconds: float, begun: Callable[[], None]
) -> Generator[tuple[bytes, list[DecodedEvent]], None, bool]:
    """Yield what one connection brings. Returns whether there is nothing more to come for."""
    connection, response = _connect(address, place.last_event_id, timeout_seconds)
    try:
        if response.status == 204:
            return True
        if response.status != 200:
            raise OSError(f"{response.status} {response.reason}")
        begun()
        decoder = _BrowserDecoder(place.complain)
        while chunk := response.read1(65_536):
            events = decoder.feed(chunk)
            decoder.comments.clear()  # there is one with each heartbeat, for as long as somebody listens
            place.keep(decoder)
            yield chunk, events
        return False
    finally:
        connection.close()


def _reason(error: Exception, address: Address, timeout_seconds: float) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        raise RefusedStream(f"{address} cannot be trusted ({error.verify_message}). SSL_CERT_FILE names the certificates that are trusted.") from error
    if isinstance(error, TimeoutError):
        return f"nothing came for {timeout_seconds:g} s"
    if isinstance(error, http.client.IncompleteRead):
        return "it was cut off"
    return str(error) or type(error).__name__


class _BrowserDecoder(Decoder):
    """Reads what a browser reads, where a :class:`Decoder` would refuse: the stream may be anybody's."""

    def __init__(self, complain: Callable[[str], None]) -> None:
        super().__init__()
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")
        self._complain = complain

    def _field(self, field: str, value: str) -> None:
        try:
            super()._field(field, value)
        except InvalidStream as error:
            self._complain(str(error))


def _connect(address: Address, last_event_id: str, timeout_seconds: float) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
    kind = http.client.HTTPSConnection if address.is_secure else http.client.HTTPConnection
    connection = kind(address.host, address.port, timeout=timeout_seconds)
    headers: dict[str, str | bytes] = {"Accept": "text/event-stream", "Cache-Control": "no-store"}
    if address.authorization is not None:
        headers["Authorization"] = address.authorization
    if last_event_id:
        headers["Last-Event-ID"] = last_event_id.encode()
    try:
        connection.request("GET", address.target, headers=headers)
        response = connection.getresponse()
        _check(address, response)
    except BaseException:
        connection.close()
        raise
    return connection, response


def _check(address: Address, response: http.client.HTTPResponse) -> None:
    kind = response.headers.get_content_type()
    if response.status == 200 and kind != "text/event-stream":
        raise RefusedStream(f"{address} answers {kind}, and no event stream. Look at the address.")
    if response.status in (200, 204, 408, 425, 429) or response.status >= 500:
        return
    location = response.headers.get("Location")
    words = f"It points to {location}: listen there." if location else _words(response)
    raise RefusedStream(f"{address} answers {response.status} {response.reason}. {words}")


def _words(response: http.client.HTTPResponse) -> str:
    """What a refusal of this package says of itself; nothing where the body is a page for people."""
    with suppress(ValueError, KeyError, TypeError):
        return str(json.loads(response.read(4096))["message"])
    return "Look at the address, and at who may read it."
