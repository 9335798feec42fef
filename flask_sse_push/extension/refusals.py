"""Refusals: what a client is told instead of a stream, and what the log says of it."""

from __future__ import annotations

import logging
from collections.abc import Hashable
from dataclasses import dataclass

__all__ = ["Refusal", "RefusalLog"]

MOST_KEYS = 64
"""How many reasons of one kind are logged: clients choose the channels, origins and names of queries."""

logger = logging.getLogger("flask_sse_push")


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a stream is refused."""

    status: int
    """400, 401 or 403; 503 when nobody can tell now, and the client is to come back."""
    message: str
    """What the client is told. It does not tell which channels and rules there are."""
    reason: str
    """What the log and debug mode say."""
    cure: str
    """What the developer can do."""
    kind: str
    """The log bounds each kind by itself: ``"rule"``, ``"broken rule"``, ``"channel"``, ``"origin"`` ..."""
    key: Hashable
    """Tells this reason from others of its kind."""
    is_fault: bool = False
    """Whether a rule is broken: this is logged even if another rule grants the channel."""
    error: BaseException | None = None
    """What a rule raised; the log shows its traceback."""
    www_authenticate: tuple[str, ...] = ()
    """The ``WWW-Authenticate`` headers of the rule's own response."""


class RefusalLog:
    """Logs each reason once per process. Thread-safe, and bounded whatever clients send."""

    def __init__(self) -> None:
        # No lock: when two threads meet, at worst a reason is logged twice, or a count is one too low.
        self._counts: dict[tuple[str, Hashable], int] = {}
        self._kinds: dict[str, int] = {}

    def count(self, kind: str, key: Hashable) -> int:
        """Count a reason, and return its count; 0 when there were 64 other keys of its kind before."""
        counted = self._counts.get((kind, key), 0) + 1
        if counted == 1:
            if self._kinds.get(kind, 0) >= MOST_KEYS:
                return 0
            self._kinds[kind] = now = self._kinds.get(kind, 0) + 1
            if now == MOST_KEYS:
                text = "Refusals for %d reasons of the kind %r were logged; further ones are not."
                logger.warning(text, now, kind)
        self._counts[kind, key] = counted
        return counted

    def note(self, refusal: Refusal) -> None:
        """
        Log a refusal the first time; a 503 also the 10th, 100th and so on; with the traceback of its error.
        """
        text = f"{refusal.reason}. {refusal.cure}"
        count = self.count(refusal.kind, refusal.key)
        if count == 1:
            level = logging.WARNING if refusal.error is None else logging.ERROR
            logger.log(level, "A stream was refused (%d): %s", refusal.status, text, exc_info=refusal.error)
        elif refusal.status == 503 and count >= 10 and str(count).rstrip("0") == "1":
            logger.warning("Streams were refused (%d) %d times: %s", refusal.status, count, text)

    def note_passed(self, refusal: Refusal) -> None:
        """Log once what debug mode would refuse, and what is let through without it."""
        if self.count(refusal.kind, refusal.key) == 1:
            text = f"{refusal.reason}. {refusal.cure}"
            logger.warning("A stream was asked for wrongly: %s (In debug mode: %d.)", text, refusal.status)
