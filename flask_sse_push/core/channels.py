"""Names of channels, and patterns over them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import lru_cache

from ..errors import InvalidChannel
from .values import shown, text_of

__all__ = ["DEFAULT_CHANNEL", "MAX_CHANNELS_PER_EVENT", "Pattern", "check_channel", "check_channels"]

DEFAULT_CHANNEL = "sse"
"""Where events go, and what streams read, when nothing else is said (as in Flask-SSE)."""

MAX_CHANNELS_PER_EVENT = 1_000
"""An event holds a place in the history of each of its channels; more readers than this share a channel better."""

# No comma, no space, no "*", no "+" (a space in a query): nothing that a query, a pattern or a store's key gives a meaning to.
_NAME = re.compile(r"[A-Za-z0-9_.:@/=~-]{1,128}")
_PATTERN = re.compile(r"[A-Za-z0-9_.:@/=~*-]{1,128}")
_CURE = "Use 1 to 128 letters, digits or any of _ . : @ / = ~ -"


def check_channel(channel: object) -> str:
    """
    Return a channel's name as a ``str`` itself, and refuse what cannot be one.

    Raises:
        InvalidChannel: Not 1 to 128 letters, digits or any of ``_ . : @ / = ~ -``.
    """
    name = text_of(channel)
    if name is None or not _NAME.fullmatch(name):
        raise InvalidChannel(f'"channel" is not a name for a channel, got {shown(channel)}. {_CURE}.')
    return name


def check_channels(channels: str | Iterable[str], most: int) -> tuple[str, ...]:
    """
    Return the channels in the order given, each once, as ``str`` itself.

    Args:
        channels (str | Iterable[str]): One name or several; gone through once.
        most (int): How many are allowed.

    Raises:
        InvalidChannel: None at all, more than ``most``, or a name that is not one.
    """
    name = text_of(channels)
    if name is not None:
        return _one(name)
    names = tuple(dict.fromkeys(check_channel(channel) for channel in _iterator(channels)))
    if not names:
        raise InvalidChannel(
            '"channel" names no channel at all, got an empty collection. Give at least one name.'
        )
    if len(names) > most:
        raise InvalidChannel(
            f'"channel" names {len(names):,} channels, at most {most:,} are allowed. Give fewer, or one that all of them share.'
        )
    return names


def _iterator(channels: object) -> Iterator[object]:
    # A lazy text, or a proxy of one, is no str and would be taken for a collection of letters.
    if not isinstance(channels, bytes) and not hasattr(channels, "casefold"):
        with suppress(TypeError):
            return iter(channels)  # type: ignore[call-overload, no-any-return]
    raise InvalidChannel(f'"channel" must be a name or several names, got {shown(channels)}. {_CURE}.')


@lru_cache(maxsize=8192)
def _one(channel: str) -> tuple[str]:
    """Checked once while it is in use, and one object for all events of a channel."""
    return (check_channel(channel),)


class Pattern:
    """
    A channel's name in which ``*`` stands for any run of characters, also for none.

    Raises:
        InvalidChannel: The text is neither a name nor a pattern.
    """

    __slots__ = ("_parts", "text")

    def __init__(self, text: str) -> None:
        pattern = text_of(text)
        if pattern is None or not _PATTERN.fullmatch(pattern):
            raise InvalidChannel(
                f'"pattern" is not a pattern over channels, got {shown(text)}. '
                f"{_CURE}, and * for any characters."
            )
        self.text = pattern
        """The pattern as it was written."""
        self._parts = pattern.split("*")

    def matches(self, channel: str) -> bool:
        """Say whether the whole name fits, in time linear in its length (the name comes from outside)."""
        first, *middle, last = self._parts if len(self._parts) > 1 else (self.text, None)
        if last is None:
            return channel == first
        if not channel.startswith(first):
            return False
        position = len(first)
        for part in middle:
            found = channel.find(part, position)
            if found < 0:
                return False
            position = found + len(part)
        return channel.endswith(last) and len(channel) - len(last) >= position

    def __repr__(self) -> str:
        return f"Pattern({self.text!r})"
