"""Access: every channel is closed, unless a rule grants it or the settings make it public."""

from __future__ import annotations

from collections.abc import Iterable

from flask import Flask

from ..core.channels import DEFAULT_CHANNEL, Pattern
from ..errors import ConfigurationError
from .refusals import Refusal, RefusalLog
from .rule import RULE, Rule, check_function, name_of
from .settings import Settings
from .verdict import FORBIDDEN, ask

__all__ = ["Rules", "check_access"]

_ONE_EACH = "Give each app an SSEPush() of its own, and put its rules on that."


class Rules:
    """The rules of one blueprint. :meth:`add` is meant for import time; the other methods are thread-safe."""

    def __init__(self) -> None:
        self._rules: list[tuple[Pattern, Rule]] = []
        self._import_name: str | None = None  # of the one app that may use the rules, once it is known

    def add(self, pattern: Pattern, rule: Rule, import_names: Iterable[str]) -> None:
        """
        Ask ``rule`` about channels that fit ``pattern``.

        Args:
            pattern (Pattern): A pattern over names of channels.
            rule (Rule): An ordinary function of one argument.
            import_names (Iterable[str]): The import names of the apps that have the blueprint already.

        Raises:
            ConfigurationError: The rule cannot work, or the blueprint is on apps of several import names.
        """
        names = sorted(set(import_names))
        if len(names) > 1:
            raise ConfigurationError(
                f"The rule {name_of(rule)} would count for every app of this blueprint, "
                f"got apps of {', '.join(map(repr, names))}. {_ONE_EACH}"
            )
        check_function(RULE, pattern, rule)
        if names:
            self._import_name = names[0]
        self._rules.append((pattern, rule))

    def refuse_unless_free(self, app: Flask) -> None:
        """
        Raise unless an app may use these rules.

        Raises:
            ConfigurationError: The rules belong to another app.
        """
        if self._rules and self._import_name not in (None, app.import_name):
            raise ConfigurationError(
                f"This blueprint has rules of the app {self._import_name!r}, "
                f"and they would open channels of the app {app.import_name!r} too. {_ONE_EACH}"
            )

    def claim(self, app: Flask) -> None:
        """Reserve the rules, if there are any, for one app."""
        if self._rules:
            self._import_name = app.import_name

    def cover(self, channel: str) -> bool:
        """Say whether one of the rules is about a channel."""
        return any(pattern.matches(channel) for pattern, _ in self._rules)

    def ask(self, channel: str, log: RefusalLog) -> Refusal | None:
        """
        Return why the rules refuse a channel that they cover; ``None`` when one of them grants it.

        Of several refusals a 503 comes first, because the rule that could not answer might have granted the
        channel. A 401 comes before a 403, because the channel may be granted after a login.
        """
        refusals: list[Refusal] = []
        for pattern, rule in self._rules:
            if pattern.matches(channel):
                refusal = ask(pattern, rule, channel)
                if refusal is None:
                    for other in refusals:
                        if other.is_fault:
                            log.note(other)
                    return None
                refusals.append(refusal)
        for refusal in refusals:
            log.note(refusal)
        return max(refusals, key=lambda refusal: (403, 401, 503).index(refusal.status))


def check_access(
    channels: tuple[str, ...], settings: Settings, rules: Rules, log: RefusalLog
) -> Refusal | None:
    """
    Return why a stream of these channels is refused; ``None`` when each is granted or public.

    Args:
        channels (tuple[str, ...]): What the client asks for.
        settings (Settings): Say which channels are public.
        rules (Rules): Called inside the request. Rules that cover a channel decide alone.
        log (RefusalLog): Gets each reason, also that of a broken rule beside one that grants.
    """
    unknown: Refusal | None = None
    for channel in channels:
        if rules.cover(channel):
            refusal = rules.ask(channel, log)
        elif _is_public(channel, settings):
            continue
        else:
            refusal = _uncovered(channel)
            log.note(refusal)
        if refusal is None:
            continue
        if refusal.status != 503:
            return refusal
        # A later channel may be refused for good, and then there is no use in coming back.
        unknown = unknown or refusal
    return unknown


def _is_public(channel: str, settings: Settings) -> bool:
    if channel == DEFAULT_CHANNEL:
        return settings.default_channel_public
    return any(pattern.matches(channel) for pattern in settings.public_channels)


def _uncovered(channel: str) -> Refusal:
    if channel == DEFAULT_CHANNEL:
        reason = (
            f"SSE_PUSH_DEFAULT_CHANNEL_PUBLIC=False closes channel {channel!r}, "
            "which is read where a request names no channel, and no rule covers it"
        )
        cure = f'Ask for another one with ?channel=, or add a rule: @sse.authorize("{channel}").'
    else:
        reason = f"no rule covers channel {channel!r}, and SSE_PUSH_PUBLIC_CHANNELS does not list it"
        cure = f'Add a rule, @sse.authorize("{channel}"), or list the channel in SSE_PUSH_PUBLIC_CHANNELS.'
    return Refusal(403, FORBIDDEN, reason, cure, "channel", channel)
