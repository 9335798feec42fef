"""Answers of a server, looked at before they are used: what answers may be no Redis."""

from __future__ import annotations

from typing import Any, NamedTuple

import redis

from ...core.positions import is_epoch
from ..base import PublishResult

__all__ = [
    "Item",
    "Touched",
    "accepted",
    "address",
    "count",
    "epoch",
    "first_stream",
    "page",
    "server_time",
    "slots",
    "texts",
    "touched",
]

_MOST = 1 << 53
"""Past this Lua, which gives the numbers, has no whole numbers."""


class Touched(NamedTuple):
    """What the script TOUCH returns."""

    epoch: str
    prefix: bytes
    head: int
    now: int
    owner: bytes


class Item(NamedTuple):
    """One entry of a stream, its fields not looked at."""

    id: bytes
    generation: int
    sequence: int
    fields: Any


def accepted(answer: object) -> PublishResult:
    """
    Return what the script PUBLISH said.

    Raises:
        redis.InvalidResponse: It said something else.
    """
    if type(answer) is not list or len(answer) != 3:
        raise _wrong("PUBLISH", answer)
    sequence = count(answer[1])
    if not sequence:
        raise _wrong("PUBLISH", answer)
    return PublishResult(f"{epoch(answer[0])}-{sequence}", sequence, is_repeated=count(answer[2]) == 1)


def touched(answer: object) -> Touched:
    """Return what the script TOUCH said; see :func:`accepted`."""
    if type(answer) is not list or len(answer) != 5:
        raise _wrong("TOUCH", answer)
    if type(answer[1]) is not bytes or type(answer[4]) is not bytes:
        raise _wrong("TOUCH", answer)
    if answer[4]:
        return Touched("", b"", 0, 0, answer[4])
    if not answer[1].endswith(b"-") or not answer[1][:-1].isdigit():
        raise _wrong("TOUCH", answer)
    return Touched(epoch(answer[0]), answer[1], count(answer[2]), count(answer[3]), b"")


def page(answer: object) -> list[Item]:
    """Return entries of a stream, whose ids rise; see :func:`accepted`."""
    if type(answer) is not list:
        raise _wrong("XRANGE", answer)
    items: list[Item] = []
    before = (0, 0)
    for pair in answer:
        if type(pair) is not list or len(pair) != 2 or type(pair[0]) is not bytes or len(pair[0]) > 41:
            raise _wrong("XRANGE", pair)
        generation, found, sequence = pair[0].partition(b"-")
        if not found or not generation.isdigit() or not sequence.isdigit():
            raise _wrong("XRANGE", pair)
        item = Item(pair[0], int(generation), int(sequence), pair[1])
        if item[1:3] <= before or item.sequence >= _MOST:
            raise _wrong("XRANGE", pair)
        before = item[1:3]
        items.append(item)
    return items


def first_stream(answer: object) -> object:
    """Return the entries in an answer of XREAD, which was asked for one stream; see :func:`accepted`."""
    if answer is None:
        return []
    if type(answer) is not list or len(answer) != 1 or type(answer[0]) is not list or len(answer[0]) != 2:
        raise _wrong("XREAD", answer)
    return answer[0][1]


def count(answer: object) -> int:
    """Return a whole number from 0 on, also one that stands in a field; see :func:`accepted`."""
    if type(answer) is bytes and answer.isdigit() and len(answer) <= 16:
        answer = int(answer)
    if type(answer) is not int or not 0 <= answer < _MOST:
        raise _wrong("a command", answer)
    return answer


def epoch(answer: object) -> str:
    """Return the life of a log; see :func:`accepted`."""
    text = answer.decode("ascii", "replace") if type(answer) is bytes else None
    if not is_epoch(text):
        raise _wrong("a script", answer)
    return str(text)


def texts(answer: object, length: int | None = None) -> list[bytes | None]:
    """Return a list of texts, so many if that is said; each may be missing. See :func:`accepted`."""
    if type(answer) is not list or (length is not None and len(answer) != length):
        raise _wrong("a command", answer)
    if not all(item is None or type(item) is bytes for item in answer):
        raise _wrong("a command", answer)
    return answer


def server_time(answer: object) -> int:
    """Return the server's clock in milliseconds; see :func:`accepted`."""
    seconds, microseconds = texts(answer, 2)
    return 1000 * count(seconds) + count(microseconds) // 1000


def address(answer: object) -> tuple[str, int] | None:
    """Return where a Sentinel says that the master is, ``None`` when it knows none; see :func:`accepted`."""
    if answer is None:
        return None
    host, port = texts(answer, 2)
    return _host(host), _port(port)


def slots(answer: object) -> list[tuple[int, int, str, int]]:
    """
    Return what CLUSTER SLOTS says; see :func:`accepted`.

    Returns:
        list: From which slot to which one, and the host (empty for the one that was asked) and the port of their master.
    """
    if type(answer) is not list:
        raise _wrong("CLUSTER SLOTS", answer)
    found = []
    for item in answer:
        if type(item) is not list or len(item) < 3 or type(item[2]) is not list or len(item[2]) < 2:
            raise _wrong("CLUSTER SLOTS", item)
        host = _host(item[2][0]) if item[2][0] else ""
        found.append((count(item[0]), count(item[1]), host, _port(item[2][1])))
    return found


def _host(answer: object) -> str:
    text = answer.decode("ascii", "replace") if type(answer) is bytes else ""
    if not text or len(text) > 255 or not text.isprintable() or " " in text or "\ufffd" in text:
        raise _wrong("the address of a server", answer)
    return text


def _port(answer: object) -> int:
    port = count(answer)
    if not 0 < port < 1 << 16:
        raise _wrong("the address of a server", answer)
    return port


def _wrong(what: str, answer: object) -> redis.InvalidResponse:
    # Not all of it: it may be long, nested, or somebody's data.
    shown = repr(answer[:80]) if isinstance(answer, bytes | str) else type(answer).__name__
    return redis.InvalidResponse(f"the answer to {what} is none of Redis: {shown}")
