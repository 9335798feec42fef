"""One rule: what can be one, and what its answer means."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Iterator
from types import FunctionType
from typing import Any

from flask import current_app
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response

from ..core.channels import Pattern
from ..core.values import shown
from ..errors import ConfigurationError
from .refusals import Refusal

__all__ = ["FORBIDDEN", "Rule", "ask", "check_rule", "name_of"]

Rule = Callable[[str], bool]
"""Called with a channel's name, inside the request. ``True`` grants, and nothing else does."""

FORBIDDEN = "You may not read this channel."
"""What a client is told of a channel that is closed, and of one that nobody ever published to."""

_MESSAGES = {
    401: "Log in to read this channel.",
    403: FORBIDDEN,
    503: "Whether you may read this channel cannot be told now. Come back later.",
}

_ORDINARY = "This is what a rule does whose visitor may not read the channel."
_ONLY_TRUE = "Only True grants. Let the rule be an ordinary function that returns True or False."
_WRITE = "Write: def may_read(channel): ..."
_COME_BACK = "Clients come back in 5 to 30 seconds. Mend the rule, or what it asks."


def name_of(rule: object) -> str:
    """Return the qualified name of a rule, for messages."""
    while isinstance(rule, functools.partial):
        rule = rule.func
    return str(getattr(rule, "__qualname__", None) or type(rule).__qualname__)


def check_rule(pattern: Pattern, rule: Rule) -> None:
    """
    Refuse what cannot be a rule, and keep other decorators from being put above it.

    Raises:
        ConfigurationError: It is no function of one argument, or one that is asynchronous or a generator.
    """
    name = f"The rule {name_of(rule)} of {pattern.text!r}"
    if not callable(rule):
        raise ConfigurationError(
            f"{name} must be a function of the channel's name, got {shown(rule)}. {_WRITE}"
        )
    for layer in _layers(rule):
        if any(is_kind(layer) for is_kind in _NO_ORDINARY_FUNCTIONS):
            raise ConfigurationError(
                f"{name} must be an ordinary function, got {shown(layer)}, whose call returns an object that "
                "is always true. Write it with def and return; inside, asyncio.run(...) can await something."
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
                f"{name} must take the channel's name and nothing else, "
                f"got the signature {signature} ({error}). {_WRITE}"
            ) from None
    if isinstance(rule, _DECORATED) and not isinstance(rule.__dict__, _Attributes):
        rule.__dict__ = _Attributes(rule.__dict__)


_DECORATED = (FunctionType, functools.partial, type(functools.cache(str)))
"""What stands below a decorator: functions, and what the decorators of the standard library make of them."""

_MOST_LAYERS = 100


_NO_ORDINARY_FUNCTIONS: tuple[Callable[[Any], bool], ...] = (
    inspect.iscoroutinefunction,
    inspect.isasyncgenfunction,
    inspect.isgeneratorfunction,
)


def _layers(rule: Any) -> Iterator[Any]:
    """Return a callable and what shows inside: what wrappers wrap, partials call, objects do when called."""
    waiting, seen = [rule], dict[int, Any]()
    # Some objects have an attribute of every name, within that another one, and so on: nothing is wrapped in those.
    while waiting and len(seen) < _MOST_LAYERS:
        layer = waiting.pop()
        if id(layer) in seen:
            continue
        seen[id(layer)] = layer  # kept, or another one could get its number
        yield layer
        if isinstance(layer, functools.partial):
            waiting.append(layer.func)
        inside = getattr(layer, "__wrapped__", None)
        if inside is not None:
            waiting.append(inside)
        if not inspect.isroutine(layer) and not isinstance(layer, type):
            waiting.append(type(layer).__call__)


class _Attributes(dict[str, Any]):
    """
    The attributes of a function that is a rule: ``functools.wraps`` reads them.

    Whoever wraps a rule that was taken already is a decorator above ``@sse.authorize``. It would never be
    asked: with ``@login_required`` there, everybody would read the channel.
    """

    def __iter__(self) -> Iterator[str]:  # a dict that leaves this alone is copied without a look at keys()
        return super().__iter__()

    def keys(self) -> Any:
        """Return the names; refuse where ``functools.wraps`` asks."""
        frame = sys._getframe(1)  # noqa: SLF001  # who asks: dir(), vars() and others may
        if frame.f_code is functools.update_wrapper.__code__:
            name = name_of(frame.f_locals.get("wrapped"))
            raise ConfigurationError(
                f"Nothing may stand above the @sse.authorize of the rule {name}, got a decorator that would "
                "not be asked. Put @sse.authorize on top and the other decorator below it."
            )
        return super().keys()


