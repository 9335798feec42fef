"""A publisher without a Flask app: for Celery, RQ, cron or another service."""

from __future__ import annotations

import json as standard_json
import os
import pickle
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import Any

from flask.json.provider import DefaultJSONProvider

from ..bus.base import Bus, BusFactory, BusOptions
from ..bus.urls import open_bus
from ..core.channels import DEFAULT_CHANNEL, MAX_CHANNELS_PER_EVENT, check_channels
from ..core.messages import closing, forgetting, prepare
from ..errors import ConfigurationError
from ..platform.boot import told_in_one_line
from ..platform.fork import PerProcess
from .settings import BUS_URL_VARIABLE, read_settings

__all__ = ["Publisher"]


class Publisher:
    """
    Sends events to the clients of an app that runs elsewhere, over a bus that both of them use::

        with Publisher("redis://localhost:6379/0") as publisher:
            publisher.publish({"id": 7}, type="created", channel="orders")

    Thread-safe and fork-safe: a publisher made in a module works in every worker that is forked later. It can
    be pickled, as ``multiprocessing`` does with the arguments of a process that it does not fork: the copy
    has the same arguments and a connection of its own. It opens nothing before the first event, starts no
    thread, and holds a connection until :meth:`close`, or until nobody holds the publisher any more.

    Every app on the same bus gets the events, and nobody checks which apps these are. So on a Redis without
    ``?prefix=`` each process logs a warning with its first event, which names the log.

    Args:
        url (str | BusFactory | None): The bus, as in ``SSE_PUSH_BUS_URL``; ``None`` for the environment
            variable of that name.
        json (Callable | None): Encodes data that is no ``str``; ``None`` encodes as Flask does, without NaN.
        max_event_bytes (int): The largest event, 64 to 67,108,864 bytes.
        publish_timeout_seconds (float): How long :meth:`publish` may take, 0.1 to 60 seconds.

    Raises:
        ConfigurationError: There is no URL, its bus belongs to one process, or a number is out of its range.
    """

    @told_in_one_line
    def __init__(
        self,
        url: str | BusFactory | None = None,
        *,
        json: Callable[[Any], str] | None = None,
        max_event_bytes: int = 64 * 1024,
        publish_timeout_seconds: float = 2.0,
    ) -> None:
        url = url or os.environ.get(BUS_URL_VARIABLE)
        if not url or url == "auto":
            raise _unheard(url)
        given = {
            "BUS_URL": url,
            "MAX_EVENT_BYTES": max_event_bytes,
            "PUBLISH_TIMEOUT_SECONDS": publish_timeout_seconds,
            "HISTORY_BYTES": 1 << 40,
        }
        settings = read_settings({f"SSE_PUSH_{key}": value for key, value in given.items()})
        # Servers decide how much a log keeps. This retention counts only for a log that no server has ever
        # followed.
        options = BusOptions(
            replace(settings, history_bytes=16 * 1024 * 1024).retention(),
            settings.publish_timeout_seconds,
            settings.max_event_bytes,
        )
        if not open_bus(url, options).shared:  # here, so that a wrong URL is an error at once
            raise _unheard(url)
        self._url, self._json = url, json
        self._dumps = json or _dumps
        self._max_event_bytes = settings.max_event_bytes
        self._publish_timeout_seconds = settings.publish_timeout_seconds
        self._closed = False
        self._buses: PerProcess[Bus] = PerProcess(lambda: open_bus(self._url, options))

    def publish(
        self,
        data: Any,
        type: str | None = None,
        id: None = None,
        retry: int | None = None,
        channel: str | Iterable[str] = DEFAULT_CHANNEL,
        *,
        idempotency_key: str | None = None,
        key: str | None = None,
        keep: bool = False,
        close: bool = False,
    ) -> str:
        """
        Send an event; arguments, result and errors are those of :meth:`SSEPush.publish`.

        Raises:
            InvalidEvent: The event cannot be sent as it is; nothing was stored.
            InvalidChannel: A channel's name is not allowed; nothing was stored.
            ChannelClosed: One of the channels is closed; nothing was stored.
            TooManyKept: The value cannot be kept; nothing was stored.
            BusUnavailable: The bus did not take the event within ``publish_timeout_seconds``.
            ConfigurationError: The publisher was closed.
        """
        bus = self._bus()
        _, message = prepare(
            data,
            type,
            id,
            retry,
            channel,
            idempotency_key,
            self._dumps,
            self._max_event_bytes,
            key,
            keep,
            close,
        )
        return bus.publish(message).id

    def close_channel(self, *channels: str) -> str:
        """
        Close channels behind their last event; arguments, result and errors are those of
        :meth:`SSEPush.close`.
        """
        return self._bus().publish(closing(channels)).id

    def forget(self, channel: str | Iterable[str], key: str) -> None:
        """
        Forget the value that a channel keeps by a key; arguments and errors are those of
        :meth:`SSEPush.forget`.
        """
        self._bus().publish(forgetting(channel, key))

    def cursor(self, *channels: str) -> str:
        """
        Return the place where the log ends now; arguments, result and errors are those of
        :meth:`SSEPush.cursor`, with up to 1,000 channels.
        """
        check_channels(channels or DEFAULT_CHANNEL, MAX_CHANNELS_PER_EVENT)
        return str(self._bus().head())

    def close(self) -> None:
        """
        Close the connection of this process. To publish is an error from now on; to close again is harmless.
        """
        self._closed = True
        self._buses.get().close()

    def _bus(self) -> Bus:
        if self._closed:
            raise ConfigurationError(
                "This Publisher was closed. Publish before its block ends, or make another."
            )
        return self._buses.get()

    def __reduce__(self) -> tuple[Callable[[], Publisher], tuple[()], dict[str, bool]]:
        """
        Return how to make the same publisher in another process.

        Raises:
            pickle.PicklingError: ``url`` or ``json`` is a function that the other process could not find.
        """
        for name, value in (("url", self._url), ("json", self._json)):
            try:
                pickle.dumps(value)
            except Exception as error:
                raise pickle.PicklingError(
                    f'"{name}" of a Publisher that goes to another process must be a function that can be '
                    f"pickled, got {value!r}. Define it at the top of a module, or make the Publisher in "
                    "that process."
                ) from error
        make = partial(
            type(self),
            self._url,
            json=self._json,
            max_event_bytes=self._max_event_bytes,
            publish_timeout_seconds=self._publish_timeout_seconds,
        )
        return make, (), {"_closed": self._closed}

    def __enter__(self) -> Publisher:  # noqa: PYI034  # typing has no Self before Python 3.11
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def _unheard(url: object) -> ConfigurationError:
    return ConfigurationError(
        f'"url" must name a bus that other processes hear, got {url!r}. '
        "Give the app and this Publisher the same SSE_PUSH_BUS_URL, "
        'such as "sqlite:////var/lib/shop/events.db" or "redis://localhost:6379/0".'
    )


def _dumps(value: Any) -> str:
    return standard_json.dumps(
        value,
        default=DefaultJSONProvider.default,
        ensure_ascii=DefaultJSONProvider.ensure_ascii,
        sort_keys=DefaultJSONProvider.sort_keys,
        allow_nan=False,
    )
