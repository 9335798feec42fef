"""Who may read what: closed, but for what a rule grants or the settings make public."""

from __future__ import annotations

from collections.abc import Iterable

from flask import Flask

from ..core.channels import DEFAULT_CHANNEL, Pattern
from ..errors import ConfigurationError
from .refusals import Refusal, RefusalLog
from .rule import FORBIDDEN, Rule, ask, check_rule, name_of
from .settings import Settings

__all__ = ["Rules", "check_access"]

_ONE_EACH = "Give each app an SSEPush() of its own, and put its rules on that."


class Rules:
    """The rules of one blueprint. Adding is meant for import time; reading is thread-safe."""

    def __init__(self) -> None:
        self._rules: list[tuple[Pattern, Rule]] = []
        self._import_name: str | None = None  # whose rules they are, as soon as there are rules and an app

    def add(self, pattern: Pattern, rule: Rule, import_names: Iterable[str]) -> None:
        """
        Ask ``rule`` about channels that fit ``pattern``.

        Args:
            pattern (Pattern): Over the channels' names.
            rule (Rule): An ordinary function of one argument.
            import_names (Iterable[str]): Of the apps on which the blueprint is already.

        Raises:
            ConfigurationError: The rule cannot work, or the blueprint is on apps of several import names.
        """
        names = sorted(set(import_names))
        if len(names) > 1:
            raise ConfigurationError(
                f"The rule {name_of(rule)} would count for every app of this blueprint, "
                f"got apps of {', '.join(map(repr, names))}. {_ONE_EACH}"
            )
        check_rule(pattern, rule)
        if names:
            self._import_name = names[0]
        self._rules.append((pattern, rule))

    def refuse_unless_free(self, app: Flask) -> None:
        """
        Go on when the rules may be used for an app.

        Raises:
            ConfigurationError: They are those of another one.
        """
        if self._rules and self._import_name not in (None, app.import_name):
            raise ConfigurationError(
                f"This blueprint has rules of the app {self._import_name!r}, "
                f"and they would open channels of the app {app.import_name!r} too. {_ONE_EACH}"
            )

    def claim(self, app: Flask) -> None:
        """Use the rules, if there are any, for an app and no other from now on."""
        if self._rules:
            self._import_name = app.import_name

    def cover(self, channel: str) -> bool:
        """Say whether one of the rules is about a channel."""
        return any(pattern.matches(channel) for pattern, _ in self._rules)

    def ask(self, channel: str, log: RefusalLog) -> Refusal | None:
        """
        Return why a channel that rules cover is refused; ``None`` when one of them grants it.

        Without a grant, a rule that could not answer goes before all others: it might have granted.
        After that, 401 goes before 403, because who logs in may be granted.
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
        settings (Settings): What anybody may read.
        rules (Rules): Asked inside the request. Where rules are about a channel, they alone decide.
        log (RefusalLog): Told of each reason, also of a rule that broke beside one that grants.
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
        unknown = unknown or refusal  # a later channel may be refused for good: then coming back is no use
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
