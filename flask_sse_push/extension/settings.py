"""The settings of an app: what each means, and the rules between them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from ..bus.base import BusFactory, BusOptions
from ..core.channels import DEFAULT_CHANNEL, Pattern
from ..core.entry import CHANNEL_OVERHEAD_BYTES, ENTRY_OVERHEAD_BYTES, PLACE_OVERHEAD_BYTES
from ..core.event import MAX_RETRY_MILLISECONDS, MIN_RETRY_MILLISECONDS
from ..core.retention import (
    MAX_HISTORY_LENGTH,
    MAX_HISTORY_SECONDS,
    ChannelRetention,
    RetentionRules,
)
from ..errors import ConfigurationError
from ..streams.stream import StreamOptions
from .clients import ClientKey
from .config import PREFIX, ConfigReader

__all__ = ["BUS_URL_VARIABLE", "Settings", "key_of_flask_sse", "read_settings", "snapshot"]

BUS_URL_VARIABLE = "SSE_PUSH_BUS_URL"
"""The one setting that may come from the environment: it belongs to a machine more than to an app."""


@dataclass(frozen=True, slots=True)
class Settings:
    """
    All settings. The key of a setting in ``app.config`` is its name in capitals behind ``SSE_PUSH_``.
    """

    public_channels: tuple[Pattern, ...]
    """
    ``SSE_PUSH_PUBLIC_CHANNELS`` (list of patterns, default none): anybody who can reach the app can read
    these channels, unless a rule covers them.
    """
    default_channel_public: bool
    """
    ``SSE_PUSH_DEFAULT_CHANNEL_PUBLIC`` (bool, default ``True``): the same for the channel ``sse``. ``False``
    closes the channel, unless a rule grants it.
    """
    bus_url: str | BusFactory
    """
    ``SSE_PUSH_BUS_URL`` (URL, or a function that makes a bus; default: the environment variable of this name,
    or ``"auto"``): what carries events from process to process.
    """
    publish_timeout_seconds: float
    """
    ``SSE_PUSH_PUBLISH_TIMEOUT_SECONDS`` (seconds, default 2): after this time at most ``publish`` returns an
    id or raises :class:`BusUnavailable`.
    """
    history_length: int
    """
    ``SSE_PUSH_HISTORY_LENGTH`` (events per channel, default 256): how many events back a client can resume.
    """
    history_seconds: float
    """``SSE_PUSH_HISTORY_SECONDS`` (seconds, default 300): how long back a client can resume."""
    history_bytes: int
    """
    ``SSE_PUSH_HISTORY_BYTES`` (bytes, default 16 MiB): the history of all channels of a bus, and what a
    process has of it, overhead included.
    """
    channels: tuple[tuple[Pattern, ChannelRetention], ...]
    """
    ``SSE_PUSH_CHANNELS`` (dict of patterns, default none): another ``history_length`` or ``history_seconds``
    for the channels that fit; the first pattern that fits counts.
    """
    kept_values: int
    """
    ``SSE_PUSH_KEPT_VALUES`` (values per channel, default 10,000): how many values one channel may keep by
    their keys.
    """
    kept_bytes: int
    """
    ``SSE_PUSH_KEPT_BYTES`` (bytes, default 16 MiB): the kept values of all channels of a bus, overhead
    included.
    """
    heartbeat_seconds: float
    """``SSE_PUSH_HEARTBEAT_SECONDS`` (seconds, default 15): the longest silence of a stream."""
    retry_milliseconds: int
    """
    ``SSE_PUSH_RETRY_MILLISECONDS`` (milliseconds, default 2000): browsers wait this long before they
    reconnect, give or take half of it at random.
    """
    write_timeout_seconds: float
    """
    ``SSE_PUSH_WRITE_TIMEOUT_SECONDS`` (seconds, default 10): a client that takes no bytes for this long is
    cut off.
    """
    direct_write: bool
    """
    ``SSE_PUSH_DIRECT_WRITE`` (bool, default ``True``): write straight to the client's socket under a server
    that is known to allow it (gunicorn's gevent worker).
    """
    max_streams: int | None
    """
    ``SSE_PUSH_MAX_STREAMS`` (streams per process, default 80 % of what the server can hold, and at least 24
    files fewer than the process may open): further clients are asked to come back later.
    """
    max_streams_per_client: int | None
    """
    ``SSE_PUSH_MAX_STREAMS_PER_CLIENT`` (streams per client and process, default no limit): further streams of
    a client are asked to come back later.
    """
    client_key: ClientKey | None
    """
    ``SSE_PUSH_CLIENT_KEY`` (function of the request, default its ``remote_addr``): names the client for that
    limit. A client whose name is ``None`` has no limit.
    """
    abrupt_end: bool
    """
    ``SSE_PUSH_ABRUPT_END`` (bool, default ``False``): a server that stops cuts channel streams off, instead
    of ending them cleanly.
    """
    max_channels: int
    """``SSE_PUSH_MAX_CHANNELS`` (channels per stream, default 32)."""
    max_event_bytes: int
    """``SSE_PUSH_MAX_EVENT_BYTES`` (bytes on the wire, default 64 KiB): larger events are refused."""
    cors_origins: frozenset[str]
    """
    ``SSE_PUSH_CORS_ORIGINS`` (list of exact origins, default none): other sites whose pages may read streams.
    """
    cors_credentials: bool
    """
    ``SSE_PUSH_CORS_CREDENTIALS`` (bool, default ``False``): whether pages of those sites may send cookies.
    """
    strict: bool
    """
    ``SSE_PUSH_STRICT`` (bool, default ``True``): a server that cannot stream is an error; ``False`` makes it
    a warning.
    """

    def retention(self) -> RetentionRules:
        """Return how much of the past is kept."""
        default = ChannelRetention(self.history_length, self.history_seconds)
        return RetentionRules(default, self.history_bytes, self.kept_values, self.kept_bytes, self.channels)

    def stream_options(self) -> StreamOptions:
        """Return the settings that a stream needs."""
        return StreamOptions(
            self.heartbeat_seconds, self.write_timeout_seconds, self.retry_milliseconds, self.abrupt_end
        )

    def bus_options(self) -> BusOptions:
        """Return the settings that a bus needs."""
        return BusOptions(self.retention(), self.publish_timeout_seconds, self.max_event_bytes)


def read_settings(config: Mapping[str, Any]) -> Settings:
    """
    Read and check all settings.

    Args:
        config (Mapping[str, Any]): ``app.config``.

    Raises:
        ConfigurationError: A value is wrong, or a key that begins with ``SSE_PUSH_`` is unknown.
    """
    reader = ConfigReader(config)
    history_length = reader.integer("HISTORY_LENGTH", 256, 1, MAX_HISTORY_LENGTH)
    history_seconds = reader.number("HISTORY_SECONDS", 300, 1, MAX_HISTORY_SECONDS)
    settings = Settings(
        public_channels=reader.patterns("PUBLIC_CHANNELS"),
        default_channel_public=reader.boolean("DEFAULT_CHANNEL_PUBLIC", True),
        bus_url=reader.text_or_function("BUS_URL", os.environ.get(BUS_URL_VARIABLE) or "auto"),
        publish_timeout_seconds=reader.number("PUBLISH_TIMEOUT_SECONDS", 2, 0.1, 60),
        history_length=history_length,
        history_seconds=history_seconds,
        channels=reader.retentions("CHANNELS", ChannelRetention(history_length, history_seconds)),
        kept_values=reader.integer("KEPT_VALUES", 10_000, 1, 1_000_000),
        kept_bytes=reader.integer("KEPT_BYTES", 16 * 1024 * 1024, 4096, 1 << 40),
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
    name_bytes = 128
    overhead = CHANNEL_OVERHEAD_BYTES + ENTRY_OVERHEAD_BYTES + PLACE_OVERHEAD_BYTES + name_bytes
    least = settings.max_event_bytes + overhead
    if settings.history_bytes < least:
        raise ConfigurationError(
            "SSE_PUSH_HISTORY_BYTES must hold at least one event of SSE_PUSH_MAX_EVENT_BYTES "
            f"with its overhead, got {settings.history_bytes}. "
            f"Set it to {least} or more, or allow only smaller events."
        )
    return settings


def snapshot(config: Mapping[str, Any]) -> dict[str, object]:
    """Return a copy of the settings in the config, by which a later change shows, also inside a list."""
    values: dict[str, object] = {
        key: deepcopy(value) if isinstance(value, list | set | dict) else value
        for key, value in config.items()
        if isinstance(key, str) and key.startswith(PREFIX)
    }
    if BUS_URL_VARIABLE not in values and BUS_URL_VARIABLE in os.environ:
        values[BUS_URL_VARIABLE] = os.environ[BUS_URL_VARIABLE]
    return values


def key_of_flask_sse(config: Mapping[str, Any]) -> str | None:
    """Return the key where Flask-SSE finds its Redis, if one is set and this package's ``BUS_URL`` is not."""
    if config.get(BUS_URL_VARIABLE) or os.environ.get(BUS_URL_VARIABLE):
        return None
    return next((key for key in ("SSE_REDIS_URL", "REDIS_URL") if config.get(key)), None)
