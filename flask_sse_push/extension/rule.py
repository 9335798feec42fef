"""Functions about channels, such as a rule of access: which can be one, and where they may stand."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Iterator
from types import FunctionType
from typing import Any, NamedTuple

from ..core.channels import Pattern
from ..core.values import shown
from ..errors import ConfigurationError

__all__ = ["RULE", "SNAPSHOT", "Kind", "Rule", "check_function", "name_of"]

Rule = Callable[[str], bool]
"""Called with the name of a channel, inside the request. Only ``True`` grants the channel."""


class Kind(NamedTuple):
    """What a function is registered as, for messages."""

    name: str
    decorator: str
    example: str


RULE = Kind("rule", "@sse.authorize", "def may_read(channel): ...")
"""Says who may read a channel."""

SNAPSHOT = Kind("snapshot function", "@sse.snapshot", "def snapshot(channel): ...")
"""Says what a channel shows first."""


def name_of(function: object) -> str:
    """Return the qualified name of a function, for messages."""
    while isinstance(function, functools.partial):
        function = function.func
    return str(getattr(function, "__qualname__", None) or type(function).__qualname__)


def check_function(kind: Kind, pattern: Pattern, function: Callable[[str], Any]) -> None:
    """
    Refuse what cannot be called with a channel for a plain answer, and make another decorator above this
    package's an error.

    Raises:
        ConfigurationError: It is no function of one argument, or is asynchronous, or is a generator.
    """
    name = f"The {kind.name} {name_of(function)} of {pattern.text!r}"
    if not callable(function):
        raise ConfigurationError(
            f"{name} must be a function of the channel's name, got {shown(function)}. Write: {kind.example}"
        )
    for layer in _layers(function):
        if any(is_kind(layer) for is_kind in _NO_ORDINARY_FUNCTIONS):
            raise ConfigurationError(
                f"{name} must be an ordinary function, got {shown(layer)}, whose call returns an object and "
                "no answer. Write it with def and return; inside, asyncio.run(...) can await something."
            )
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # some built-in functions have no signature
        signature = None
    if signature is not None:
        try:
            signature.bind("channel")
        except TypeError as error:
            raise ConfigurationError(
                f"{name} must take the channel's name and nothing else, "
                f"got the signature {signature} ({error}). Write: {kind.example}"
            ) from None
    if isinstance(function, _DECORATED) and not isinstance(function.__dict__, _Attributes):
        function.__dict__ = _Attributes(function.__dict__, kind)


_DECORATED = (FunctionType, functools.partial, type(functools.cache(str)))
"""Functions, and the callables that the decorators of the standard library return."""

_MAX_LAYERS = 100

_NO_ORDINARY_FUNCTIONS: tuple[Callable[[Any], bool], ...] = (
    inspect.iscoroutinefunction,
    inspect.isasyncgenfunction,
    inspect.isgeneratorfunction,
)


def _layers(function: Any) -> Iterator[Any]:
    """Yield a callable, and the callables that it calls: wrapped ones, those of partials, ``__call__``."""
    waiting, seen = [function], dict[int, Any]()
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
    The attributes of a registered function, which raise when ``functools.wraps`` reads them.

    A decorator that wraps a registered function stands above the one that registered it, and is never called:
    with ``@login_required`` above ``@sse.authorize``, everybody could read the channel.
    """

    def __init__(self, attributes: dict[str, Any], kind: Kind) -> None:
        super().__init__(attributes)
        self._kind = kind

    def __iter__(self) -> Iterator[str]:  # without this method a dict is copied without a call of keys()
        return super().__iter__()

    def keys(self) -> Any:
        """Return the names, or raise when ``functools.wraps`` calls this."""
        frame = sys._getframe(1)  # noqa: SLF001  # dir(), vars() and others may call this
        if frame.f_code is functools.update_wrapper.__code__:
            name, decorator = name_of(frame.f_locals.get("wrapped")), self._kind.decorator
            raise ConfigurationError(
                f"Nothing may stand above the {decorator} of the {self._kind.name} {name}, got a decorator "
                f"that would not be asked. Put {decorator} on top and the other decorator below it."
            )
        return super().keys()
