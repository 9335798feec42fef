"""Who may read what: closed, but for what is public or granted by a rule."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from werkzeug.exceptions import Forbidden, HTTPException, Unauthorized

from .core.channels import DEFAULT_CHANNEL, Pattern

__all__ = ["Rule", "Rules", "check_access"]

Rule = Callable[[str], bool]
"""Called with a channel's name, inside the request. True grants; anything false, and ``abort(403)``, refuses; ``abort(401)`` asks to log in."""

RuleT = TypeVar("RuleT", bound=Rule)

REFUSAL = "You may not read this channel."


class Rules:
    """The rules of one blueprint. Adding is meant for import time; reading is thread-safe."""

    def __init__(self) -> None:
        self._rules: list[tuple[Pattern, Rule]] = []

    def add(self, pattern: Pattern, rule: Rule) -> None:
        """Ask ``rule`` about channels that fit ``pattern``."""
        self._rules.append((pattern, rule))

    def check(self, channel: str) -> None:
        """
        Return if one of the rules for this channel grants it.

        Raises:
            Unauthorized: No rule granted it, and one said 401.
            Forbidden: No rule granted it, or none is about it.
        """
        refusal: HTTPException = Forbidden(REFUSAL)
        for pattern, rule in self._rules:
            if not pattern.matches(channel):
                continue
            try:
                if rule(channel):
                    return
            except HTTPException as error:
                # Whatever else a login helper raises, a redirect for instance, is a refusal: a browser would follow it
                # and give up at the HTML behind it.
                if error.code == 401:
                    refusal = Unauthorized("Log in to read this channel.")
        raise refusal


def check_access(channels: tuple[str, ...], public: tuple[Pattern, ...], rules: Rules) -> None:
    """
    Return if every channel is public or granted.

    Args:
        channels (tuple[str, ...]): What the client asks for.
        public (tuple[Pattern, ...]): What anybody may read, beside the default channel.
        rules (Rules): Asked about the others, inside the request.

    Raises:
        Unauthorized: As :meth:`Rules.check`.
        Forbidden: The same for a channel that is forbidden and for one that nobody ever published to.
    """
    for channel in channels:
        if channel == DEFAULT_CHANNEL:
            continue
        for pattern in public:
            if pattern.matches(channel):
                break
        else:
            rules.check(channel)
