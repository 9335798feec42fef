"""Names of channels, and patterns over them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import lru_cache

from ..errors import InvalidChannel
from .values import shown, text_of

__all__ = [
    "CONTROL_CHANNEL",
    "DEFAULT_CHANNEL",
    "MAX_CHANNELS_PER_EVENT",
    "Pattern",
    "check_channel",
    "check_channels",
    "is_channel",
    "one_channel",
]

DEFAULT_CHANNEL = "sse"
"""The channel of events and streams that name none (as in Flask-SSE)."""

CONTROL_CHANNEL = "*control"
"""
What carries commands from process to process, in the order of the log. No stream and no caller can name it,
because no name of a channel holds ``*``.
"""

MAX_CHANNELS_PER_EVENT = 1_000
"""An event has a place in the history of each of its channels. More readers had better share a channel."""

# No character that has a meaning in a query (comma, space, "+"), in a pattern ("*") or in the key of a store.
_NAME = re.compile(r"[A-Za-z0-9_.:@/=~-]{1,128}")
_PATTERN = re.compile(r"[A-Za-z0-9_.:@/=~*-]{1,128}")
_CURE = "Use 1 to 128 letters, digits or any of _ . : @ / = ~ -"


def is_channel(name: str) -> bool:
    """Say whether a text is a name for a channel: 1 to 128 letters, digits or any of ``_ . : @ / = ~ -``."""
    return _NAME.fullmatch(name) is not None


def check_channel(channel: object) -> str:
    """
    Return a channel's name as a plain ``str``, and refuse what cannot be one.

    Raises:
        InvalidChannel: The name is not 1 to 128 letters, digits or any of ``_ . : @ / = ~ -``.
    """
    name = text_of(channel)
    if name is None or not is_channel(name):
        raise InvalidChannel(f'"channel" is not a name for a channel, got {shown(channel)}. {_CURE}.')
    return name


def check_channels(channels: str | Iterable[str], most: int) -> tuple[str, ...]:
    """
    Return the channels in the order given, each once, as plain ``str``.

    Args:
        channels (str | Iterable[str]): One name or several; an iterable is read once.
        most (int): How many are allowed.

    Raises:
        InvalidChannel: There is no name, there are more than ``most``, or a name is not allowed.
    """
    name = channels if type(channels) is str else text_of(channels)
    if name is not None:
        return one_channel(name)
    names = tuple(dict.fromkeys(check_channel(channel) for channel in _iterator(channels)))
    if not names:
        raise InvalidChannel(
            '"channel" names no channel at all, got an empty collection. Give at least one name.'
        )
    if len(names) > most:
        raise InvalidChannel(
            f'"channel" names {len(names):,} channels, at most {most:,} are allowed. '
            "Give fewer, or one that all of them share."
        )
    return names


def _iterator(channels: object) -> Iterator[object]:
    # A lazy text, or a proxy of a text, is not a str: iterating over it would give letters.
    if not isinstance(channels, bytes) and not hasattr(channels, "casefold"):
        with suppress(TypeError):
            return iter(channels)  # type: ignore[call-overload, no-any-return]
    raise InvalidChannel(f'"channel" must be a name or several names, got {shown(channels)}. {_CURE}.')


@lru_cache(maxsize=8192)
def one_channel(channel: str) -> tuple[str]:
    """
    Return a channel as :func:`check_channels` does.

    A channel in use is checked once, and all of its events share one tuple.

    Raises:
        InvalidChannel: The name is not allowed.
    """
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
        """Say whether the whole name fits, in time linear in its length, because clients send names."""
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
