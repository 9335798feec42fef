"""The configuration, read and checked once per app."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from ..bus.base import MAX_STORED_EVENTS, BusFactory, BusOptions, Retention
from ..core.channels import DEFAULT_CHANNEL, Pattern
from ..core.entry import CHANNEL_OVERHEAD_BYTES, ENTRY_OVERHEAD_BYTES, PLACE_OVERHEAD_BYTES
from ..core.event import MAX_RETRY_MILLISECONDS, MIN_RETRY_MILLISECONDS
from ..errors import ConfigurationError, InvalidChannel
from ..streams.hub import LogOptions
from ..streams.stream import StreamOptions
from .clients import ClientKey

__all__ = ["BUS_URL_VARIABLE", "PREFIX", "Settings", "key_of_flask_sse", "read_settings", "snapshot"]

PREFIX = "SSE_PUSH_"

BUS_URL_VARIABLE = "SSE_PUSH_BUS_URL"
"""The one setting that belongs to a place and not to an app: where the config says nothing, the environment's variable counts."""


@dataclass(frozen=True, slots=True)
class Settings:
    """
    Every setting under its key's name in lower case; keys begin with ``SSE_PUSH_`` in ``app.config``.
    """

    public_channels: tuple[Pattern, ...]
    """
    ``SSE_PUSH_PUBLIC_CHANNELS`` (list of patterns, default none): who can reach the app can read these, where
    no rule is about them.
    """
    default_channel_public: bool
    """
    ``SSE_PUSH_DEFAULT_CHANNEL_PUBLIC`` (bool, default ``True``): the same for the channel ``sse``; ``False``
    closes it unless a rule grants it.
    """
    bus_url: str | BusFactory
    """``SSE_PUSH_BUS_URL`` (URL, or a function that makes a bus; default: the environment's variable of this name, or ``"auto"``): what carries events."""
    publish_timeout_seconds: float
    """``SSE_PUSH_PUBLISH_TIMEOUT_SECONDS`` (seconds, default 2): ``publish`` has an id by then, or raises :class:`BusUnavailable`."""
    history_length: int
    """``SSE_PUSH_HISTORY_LENGTH`` (events per channel, default 256): how far back a client can resume."""
    history_seconds: float
    """``SSE_PUSH_HISTORY_SECONDS`` (seconds, default 300): how long ago."""
    history_bytes: int
    """``SSE_PUSH_HISTORY_BYTES`` (bytes per process, default 16 MiB): all history together, overhead included."""
    heartbeat_seconds: float
    """``SSE_PUSH_HEARTBEAT_SECONDS`` (seconds, default 15): a stream is never silent for longer."""
    retry_milliseconds: int
    """``SSE_PUSH_RETRY_MILLISECONDS`` (milliseconds, default 2000): browsers reconnect after this, give or take half."""
    write_timeout_seconds: float
    """``SSE_PUSH_WRITE_TIMEOUT_SECONDS`` (seconds, default 10): a client that takes nothing for this long is cut off."""
    direct_write: bool
    """``SSE_PUSH_DIRECT_WRITE`` (bool, default ``True``): write straight to the client's socket where the server is known (gunicorn's gevent worker)."""
    max_streams: int | None
    """``SSE_PUSH_MAX_STREAMS`` (streams per process, default 80 % of what the server can hold): more are asked to come later."""
    max_streams_per_client: int | None
    """``SSE_PUSH_MAX_STREAMS_PER_CLIENT`` (streams per client and process, default no limit): more are asked to come later."""
    client_key: ClientKey | None
    """``SSE_PUSH_CLIENT_KEY`` (function of the request, default its ``remote_addr``): names the client; ``None`` for one that is not limited."""
    abrupt_end: bool
    """``SSE_PUSH_ABRUPT_END`` (bool, default ``False``): a server that stops cuts channel streams off instead of ending them cleanly."""
    max_channels: int
    """``SSE_PUSH_MAX_CHANNELS`` (channels per stream, default 32)."""
    max_event_bytes: int
    """``SSE_PUSH_MAX_EVENT_BYTES`` (bytes on the wire, default 64 KiB): larger events are refused."""
    cors_origins: frozenset[str]
    """``SSE_PUSH_CORS_ORIGINS`` (list of exact origins, default none): other sites whose pages may read streams."""
    cors_credentials: bool
    """``SSE_PUSH_CORS_CREDENTIALS`` (bool, default ``False``): whether they may send cookies."""
    strict: bool
    """``SSE_PUSH_STRICT`` (bool, default ``True``): a server that cannot work is an error; ``False`` makes it a warning."""

    def log_options(self) -> LogOptions:
        """Return how much of the past a process keeps."""
        return LogOptions(self.history_length, self.history_seconds, self.history_bytes)

    def stream_options(self) -> StreamOptions:
        """Return what a stream is told of these."""
        return StreamOptions(
            self.heartbeat_seconds, self.write_timeout_seconds, self.retry_milliseconds, self.abrupt_end
        )

    def bus_options(self) -> BusOptions:
        """Return what a bus is told of these."""
        retention = Retention(
            self.history_seconds, self.history_bytes, max(MAX_STORED_EVENTS, self.history_length)
        )
        return BusOptions(retention, self.publish_timeout_seconds, self.max_event_bytes)


