"""How the connection of a client is ended from beside the write that waits for it."""

from __future__ import annotations

import errno
import socket
import struct
import sys

__all__ = ["cut", "hang_up", "hush_timeout", "shut", "taken_bytes"]

# Of the kernel's struct tcp_info: what the other end has acknowledged, since Linux 4.1. Elsewhere the struct
# is another one.
_TCP_INFO: int | None = getattr(socket, "TCP_INFO", None) if sys.platform.startswith("linux") else None
_BYTES_ACKED = struct.Struct("@120xQ")


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


def taken_bytes(sock: socket.socket) -> int | None:
    """
    Return how many bytes the other end has taken since it connected; ``None`` where the kernel does not say.
    """
    inner = getattr(sock, "_sock", sock)
    try:
        if _TCP_INFO is None or inner.family not in (socket.AF_INET, socket.AF_INET6):
            return None
        taken: int = _BYTES_ACKED.unpack(inner.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, _BYTES_ACKED.size))[
            0
        ]
    except (OSError, struct.error):  # closed already; or an older kernel
        return None
    return taken


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
    shut(sock, socket.SHUT_RDWR)


def hang_up(sock: socket.socket) -> None:
    """
    End a connection after what was sent.

    The server closes it too; but gthread's accepting thread would first wait for the client to close.
    """
    shut(sock, socket.SHUT_RDWR)


def shut(sock: socket.socket, how: int) -> None:
    """Shut one way of a connection, or both, below TLS. Never raises."""
    inner = getattr(sock, "_sock", sock)
    try:
        # The plain method: that of a TLS socket would first drop its state, which a waiting write still uses.
        socket.socket.shutdown(inner, how) if isinstance(inner, socket.socket) else inner.shutdown(how)
    except OSError:
        pass  # closed or reset already
