"""Who may read what: closed, but for what a rule grants or the settings make public."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Iterable, Iterator
from types import FunctionType
from typing import Any, NamedTuple, TypeVar

from flask import Flask, current_app
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response

from .core.channels import DEFAULT_CHANNEL, Pattern
from .errors import ConfigurationError
from .refusals import Refusal, RefusalLog, shown
from .settings import Settings

__all__ = ["Rule", "Rules", "check_access"]

Rule = Callable[[str], bool]
"""Called with a channel's name, inside the request. ``True`` grants, and nothing else does."""

RuleT = TypeVar("RuleT", bound=Rule)

FORBIDDEN = "You may not read this channel."
LOG_IN = "Log in to read this channel."
UNKNOWN = "Whether you may read this channel cannot be told now. Come back later."

_MESSAGES = {401: LOG_IN, 403: FORBIDDEN, 503: UNKNOWN}

_CURE = "Only True grants. Let the rule be an ordinary function that returns True or False, or calls abort(401)."
_ORDINARY = "This is what a rule does whose visitor may not read the channel."
_COME_BACK = "Clients come back in 5 to 30 seconds. Mend the rule, or what it asks."


class _Entry(NamedTuple):
    pattern: Pattern
    rule: Rule


class Rules:
    """The rules of one blueprint. Adding is meant for import time; reading is thread-safe."""

    def __init__(self) -> None:
        self._entries: list[_Entry] = []
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
                f"The rule {_name(rule)} would count for every app of this blueprint, got apps of {', '.join(map(repr, names))}. "
                "Give each app an SSEPush() of its own, and put its rules on that."
            )
        check_rule(pattern, rule)
        if names:
            self._import_name = names[0]
        self._entries.append(_Entry(pattern, rule))

    def claim(self, app: Flask) -> None:
        """
        Use the rules for an app.

        Raises:
            ConfigurationError: They are those of another one.
        """
        if not self._entries:
            return
        if self._import_name is not None and self._import_name != app.import_name:
            raise ConfigurationError(
                f"This blueprint has rules of the app {self._import_name!r}, and they would open channels of the app {app.import_name!r} too. "
                "Give each app an SSEPush() of its own, and put its rules on that."
            )
        self._import_name = app.import_name

    def covers(self, channel: str) -> bool:
        """Say whether one of the rules is about a channel."""
        return any(pattern.matches(channel) for pattern, _ in self._entries)

    def ask(self, channel: str, log: RefusalLog) -> Refusal | None:
        """
        Return why a channel that rules cover is refused; ``None`` when one of them grants it, which is enough.

        Without a grant, a rule that could not answer goes before all others: it might have granted. After that, who is
        asked to log in may be granted later, so 401 goes before 403.
        """
        refusals: list[Refusal] = []
        for pattern, rule in self._entries:
            if pattern.matches(channel):
                refusal = _ask(pattern, rule, channel)
                if refusal is None:
                    for other in refusals:
                        if other.is_fault:
                            log.note(other)
                    return None
                refusals.append(refusal)
        for refusal in refusals:
            log.note(refusal)
        return max(refusals, key=lambda refusal: (403, 401, 503).index(refusal.status))


def check_access(channels: tuple[str, ...], settings: Settings, rules: Rules, log: RefusalLog) -> Refusal | None:
    """
    Return why a stream of these channels is refused; ``None`` when each is granted or public.

    Args:
        channels (tuple[str, ...]): What the client asks for.
        settings (Settings): Say what anybody may read.
        rules (Rules): Asked first, inside the request. Where a rule is about a channel, the rules alone decide.
        log (RefusalLog): Told of each refusal.
    """
    unknown = None
    for channel in channels:
        if rules.covers(channel):
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
        unknown = unknown or refusal  # another channel may be refused for good, and then coming back is of no use
    return unknown