def read_settings(config: Mapping[str, Any]) -> Settings:
    """
    Read and check all settings.

    Args:
        config (Mapping[str, Any]): ``app.config``.

    Raises:
        ConfigurationError: A value is wrong, or a key beginning with ``SSE_PUSH_`` is unknown.
    """
    reader = _Reader(config)
    settings = Settings(
        public_channels=reader.patterns("PUBLIC_CHANNELS"),
        default_channel_public=reader.boolean("DEFAULT_CHANNEL_PUBLIC", True),
        bus_url=reader.text_or_function("BUS_URL", os.environ.get(BUS_URL_VARIABLE) or "auto"),
        publish_timeout_seconds=reader.number("PUBLISH_TIMEOUT_SECONDS", 2, 0.1, 60),
        history_length=reader.integer("HISTORY_LENGTH", 256, 1, 1_000_000),
        history_seconds=reader.number("HISTORY_SECONDS", 300, 1, 7 * 86_400),
        history_bytes=reader.integer("HISTORY_BYTES", 16 * 1024 * 1024, 4096, 1 << 40),
        heartbeat_seconds=reader.number("HEARTBEAT_SECONDS", 15, 0.1, 3600),
        retry_milliseconds=reader.integer(
            "RETRY_MILLISECONDS", 2000, MIN_RETRY_MILLISECONDS, MAX_RETRY_MILLISECONDS
        ),
        write_timeout_seconds=reader.number("WRITE_TIMEOUT_SECONDS", 10, 0.5, 600),
        direct_write=reader.boolean("DIRECT_WRITE", True),
        max_streams=reader.optional_integer("MAX_STREAMS", 1, 1_000_000, "what fits the server"),
        max_streams_per_client=reader.optional_integer("MAX_STREAMS_PER_CLIENT", 1, 1_000_000, "no limit"),
        client_key=reader.optional_function("CLIENT_KEY", "a function of the request", "its remote_addr"),
        abrupt_end=reader.boolean("ABRUPT_END", False),
        max_channels=reader.integer("MAX_CHANNELS", 32, 1, 10_000),
        max_event_bytes=reader.integer("MAX_EVENT_BYTES", 64 * 1024, 64, 64 * 1024 * 1024),
        cors_origins=reader.origins("CORS_ORIGINS"),
        cors_credentials=reader.boolean("CORS_CREDENTIALS", False),
        strict=reader.boolean("STRICT", True),
    )
    reader.refuse_unknown()
    listed = {pattern.text for pattern in settings.public_channels}
    if DEFAULT_CHANNEL in listed and not settings.default_channel_public:
        raise ConfigurationError(
            "SSE_PUSH_DEFAULT_CHANNEL_PUBLIC must be True where SSE_PUSH_PUBLIC_CHANNELS lists "
            f"{DEFAULT_CHANNEL!r}, got False. Leave one of the two out."
        )
    if settings.history_bytes < (
        least := settings.max_event_bytes
        + ENTRY_OVERHEAD_BYTES
        + PLACE_OVERHEAD_BYTES
        + 128
        + CHANNEL_OVERHEAD_BYTES
    ):
        raise ConfigurationError(
            f"SSE_PUSH_HISTORY_BYTES must hold at least one event of SSE_PUSH_MAX_EVENT_BYTES with its overhead, got {settings.history_bytes}. "
            f"Set it to {least} or more, or allow only smaller events."
        )
    return settings


