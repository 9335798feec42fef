"""
The socket of a client: where it is found, how the kernel bounds what it holds, how it is ended.

Each server shows the socket in another way. Where its insides look different, the socket is unknown
(``None``).
"""

from __future__ import annotations

import errno
import socket
import struct
import sys
from collections.abc import Callable
from typing import Any

__all__ = [
    "KEEPALIVE_SECONDS",
    "USER_TIMEOUT_MARGIN_SECONDS",
    "bound_buffer",
    "bound_waits",
    "client_socket",
    "close_after_answer",
    "cut",
    "forget_error",
    "hang_up",
    "hush_timeout",
]

KEEPALIVE_SECONDS = 5
"""
How often the kernel asks a silent client whether it is still there. With the default settings it gives up a
client that vanished within 30 s.
"""

USER_TIMEOUT_MARGIN_SECONDS = 2
"""
How much later than our own watchdog the kernel gives up a client that stops reading in the middle of a large
write: who is first decides which reason is given for the end.
"""

# Not on every system.
_KEEPALIVE_OPTIONS: tuple[int, ...] = tuple(
    getattr(socket, name) for name in ("TCP_KEEPIDLE", "TCP_KEEPINTVL") if hasattr(socket, name)
)
_USER_TIMEOUT: int | None = getattr(socket, "TCP_USER_TIMEOUT", None)

_SEND_BUFFER_BYTES = 64 * 1024  # the kernel doubles it; by default one stalled client holds up to 3.3 MB


def client_socket(environ: dict[str, Any], start_response: Callable[..., Any] | None) -> socket.socket | None:
    """
    Return the socket that a response goes to, or ``None`` where the server does not show it.

    Args:
        environ (dict): The request's.
        start_response (Callable | None): What the app was called with. gevent's pywsgi shows its socket there
            alone.
    """
    if _is_http2(environ):
        return None  # the socket of a whole connection, not of this stream
    for key in ("gunicorn.socket", "gunicorn.sock", "werkzeug.socket"):
        if key in environ:
            return _usable(environ[key])
    handler = getattr(start_response, "__self__", None)
    if type(handler).__module__ == "gevent.pywsgi":
        return _usable(getattr(handler, "socket", None))
    return None


def close_after_answer(environ: dict[str, Any], start_response: Callable[..., Any] | None) -> None:
    """
    Let a connection end with the answer that is about to begin, where the server would keep it open.

    A header cannot do that: PEP 3333 leaves connections to the server, and gunicorn drops the header.
    Werkzeug's server closes every connection by itself.

    Args:
        environ (dict): The request's. Nothing is done to a request with a body: closing before all of it was
        read
            resets the connection, and may take the answer with it.
        start_response (Callable | None): What the app was called with. Nothing is done where a middleware has
        put
            its own in between.
    """
    if environ.get("CONTENT_LENGTH", "0") not in ("", "0") or "HTTP_TRANSFER_ENCODING" in environ:
        return
    handler: Any = getattr(start_response, "__self__", None)
    # gunicorn's response over HTTP/2 is in another module: its connection carries other requests too.
    module = type(handler).__module__
    if module == "gunicorn.http.wsgi" and hasattr(handler, "force_close"):
        handler.force_close()
        # gthread's only accepting thread waits up to 2 s for the client to close: this ends that wait at
        # once.
        _shut(handler.sock, socket.SHUT_RD)
    elif module == "gevent.pywsgi":
        handler.close_connection = True


def bound_buffer(sock: socket.socket) -> None:
    """
    Let the kernel hold little for a client that stops reading. Before the first byte: later it may hold
    megabytes.
    """
    try:
        getattr(sock, "_sock", sock).setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
    except OSError:
        pass  # closed already: the first write will tell


def bound_waits(sock: socket.socket, write_timeout_seconds: float) -> None:
    """
    Let the kernel give up a client that vanished.

    Args:
        sock (socket.socket): A connected one; anything but TCP is left alone.
        write_timeout_seconds (float): When our own watchdog cuts a blocked write.
    """
    inner = getattr(sock, "_sock", sock)  # each of gevent's own methods would first check whether it is open
    try:
        if inner.family not in (socket.AF_INET, socket.AF_INET6):
            return
        inner.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option in _KEEPALIVE_OPTIONS:
            inner.setsockopt(socket.IPPROTO_TCP, option, KEEPALIVE_SECONDS)
        if _USER_TIMEOUT is not None:
            inner.setsockopt(
                socket.IPPROTO_TCP,
                _USER_TIMEOUT,
                int(1000 * (write_timeout_seconds + USER_TIMEOUT_MARGIN_SECONDS)),
            )
    except OSError:
        pass  # closed already: the first write will tell


def forget_error(sock: socket.socket) -> None:
    """
    Take an error of the kernel's off the socket, so that the server's next write ends quietly, in ``EPIPE``.
    """
    try:
        sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    except OSError:
        pass


def hush_timeout() -> None:
    """
    Raise ``EPIPE`` in place of the ``ETIMEDOUT`` that is on its way through the server; return if there is
    none.

    Called last where a server closes a body, which it does in a ``finally``. The kernel may give up a client
    before our watchdog does: its clock starts with the first byte that is not acknowledged, ours with the
    first write that waits. The write then fails with ``ETIMEDOUT``, which servers log with a traceback, as a
    fault. ``EPIPE`` they know as a client that left.

    Raises:
        BrokenPipeError: In place of that error, and from it.
    """
    error = sys.exc_info()[1]
    if isinstance(error, GeneratorExit):
        error = error.__context__  # a middleware that is a generator is closed in between
    if isinstance(error, OSError) and error.errno == errno.ETIMEDOUT:
        raise BrokenPipeError(
            errno.EPIPE, "the client takes nothing, and the kernel has given it up"
        ) from error


def cut(sock: socket.socket) -> None:
    """
    End the connection of a client that takes nothing.

    A write that waits for the client raises ``EPIPE``, which every server takes quietly. What the kernel
    still holds for the client is thrown away when the server closes the socket.
    """
    inner = getattr(sock, "_sock", sock)
    try:
        inner.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    except OSError:
        pass  # closed already
    _shut(sock, socket.SHUT_RDWR)


def hang_up(sock: socket.socket) -> None:
    """
    End a connection after what was sent.

    The server closes it too; but gthread's accepting thread would first wait for the client to close.
    """
    _shut(sock, socket.SHUT_RDWR)


def _shut(sock: socket.socket, how: int) -> None:
    inner = getattr(sock, "_sock", sock)
    try:
        # The plain method: that of a TLS socket would first drop its state, which a waiting write still uses.
        socket.socket.shutdown(inner, how) if isinstance(inner, socket.socket) else inner.shutdown(how)
    except OSError:
        pass  # closed or reset already


def _is_http2(environ: dict[str, Any]) -> bool:
    # Not by gunicorn's HTTP_VERSION: a client sets that too, by a header "Version", and could so hide its
    # socket.
    return str(environ.get("SERVER_PROTOCOL", "")).startswith("HTTP/2")


def _usable(sock: Any) -> socket.socket | None:
    return sock if hasattr(sock, "fileno") and hasattr(sock, "setsockopt") else None