def ask(pattern: Pattern, rule: Rule, channel: str) -> Refusal | None:
    """Return ``None`` if a rule grants a channel, else why it does not. No ``Exception`` comes out."""
    try:
        outcome: object = rule(channel)
    except HTTPException as error:
        key = f"raised {type(error).__qualname__}"
        return _judge(pattern, rule, _answer_of(error), f"raised {shown(error)}", key, error)
    except BaseException as error:
        if not isinstance(error, Exception) and not _is_timeout(error):
            raise
        return _judge_error(pattern, rule, error)
    if outcome is True:
        return None
    if outcome is False or outcome is None:
        return _refusal(pattern, rule, 403, f"returned {outcome}", f"returned {outcome}", _ORDINARY)
    key = f"returned {type(outcome).__qualname__}"
    refusal = _judge(pattern, rule, _answer_of(outcome), f"returned {shown(outcome)}", key)
    if not isinstance(outcome, Response):  # that was closed when it was read
        _close(outcome)
    return refusal


def _is_timeout(error: BaseException) -> bool:
    """Say whether this is gevent's, which is no ``Exception`` and means the same as any other timeout."""
    gevent = sys.modules.get("gevent")
    return gevent is not None and isinstance(error, gevent.Timeout)


def _judge_error(pattern: Pattern, rule: Rule, error: BaseException) -> Refusal:
    """Ask the app what an error means: login libraries raise their own, and give the app handlers."""
    answer, traceback = None, error.__traceback__
    if isinstance(error, Exception):
        try:
            answer = _answer_of(current_app.make_response(current_app.handle_user_exception(error)))
        except Exception:  # noqa: BLE001  # nobody handles it: it comes out as it went in, with a longer way
            error.__traceback__ = traceback
    key = f"raised {type(error).__qualname__}"
    if answer is not None and _grade(answer.status_code) in (401, 403):
        return _judge(pattern, rule, answer, f"raised {shown(error)}", key)
    _close(answer)
    return _refusal(pattern, rule, 503, key, key, _COME_BACK, error=error)


def _judge(
    pattern: Pattern,
    rule: Rule,
    answer: Response | None,
    text: str,
    key: str,
    error: HTTPException | None = None,
) -> Refusal:
    """Read an answer of HTTP, or what is neither that nor ``True``."""
    _close(answer)
    status = None if answer is None else _grade(answer.status_code)
    if answer is None or status is None:
        return _refusal(pattern, rule, 403, text, key, _ONLY_TRUE, is_fault=True)
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
    name, is_fault = name_of(rule), is_fault or status == 503
    return Refusal(
        status,
        _MESSAGES[status],
        f"rule {name} of {pattern.text!r} {text}",
        cure,
        "broken rule" if is_fault else "rule",
        (name, pattern.text, key),
        is_fault=is_fault,
        error=error,
        www_authenticate=www_authenticate,
    )


def _grade(status: int) -> int | None:
    """Return 403 for a status that refuses for good, 401 until a login, 503 for now, else ``None``."""
    if status == 401 or 300 <= status < 400:  # a redirect leads to the page where one logs in
        return 401
    if status == 429 or 500 <= status < 600:
        return 503
    return 403 if 400 <= status < 500 else None


def _answer_of(outcome: object) -> Response | None:
    """Return the answer of HTTP that a rule raised, or returned as a view would; ``None`` for all else."""
    try:
        if isinstance(outcome, HTTPException):
            made = outcome.get_response()
            if isinstance(made, Response):
                return made
            return Response(status=made.status_code, headers=made.headers)
        if isinstance(outcome, Response):
            return outcome
        if isinstance(outcome, tuple) and len(outcome) > 1:
            body = outcome[0] if isinstance(outcome[0], Response) else ""
            return current_app.make_response((body, *outcome[1:]))
    except Exception:  # noqa: BLE001, S110  # a tuple, or an error, that Flask could not send either
        pass
    return None


def _close(outcome: object) -> None:
    """Close what a rule returned: a coroutine would warn, and a response may hold a file."""
    is_awaitable = inspect.isawaitable(outcome)
    if not is_awaitable and not inspect.isgenerator(outcome) and not isinstance(outcome, Response):
        return
    close = getattr(outcome, "close", None) or getattr(outcome, "cancel", None)
    try:
        if close is not None:
            close()
    except Exception:  # noqa: BLE001, S110  # it is refused already
        pass
