"""The functions that say what a channel shows first, and what they return, encoded."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import Context
from typing import Any

from flask import Flask

from ..core import wire
from ..core.channels import Pattern
from ..core.event import Event, check_type
from ..core.messages import to_json
from ..core.values import shown, text_of
from ..errors import InvalidEvent
from .rule import SNAPSHOT, check_function

__all__ = ["SnapshotFunction", "SnapshotFunctions", "SnapshotMaker"]

SnapshotFunction = Callable[[str], Any]
"""Called with the name of a channel, in an app context and in no request."""

_Registered = tuple[Pattern, SnapshotFunction, str | None]  # the last is the type of its event


class SnapshotFunctions:
    """The snapshot functions of one blueprint. Adding is meant for import time; the rest is thread-safe."""

    def __init__(self) -> None:
        self.registered: list[_Registered] = []
        """In the order in which they were added: the first one that fits a channel counts."""

    def add(self, pattern: Pattern, function: SnapshotFunction, type: object) -> None:
        """
        Call ``function`` for channels that fit ``pattern``.

        Raises:
            InvalidEvent: ``type`` cannot be the type of an event.
            ConfigurationError: It is no ordinary function of one argument.
        """
        checked = check_type(type)
        check_function(SNAPSHOT, pattern, function)
        self.registered.append((pattern, function, checked))


class SnapshotMaker:
    """
    Calls the functions of a blueprint for one app. Thread-safe.

    Args:
        app (Flask): In whose context they run.
        functions (SnapshotFunctions): What to call.
        dumps (Callable): Encodes values as JSON.
        max_event_bytes (int): Larger events fail.
    """

    def __init__(
        self,
        app: Flask,
        functions: SnapshotFunctions,
        dumps: Callable[[Any], str],
        max_event_bytes: int,
    ) -> None:
        self._app, self._functions = app, functions
        self._dumps, self._max_event_bytes = dumps, max_event_bytes

    def find(self, channel: str) -> int | None:
        """Return the number of the function that counts for a channel; ``None`` where there is none."""
        for number, (pattern, _, _) in enumerate(self._functions.registered):
            if pattern.matches(channel):
                return number
        return None

    def make(self, number: int, channel: str) -> bytes:
        """
        Return what a function says of a channel, encoded and without ids.

        Raises:
            InvalidEvent: It cannot be sent.
            Exception: What the function raised.
        """
        # In no context of whoever asked first: neither its request nor what a tracing library has noted.
        return Context().run(self._make, number, channel)

    def _make(self, number: int, channel: str) -> bytes:
        _, function, type = self._functions.registered[number]
        with self._app.app_context():
            found = function(channel)
            return b"".join(map(self._encoded, self._events_of(found, type)))

    def _events_of(self, found: Any, type: str | None) -> list[Event]:
        if found is None:
            return []
        items = found if isinstance(found, list | tuple) and found else [found]
        if any(isinstance(item, Event) for item in items):
            return [_checked(item) for item in items]
        text = text_of(found)
        return [Event(to_json(found, self._dumps) if text is None else text, type)]

    def _encoded(self, event: Event) -> bytes:
        block = wire.encode(event)
        if len(block) > self._max_event_bytes:
            raise InvalidEvent(
                f"A snapshot must be of events of at most {self._max_event_bytes:,} bytes, got one of "
                f"{len(block):,}. Return a list of Events, one for each thing, or raise "
                "SSE_PUSH_MAX_EVENT_BYTES."
            )
        return block


def _checked(item: Any) -> Event:
    if not isinstance(item, Event):
        raise InvalidEvent(
            f"A snapshot must be of Events alone or of none, got {shown(item)} beside an Event. Make each "
            "item an Event."
        )
    if item.id is not None:
        raise InvalidEvent(
            f'"id" of an Event in a snapshot must be None, got {shown(item.id)}: the place of its stream '
            "follows the snapshot. Leave it out."
        )
    # Made anew: it may be of a subclass, or changed behind its back.
    return Event(item.data, item.type, None, item.retry)
