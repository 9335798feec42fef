"""
The protocol of Redis, version 3, in which a server sends messages between its answers.

redis-py reads it too, but calls itself once more for each message that stands before an answer, about a
thousand of which are too many, and reads twice what came before a time-out.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, NamedTuple

import redis

__all__ = ["MAX_DEPTH", "Failure", "Parser", "Push", "encode_command"]

MAX_DEPTH = 8
"""Of lists in lists; our scripts answer with four."""

_MAX_ITEMS = 1 << 20
_MAX_TEXT_BYTES = 512 * 1024 * 1024  # as a Redis itself
_MAX_LINE_BYTES = 64 * 1024


class Push(NamedTuple):
    """What a server sends without having been asked."""

    items: list[Any]


class Failure(NamedTuple):
    """An answer that is an error."""

    text: str


def encode_command(*words: str | bytes | int) -> bytes:
    """Return the bytes of a command."""
    parts = [b"*%d\r\n" % len(words)]
    for word in words:
        text = word if isinstance(word, bytes) else str(word).encode()
        parts.append(b"$%d\r\n%s\r\n" % (len(text), text))
    return b"".join(parts)


class Parser:
    """
    Takes the bytes of a server and gives what they mean: ``bytes``, ``int``, ``None``, a ``list`` (also for
    maps and sets), :class:`Push` or :class:`Failure`. Not thread-safe.
    """

    def __init__(self) -> None:
        self._data, self._position = bytearray(), 0
        self._reading: Generator[None, None, Any] | None = None

    def feed(self, data: bytes) -> list[Any]:
        """
        Return what is whole by now, in order.

        Raises:
            redis.InvalidResponse: It is no such protocol. Nothing else can be read then.
        """
        del self._data[: self._position]
        self._position = 0
        self._data += data
        found = []
        while self._reading is not None or self._position < len(self._data):
            self._reading = self._reading or self._value(0)
            try:
                next(self._reading)
                break  # it needs more
            except StopIteration as end:
                self._reading = None
                found.append(end.value)
        return found

    def _value(self, depth: int) -> Generator[None, None, Any]:
        line = yield from self._line()
        kind, rest = line[:1], line[1:]
        if kind in b"$=!":
            return (yield from self._text(kind, rest))
        if kind in b"*>%~":
            return (yield from self._list(kind, rest, depth))
        if kind == b":":
            return _number(rest, 1 << 63, -(1 << 63))
        if kind == b"-":
            return Failure(rest.decode("utf-8", "replace"))
        if kind in b"+,#(_":
            return None if kind == b"_" else rest
        raise redis.InvalidResponse(f"the server answers with {line[:40]!r}")

    def _text(self, kind: bytes, size: bytes) -> Generator[None, None, Any]:
        length = _number(size, _MAX_TEXT_BYTES)
        if length < 0:
            return None
        while len(self._data) < self._position + length + 2:
            yield
        text = bytes(self._data[self._position : self._position + length])
        self._position += length + 2
        return Failure(text.decode("utf-8", "replace")) if kind == b"!" else text

    def _list(self, kind: bytes, size: bytes, depth: int) -> Generator[None, None, Any]:
        length = _number(size, _MAX_ITEMS) * (2 if kind == b"%" else 1)
        if depth >= MAX_DEPTH:
            raise redis.InvalidResponse("the server answers with lists in lists")
        if length < 0:
            return None
        items: list[Any] = []
        while len(items) < length:
            items.append((yield from self._value(depth + 1)))
        return Push(items) if kind == b">" else items

    def _line(self) -> Generator[None, None, bytes]:
        while (end := self._data.find(b"\r\n", self._position)) < 0:
            if len(self._data) - self._position > _MAX_LINE_BYTES:
                raise redis.InvalidResponse("the server answers with a line without an end")
            yield
        line = bytes(self._data[self._position : end])
        self._position = end + 2
        if not line:
            raise redis.InvalidResponse("the server answers with an empty line")
        return line


def _number(text: bytes, most: int, least: int = -1) -> int:
    if len(text) > 20 or not text.removeprefix(b"-").isdigit() or not least <= int(text) <= most:
        raise redis.InvalidResponse(f"the server answers with the number {text[:40]!r}")
    return int(text)
