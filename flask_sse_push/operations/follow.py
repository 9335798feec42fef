"""Following a stream over HTTP as a browser does: reconnecting, resuming, and giving up only when told to."""

from __future__ import annotations

import base64
import http.client
import json
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple
from urllib.parse import quote, unquote, urlsplit

from ..core.decoder import MAX_EVENT_BYTES, DecodedEvent, Decoder
from ..core.event import MAX_RETRY_MILLISECONDS, MIN_RETRY_MILLISECONDS
from ..core.values import printable
from ..errors import InvalidStream, SSEPushError
from ..platform.backoff import backoff

__all__ = ["Address", "RefusedStream", "follow", "parse_address", "parse_header"]

_FIRST_RETRY_MILLISECONDS = 3_000
"""What browsers wait when a stream says nothing else."""

_SAFE = "/%:@!$&'()*+,;=~"  # what may stand in a path as it is, "%" for what was quoted already

_SHOWN_CHARACTERS = 300
"""How much of each thing that a server says is shown."""

_NO_WORDS = (ValueError, KeyError, TypeError, RecursionError, OSError, http.client.HTTPException)
"""What comes of reading a body that is no JSON with a message, or does not come."""

_HEADER = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\0-\x08\x0a-\x1f\x7f]*)")

_OWN_HEADERS = frozenset(
    {
        "accept-encoding",
        "connection",
        "content-length",
        "expect",
        "keep-alive",
        "last-event-id",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
"""What says how this connection works, or where the stream goes on."""


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
    host.encode(
        "idna"
    )  # as the connection will, after which nobody tells a wrong name from a server that is away
    authorization = None
    if parts.username is not None:
        user = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        authorization = "Basic " + base64.b64encode(user.encode()).decode()
    target = quote(parts.path or "/", safe=_SAFE) + (
        f"?{quote(parts.query, safe=_SAFE + '?')}" if parts.query else ""
    )
    return Address(parts.scheme == "https", host, port, target, authorization)


def parse_header(line: str) -> tuple[str, str]:
    """
    Read a header of a request: name and value.

    Raises:
        ValueError: It is none, or one that this client sets itself. The message does not show it: it may be
            secret.
    """
    match = _HEADER.fullmatch(line)
    if match is None:
        raise ValueError('it must be written as "Name: value", on one line')
    name, value = match[1], match[2].rstrip(" \t")
    if name.lower() in _OWN_HEADERS:
        raise ValueError("it names a header that belongs to the connection, or to --since")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError("it must be text that UTF-8 can hold") from None
    return name, value


def follow(
    address: Address,
    headers: Iterable[tuple[str, str]],
    last_event_id: str,
    timeout_seconds: float,
    say: Callable[[str], None],
) -> Generator[tuple[bytes, list[DecodedEvent]], None, None]:
    """
    Yield what comes: bytes, and the events that are complete by them. Ends when the server says that there is nothing more (204).

    Any server's stream will do: what a browser repairs or leaves out is repaired or left out here too, and
    told the first time. A new connection keeps the place of the one before until the server gives another, or
    takes it back by an empty ``id:``.

    Args:
        address (Address): Where the stream is.
        headers (Iterable): Names and values, see :func:`parse_header`; they are sent beside those of an event
            stream, or in their place.
        last_event_id (str): Where to resume, printable; empty for now.
        timeout_seconds (float): How long an answer may take until its headers are there, and silence after
            which a connection counts as dead.
        say (Callable): Told in words when the stream is lost and when it is back. What a server said is in
            them, printable.

    Raises:
        RefusedStream: Any answer but 200 and 204, unless it may be another one later (5xx, 408, 425, 429);
            200 that is no event stream; a certificate that cannot be trusted; or an event without an end.
    """
    request = _Request(address, tuple(headers), timeout_seconds)
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
            if (yield from _read_once(request, place, begun)):
                return
        except (OSError, http.client.HTTPException) as error:
            reason = _reason(error, address, timeout_seconds)
        if not lost:
            say(f"The stream is lost ({reason}); trying again.")
            lost = True
        # Never before the time that the server asked for.
        time.sleep(place.retry_milliseconds / 1000 + next(pauses))


class _Request(NamedTuple):
    """What is asked each time."""

    address: Address
    headers: tuple[tuple[str, str], ...]
    timeout_seconds: float


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
        self.last_event_id = decoder.last_event_id
        if decoder.retry is not None:
            self.retry_milliseconds = min(max(decoder.retry, MIN_RETRY_MILLISECONDS), MAX_RETRY_MILLISECONDS)


def _read_once(
    request: _Request, place: _Place, begun: Callable[[], None]
) -> Generator[tuple[bytes, list[DecodedEvent]], None, bool]:
    """Yield what one connection brings. Returns whether there is nothing more to come for."""
    connection, response = _connect(request, place.last_event_id)
    try:
        if response.status == 204:
            return True
        if response.status != 200:
            raise OSError(f"{response.status} {_quoted(response.reason)}")
        begun()
        decoder = _BrowserDecoder(place.last_event_id, place.complain)
        while chunk := response.read1(65_536):
            try:
                events = decoder.feed(chunk)
            except InvalidStream as error:  # only this is one for it, see _BrowserDecoder
                raise RefusedStream(
                    f"{request.address} sends an event of more than {MAX_EVENT_BYTES >> 20} MiB, "
                    "and no end of it has come. Look at what answers there."
                ) from error
            place.keep(decoder)
            yield chunk, events
        return False
    finally:
        connection.close()


def _reason(error: Exception, address: Address, timeout_seconds: float) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        words = _quoted(error.verify_message)
        raise RefusedStream(
            f"{address} cannot be trusted ({words}). SSL_CERT_FILE names the certificates that are trusted."
        ) from error
    if isinstance(error, TimeoutError):
        return f"nothing came for {timeout_seconds:g} s"
    if isinstance(error, http.client.IncompleteRead):
        return "it was cut off"
    return _quoted(str(error) or type(error).__name__)


class _BrowserDecoder(Decoder):
    """
    Reads what a browser reads, where a :class:`Decoder` would refuse: the stream may be anybody's.

    Args:
        last_event_id (str): What the connection before has left. By the letter a blank line before any
            ``id:`` would forget it; nothing is lost by keeping it.
        complain (Callable): Told what a decoder would refuse.
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


def _connect(
    request: _Request, last_event_id: str
) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
    address, timeout_seconds = request.address, request.timeout_seconds
    kind = http.client.HTTPSConnection if address.is_secure else http.client.HTTPConnection
    connection = kind(address.host, address.port, timeout=timeout_seconds)
    try:
        connection.connect()
        sock = connection.sock
        assert sock is not None
        with _at_most(timeout_seconds, sock):
            _ask(connection, request, last_event_id)
            response = connection.getresponse()
        _check(address, response, sock, timeout_seconds)
    except BaseException:
        connection.close()
        raise
    return connection, response


def _ask(connection: http.client.HTTPConnection, request: _Request, last_event_id: str) -> None:
    headers: dict[str, str] = {"Accept": "text/event-stream", "Cache-Control": "no-store"}
    if request.address.authorization is not None:
        headers["Authorization"] = request.address.authorization
    if last_event_id:
        headers["Last-Event-ID"] = last_event_id
    given = {name.lower() for name, _ in request.headers}
    # http.client itself sends "Accept-Encoding: identity": nothing is unpacked, and nothing grows by that.
    connection.putrequest("GET", request.address.target, skip_host="host" in given)
    own = (header for header in headers.items() if header[0].lower() not in given)
    for name, value in (*own, *request.headers):
        connection.putheader(name, value.encode())
    connection.endheaders()


@contextmanager
def _at_most(seconds: float, sock: socket.socket) -> Iterator[None]:
    """
    End a connection that takes longer than this for something.

    A socket's own time-out begins anew with each byte that dribbles in.

    Raises:
        OSError: It did.
    """
    is_over = threading.Event()

    def end() -> None:
        is_over.set()
        with suppress(OSError):  # it is closed already
            # Not the method of a TLS socket, which takes the session away from the thread that reads.
            socket.socket.shutdown(sock, socket.SHUT_RDWR)

    timer = threading.Timer(seconds, end)
    timer.daemon, timer.name = True, "flask_sse_push.listen"
    timer.start()
    error: Exception | None = None
    try:
        yield
    except (OSError, http.client.HTTPException) as caught:
        error = caught
    finally:
        timer.cancel()
        timer.join()
    # Also without an error: to http.client, headers that are cut off are headers.
    if is_over.is_set():
        raise OSError(f"its answer was not complete after {seconds:g} s") from error
    if error is not None:
        raise error


def _check(
    address: Address, response: http.client.HTTPResponse, sock: socket.socket, timeout_seconds: float
) -> None:
    kind = response.headers.get_content_type()
    if response.status == 200 and kind != "text/event-stream":
        raise RefusedStream(f"{address} answers {_quoted(kind)}, and no event stream. Look at the address.")
    if response.status in (200, 204, 408, 425, 429) or response.status >= 500:
        return
    words = "Look at the address, and at who may read it."
    if location := response.headers.get("Location"):
        words = f"It points to {_quoted(location)}: listen there."
    else:
        # What a refusal of this package says of itself; nothing where the body is a page, or does not come.
        with suppress(*_NO_WORDS), _at_most(timeout_seconds, sock):
            message = json.loads(response.read(4096))["message"]
            words = _quoted(message) if isinstance(message, str) and message else words
    raise RefusedStream(f"{address} answers {response.status} {_quoted(response.reason)}. {words}")


def _quoted(text: object) -> str:
    """Return what a server said, printable and shortened."""
    said = printable(str(text)[: _SHOWN_CHARACTERS + 1])
    return said if len(said) <= _SHOWN_CHARACTERS else said[: _SHOWN_CHARACTERS - 3] + "..."