def snapshot(config: Mapping[str, Any]) -> dict[str, object]:
    """Return what is configured now, so that a later change of the config, and of a list in it, shows."""
    values: dict[str, object] = {
        key: value.copy() if isinstance(value, list | set) else value
        for key, value in config.items()
        if isinstance(key, str) and key.startswith(PREFIX)
    }
    if BUS_URL_VARIABLE not in values and BUS_URL_VARIABLE in os.environ:
        values[BUS_URL_VARIABLE] = os.environ[BUS_URL_VARIABLE]
    return values


def key_of_flask_sse(config: Mapping[str, Any]) -> str | None:
    """Return the key in which Flask-SSE would find its Redis, where nothing says what carries our events."""
    if config.get(BUS_URL_VARIABLE) or os.environ.get(BUS_URL_VARIABLE):
        return None
    return next((key for key in ("SSE_REDIS_URL", "REDIS_URL") if config.get(key)), None)


class _Reader:
    def __init__(self, config: Mapping[str, Any]) -> None:
        self._config = config
        self._known: set[str] = set()

    def _get(self, name: str, default: Any) -> Any:
        self._known.add(PREFIX + name)
        return self._config.get(PREFIX + name, default)

    def number(self, name: str, default: float, least: float, most: float) -> float:
        value = self._get(name, default)
        if not isinstance(value, int | float) or isinstance(value, bool) or not least <= value <= most:
            raise _wrong(name, f"a number from {least:g} to {most:g}", value, repr(default))
        return float(value)

    def integer(self, name: str, default: int, least: int, most: int) -> int:
        value = self._get(name, default)
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise _wrong(name, f"a whole number from {least} to {most}", value, repr(default))
        return value

    def optional_integer(self, name: str, least: int, most: int, usual: str) -> int | None:
        value = self._get(name, None)
        if value is not None and (
            not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most
        ):
            raise _wrong(name, f"a whole number from {least} to {most}", value, usual)
        return value

    def optional_function(self, name: str, wanted: str, usual: str) -> Any:
        value = self._get(name, None)
        if value is not None and not callable(value):
            raise _wrong(name, wanted, value, usual)
        return value

    def boolean(self, name: str, default: bool) -> bool:
        value = self._get(name, default)
        if not isinstance(value, bool):
            raise _wrong(name, "True or False", value, repr(default))
        return value

    def text_or_function(self, name: str, default: str) -> Any:
        value = self._get(name, default)
        if not callable(value) and (not isinstance(value, str) or not value):
            raise _wrong(name, "a URL, or a function that makes a bus", value, repr(default))
        return value

    def _texts(self, name: str, example: str) -> list[str]:
        value = self._get(name, [])
        if not isinstance(value, list | tuple | set | frozenset) or not all(
            isinstance(text, str) for text in value
        ):
            raise ConfigurationError(
                f"{PREFIX}{name} must be a list, got {value!r}. Write it as {example} (from the environment: as JSON)."
            )
        return list(value)

    def patterns(self, name: str) -> tuple[Pattern, ...]:
        try:
            return tuple(Pattern(text) for text in self._texts(name, '["news", "orders.*"]'))
        except InvalidChannel as error:
            raise ConfigurationError(f"{PREFIX}{name}: {error}") from None

    def origins(self, name: str) -> frozenset[str]:
        example = '["https://app.example.com"]'
        origins = self._texts(name, example)
        for origin in origins:
            try:
                parts = urlsplit(origin)
            except ValueError:
                parts = urlsplit("")
            if (
                parts.scheme not in ("http", "https")
                or not parts.netloc
                or "*" in parts.netloc
                or origin != f"{parts.scheme}://{parts.netloc}".lower()
            ):
                raise ConfigurationError(
                    f"{PREFIX}{name} must list exact origins in lower case, without a path, got {origin!r}. Write them as {example}."
                )
        return frozenset(origins)

    def refuse_unknown(self) -> None:
        for key in self._config:
            if isinstance(key, str) and key.startswith(PREFIX) and key not in self._known:
                near = difflib.get_close_matches(key, self._known, 1)
                cure = f"Did you mean {near[0]}?" if near else f"There are {', '.join(sorted(self._known))}."
                raise ConfigurationError(f"{key} is not a setting of flask_sse_push. {cure}")


def _wrong(name: str, wanted: str, value: object, usual: str) -> ConfigurationError:
    return ConfigurationError(f"{PREFIX}{name} must be {wanted}, got {value!r}. Leave it out for {usual}.")
