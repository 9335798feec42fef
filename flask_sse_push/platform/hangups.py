"""
Notices clients that hang up, without reading what they send.

A server that only writes learns of a closed connection at the second write after that, and of a half-closed
one never. The kernel knows at once. One epoll set for all streams of a process costs nothing per stream in
Python. It is asked for hang-ups alone, so that a client that sends bytes during its stream wakes nobody.
Where there is no epoll, each socket is looked at once per wait.
"""

from __future__ import annotations

import _socket
import select
import socket
import time
from typing import Any, Generic, TypeVar

from .fork import keep_from_children
from .polling import kernel
from .waiting import Backend

__all__ = ["KEEPALIVE_SECONDS", "USER_TIMEOUT_MARGIN_SECONDS", "Hangups", "is_gone"]

KEEPALIVE_SECONDS = 5
"""
How often the kernel asks a silent client whether it is still there. With the defaults one that vanished is
missed within 30 s.
"""

USER_TIMEOUT_MARGIN_SECONDS = 2
"""
How much later than our watchdog the kernel gives up a client that stops reading in the middle of a large
write: whose clock is first says why it ended.
"""

# Not on every system.
_KEEPALIVE_OPTIONS: tuple[int, ...] = tuple(
    getattr(socket, name) for name in ("TCP_KEEPIDLE", "TCP_KEEPINTVL") if hasattr(socket, name)
)
_USER_TIMEOUT: int | None = getattr(socket, "TCP_USER_TIMEOUT", None)

_SEND_BUFFER_BYTES = 64 * 1024  # the kernel doubles it; without, one stalled client holds up to 3.3 MB

T = TypeVar("T")

_PEEK: int | None = (
    socket.MSG_PEEK | socket.MSG_DONTWAIT if hasattr(socket, "MSG_DONTWAIT") else None
)  # not on Windows
_RDHUP: int = getattr(select, "EPOLLRDHUP", 0)


class Hangups(Generic[T]):
    """
    The client sockets of one process. :meth:`add` and :meth:`remove` from any thread; :meth:`wait` from one.
    """

    def __init__(self) -> None:
        # gevent and eventlet take it away, because waiting in it would stop their loop. We wait for the set
        # in the loop, as for a socket, and then ask it without waiting.
        make = kernel("epoll")
        try:
            self._epoll: Any = make() if make is not None and _RDHUP else None
        except OSError:  # no file is left: look at each socket instead
            self._epoll = None
        if self._epoll is not None:
            keep_from_children(self)  # a child shares the set: what it took out, its parent would miss
        self._watched: dict[int, tuple[socket.socket, T]] = {}
        self._filenos: dict[T, int] = {}

    def add(self, sock: socket.socket, owner: T, write_timeout_seconds: float) -> None:
        """
        Watch a socket, before the first byte of its stream. One that cannot be watched is found out by its
        writes.

        Args:
            sock (socket.socket): The client's.
            owner (T): What :meth:`wait` returns for it.
            write_timeout_seconds (float): When our own watchdog cuts off a write that waits.
        """
        _bound_buffer(sock)
        _bound_waits(sock, write_timeout_seconds)
        fileno = sock.fileno()
        if fileno < 0:
            return
        self._watched[fileno] = (sock, owner)
        self._filenos[owner] = fileno
        if self._epoll is not None:
            try:
                self._epoll.register(fileno, _RDHUP)
            except FileExistsError:
                pass  # the number is watched, for a stream that ends late
            except (OSError, ValueError):  # ValueError: the set is closed, no thread could be started for it
                self.remove(owner)

    def remove(self, owner: T) -> None:
        """
        Stop watching. Before the server closes the socket, whose number may be another's right after that.
        """
        fileno = self._filenos.pop(owner, -1)
        if self._watched.get(fileno, (None, None))[1] is owner:
            self._watched.pop(fileno, None)
            self._unregister(fileno)

    def wait(self, backend: Backend, timeout: float) -> list[T]:
        """
        Wait for hang-ups, at most ``timeout`` seconds, and return the owners of those sockets, each once.
        """
        if self._epoll is None:
            time.sleep(timeout) if backend.is_preemptive else backend.wakeup().wait(timeout)
            found = [watched for watched in list(self._watched.values()) if is_gone(watched[0])]
            for sock, _ in found:
                _forget_error(sock)
            return [owner for _, owner in found]
        backend.wait_readable((self._epoll.fileno(),), timeout)
        most = len(self._watched) + 1
        owners = [self._watched.get(fileno) for fileno, _ in self._epoll.poll(0, most)]
        # A number may have become that of another socket in between: only those in the second answer hung up.
        still = {fileno for fileno, _ in self._epoll.poll(0, most)} if owners else ()
        gone = []
        for watched in owners:
            if watched is not None and watched[0].fileno() in still:
                _forget_error(watched[0])
                self.remove(watched[1])
                gone.append(watched[1])
        return gone

    def fileno(self) -> int:
        """Return the number of the epoll set, -1 where there is none."""
        return -1 if self._epoll is None else int(self._epoll.fileno())

    def close(self) -> None:
        """Close the epoll set."""
        if self._epoll is not None:
            self._epoll.close()

    def _unregister(self, fileno: int) -> None:
        if self._epoll is not None:
            try:
                self._epoll.unregister(fileno)
            except (OSError, ValueError):
                pass  # closed already, which unregisters it


def is_gone(sock: socket.socket) -> bool:
    """Return whether the other end has closed. Where it has sent something first, that cannot be seen."""
    if _PEEK is None:
        return False
    try:
        # The C method of the plain socket: gevent's would wait, and a TLS socket takes no flags.
        return _socket.socket.recv(getattr(sock, "_sock", sock), 1, _PEEK) == b""
    except (BlockingIOError, InterruptedError):
        return False
    except (OSError, ValueError):
        return True


def _bound_buffer(sock: socket.socket) -> None:
    """
    Let the kernel hold little for a client that stops reading: before the first byte, for later it may have
    taken megabytes.
    """
    try:
        getattr(sock, "_sock", sock).setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
    except OSError:
        pass  # closed already: the first write will tell


def _bound_waits(sock: socket.socket, write_timeout_seconds: float) -> None:
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


def _forget_error(sock: socket.socket) -> None:
    """Take a time-out of the kernel off the socket: the server's next write then ends quietly, in EPIPE."""
    try:
        sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    except OSError:
        pass
