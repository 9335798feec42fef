"""What observers learn of a stream."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from ..core import positions

__all__ = ["Observer", "StreamInfo"]


@dataclass(frozen=True, slots=True)
class StreamInfo:
    """What observers learn of a stream."""

    channels: tuple[str, ...]
    """What it reads; empty for :meth:`SSEPush.response`."""
    last_event_id: str | None
    """
    Where its client said it stopped, if that can be the id of an event: a position in a log, or for
    :meth:`SSEPush.response` 1 to 64 letters, digits and ``. _ ~ -``. Else ``None``: a client can send
    anything, and observers write this into logs.
    """
    remote_address: str | None
    """``REMOTE_ADDR`` of its request."""

    def __post_init__(self) -> None:
        id = self.last_event_id
        if id is not None and not (positions.parse(id) if self.channels else positions.is_token(id)):
            object.__setattr__(self, "last_event_id", None)


class Observer(Protocol):
    """Who is told of a stream's life. Called by the stream, from its thread or greenlet."""

    def stream_opened(self, info: StreamInfo, is_direct: bool) -> None:
        """Its first byte is about to be sent; ``is_direct``: the client's socket is written to directly after it."""

    def stream_closed(self, info: StreamInfo, reason: str, is_direct: bool) -> None:
        """It is over and holds nothing any more."""

    def stream_refused(self, reason: str) -> None:
        """Its client was asked to come later: ``"full"``, ``"draining"``, ``"client"``, ``"unknown client"`` or ``"bus"``."""
