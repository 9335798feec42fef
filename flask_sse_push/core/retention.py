"""How much of the past is kept: of each channel, and over all."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from ..errors import InvalidChannel
from .channels import CONTROL_CHANNEL, Pattern

__all__ = [
    "MAX_HISTORY_LENGTH",
    "MAX_HISTORY_SECONDS",
    "ChannelRetention",
    "RetentionRules",
    "read_rules",
]

MAX_HISTORY_LENGTH = 1_000_000
"""Events of one channel."""

MAX_HISTORY_SECONDS = 7 * 86_400.0
"""One week."""

_MAX_REMEMBERED = 8_192
_MAX_TEXT_BYTES = 256 * 1024
_MAX_BYTES = 1 << 50

_CONTROL = (1_000, 600.0)


class ChannelRetention(NamedTuple):
    """How much of one channel is kept."""

    length: int
    """The newest so many events; those that are kept by a key are not counted."""
    seconds: float
    """For so long. A channel that was closed is closed for this time."""


class RetentionRules:
    """
    How much of the past a bus keeps. Never changed; thread-safe.

    Args:
        default (ChannelRetention): For channels that no pattern fits.
        max_bytes (int): Of the events of all channels together, overhead included; the oldest go first. Kept
            values are not counted.
        max_kept (int): Values that one channel keeps by their keys.
        max_kept_bytes (int): Bytes of the kept values of all channels together, overhead included.
        patterns (Sequence): What counts for the channels that fit a pattern; the first pattern that fits
            counts.
    """

    __slots__ = ("_known", "default", "max_bytes", "max_kept", "max_kept_bytes", "patterns", "text")

    def __init__(
        self,
        default: ChannelRetention,
        max_bytes: int,
        max_kept: int = 10_000,
        max_kept_bytes: int = 16 * 1024 * 1024,
        patterns: Sequence[tuple[Pattern, ChannelRetention]] = (),
    ) -> None:
        self.default = default
        self.max_bytes = max_bytes
        self.max_kept = max_kept
        self.max_kept_bytes = max_kept_bytes
        self.patterns = tuple(patterns)
        self.text = json.dumps(
            [1, [*default], max_bytes, max_kept, max_kept_bytes, [[p.text, *r] for p, r in self.patterns]],
            separators=(",", ":"),
        )
        """All of it as text, for a store; :func:`read_rules` reads it. The same rules have the same text."""
        self._known: dict[str, ChannelRetention] = {CONTROL_CHANNEL: ChannelRetention(*_CONTROL)}

    def of(self, channel: str) -> ChannelRetention:
        """Return what counts for a channel."""
        found = self._known.get(channel)
        if found is None:
            if not self.patterns:
                return self.default
            fits = (retention for pattern, retention in self.patterns if pattern.matches(channel))
            found = next(fits, self.default)
            if len(self._known) < _MAX_REMEMBERED:
                self._known[channel] = found
        return found

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RetentionRules) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)

    def __repr__(self) -> str:
        return f"RetentionRules({self.text})"


def read_rules(text: str | bytes) -> RetentionRules | None:
    """
    Return the rules that a text from a store holds; ``None`` when it can be none of ours.

    Args:
        text (str | bytes): Anything.
    """
    if len(text) > _MAX_TEXT_BYTES:
        return None
    try:
        form, default, max_bytes, max_kept, max_kept_bytes, patterns = json.loads(text)
        if form != 1 or not all(map(_is_count, (max_bytes, max_kept, max_kept_bytes))):
            return None
        read = [(Pattern(pattern), _retention(length, seconds)) for pattern, length, seconds in patterns]
        return RetentionRules(_retention(*default), max_bytes, max_kept, max_kept_bytes, read)
    except (ValueError, TypeError, RecursionError, InvalidChannel):
        return None


def _retention(length: Any, seconds: Any) -> ChannelRetention:
    if type(length) is not int or not 1 <= length <= MAX_HISTORY_LENGTH:
        raise ValueError("its length is none")
    if type(seconds) not in (int, float) or not 1 <= seconds <= MAX_HISTORY_SECONDS:
        raise ValueError("its time is none")
    return ChannelRetention(length, float(seconds))


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value <= _MAX_BYTES
