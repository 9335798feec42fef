"""A rule of access: which functions can be one, and where they may stand."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Iterator
from types import FunctionType
from typing import Any

from ..core.channels import Pattern
from ..core.values import shown
from ..errors import ConfigurationError

__all__ = ["Rule", "check_rule", "name_of"]

Rule = Callable[[str], bool]
"""Called with the name of a channel, inside the request. Only ``True`` grants the channel."""

_WRITE = "Write: def may_read(channel): ..."


def name_of(rule: object) -> str:
    """Return the qualified name of a rule, for messages."""
    while isinstance(rule, functools.partial):
        rule = rule.func
    return str(getattr(rule, "__qualname__", None) or type(rule).__qualname__)


def check_rule(pattern: Pattern, rule: Rule) -> None:
    """
    Refuse what cannot be a rule, and make another decorator above ``@sse.authorize`` an error.

    Raises:
        ConfigurationError: The rule is no function of one argument, or is asynchronous, or is a generator.
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
    except (TypeError, ValueError):  # some built-in functions have no signature
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
"""Functions, and the callables that the decorators of the standard library return."""

_MAX_LAYERS = 100

_NO_ORDINARY_FUNCTIONS: tuple[Callable[[Any], bool], ...] = (
    inspect.iscoroutinefunction,
    inspect.isasyncgenfunction,
    inspect.isgeneratorfunction,
)


def _layers(rule: Any) -> Iterator[Any]:
    """Yield a callable, and the callables that it calls: wrapped ones, those of partials, ``__call__``."""
    waiting, seen = [rule], dict[int, Any]()
    # Bounded, because some objects have an attribute of every name, and the attribute has so too, without
    # end.
    while waiting and len(seen) < _MAX_LAYERS:
        layer = waiting.pop()
        if id(layer) in seen:
            continue
        seen[id(layer)] = layer  # keeps the object alive, or a new object could have its id()
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
    The attributes of a function that is a rule, which raise when ``functools.wraps`` reads them.

    A decorator that wraps a registered rule stands above ``@sse.authorize``, and is never called: with
    ``@login_required`` there, everybody could read the channel.
    """

    def __iter__(self) -> Iterator[str]:  # without this method a dict is copied without a call of keys()
        return super().__iter__()

    def keys(self) -> Any:
        """Return the names, or raise when ``functools.wraps`` calls this."""
        frame = sys._getframe(1)  # noqa: SLF001  # dir(), vars() and others may call this
        if frame.f_code is functools.update_wrapper.__code__:
            name = name_of(frame.f_locals.get("wrapped"))
            raise ConfigurationError(
                f"Nothing may stand above the @sse.authorize of the rule {name}, got a decorator that would "
                "not be asked. Put @sse.authorize on top and the other decorator below it."
            )
        return super().keys()
