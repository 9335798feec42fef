"""The keys of this package in ``app.config``, each checked by itself."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from typing import Any

from ..core.channels import Pattern
from ..core.retention import MAX_HISTORY_LENGTH, MAX_HISTORY_SECONDS, ChannelRetention
from ..errors import ConfigurationError, InvalidChannel

__all__ = ["DEFAULT_PORTS", "PREFIX", "ConfigReader"]

PREFIX = "SSE_PUSH_"

DEFAULT_PORTS = {"http": ":80", "https": ":443"}
"""What a browser leaves out of an ``Origin``, by its scheme."""

# Any scheme: apps in a shell (capacitor, tauri, app) and extensions of a browser have schemes of their own.
_ORIGIN = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]*)://(?:\[[0-9A-Fa-f:.]+\]|[\w.~!$&'()+,;=%-]+)(?P<port>:[0-9]+)?", re.ASCII
)


_RETENTION = {"history_length", "history_seconds"}

_MAX_PATTERNS = 1_000  # they are written beside the log, and each new channel is compared with all of them


class ConfigReader:
    """
    Reads keys that begin with ``SSE_PUSH_``, and checks the type and range of each.

    Each method takes the name of a key without its prefix, and raises :class:`ConfigurationError` for a value
    that is wrong.

    Args:
        config (Mapping[str, Any]): ``app.config``.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._config = config
        self._known: set[str] = set()

    def number(self, name: str, default: float, least: float, most: float) -> float:
        """Return a number within a range, as a ``float``."""
        wanted = f"a number from {least:g} to {most:g}"
        return float(self._checked(name, default, lambda value: _is_within(value, least, most), wanted))

    def integer(self, name: str, default: int, least: int, most: int) -> int:
        """Return a whole number within a range."""
        return self.optional_integer(name, least, most, repr(default), default)  # type: ignore[no-any-return]

    def optional_integer(
        self, name: str, least: int, most: int, usual: str, default: int | None = None
    ) -> Any:
        """Return a whole number within a range, or the default; ``usual`` says in words what that means."""

        def is_right(value: object) -> bool:
            return (value is None and default is None) or (
                isinstance(value, int) and _is_within(value, least, most)
            )

        return self._checked(name, default, is_right, f"a whole number from {least} to {most}", usual)

    def optional_function(self, name: str, wanted: str, usual: str) -> Any:
        """Return a function, or ``None``; ``wanted`` and ``usual`` are words for the message."""
        return self._checked(name, None, lambda value: value is None or callable(value), wanted, usual)

    def boolean(self, name: str, default: bool) -> bool:
        """Return a ``bool``."""
        return bool(self._checked(name, default, lambda value: isinstance(value, bool), "True or False"))

    def text_or_function(self, name: str, default: str) -> Any:
        """Return a URL, or a function that makes a bus."""

        def is_right(value: object) -> bool:
            return callable(value) or (isinstance(value, str) and value != "")

        return self._checked(name, default, is_right, "a URL, or a function that makes a bus")

    def _get(self, name: str, default: Any) -> Any:
        self._known.add(PREFIX + name)
        return self._config.get(PREFIX + name, default)

    def _checked(
        self,
        name: str,
        default: Any,
        is_right: Callable[[Any], bool],
        wanted: str,
        usual: str | None = None,
    ) -> Any:
        value = self._get(name, default)
        if not is_right(value):
            usual = usual or repr(default)
            raise ConfigurationError(
                f"{PREFIX}{name} must be {wanted}, got {value!r}. Leave it out for {usual}."
            )
        return value

    def _texts(self, name: str, example: str) -> list[str]:
        value = self._get(name, [])
        if not isinstance(value, list | tuple | set | frozenset) or not all(
            isinstance(text, str) for text in value
        ):
            raise ConfigurationError(
                f"{PREFIX}{name} must be a list, got {value!r}. "
                f"Write it as {example} (from the environment: as JSON)."
            )
        return list(value)

    def patterns(self, name: str) -> tuple[Pattern, ...]:
        """Return a list of patterns over names of channels."""
        try:
            return tuple(Pattern(text) for text in self._texts(name, '["news", "orders.*"]'))
        except InvalidChannel as error:
            raise ConfigurationError(f"{PREFIX}{name}: {error}") from None

    def retentions(
        self, name: str, default: ChannelRetention
    ) -> tuple[tuple[Pattern, ChannelRetention], ...]:
        """Return how much is kept of the channels that fit some patterns."""
        example = '{"run.*": {"history_length": 10000, "history_seconds": 3600}}'
        value = self._get(name, {})
        if not isinstance(value, Mapping):
            raise ConfigurationError(
                f"{PREFIX}{name} must be a dict, got {value!r}. "
                f"Write it as {example} (from the environment: as JSON)."
            )
        if len(value) > _MAX_PATTERNS:
            raise ConfigurationError(
                f"{PREFIX}{name} must have at most {_MAX_PATTERNS:,} patterns, got {len(value):,}. Let one "
                "pattern fit several channels."
            )
        found = []
        for text, given in value.items():
            try:
                pattern = Pattern(text)
            except InvalidChannel as error:
                raise ConfigurationError(f"{PREFIX}{name}: {error}") from None
            if not isinstance(given, Mapping) or not given or set(given) - _RETENTION:
                raise ConfigurationError(
                    f"{PREFIX}{name}[{text!r}] must be a dict with history_length, history_seconds or both, "
                    f"got {given!r}. Write it as {example}."
                )
            length = given.get("history_length", default.length)
            seconds = given.get("history_seconds", default.seconds)
            if type(length) is not int or not 1 <= length <= MAX_HISTORY_LENGTH:
                raise ConfigurationError(
                    f"{PREFIX}{name}[{text!r}]['history_length'] must be a whole number from 1 to "
                    f"{MAX_HISTORY_LENGTH}, got {length!r}. Leave it out for {default.length}."
                )
            if not _is_within(seconds, 1, MAX_HISTORY_SECONDS):
                raise ConfigurationError(
                    f"{PREFIX}{name}[{text!r}]['history_seconds'] must be a number from 1 to "
                    f"{MAX_HISTORY_SECONDS:g}, got {seconds!r}. Leave it out for {default.seconds:g}."
                )
            found.append((pattern, ChannelRetention(length, float(seconds))))
        return tuple(found)

    def origins(self, name: str) -> frozenset[str]:
        """Return a set of exact origins, as browsers write them into ``Origin``."""
        example = '["https://app.example.com"]'
        origins = self._texts(name, example)
        for origin in origins:
            if origin in ("null", "file://"):
                raise ConfigurationError(
                    f"{PREFIX}{name} must list origins that belong to somebody, got {origin!r}, which every "
                    "sandboxed frame and every file on a disk sends. Serve the page by HTTP, or under the "
                    "app's own scheme, such as capacitor://localhost."
                )
            parts = _ORIGIN.fullmatch(origin)
            if parts is None or (parts["scheme"] in DEFAULT_PORTS and origin != origin.lower()):
                raise ConfigurationError(
                    f"{PREFIX}{name} must list exact origins in lower case, without a path, got {origin!r}. "
                    f"Write them as {example}."
                )
            if parts["port"] is not None and parts["port"] == DEFAULT_PORTS.get(parts["scheme"]):
                raise ConfigurationError(
                    f"{PREFIX}{name} must list origins as browsers send them, without the default port, got "
                    f"{origin!r}. Write it as {origin.removesuffix(parts['port'])!r}."
                )
        return frozenset(origins)

    def refuse_unknown(self) -> None:
        """Refuse keys that no other method has read, and suggest the key that was meant."""
        for key in self._config:
            if isinstance(key, str) and key.startswith(PREFIX) and key not in self._known:
                near = difflib.get_close_matches(key, self._known, 1)
                cure = f"Did you mean {near[0]}?" if near else f"There are {', '.join(sorted(self._known))}."
                raise ConfigurationError(f"{key} is not a setting of flask_sse_push. {cure}")


def _is_within(value: object, least: float, most: float) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and least <= value <= most
