"""What a store gives back: an event or a report of ours, or something that is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from ..errors import InvalidEvent
from .channels import MAX_CHANNELS_PER_EVENT, check_channel, check_channels
from .event import MAX_RETRY_MILLISECONDS, check_retry, check_type
from .positions import MAX_ID_BYTES

__all__ = ["MAX_REPORT_BYTES", "check_report", "check_stored"]

MAX_REPORT_BYTES = 512 * 1024
"""A report with as many channels as one may name, each with the longest name, has 150 KB."""

_MOST = 1 << 53  # what JSON, floats and Lua can count

_MAX_RETRY_DIGITS = len(str(MAX_RETRY_MILLISECONDS))


def check_stored(channels: object, block: object, max_bytes: int) -> tuple[str, ...]:
    r"""
    Return the channels of a stored event, if it is one that :func:`publishing.prepare` could have made.

    Whoever can write to a store can put anything there. A block goes to browsers as it is, so a blank line in it
    would begin a second event, an ``id:`` line would move the reader's place, ``retry: 0`` would make every browser
    hammer the server, and the type ``sse.reset`` would be taken for a signal of this package.

    Args:
        channels (object): The names, joined by ``"\n"``, as ``str`` or as UTF-8.
        block (object): The bytes of the event without its ``id:`` line, blank line included.
        max_bytes (int): The most bytes that the block may have.

    Returns:
        tuple[str, ...]: The names, each once.

    Raises:
        ValueError: It is none. The message says what is wrong, without the event's data.
    """
    if isinstance(channels, bytes):
        channels = channels.decode()
    if not isinstance(channels, str):
        raise InvalidEvent(f"its channels are {type(channels).__name__}")
    if type(block) is not bytes:
        raise InvalidEvent(f"its block is {type(block).__name__}")
    if len(block) > max_bytes:
        raise InvalidEvent(f"its block has {len(block)} bytes, and SSE_PUSH_MAX_EVENT_BYTES is {max_bytes}")
    _check_block(block)
    return check_channels(channels.split("\n") if "\n" in channels else channels, MAX_CHANNELS_PER_EVENT)


def _check_block(block: bytes) -> None:
    """Refuse what is not: perhaps a type, perhaps a retry, one or more lines of data, a blank line."""
    begin = 0
    if block.startswith(b"event: "):
        end = block.find(b"\n")
        check_type(block[7:end].decode())
        begin = end + 1
    if block.startswith(b"retry: ", begin):
        end = block.find(b"\n", begin)
        digits = block[begin + 7 : end]
        if not digits.isdigit() or len(digits) > _MAX_RETRY_DIGITS:
            raise InvalidEvent("its retry is no number")
        check_retry(int(digits))
        begin = end + 1
    # Each line but the first begins behind a line feed. Two line feeds are left over: the last line's, the blank line's.
    if (
        not block.startswith(b"data: ", begin)
        or not block.endswith(b"\n\n")
        or block.count(b"\n", begin) != block.count(b"\ndata: ", begin) + 2
        or b"\r" in block
    ):
        raise InvalidEvent("its block is not the lines of one event")
    if not block.isascii():
        block.decode()


def check_report(text: str | bytes) -> dict[str, Any] | None:
    """
    Return what a process has stored of itself, if it is a report.

    Args:
        text (str | bytes): JSON, or anything at all.

    Returns:
        dict | None: What is known of a report, each of its kind; ``None`` for what is no report.
    """
    if len(text) > MAX_REPORT_BYTES:
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict):
        return None
    # Of a later version there may be more, and its like is not asked for here.
    report = {name: value for name, value in found.items() if name in _REPORTED}
    return report if all(_REPORTED[name](value) for name, value in report.items()) else None


def _is_text(value: object) -> bool:
    # Printable, because a terminal may show it.
    return isinstance(value, str) and value.isprintable() and len(value) <= MAX_ID_BYTES * 8


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value < _MOST


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and 0 <= value < _MOST  # not NaN, not infinity


def _is_counts(value: object) -> bool:
    return isinstance(value, dict) and all(map(_is_count, value.values()))


def _is_channels(value: object) -> bool:
    if not isinstance(value, dict) or not _is_counts(value):
        return False
    try:
        for name in value:
            check_channel(name)
    except ValueError:
        return False
    return True


_REPORTED: dict[str, Callable[[object], bool]] = {
    "process": _is_text,
    "pid": _is_count,
    "host": _is_text,
    "uptime_seconds": _is_number,
    "streams": _is_count,
    "published": _is_count,
    "last_event_id": lambda value: value is None or _is_text(value),
    "events_per_second": _is_number,
    "channels": _is_channels,
    "more_channels": _is_count,
    "history": _is_counts,
}
