"""Where a stream begins: at the end of the log, or where its client stopped."""

from __future__ import annotations

from typing import NamedTuple

from . import positions
from .log import Log

__all__ = ["Start", "start"]


class Start(NamedTuple):
    """Where a stream begins, and whether its client must be told of a gap first."""

    epoch: str
    """The life of the log that the position belongs to."""

    position: int
    """Read on after this number."""

    reason: str | None
    """Why continuity cannot be proved; ``None`` when it can, or when a log read will tell."""


def start(log: Log, last_event_id: str | None, lag: int = 0) -> Start:
    """
    Return where a stream begins.

    Args:
        log (Log): What the stream will read.
        last_event_id (str | None): What the client sent; ``None`` or empty for a client that is new.
        lag (int): By how many numbers this copy of the log may be behind what the client has got from another process.

    Returns:
        Start: The end of the log for a new client; behind the last event for one that resumes. An id of
            another epoch (``"epoch"``) begins before all that the log holds, since all of it came after the
            old log was lost. An id that is none of ours (``"malformed"``) or lies ahead (``"future"``) begins at the end:
            nothing says what its sender has seen, and a made-up id must not fetch the whole history.
    """
    if not last_event_id:
        return Start(log.epoch, log.head, None)
    id = positions.parse(last_event_id)
    if id is None:
        return Start(log.epoch, log.head, "malformed")
    if id.epoch != log.epoch:
        return Start(log.epoch, 0, "epoch")
    if id.sequence > log.head + lag:
        return Start(log.epoch, log.head, "future")
    return Start(log.epoch, id.sequence, None)
