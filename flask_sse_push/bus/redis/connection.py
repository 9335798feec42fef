"""One connection to a Redis, on which every wait has an end."""

from __future__ import annotations

import socket
import sys
import time
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import redis
from redis.connection import Connection as PlainConnection
from redis.connection import SSLConnection, UnixDomainSocketConnection

from ...platform.polling import READABLE, is_ready
from .script import Script

__all__ = ["Connection", "are_sockets_patched"]

# What redis-py raises in the middle of an answer that is none: lists nested too deeply, a length that is no
# number, a list where a string is due. Not every Exception: a signal handler may raise the time limit of a
# task queue at any place, and that one is for the caller.
_GARBAGE = (ArithmeticError, AttributeError, LookupError, MemoryError, RecursionError, TypeError, ValueError)

_UNBOUNDED: AbstractContextManager[Any] = nullcontext()


class Connection:
    """
    One connection. Not thread-safe: one thread or greenlet uses it at a time.

    Args:
        kind (type): One of redis-py's three classes: plain, TLS or unix socket.
        options (dict[str, Any]): The arguments of that class, without time-outs and retries.

    Raises:
        TypeError: There is no such option.
    """

    def __init__(self, kind: type[Any], options: dict[str, Any]) -> None:
        self._inner = _BOUNDED[kind](**options)
        self._is_tls = issubclass(kind, SSLConnection)
        self.sent = False
        """Whether the last command was sent to its end: from then on the server may have run it."""

    def set_deadline(self, until: float) -> None:
        """Let all waits from now on end by a moment on the monotonic clock."""
        self._inner.until = until

    def set_patience(self, seconds: float) -> None:
        """Let each wait from now on end after so many seconds without a byte."""
        self._inner.until, self._inner.patience = None, seconds

    def open(self, until: float) -> None:
        """
        Connect and log in by a moment on the monotonic clock, which is the deadline from now on.

        Raises:
            redis.RedisError: It did not work; see :data:`~.faults.FAULTS`.
        """
        self.set_deadline(until)
        try:
            with _interrupted_at(until):
                self._inner.connect()
        except _GARBAGE as error:
            self.close()
            raise redis.ConnectionError(f"it does not come to a connection ({_shown(error)})") from error
        except BaseException:
            self.close()
            raise

    def call(self, *words: Any) -> Any:
        """
        Run a command and return its answer.

        Args:
            words (Any): The command and its arguments.

        Raises:
            redis.RedisError: It did not work; see :data:`~.faults.FAULTS`.
        """
        self.send(*words)
        return self.answer()

    def run(self, script: Script, keys: tuple[str, ...], *arguments: Any) -> Any:
        """Run a script and return its answer, as :meth:`call` does."""
        try:
            return self.call("EVALSHA", script.digest, len(keys), *keys, *arguments)
        except redis.exceptions.NoScriptError:  # nothing ran
            return self.call("EVAL", script.text, len(keys), *keys, *arguments)

    def send(self, *words: Any) -> None:
        """Send a command whose answer is asked for later."""
        self.sent = False
        with self._bound_record():
            self._inner.send_command(*words, check_health=False)
        self.sent = True

    def answer(self) -> Any:
        """Return the answer to what was sent."""
        try:
            with self._bound_record():
                return self._inner.read_response()
        except _GARBAGE as error:
            raise redis.InvalidResponse(f"the answer is none of Redis ({_shown(error)})") from error

    def transmit(self, data: bytes) -> None:
        """Send bytes that are commands already, for who reads the answers by :meth:`receive`."""
        with self._bound_record():
            self._socket().sendall(data)

    def receive(self) -> bytes:
        """
        Return some bytes, after waiting for the first one.

        Raises:
            redis.ConnectionError: The server has closed the connection.
        """
        with self._bound_record():
            data: bytes = self._socket().recv(65_536)
        if not data:
            raise redis.ConnectionError("the server has closed the connection")
        return data

    def has_received(self) -> bool:
        """
        Say whether there are bytes that need no waiting, also those of a TLS record that was read in part.
        """
        pending = getattr(self._socket(), "pending", None)
        return bool(pending and pending()) or is_ready(self.fileno(), READABLE)

    def _socket(self) -> _BoundedSocket:
        sock: _BoundedSocket | None = self._inner._sock  # noqa: SLF001 - redis-py has no other name for it
        if sock is None:
            raise redis.ConnectionError("the connection is closed")
        return sock

    def _bound_record(self) -> AbstractContextManager[Any]:
        """Bound what the time-out of a socket does not: the pieces of one TLS record."""
        until = self._inner.until
        return _interrupted_at(until) if self._is_tls and until is not None else _UNBOUNDED

    def fileno(self) -> int:
        """Return the descriptor to wait for an answer by; -1 when the connection is closed."""
        sock = self._inner._sock  # noqa: SLF001 - see _socket()
        return -1 if sock is None else int(sock.fileno())

    def is_stale(self) -> bool:
        """Say whether the other end has closed it, or sent something nobody asked for. Never waits."""
        descriptor = self.fileno()
        return descriptor < 0 or is_ready(descriptor, READABLE)

    def close(self) -> None:
        """Close the socket: an answer that comes later is read by nobody. Never raises."""
        self._inner.disconnect()


