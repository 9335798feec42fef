"""Positions of events, which clients know as ids: the epoch of a log, and a number in it."""

from __future__ import annotations

import re
from typing import NamedTuple

from ..errors import InvalidEvent
from .values import shown, text_of

__all__ = ["MAX_ID_BYTES", "EventId", "check_token", "is_epoch", "is_token", "parse"]

MAX_ID_BYTES = 64
"""
Across origins a Last-Event-ID past 128 bytes, or with other characters, costs a preflight (Fetch,
"CORS-unsafe").
"""

# These characters are safe in a header, in a query and across origins.
_TOKEN = re.compile(r"[A-Za-z0-9._~-]{1,64}")
_EVENT_ID = re.compile(r"([A-Za-z0-9._~]{1,40})-(0|[1-9][0-9]{0,18})")
_EPOCH = re.compile(r"[A-Za-z0-9._~]{1,40}")


class EventId(NamedTuple):
    """The position of an event; written ``epoch-sequence``."""

    epoch: str
    """Names one life of a log. A log that was lost begins again with another epoch."""

    sequence: int
    """Counts from 1 without holes in an epoch; 0 is the position before the first event."""

    def __str__(self) -> str:
        return f"{self.epoch}-{self.sequence}"


def parse(text: str) -> EventId | None:
    """
    Read a ``Last-Event-ID`` that a client sent.

    Args:
        text (str): What the client sent; it may be anything.

    Returns:
        EventId | None: The position; ``None`` for a text that no log of this package can have sent.
    """
    match = _EVENT_ID.fullmatch(text)
    return EventId(match[1], int(match[2])) if match else None


def is_epoch(value: object) -> bool:
    """
    Say whether a value that was read from a store can be the epoch of a log.

    The epoch is copied into every ``id:`` line, so a line break in it would begin a field of somebody else's.
    """
    return isinstance(value, str) and _EPOCH.fullmatch(value) is not None


def is_token(text: object) -> bool:
    """
    Say whether a text is 1 to 64 of the letters, digits and ``. _ ~ -``.

    The ids of :meth:`SSEPush.response` are such texts, and so is every position.
    """
    return isinstance(text, str) and _TOKEN.fullmatch(text) is not None


def check_token(id: object) -> str:
    """
    Return an id as a plain ``str``, and refuse one that a client would drop or could not send back.

    Raises:
        InvalidEvent: The id is not 1 to 64 of the letters, digits and ``. _ ~ -``.
    """
    text = text_of(id)
    if text is None or not is_token(text):
        raise InvalidEvent(
            f'"id" must be 1 to {MAX_ID_BYTES} letters, digits or any of . _ ~ -, got {shown(id)}. '
            "Encode other values first."
        )
    return text