def check_rule(pattern: Pattern, rule: Rule) -> None:
    """
    Refuse what cannot be a rule, and keep other decorators from being put above it.

    Raises:
        ConfigurationError: It is no function of one argument, or one that is asynchronous or a generator.
    """
    name = f"The rule {_name(rule)} of {pattern.text!r}"
    if not callable(rule):
        raise ConfigurationError(f"{name} must be a function of the channel's name, got {shown(rule)}. Write: def may_read(channel): ...")
    for function in _layers(rule):
        if (
            inspect.iscoroutinefunction(function)
            or inspect.isasyncgenfunction(function)
            or inspect.isgeneratorfunction(function)
        ):
            raise ConfigurationError(
                f"{name} must be an ordinary function, got {shown(function)}, whose call returns an object that is always true. "
                "Write it with def and return; call asyncio.run(...) inside where something must be awaited."
            )
    try:
        signature = inspect.signature(rule)
    except (TypeError, ValueError):  # something built in that does not tell
        signature = None
    if signature is not None:
        try:
            signature.bind("channel")
        except TypeError as error:
            raise ConfigurationError(
                f"{name} must take the channel's name and nothing else, got the signature {signature} ({error}). "
                "Write: def may_read(channel): ..."
            ) from None
    if isinstance(rule, FunctionType) and not isinstance(rule.__dict__, _Attributes):
        rule.__dict__ = _Attributes(rule.__dict__)


class _Attributes(dict[str, Any]):
    """
    The attributes of a rule: a decorator above ``@sse.authorize`` reads them, by ``functools.wraps``.

    It would wrap the rule after the rule was taken, and never be asked: ``@login_required`` above would let everybody in.
    """

    def __iter__(self) -> Iterator[str]:  # without it dict.update() would not call keys()
        return super().__iter__()

    def keys(self) -> Any:
        """Return the names; refuse where ``functools.wraps`` asks."""
        frame = sys._getframe(1)  # noqa: SLF001  # who asks: others may, for instance dir()
        if frame.f_code is functools.update_wrapper.__code__:
            wrapped = frame.f_locals.get("wrapped")
            raise ConfigurationError(
                f"Nothing may be put above the @sse.authorize of the rule {_name(wrapped)}, got a decorator that wraps it and would not be asked. "
                "Put @sse.authorize on top and the other decorator below it."
            )
        return super().keys()


def _layers(rule: Any) -> Iterator[Any]:
    """Return a callable and all that shows inside of it."""
    waiting, seen = [rule], set[int]()
    while waiting:
        layer = waiting.pop()
        if id(layer) in seen:
            continue
        seen.add(id(layer))
        yield layer
        if isinstance(layer, functools.partial):
            waiting.append(layer.func)
        waiting += [inside for name in ("__wrapped__", "__func__") if (inside := getattr(layer, name, None)) is not None]
        if not inspect.isroutine(layer) and not isinstance(layer, type):
            waiting.append(type(layer).__call__)


def _name(rule: object) -> str:
    while isinstance(rule, functools.partial):
        rule = rule.func
    return str(getattr(rule, "__qualname__", None) or type(rule).__qualname__)


def _is_public(channel: str, settings: Settings) -> bool:
    if channel == DEFAULT_CHANNEL:
        return settings.default_channel_public
    return any(pattern.matches(channel) for pattern in settings.public_channels)


def _uncovered(channel: str) -> Refusal:
    if channel == DEFAULT_CHANNEL:
        return Refusal(
            403,
            FORBIDDEN,
            f"SSE_PUSH_DEFAULT_CHANNEL_PUBLIC=False closes channel {channel!r}, which is read where a request names no channel, and no rule covers it",
            f'Ask for another one with ?channel=, or add a rule: @sse.authorize("{channel}").',
            "channel",
            channel,
        )
    return Refusal(
        403,
        FORBIDDEN,
        f"no rule covers channel {channel!r}, and SSE_PUSH_PUBLIC_CHANNELS does not list it",
        f'Add a rule, @sse.authorize("{channel}"), or list the channel in SSE_PUSH_PUBLIC_CHANNELS.',
        "channel",
        channel,
    )


