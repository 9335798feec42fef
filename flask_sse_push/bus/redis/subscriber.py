"""
A connection that listens: messages come on it between the answers to commands, in the order of the server.
"""

from __future__ import annotations

import contextlib
import socket
from collections import deque
from typing import Any, NamedTuple, NoReturn

import redis
from redis import exceptions

from ...platform.backends import current_backend
from .connection import Connection
from .resp3 import Failure, Parser, Push, encode_command
from .script import Script

__all__ = ["Answer", "Subscriber"]

_FAILURES: dict[str, type[redis.RedisError]] = {
    "LOADING": exceptions.BusyLoadingError,
    "MOVED": redis.ResponseError,
    "NOAUTH": exceptions.AuthenticationError,
    "NOPERM": exceptions.NoPermissionError,
    "NOSCRIPT": exceptions.NoScriptError,
    "OOM": exceptions.OutOfMemoryError,
    "READONLY": exceptions.ReadOnlyError,
    "WRONGPASS": exceptions.AuthenticationError,
}
"""The errors that redis-py has a class for, by their first word; those that a cure or a caller looks for."""


class Answer(NamedTuple):
    """The answer to what :meth:`Subscriber.ask` sent."""

    value: Any


class Subscriber:
    """
    One connection. Not thread-safe, but for :meth:`wake`.

    The server writes a message and an answer to one connection in the order in which it makes them. So an
    answer proves that every message which was published before it is here.

    Args:
        connection (Connection): An open one, which is this object's from now on.

    Raises:
        redis.RedisError: It did not work; see :data:`~.faults.FAULTS`.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection, self._parser = connection, Parser()
        self._items: deque[Any] = deque()  # what was read, and not looked at
        self._unanswered = 0  # of what was asked
        self.came: deque[Push | Answer] = deque()
        """Messages, and the answers that :meth:`ask` did not wait for, in order."""
        self.woken, self._waker = socket.socketpair()
        for sock in (self.woken, self._waker):
            sock.setblocking(False)
        try:
            self._call("HELLO", "3")
        except BaseException:
            self.close()
            raise

    def subscribe(self, channels: list[str]) -> None:
        """Listen to some channels, at least from the next command on. An error comes as an answer to that."""
        self._connection.transmit(encode_command("SUBSCRIBE", *channels))

    def unsubscribe(self, channels: list[str]) -> None:
        """Listen to some channels no longer; to none where the list is empty."""
        self._connection.transmit(encode_command("UNSUBSCRIBE", *channels))

    def run(self, script: Script, keys: tuple[str, ...], *arguments: Any) -> Any:
        """
        Run a script and return its answer. What comes before it is in :attr:`came` then.

        Raises:
            redis.RedisError: It did not work; see :data:`~.faults.FAULTS`.
        """
        try:
            return self._call("EVALSHA", script.digest, len(keys), *keys, *arguments)
        except exceptions.NoScriptError:  # nothing ran
            return self._call("EVAL", script.text, len(keys), *keys, *arguments)

    def call(self, *words: Any) -> Any:
        """Run a command and return its answer, as :meth:`run` does."""
        return self._call(*words)

    def ask(self, script: Script, keys: tuple[str, ...], *arguments: Any) -> None:
        """
        Run a script, whose answer will be in :attr:`came`. Where it is an error, the next wait raises that.
        """
        # With its text: the answer could be that the script is not known.
        self._connection.transmit(encode_command("EVAL", script.text, len(keys), *keys, *arguments))
        self._unanswered += 1

    def wait(self, seconds: float) -> bool:
        """
        Read what is there, and wait for it at most so long.

        Returns:
            bool: Whether :meth:`wake` was called.
        """
        if not self._items and not self._connection.has_received() and seconds > 0:
            ends = (self._connection.fileno(), self.woken.fileno())
            current_backend().wait_readable(ends, seconds)
        is_woken = False
        with contextlib.suppress(OSError):
            is_woken = bool(self.woken.recv(4096))
        if self._connection.has_received():
            self._receive()
        while self._items:
            if not self._take():
                raise redis.InvalidResponse("the server answers what nobody asked")
        return is_woken

    def wake(self) -> None:
        """End a :meth:`wait`, or the next one. From any thread; never raises."""
        with contextlib.suppress(OSError):  # closed, or so full that it wakes anyhow
            self._waker.send(b"x")

    def close(self) -> None:
        """Let go of everything. Never raises."""
        self._connection.close()
        for sock in (self.woken, self._waker):
            sock.close()

    def set_deadline(self, until: float) -> None:
        """Let all waits from now on end by a moment on the monotonic clock."""
        self._connection.set_deadline(until)

    def _call(self, *words: Any) -> Any:
        self._connection.transmit(encode_command(*words))
        while True:
            while self._items:
                if not self._take():
                    answer = self._items.popleft()
                    if isinstance(answer, Failure):
                        _fail(answer)
                    return answer
            self._receive()

    def _take(self) -> bool:
        """Move the first item to what came. Return False where it is an answer to what is waited for."""
        item = self._items[0]
        if not isinstance(item, Push):
            if not self._unanswered:
                return False
            if isinstance(item, Failure):
                _fail(item)
            self._unanswered -= 1
            item = Answer(item)
        self._items.popleft()
        self.came.append(item)
        return True

    def _receive(self) -> None:
        self._items += self._parser.feed(self._connection.receive())


def _fail(failure: Failure) -> NoReturn:
    kind, _, rest = failure.text.partition(" ")
    error = _FAILURES.get(kind)
    raise redis.ResponseError(failure.text) if error is None else error(rest)
