"""Answers that are no stream: what the client is told, and what the log says once."""

from __future__ import annotations

import logging
from collections.abc import Hashable
from dataclasses import dataclass

__all__ = ["Refusal", "RefusalLog"]

MOST_KEYS = 64
"""How many reasons of one kind are logged: channels, origins and names in a query come from outside."""

logger = logging.getLogger("flask_sse_push")


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a stream is refused."""

    status: int
    """400, 401 or 403; 503 when the answer is not known now, so that the client is to come back."""
    message: str
    """What the client is told. It says nothing of which channels and rules there are."""
    reason: str
    """Why, for the log and for debug mode."""
    cure: str
    """What the developer can do."""
    kind: str
    """What the log counts together: ``"rule"``, ``"broken rule"``, ``"channel"``, ``"origin"`` and so on."""
    key: Hashable
    """What tells this reason from others of its kind."""
    is_fault: bool = False
    """Whether a rule did what no rule should: it is logged even where another rule grants."""
    error: BaseException | None = None
    """What a rule raised, for its traceback."""
    www_authenticate: tuple[str, ...] = ()
    """How to log in, as the rule's own answer said it."""


class RefusalLog:
    """Says each reason once per process. Thread-safe; bounded, whatever comes from outside."""

    def __init__(self) -> None:
        # Without a lock: at worst two threads that meet here say the same thing twice, or count one less.
        self._counts: dict[tuple[str, Hashable], int] = {}
        self._kinds: dict[str, int] = {}

    def count(self, kind: str, key: Hashable) -> int:
        """Return how often this was counted, with this time; 0 for what comes after 64 keys of its kind."""
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
        """Log a refusal once; of a rule that broke with its traceback, and again the 10th, 100th ... time."""
        text = f"{refusal.reason}. {refusal.cure}"
        count = self.count(refusal.kind, refusal.key)
        if count == 1:
            level = logging.WARNING if refusal.error is None else logging.ERROR
            logger.log(level, "A stream was refused (%d): %s", refusal.status, text, exc_info=refusal.error)
        elif refusal.status == 503 and count >= 10 and str(count).rstrip("0") == "1":
            logger.warning("Streams were refused (%d) %d times: %s", refusal.status, count, text)

    def note_passed(self, refusal: Refusal) -> None:
        """Log once what would be refused in debug mode, and is let through here."""
        if self.count(refusal.kind, refusal.key) == 1:
            text = f"{refusal.reason}. {refusal.cure}"
            logger.warning("A stream was asked for wrongly: %s (In debug mode: %d.)", text, refusal.status)
