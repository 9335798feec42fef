"""The answers of a server, checked before they are used: what answers may be no Redis."""

from __future__ import annotations

from typing import Any, NamedTuple

import redis

from ...core.positions import is_epoch
from ..base import PublishResult

__all__ = [
    "RawEntry",
    "Touched",
    "cluster_slots",
    "count",
    "epoch",
    "master_address",
    "milliseconds",
    "publish_result",
    "server_time",
    "strings",
    "touched",
    "xrange",
    "xread",
]

_MAX_COUNT = 1 << 53
"""From here on Lua, which gives the numbers, has no whole numbers."""

_MAX_ID_BYTES = 41  # two numbers of 64 bits and a hyphen
_MAX_TIMESTAMP_DIGITS = 15  # 30,000 years in milliseconds


class Touched(NamedTuple):
    """What the script TOUCH returns."""

    epoch: str
    prefix: bytes
    """How the ids of the log begin in the stream."""
    head: int
    now: int
    """The server's clock, in milliseconds."""
    owner: bytes
    """The name of the app that owns the log, if that is another one; all other fields are empty then."""


class RawEntry(NamedTuple):
    """One entry of a stream, its fields not checked."""

    id: bytes
    number: tuple[int, int]
    """Both parts of the id, which rise from entry to entry."""
    sequence: int
    """The second part."""
    fields: Any


def publish_result(answer: object) -> PublishResult:
    """
    Return what the script PUBLISH said.

    Raises:
        redis.InvalidResponse: It said something else.
    """
    found, number, repeated = _list("PUBLISH", answer, 3)
    sequence = count(number)
    if not sequence:
        raise _wrong("PUBLISH", answer)
    return PublishResult(f"{epoch(found)}-{sequence}", sequence, is_repeated=count(repeated) == 1)


def touched(answer: object) -> Touched:
    """Return what the script TOUCH said; see :func:`publish_result`."""
    found, prefix, head, now, owner = _list("TOUCH", answer, 5)
    if type(prefix) is not bytes or type(owner) is not bytes:
        raise _wrong("TOUCH", answer)
    if owner:
        return Touched("", b"", 0, 0, owner)
    if not prefix.endswith(b"-") or not prefix[:-1].isdigit():
        raise _wrong("TOUCH", answer)
    return Touched(epoch(found), prefix, count(head), count(now), b"")


def xrange(answer: object) -> list[RawEntry]:
    """Return the entries in an answer of XRANGE, whose ids rise; see :func:`publish_result`."""
    entries: list[RawEntry] = []
    before = (0, 0)
    for pair in _list("XRANGE", answer):
        # Not by _list(): a reader comes through here for each entry.
        if type(pair) is not list or len(pair) != 2 or type(pair[0]) is not bytes:
            raise _wrong("XRANGE", pair)
        generation, _, sequence = pair[0].partition(b"-")
        if len(pair[0]) > _MAX_ID_BYTES or not generation.isdigit() or not sequence.isdigit():
            raise _wrong("XRANGE", pair)
        number = (int(generation), int(sequence))
        if number <= before or number[1] >= _MAX_COUNT:
            raise _wrong("XRANGE", pair)
        before = number
        entries.append(RawEntry(pair[0], number, number[1], pair[1]))
    return entries


def xread(answer: object) -> list[RawEntry]:
    """Return the entries in an answer of XREAD, which was asked for one stream; see :func:`xrange`."""
    if answer is None:
        return []
    (stream,) = _list("XREAD", answer, 1)
    return xrange(_list("XREAD", stream, 2)[1])


def count(answer: object) -> int:
    """Return a whole number from 0 on, also one that stands in a string; see :func:`publish_result`."""
    if type(answer) is bytes and answer.isdigit() and len(answer) <= 16:
        answer = int(answer)
    if type(answer) is not int or not 0 <= answer < _MAX_COUNT:
        raise _wrong("a command", answer)
    return answer


def epoch(answer: object) -> str:
    """Return the life of a log; see :func:`publish_result`."""
    text = answer.decode("ascii", "replace") if type(answer) is bytes else None
    if not is_epoch(text):
        raise _wrong("a script", answer)
    return str(text)


def strings(answer: object, length: int | None = None) -> list[bytes | None]:
    """
    Return a list of strings, each of which may be missing; see :func:`publish_result`.

    Args:
        answer (object): What the server said.
        length (int | None): How many there must be, if that is known.
    """
    found = _list("a command", answer, length)
    if not all(item is None or type(item) is bytes for item in found):
        raise _wrong("a command", answer)
    return found


def server_time(answer: object) -> int:
    """Return the server's clock in milliseconds; see :func:`publish_result`."""
    seconds, microseconds = strings(answer, 2)
    return 1000 * count(seconds) + count(microseconds) // 1000


def milliseconds(text: bytes) -> int:
    """
    Return a time that stands in a string, in milliseconds.

    Raises:
        ValueError: It is none.
    """
    if not text.isdigit() or len(text) > _MAX_TIMESTAMP_DIGITS:
        raise ValueError("its time is no number")
    return int(text)


def master_address(answer: object) -> tuple[str, int] | None:
    """Return the master that a Sentinel names, ``None`` when it knows none; see :func:`publish_result`."""
    if answer is None:
        return None
    host, port = strings(answer, 2)
    return _host(host), _port(port)


def cluster_slots(answer: object) -> list[tuple[int, int, str, int]]:
    """
    Return what CLUSTER SLOTS says; see :func:`publish_result`.

    Returns:
        list: The first and the last slot of a range, and the host (empty for the one that was asked) and the
            port of their master.
    """
    found = []
    for item in _list("CLUSTER SLOTS", answer):
        # Behind these stand replicas, and behind host and port what later versions say of a node.
        first, last, master = _list("CLUSTER SLOTS", item, at_least=3)[:3]
        host, port = _list("CLUSTER SLOTS", master, at_least=2)[:2]
        found.append((count(first), count(last), _host(host) if host else "", _port(port)))
    return found


def _list(what: str, answer: object, length: int | None = None, *, at_least: int = 0) -> list[Any]:
    if type(answer) is not list or len(answer) < at_least or (length is not None and len(answer) != length):
        raise _wrong(what, answer)
    return answer


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
