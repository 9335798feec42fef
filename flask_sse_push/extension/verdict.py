"""The verdict of a rule: what its return value, or the error that it raised, means for a client."""

from __future__ import annotations

import inspect
import sys
from contextlib import suppress

from flask import current_app
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response

from ..core.channels import Pattern
from ..core.values import shown
from .refusals import Refusal
from .rule import Rule, name_of

__all__ = ["FORBIDDEN", "ask"]

FORBIDDEN = "You may not read this channel."
"""The message for every closed channel, so that it does not tell which channels there are."""

_MESSAGES = {
    401: "Log in to read this channel.",
    403: FORBIDDEN,
    503: "Whether you may read this channel cannot be told now. Come back later.",
}

_ORDINARY = "This is what a rule does whose visitor may not read the channel."
_ONLY_TRUE = "Only True grants. Let the rule be an ordinary function that returns True or False."
_COME_BACK = "Clients come back in 5 to 30 seconds. Mend the rule, or what it asks."


def ask(pattern: Pattern, rule: Rule, channel: str) -> Refusal | None:
    """
    Call a rule, and return why it refuses a channel; ``None`` when it grants the channel.

    Args:
        pattern (Pattern): The pattern of the rule, for messages.
        rule (Rule): Called inside the request. An ``Exception`` that it raises is part of its verdict.
        channel (str): A checked name.
    """
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
    answer, key = _answer_of(outcome), f"returned {type(outcome).__qualname__}"
    if outcome is not answer:  # which _judge() closes
        _close(outcome)
    return _judge(pattern, rule, answer, f"returned {shown(outcome)}", key)


def _is_timeout(error: BaseException) -> bool:
    """
    Say whether this is gevent's timeout, which is no ``Exception`` and means the same as other timeouts.
    """
    gevent = sys.modules.get("gevent")
    return gevent is not None and isinstance(error, gevent.Timeout)


def _judge_error(pattern: Pattern, rule: Rule, error: BaseException) -> Refusal:
    """Ask the app's error handlers what an error means: login libraries raise errors and install handlers."""
    answer, traceback = None, error.__traceback__
    if isinstance(error, Exception):
        try:
            answer = _answer_of(current_app.make_response(current_app.handle_user_exception(error)))
        except Exception:  # noqa: BLE001  # without a handler the error comes back, with a longer traceback
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
    """
    Return the refusal for what a rule returned or raised; ``answer`` is its HTTP response, if it is one.
    """
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
    if status == 401 or 300 <= status < 400:  # a redirect leads to a login page
        return 401
    if status == 429 or 500 <= status < 600:
        return 503
    return 403 if 400 <= status < 500 else None


def _answer_of(outcome: object) -> Response | None:
    """Return the response that a rule raised, or returned as a view would; ``None`` for anything else."""
    with suppress(Exception):  # Flask cannot send this tuple, or this error
        if isinstance(outcome, HTTPException):
            made = outcome.get_response()
            return made if isinstance(made, Response) else Response(None, made.status_code, made.headers)
        if isinstance(outcome, Response):
            return outcome
        if isinstance(outcome, tuple) and len(outcome) > 1:
            body = outcome[0] if isinstance(outcome[0], Response) else ""
            return current_app.make_response((body, *outcome[1:]))
    return None


def _close(outcome: object) -> None:
    """
    Close what a rule returned: Python warns of coroutines that never ran, and a response may hold a file.
    """
    is_awaitable = inspect.isawaitable(outcome)
    if not is_awaitable and not inspect.isgenerator(outcome) and not isinstance(outcome, Response):
        return
    close = getattr(outcome, "close", None) or getattr(outcome, "cancel", None)
    with suppress(Exception):  # the refusal stands in any case
        if close is not None:
            close()
