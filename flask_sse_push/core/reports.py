"""Reports that processes store of themselves, checked when another process reads them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from .channels import is_channel
from .positions import MAX_ID_BYTES

__all__ = ["MAX_REPORT_BYTES", "check_report"]

MAX_REPORT_BYTES = 512 * 1024
"""A report on as many channels as it may name, each with the longest name, has 150 KB."""

_MAX_COUNT = 1 << 53  # floats and Lua count no further


def check_report(text: str | bytes) -> dict[str, Any] | None:
    """
    Return a report that was read from a store, which may hold anything.

    Args:
        text (str | bytes): JSON, if it is a report.

    Returns:
        dict | None: The known fields, each of its type; ``None`` when a field is wrong or there is no report.
    """
    if len(text) > MAX_REPORT_BYTES:
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict):
        return None
    # A later version may store more fields. They are left out, and so is the question whether they are right.
    report = {name: value for name, value in found.items() if name in _FIELDS}
    return report if all(_FIELDS[name](value) for name, value in report.items()) else None


def _is_text(value: object) -> bool:
    # Printable, because a terminal may show it.
    return isinstance(value, str) and value.isprintable() and len(value) <= MAX_ID_BYTES * 8


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value < _MAX_COUNT


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and 0 <= value < _MAX_COUNT  # neither NaN nor infinity


def _is_counts(value: object) -> bool:
    return isinstance(value, dict) and all(map(_is_count, value.values()))


def _is_channels(value: object) -> bool:
    return isinstance(value, dict) and _is_counts(value) and all(map(is_channel, value))


_FIELDS: dict[str, Callable[[object], bool]] = {
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
    "entries_read": _is_count,
}
