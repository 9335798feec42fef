"""One connection to a stream over HTTP: its request, the check of its answer, and why it was lost."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from typing import NamedTuple

from ..core.values import printable
from ..errors import SSEPushError
from .address import Address

__all__ = ["RefusedStream", "Request", "connect", "reason_of"]

_SHOWN_CHARACTERS = 300
"""How much is shown of each text that a server sends."""

_UNREADABLE = (ValueError, KeyError, TypeError, RecursionError, OSError, http.client.HTTPException)
"""What reading a body raises that is no JSON with a message, or does not come."""


class RefusedStream(SSEPushError):
    """The server does not serve this client, and will not later either."""


class Request(NamedTuple):
    """What each connection asks for."""

    address: Address
    headers: tuple[tuple[str, str], ...]
    timeout_seconds: float


@contextmanager
def connect(request: Request, last_event_id: str) -> Iterator[http.client.HTTPResponse | None]:
    """
    Send a request, and lend its answer until the block ends: an event stream, or ``None`` for a 204.

    Args:
        request (Request): What to ask for.
        last_event_id (str): Where to resume; empty for the end of the stream.

    Raises:
        RefusedStream: The answer will be the same next time.
        OSError, HTTPException: The server cannot be reached, its answer does not come in time, or its status
            is one that will pass.
    """
    address, timeout_seconds = request.address, request.timeout_seconds
    kind = http.client.HTTPSConnection if address.is_secure else http.client.HTTPConnection
    with closing(kind(address.host, address.port, timeout=timeout_seconds)) as connection:
        connection.connect()
        sock = connection.sock
        assert sock is not None
        with _at_most(timeout_seconds, sock):
            _send(connection, request, last_event_id)
            response = connection.getresponse()
        with response:  # the connection forgets an answer that ends with it
            _check(address, response, sock, timeout_seconds)
            yield None if response.status == 204 else response


def reason_of(error: Exception, request: Request) -> str:
    """
    Return in words why a connection was lost.

    Raises:
        RefusedStream: The certificate of the server cannot be trusted.
    """
    if isinstance(error, ssl.SSLCertVerificationError):
        words = _quoted(error.verify_message)
        raise RefusedStream(
            f"{request.address} cannot be trusted ({words}). "
            "SSL_CERT_FILE names the certificates that are trusted."
        ) from error
    if isinstance(error, TimeoutError):
        return f"nothing came for {request.timeout_seconds:g} s"
    if isinstance(error, http.client.IncompleteRead):
        return "it was cut off"
    return _quoted(str(error) or type(error).__name__)


def _send(connection: http.client.HTTPConnection, request: Request, last_event_id: str) -> None:
    headers: dict[str, str] = {"Accept": "text/event-stream", "Cache-Control": "no-store"}
    if request.address.authorization is not None:
        headers["Authorization"] = request.address.authorization
    if last_event_id:
        headers["Last-Event-ID"] = last_event_id
    given = {name.lower() for name, _ in request.headers}
    # http.client adds "Accept-Encoding: identity": a compressed body could grow without bound when unpacked.
    connection.putrequest("GET", request.address.target, skip_host="host" in given)
    own = (header for header in headers.items() if header[0].lower() not in given)
    for name, value in (*own, *request.headers):
        connection.putheader(name, value.encode())
    connection.endheaders()


@contextmanager
def _at_most(seconds: float, sock: socket.socket) -> Iterator[None]:
    """
    Shut a connection down when the block takes longer than this.

    The timeout of a socket begins anew with each byte, so a server that dribbles would never meet it.

    Raises:
        OSError: The block took longer.
    """
    is_over = threading.Event()

    def end() -> None:
        is_over.set()
        with suppress(OSError):  # it is closed already
            # The method of a TLS socket would take the session away from the thread that reads.
            socket.socket.shutdown(sock, socket.SHUT_RDWR)

    timer = threading.Timer(seconds, end)
    timer.daemon, timer.name = True, "flask_sse_push.listen"
    timer.start()
    try:
        yield
    except (OSError, http.client.HTTPException):
        if not is_over.is_set():
            raise
    finally:
        timer.cancel()
        timer.join()
    # Also without an error: http.client takes headers that are cut off for headers.
    if is_over.is_set():
        raise OSError(f"its answer was not complete after {seconds:g} s")


def _check(
    address: Address, response: http.client.HTTPResponse, sock: socket.socket, timeout_seconds: float
) -> None:
    kind, status = response.headers.get_content_type(), f"{response.status} {_quoted(response.reason)}"
    if response.status == 200 and kind != "text/event-stream":
        raise RefusedStream(f"{address} answers {_quoted(kind)}, and no event stream. Look at the address.")
    if response.status in (200, 204):
        return
    if response.status in (408, 425, 429) or response.status >= 500:
        raise OSError(status)
    words = "Look at the address, and at who may read it."
    if location := response.headers.get("Location"):
        words = f"It points to {_quoted(location)}: listen there."
    else:
        # A refusal by this package has a message; the body of another server may be a page, or never come.
        with suppress(*_UNREADABLE), _at_most(timeout_seconds, sock):
            message = json.loads(response.read(4096))["message"]
            words = _quoted(message) if isinstance(message, str) and message else words
    raise RefusedStream(f"{address} answers {status}. {words}")


def _quoted(text: object) -> str:
    """Return what a server said, printable and shortened."""
    said = printable(str(text)[: _SHOWN_CHARACTERS + 1])
    return said if len(said) <= _SHOWN_CHARACTERS else said[: _SHOWN_CHARACTERS - 3] + "..."
