"""Which channels of a memory bus are closed, and what they keep by keys."""

from __future__ import annotations

from ..core.entry import ENTRY_OVERHEAD_BYTES, PLACE_OVERHEAD_BYTES
from ..core.messages import Message
from ..core.retention import RetentionRules
from ..core.values import shown
from ..errors import ChannelClosed, TooManyKept
from .base import PublishResult

__all__ = ["ChannelStates", "closed_error", "too_large_error", "too_many_error"]

_MANY = 1_000


class ChannelStates:
    """
    What a bus must know of its channels before it takes an event. Its owner's lock guards it.

    Args:
        rules (RetentionRules): How long a channel stays closed, and how much may be kept.
    """

    def __init__(self, rules: RetentionRules) -> None:
        self._rules = rules
        self._closed: dict[str, tuple[PublishResult, float]] = {}  # and until when
        self._kept: dict[str, dict[str, int]] = {}  # bytes by channel and key
        self._kept_bytes = 0
        self._look_at = _MANY

    def __bool__(self) -> bool:
        """Whether any channel is closed."""
        return bool(self._closed)

    def check(self, message: Message, now: float) -> Message | PublishResult:
        """
        Return what is to be stored of a message; or a result, where nothing is.

        Raises:
            ChannelClosed: One of its channels is closed.
            TooManyKept: Its value cannot be kept.
        """
        channels, block, key, closes, _ = message
        closed = {channel: result for channel in channels if (result := self._closing(channel, now))}
        if closed and (block or not closes):
            raise closed_error(next(iter(closed)))
        if closes and not block:
            left = tuple(channel for channel in channels if channel not in closed)
            if not left:
                newest = max(closed.values(), key=lambda result: result.sequence)
                return newest._replace(is_repeated=True)
            return message._replace(channels=left)
        if key is not None:
            if not block:
                left = tuple(channel for channel in channels if key in self._kept.get(channel, ()))
                return message._replace(channels=left) if left else PublishResult("", 0, is_repeated=True)
            self._check_room(channels, block, key)
        return message

    def note(self, message: Message, result: PublishResult, now: float) -> None:
        """Note that a message was stored."""
        channels, block, key, closes, _ = message
        for channel in channels:
            if key is not None:
                kept = self._kept.setdefault(channel, {})
                self._kept_bytes -= kept.pop(key, 0)
                if block:
                    kept[key] = _weight(block)
                    self._kept_bytes += kept[key]
                elif not kept:
                    del self._kept[channel]
            if closes:
                self._closed[channel] = result, now + self._rules.of(channel).seconds
        if len(self._closed) > self._look_at:
            for channel in list(self._closed):
                self._closing(channel, now)
            self._look_at = 2 * len(self._closed) + _MANY

    def open_again(self, channels: tuple[str, ...]) -> None:
        """Undo the closing that :meth:`note` has noted."""
        for channel in channels:
            self._closed.pop(channel, None)

    def _closing(self, channel: str, now: float) -> PublishResult | None:
        found = self._closed.get(channel)
        if found is None or now <= found[1]:
            return found[0] if found else None
        del self._closed[channel]  # it begins anew
        self._kept_bytes -= sum(self._kept.pop(channel, {}).values())
        return None

    def _check_room(self, channels: tuple[str, ...], block: bytes, key: str) -> None:
        most, added = self._rules.max_kept, 0
        for channel in channels:
            kept = self._kept.get(channel, {})
            if key not in kept and len(kept) >= most:
                raise too_many_error(channel, key, most)
            added += _weight(block) - kept.get(key, 0)
        if added > 0 and self._kept_bytes + added > self._rules.max_kept_bytes:
            raise too_large_error(key, self._rules.max_kept_bytes)


def _weight(block: bytes) -> int:
    return len(block) + ENTRY_OVERHEAD_BYTES + PLACE_OVERHEAD_BYTES


def closed_error(channel: str) -> ChannelClosed:
    """Return the error for an event of a closed channel."""
    return ChannelClosed(
        f'"channel" {shown(channel)} was closed, and takes no event until its closing is forgotten. '
        "Publish to another channel, or close it later."
    )


def too_many_error(channel: str, key: str, most: int) -> TooManyKept:
    """Return the error for a value of a channel that keeps as many as it may."""
    return TooManyKept(
        f'"key" {shown(key, 80)} would be one value too many: channel {shown(channel)} keeps {most:,}, as '
        "SSE_PUSH_KEPT_VALUES allows. Call forget() for those that are over, or raise the limit."
    )


def too_large_error(key: str, most_bytes: int) -> TooManyKept:
    """Return the error for a value for which no bytes are left."""
    return TooManyKept(
        f'"key" {shown(key, 80)} has no room: kept values of all channels may have {most_bytes:,} bytes, '
        "as SSE_PUSH_KEPT_BYTES allows. Call forget() for those that are over, or raise the limit."
    )
