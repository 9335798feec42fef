"""
What is done to the socket of a client, beside sending: how it is found, bounded, cut and closed.

What depends on a server's insides ends in "unknown" where they look different.
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
"""How often the kernel asks a silent client whether it is still there. With the defaults one that vanished is missed within 30 s."""

USER_TIMEOUT_MARGIN_SECONDS = 2
"""How much later than our watchdog the kernel gives up a client that stops reading in the middle of a large write: whose clock is first says why it ended."""

# Not on every system.
_KEEPALIVE_OPTIONS: tuple[int, ...] = tuple(
    getattr(socket, name) for name in ("TCP_KEEPIDLE", "TCP_KEEPINTVL") if hasattr(socket, name)
)
_USER_TIMEOUT: int | None = getattr(socket, "TCP_USER_TIMEOUT", None)

_SEND_BUFFER_BYTES = 64 * 1024  # the kernel doubles it; without, one stalled client holds up to 3.3 MB


def client_socket(environ: dict[str, Any], start_response: Callable[..., Any] | None) -> socket.socket | None:
    """
    Return the socket that a response goes to, or ``None`` where the server does not show it.

    Args:
        environ (dict): The request's.
        start_response (Callable | None): What the server gave; the only way to pywsgi's socket.
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
    Let a connection end with the answer that is about to begin, where the server keeps it open otherwise and lets itself be told.

    A header cannot say so: PEP 3333 leaves connections to the server, and gunicorn drops it. Werkzeug's server closes every connection.

    Args:
        environ (dict): The request's. A request with a body is left alone: to close before it was read resets the connection, and may take
            the answer with it.
        start_response (Callable | None): What the server gave; behind a middleware's own, nothing is known.
    """
    if environ.get("CONTENT_LENGTH", "0") not in ("", "0") or "HTTP_TRANSFER_ENCODING" in environ:
        return
    handler: Any = getattr(start_response, "__self__", None)
    module = (
        type(handler).__module__
    )  # gunicorn's response over HTTP/2, whose connection carries others, is in a module of its own
    if module == "gunicorn.http.wsgi" and hasattr(handler, "force_close"):
        handler.force_close()
        # gthread lets its only accepting thread wait for the other end to close, up to 2 s for each: now it sees that at once.
        _shut(handler.sock, socket.SHUT_RD)
    elif module == "gevent.pywsgi":
        handler.close_connection = True


def bound_buffer(sock: socket.socket) -> None:
    """Let the kernel hold little for a client that stops reading: before the first byte, for later it may have taken megabytes."""
    try:
        getattr(sock, "_sock", sock).setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
    except OSError:
        pass  # closed already: the first write will tell


def bound_waits(sock: socket.socket, write_timeout_seconds: float) -> None:
    """
    Let the kernel notice a client that vanished.

    Args:
        sock (socket.socket): A connected one; anything but TCP is left alone.
        write_timeout_seconds (float): When our own watchdog cuts a blocked write.
    """
    inner = getattr(sock, "_sock", sock)  # gevent's own methods would each ask first whether it is still open
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
    """Take a time-out of the kernel off the socket: the server's next write then ends quietly, in EPIPE."""
    try:
        sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    except OSError:
        pass


def hush_timeout() -> None:
    """
    Raise ``EPIPE`` in place of a time-out of the kernel's that is on its way through the server; return if there is none.

    Called last where a server closes a body, which it does in a ``finally``. The kernel may give a client up before our watchdog does: its clock
    starts with the first byte that is not acknowledged, ours with the first write that waits. The write then fails with ``ETIMEDOUT``, which servers
    take for a fault and log with a traceback; ``EPIPE`` they know as a client that left.

    Raises:
        BrokenPipeError: In place of that error, and from it.
    """
    error = sys.exc_info()[1]
    if isinstance(error, GeneratorExit):
        error = error.__context__  # middleware that is a generator is closed on the way
    if isinstance(error, OSError) and error.errno == errno.ETIMEDOUT:
        raise BrokenPipeError(
            errno.EPIPE, "the client takes nothing, and the kernel has given it up"
        ) from error


def cut(sock: socket.socket) -> None:
    """
    End a connection whose other end takes nothing: a write that waits for it raises ``EPIPE``, which every server takes quietly.

    What the kernel still holds for it is thrown away when the server closes the socket.
    """
    inner = getattr(sock, "_sock", sock)
    try:
        inner.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    except OSError:
        pass  # closed already
    _shut(sock, socket.SHUT_RDWR)


def hang_up(sock: socket.socket) -> None:
    """
    End a connection behind what was sent.

    The server closes it too; but gthread's accepting thread would first wait for each other end to do so.
    """
    _shut(sock, socket.SHUT_RDWR)


def _shut(sock: socket.socket, how: int) -> None:
    inner = getattr(sock, "_sock", sock)
    try:
        # The plain method: TLS would first forget its state, under the feet of the write that waits.
        socket.socket.shutdown(inner, how) if isinstance(inner, socket.socket) else inner.shutdown(how)
    except OSError:
        pass  # closed or reset already


def _is_http2(environ: dict[str, Any]) -> bool:
    # Not by gunicorn's HTTP_VERSION: a client that sends a header "Version" sets that too, and its stream would be watched by nobody.
    return str(environ.get("SERVER_PROTOCOL", "")).startswith("HTTP/2")


def _usable(sock: Any) -> socket.socket | None:
    return sock if hasattr(sock, "fileno") and hasattr(sock, "setsockopt") else None
