"""One connection to a Redis, on which every wait has an end."""

from __future__ import annotations

import select
import socket
import sys
import time
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import redis
from redis.connection import SSLConnection

from .script import Script

__all__ = ["FAULTS", "Link", "is_refusal"]

FAULTS = (redis.RedisError, OSError, ValueError)
"""What using a link may raise when the server cannot be used. ``ValueError``: a host's name that is none."""

# What redis-py raises in the middle of an answer that is none: nested too deeply, a length that is no number, a list where a text is due. Not
# every Exception: the time limit of a task queue may come out of a signal handler at any place, and is for the caller.
_GARBAGE = (ArithmeticError, AttributeError, LookupError, MemoryError, RecursionError, TypeError, ValueError)

_UNBOUNDED: AbstractContextManager[Any] = nullcontext()


def is_refusal(error: BaseException) -> bool:
    """Say whether Redis answered, and the answer was no: nothing was done."""
    # redis-py takes some answers for broken connections.
    replies = (
        redis.ResponseError
        | redis.AuthenticationError
        | redis.BusyLoadingError
        | redis.exceptions.AuthorizationError
    )
    return isinstance(error, replies) or "max number of clients" in str(error)


class Link:
    """
    One connection, opened by its first command. Not thread-safe: it is used by one at a time.

    Args:
        kind (type): redis-py's kind of connection: plain, TLS or unix socket.
        options (dict[str, Any]): What it is made of, time-outs and retries excepted.
    """

    def __init__(self, kind: type[Any], options: dict[str, Any]) -> None:
        self._connection = _timed(kind)(**options)
        self._is_tls = issubclass(kind, SSLConnection)
        self.sent = False
        """Whether the last command went out as a whole: from then on it may be done, whatever is heard of it."""
        self.used_at = 0.0
        """When it was last used, on the monotonic clock."""

    def open(self, until: float) -> None:
        """
        Connect and log in by a moment on the monotonic clock.

        Raises:
            redis.RedisError: It did not work; see :data:`FAULTS`.
        """
        self.sent = False
        self._connection.until = until
        try:
            with _deadline(until):
                self._connection.connect()
        except _GARBAGE as error:
            raise redis.ConnectionError(f"it does not come to a connection ({_said(error)})") from error

    def call(self, *words: Any, until: float | None = None) -> Any:
        """
        Run a command and return its answer.

        Args:
            words (Any): The command and its arguments.
            until (float | None): When to give up on the monotonic clock; ``None`` when nothing comes for as long as :attr:`patience`.

        Raises:
            redis.RedisError: It did not work; see :data:`FAULTS`.
        """
        self.send(*words, until=until)
        return self.answer()

    def run(self, script: Script, keys: tuple[str, ...], *arguments: Any, until: float | None = None) -> Any:
        """Run a script and return its answer, as :meth:`call` does."""
        try:
            return self.call("EVALSHA", script.digest, len(keys), *keys, *arguments, until=until)
        except redis.exceptions.NoScriptError:  # nothing ran
            return self.call("EVAL", script.text, len(keys), *keys, *arguments, until=until)

    def send(self, *words: Any, until: float | None = None) -> None:
        """Send a command whose answer is asked for later."""
        self.sent = False
        self._connection.until = until
        with self._whole():
            self._connection.send_command(*words, check_health=False)
        self.sent = True

    def answer(self) -> Any:
        """Return the answer to what was sent."""
        try:
            with self._whole():
                answer = self._connection.read_response()
        except _GARBAGE as error:
            raise redis.InvalidResponse(f"the answer is none of Redis ({_said(error)})") from error
        self.used_at = time.monotonic()
        return answer

    def _whole(self) -> AbstractContextManager[Any]:
        """Bound what a socket's time-out does not: the pieces of one TLS record."""
        until = self._connection.until
        return _deadline(until) if self._is_tls and until is not None else _UNBOUNDED

    @property
    def patience(self) -> float:
        """How many seconds may pass without a byte, where no moment was given."""
        return float(self._connection.patience)

    @patience.setter
    def patience(self, seconds: float) -> None:
        self._connection.patience = seconds

    def fileno(self) -> int:
        """Return the number of its socket, to wait for an answer by. -1 when it is closed."""
        sock = self._connection._sock  # noqa: SLF001 - redis-py has no other name for it
        return -1 if sock is None else int(sock.fileno())

    def is_stale(self) -> bool:
        """Say whether the other end has closed it, or sent something nobody asked for. Never waits."""
        number = self.fileno()
        if number < 0:
            return True
        monkey = sys.modules.get("gevent.monkey")
        # The real one also where gevent has patched: it does not wait.
        poll = (select.poll if monkey is None else monkey.get_original("select", "poll"))()
        poll.register(number, select.POLLIN)
        return bool(poll.poll(0))

    def close(self) -> None:
        """Let go of the socket. An answer that comes later is read by nobody. Never raises."""
        self._connection.disconnect()


def _deadline(until: float) -> AbstractContextManager[Any]:
    """
    Interrupt a block when its time is over, where that is possible: in greenlets.

    Sockets have their own time-outs. But gevent looks for a host's name as long as it takes, and gives each piece of a TLS handshake
    or record all of the time anew.
    """
    monkey = sys.modules.get("gevent.monkey")
    if monkey is None or not monkey.is_module_patched("socket"):
        return _UNBOUNDED
    import gevent

    seconds = max(0.0, until - time.monotonic())
    timer: AbstractContextManager[Any] = gevent.Timeout(seconds, TimeoutError("no time is left"))
    return timer


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error)[:80]}"


_TIMED: dict[type[Any], type[Any]] = {}


def _timed(kind: type[Any]) -> type[Any]:
    """Return a kind of connection whose time-outs are what is left at each moment."""
    found = _TIMED.get(kind)
    if found is None:
        found = _TIMED[kind] = type(f"Timed{kind.__name__}", (_Timed, kind), {})
    return found


class _Timed:
    port: Any = 0  # redis-py 8.1 asks also a unix socket for its port when connecting takes too long
    until: float | None = None
    patience = 2.0
    _sock: Any

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)

    @property
    def socket_timeout(self) -> float:
        """Asked for by redis-py for each address of a host, and before the TLS handshake."""
        if self.until is None:
            return self.patience
        left = self.until - time.monotonic()
        if left <= 0:
            raise TimeoutError("no time is left")
        return left

    @socket_timeout.setter
    def socket_timeout(self, seconds: Any) -> None:
        """Its own are not wanted."""

    socket_connect_timeout = socket_timeout

    def _connect(self) -> _TimedSocket:
        return _TimedSocket(super()._connect(), self)  # type: ignore[misc]


class _TimedSocket:
    """Waits no longer than is left, however many pieces an answer comes in."""

    __slots__ = ("_connection", "_socket")

    def __init__(self, sock: socket.socket, connection: _Timed) -> None:
        self._socket, self._connection = sock, connection

    def recv(self, size: int) -> bytes:
        self._socket.settimeout(self._connection.socket_timeout)
        return self._socket.recv(size)

    def recv_into(self, buffer: Any) -> int:
        self._socket.settimeout(self._connection.socket_timeout)
        return self._socket.recv_into(buffer)

    def sendall(self, data: Any) -> None:
        rest = memoryview(data)
        while rest:
            self._socket.settimeout(self._connection.socket_timeout)
            rest = rest[self._socket.send(rest) :]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)