def are_sockets_patched() -> bool:
    """Say whether gevent has replaced the sockets of the standard library."""
    monkey = sys.modules.get("gevent.monkey")
    return monkey is not None and bool(monkey.is_module_patched("socket"))


def _interrupted_at(until: float) -> AbstractContextManager[Any]:
    """
    Interrupt a block when its time is over, where that is possible: in greenlets.

    Sockets have time-outs of their own. But gevent looks for a host name as long as that takes, and gives
    each piece of a TLS handshake or record the whole time anew.
    """
    if not are_sockets_patched():
        return _UNBOUNDED
    import gevent

    seconds = max(0.0, until - time.monotonic())
    timer: AbstractContextManager[Any] = gevent.Timeout(seconds, TimeoutError("no time is left"))
    return timer


def _shown(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error)[:80]}"


class _Bounded:
    """Makes the time-outs of redis-py what is left at each moment."""

    port: Any = 0  # redis-py 8.1 asks also a unix socket for its port when connecting takes too long
    until: float | None = None
    patience = 2.0

    @property
    def socket_timeout(self) -> float:
        """What redis-py asks for before each address of a host, and before the TLS handshake."""
        if self.until is None:
            return self.patience
        left = self.until - time.monotonic()
        if left <= 0:
            raise TimeoutError("no time is left")
        return left

    @socket_timeout.setter
    def socket_timeout(self, seconds: Any) -> None:
        """Take no time-out from redis-py."""

    socket_connect_timeout = socket_timeout

    def _connect(self) -> _BoundedSocket:
        return _BoundedSocket(super()._connect(), self)  # type: ignore[misc]


class _BoundedSocket:
    """Waits no longer than is left, however many pieces an answer comes in."""

    __slots__ = ("_connection", "socket")

    def __init__(self, sock: socket.socket, connection: _Bounded) -> None:
        self.socket, self._connection = sock, connection

    def recv(self, size: int) -> bytes:
        self.socket.settimeout(self._connection.socket_timeout)
        return self.socket.recv(size)

    def recv_into(self, buffer: Any) -> int:
        self.socket.settimeout(self._connection.socket_timeout)
        return self.socket.recv_into(buffer)

    def sendall(self, data: Any) -> None:
        unsent = memoryview(data)
        while unsent:
            self.socket.settimeout(self._connection.socket_timeout)
            unsent = unsent[self.socket.send(unsent) :]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.socket, name)


_BOUNDED = {
    kind: type(f"Bounded{kind.__name__}", (_Bounded, kind), {})
    for kind in (PlainConnection, SSLConnection, UnixDomainSocketConnection)
}