def _ask(pattern: Pattern, rule: Rule, channel: str) -> Refusal | None:
    """Return ``None`` if a rule grants a channel, else why it does not."""
    try:
        outcome: object = rule(channel)
    except HTTPException as error:
        return _judge(pattern, rule, _answer_of(error), f"raised {shown(error)}", f"raised {type(error).__qualname__}", error)
    except Exception as error:  # noqa: BLE001  # logged with its traceback; a 500 would stop every EventSource for ever
        return _judge_error(pattern, rule, error)
    if outcome is True:
        return None
    if outcome is False or outcome is None:
        return _refusal(pattern, rule, 403, f"returned {outcome}", f"returned {outcome}", _ORDINARY)
    refusal = _judge(pattern, rule, _answer_of(outcome), f"returned {shown(outcome)}", f"returned {type(outcome).__qualname__}")
    _close(outcome)
    return refusal


def _judge_error(pattern: Pattern, rule: Rule, error: Exception) -> Refusal:
    """What is no answer of HTTP may be one for the app: login libraries raise errors of their own, and register handlers for them."""
    answer, traceback = None, error.__traceback__
    try:
        answer = _answer_of(current_app.make_response(current_app.handle_user_exception(error)))
    except Exception:  # noqa: BLE001  # nobody handles it: it comes out as it went in, with the way that it took there
        error.__traceback__ = traceback
    status = None if answer is None else _grade(answer.status_code)
    if answer is None or status not in (401, 403):
        text = f"raised {type(error).__qualname__}"
        return _refusal(pattern, rule, 503, text, text, _COME_BACK, error=error)
    return _judge(pattern, rule, answer, f"raised {shown(error)}", f"raised {type(error).__qualname__}")


def _judge(pattern: Pattern, rule: Rule, answer: Response | None, text: str, key: str, error: HTTPException | None = None) -> Refusal:
    """Read an answer of HTTP, or something else that is not ``True``."""
    status = None if answer is None else _grade(answer.status_code)
    if answer is None or status is None:
        return _refusal(pattern, rule, 403, text, key, _CURE, is_fault=True)
    key = f"{key} {answer.status_code}"
    if status == 503:
        return _refusal(pattern, rule, 503, text, key, _COME_BACK, error=error)
    how_to_log_in = tuple(answer.headers.getlist("WWW-Authenticate")) if status == 401 else ()
    return _refusal(pattern, rule, status, text, key, _ORDINARY, www_authenticate=how_to_log_in)


def _refusal(
    pattern: Pattern,
    rule: Rule,
    status: int,
    text: str,
    key: str,
    cure: str,
    *,
    is_fault: bool = False,
    error: BaseException | None = None,
    www_authenticate: tuple[str, ...] = (),
) -> Refusal:
    name = _name(rule)
    reason = f"rule {name} of {pattern.text!r} {text}"
    return Refusal(
        status,
        _MESSAGES[status],
        reason,
        cure,
        "rule",
        (name, pattern.text, key),
        is_fault=is_fault or status == 503,
        error=error,
        www_authenticate=www_authenticate,
    )


def _grade(status: int) -> int | None:
    """Return how a status refuses: for good, until somebody logs in, or for now; ``None`` when it is no refusal."""
    if status == 401 or 300 <= status < 400:  # a redirect leads to where one logs in, and an EventSource would follow it to an HTML page
        return 401
    if status == 429 or 500 <= status < 600:
        return 503
    return 403 if 400 <= status < 500 else None


def _answer_of(outcome: object) -> Response | None:
    """Return the answer of HTTP that a rule raised, or returned as a view would; ``None`` for anything else."""
    try:
        if isinstance(outcome, HTTPException):
            made = outcome.get_response()
            return made if isinstance(made, Response) else Response(status=made.status_code, headers=made.headers)
        if isinstance(outcome, Response):
            return outcome
        if isinstance(outcome, tuple) and len(outcome) > 1:
            body = outcome[0] if isinstance(outcome[0], Response) else ""
            return current_app.make_response((body, *outcome[1:]))
    except Exception:  # noqa: BLE001, S110  # a tuple, or an error, that Flask could not send either
        pass
    return None


def _close(outcome: object) -> None:
    """A coroutine that nobody awaits would warn, and a response may hold a file."""
    close = getattr(outcome, "close", None) or (getattr(outcome, "cancel", None) if inspect.isawaitable(outcome) else None)
    if inspect.isawaitable(outcome) or inspect.isgenerator(outcome) or isinstance(outcome, Response):
        try:
            if close is not None:
                close()
        except Exception:  # noqa: BLE001, S110  # it is refused already
            pass
