"""The answers of a server, checked before they are used: what answers may be no Redis."""

from __future__ import annotations

from typing import Any, NamedTuple

import redis

from ...core.positions import is_epoch

__all__ = [
    "ChannelTail",
    "Published",
    "Tails",
    "Touched",
    "before",
    "cluster_slots",
    "count",
    "epoch",
    "leases",
    "master_address",
    "published",
    "strings",
    "tails",
    "touched",
]

_MAX_COUNT = 10**14
"""Lua, which gives the numbers, writes no more digits than 14."""


class Touched(NamedTuple):
    """What the script TOUCH returns."""

    epoch: str
    head: int
    now: int
    """The server's clock, in milliseconds."""
    owner: bytes
    """The name of the app that owns the log, if that is another one; all other fields are empty then."""


class Published(NamedTuple):
    """What the script PUBLISH returns."""

    epoch: str
    sequence: int
    reason: str
    """Why nothing was stored, see the script; empty when it was."""
    names: list[bytes]
    """What belongs to the reason."""


class ChannelTail(NamedTuple):
    """What the script TAIL says of one channel; its events and values are not checked."""

    last: int
    lost: int
    closed: int
    closed_at: int
    events: list[bytes]
    values: list[bytes]
    is_cut: bool
    """Whether there are more."""
    numbers: list[int]
    """Of all values that are there now, in an answer that is not the first."""


class Tails(NamedTuple):
    """What the script TAIL returns."""

    epoch: str
    head: int
    now: int
    channels: list[ChannelTail]


_REASONS = {b"": 0, b"repeated": 0, b"closed": 1, b"values": 1, b"bytes": 0, b"rules": 2}
"""And how many texts belong to each."""


def published(answer: object) -> Published:
    """
    Return what the script PUBLISH said.

    Raises:
        redis.InvalidResponse: It said something else.
    """
    found, number, reason, *names = _list("PUBLISH", answer, at_least=3)
    sequence = count(number)
    if type(reason) is not bytes or _REASONS.get(reason) != len(names) or not (sequence or reason):
        raise _wrong("PUBLISH", answer)
    if not all(type(name) is bytes for name in names):
        raise _wrong("PUBLISH", answer)
    return Published(epoch(found), sequence, reason.decode(), names)


def touched(answer: object) -> Touched:
    """Return what the script TOUCH said; see :func:`published`."""
    found, head, now, owner = _list("TOUCH", answer, 4)
    if type(owner) is not bytes:
        raise _wrong("TOUCH", answer)
    if owner:
        return Touched("", 0, 0, owner)
    return Touched(epoch(found), count(head), count(now), b"")


def tails(answer: object, most: int) -> Tails:
    """
    Return what the script TAIL said; see :func:`published`.

    Args:
        answer (object): What the server said.
        most (int): How many channels it was asked for.
    """
    found, head, now, *channels = _list("TAIL", answer, at_least=4)
    if len(channels) > most:
        raise _wrong("TAIL", answer)
    return Tails(epoch(found), count(head), count(now), [_channel_tail(channel) for channel in channels])


def _channel_tail(answer: object) -> ChannelTail:
    last, lost, closed, closed_at, events, values, is_cut, numbers = _list("TAIL", answer, 8)
    for texts in (events, values):
        if not all(type(text) is bytes for text in _list("TAIL", texts)):
            raise _wrong("TAIL", texts)
    return ChannelTail(
        before(last),
        count(lost),
        count(closed),
        count(closed_at),
        events,
        values,
        count(is_cut) == 1,
        [count(number) for number in _list("TAIL", numbers)],
    )


def leases(answer: object) -> dict[str, str]:
    """Return what the script LIST_LEASES said, without what is no text; see :func:`published`."""
    found = _list("LIST_LEASES", answer)
    if len(found) % 2 or not all(type(text) is bytes for text in found):
        raise _wrong("LIST_LEASES", answer)
    return {
        name.decode("utf-8", "replace"): text.decode("utf-8", "replace")
        for name, text in zip(found[::2], found[1::2], strict=True)
    }


def before(answer: object) -> int:
    """Return the number before an event in its channel: ``~n`` for ``b"~n"``; see :func:`published`."""
    if type(answer) is bytes and answer[:1] == b"~":
        return ~count(answer[1:])
    return count(answer)


def count(answer: object) -> int:
    """Return a whole number from 0 on, also one that stands in a string; see :func:`published`."""
    if type(answer) is bytes and answer.isdigit() and len(answer) <= 16:
        answer = int(answer)
    if type(answer) is not int or not 0 <= answer < _MAX_COUNT:
        raise _wrong("a command", answer)
    return answer


def epoch(answer: object) -> str:
    """Return the life of a log; see :func:`published`."""
    text = answer.decode("ascii", "replace") if type(answer) is bytes else None
    if not is_epoch(text):
        raise _wrong("a script", answer)
    return str(text)


def strings(answer: object, length: int | None = None) -> list[bytes | None]:
    """
    Return a list of strings, each of which may be missing; see :func:`published`.

    Args:
        answer (object): What the server said.
        length (int | None): How many there must be, if that is known.
    """
    found = _list("a command", answer, length)
    if not all(item is None or type(item) is bytes for item in found):
        raise _wrong("a command", answer)
    return found


def master_address(answer: object) -> tuple[str, int] | None:
    """Return the master that a Sentinel names, ``None`` when it knows none; see :func:`published`."""
    if answer is None:
        return None
    host, port = strings(answer, 2)
    return _host(host), _port(port)


def cluster_slots(answer: object) -> list[tuple[int, int, str, int]]:
    """
    Return what CLUSTER SLOTS says; see :func:`published`.

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
