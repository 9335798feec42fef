"""
The bus of many machines: channels in a Redis, written by scripts and read by one connection per process.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterator
from functools import cache
from typing import Any

from ...core.messages import Message
from ...core.positions import EventId
from ...errors import BusUnavailable
from ..base import BusFactory, BusOptions, PublishResult, Snapshot
from ..stored import StoredBus
from .connection import Connection
from .faults import FAULTS, WRONG_SERVER, cure_of, is_refusal, message_of
from .log import RedisLog
from .owner import Claimant
from .pool import Pool
from .reader import RedisReader
from .targets import DEFAULT_PREFIX, find_endpoint

__all__ = ["DEFAULT_PREFIX", "RedisBus", "redis_bus"]

logger = logging.getLogger("flask_sse_push")


class RedisBus(StoredBus):
    """
    Events live in a Redis and reach every process that can reach it. Thread-safe, also in finalizers and
    signal handlers.

    Waiting for a connection, connecting, logging in and the command of a publish together take no longer than
    ``publish_timeout_seconds``, and what the machine needs to let this thread or greenlet run again. Two
    things have no bound: what a credential provider does, and, without gevent, the look-up of the host name.
    What may have been done is never tried again. Of a client, or of redis-py's options in a URL, only what
    says where the server is and who logs in is used: no time-out, retry, size of a pool or decoding.

    A new epoch begins when the server was restarted, a replica was promoted or the keys are gone, for then
    accepted events may be lost. ``INFO replication`` shows the first two; a user who may not run it sees only
    the last.

    Where no prefix is named, the log belongs to one app, the first that comes (:attr:`BusOptions.identity`):
    any other is refused, and neither reads nor writes. Once nobody has published or followed for as long as
    the history is kept (7 seconds at least), the next app gets it, as a new log. A log with a name belongs to
    all who name it.

    Args:
        target (str | redis.Redis | redis.RedisCluster): A URL, or a client.
        options (BusOptions): See there.
        prefix (str | None): Of all keys; ``None`` for the URL's ``?prefix=``, or ``"sse_push"``.

    Raises:
        ConfigurationError: The URL is none of Redis.
    """

    name = "redis"
    faults = FAULTS

    def __init__(self, target: Any, options: BusOptions, prefix: str | None = None) -> None:
        self._options = options
        self._endpoint, named = find_endpoint(target, prefix)
        super().__init__(self._endpoint.text)
        log = f"the log {named or DEFAULT_PREFIX!r} of the Redis at {self._address}"
        self._ownerless = "" if named or options.identity else log
        self._log = RedisLog(
            named or DEFAULT_PREFIX, options, Claimant(None if named else options.identity, log), log
        )
        self._pool = Pool(self._endpoint.open)

    def publish(self, message: Message) -> PublishResult:
        """Number an event and store it; see :meth:`Bus.publish`."""
        until = time.monotonic() + self._options.publish_timeout_seconds
        if self._ownerless:
            _warn_of_no_app(self._ownerless)
        pool = self._pool
        for can_retry in (True, False):
            connection: Connection | None = None
            try:
                with pool.connection(until) as connection:
                    result = self._log.publish(connection, message)
                break
            except FAULTS as error:
                if not (can_retry and isinstance(error, WRONG_SERVER)):
                    raise self._unavailable(error, connection) from error
                # Nothing was done, and another server is the master by now: no idle connection leads to it.
                pool.close_idle()
        if self._health.state == "down":
            self._retry_soon()
        return result

    def head(self) -> EventId:
        """Return where the log ends now; see :meth:`Bus.head`."""
        with self._asking() as connection:
            touched = self._log.touch(connection, write=False)
        return EventId(touched.epoch, touched.head)

    def put_lease(self, name: str, text: str, seconds: float) -> None:
        """Store a text until its time is over; see :meth:`Bus.put_lease`."""
        with self._asking() as connection:
            self._log.put_lease(connection, name, text, seconds)

    def drop_lease(self, name: str) -> None:
        """Remove a lease; see :meth:`Bus.drop_lease`."""
        with self._asking() as connection:
            self._log.drop_lease(connection, name)

    def leases(self, prefix: str) -> dict[str, str]:
        """Return the leases that live; see :meth:`Bus.leases`."""
        with self._asking() as connection:
            return self._log.leases(connection, prefix)

    def close(self) -> None:
        """Stop to follow and close all connections; see :meth:`Bus.close`."""
        self._stop_following()
        pool, self._pool = self._pool, Pool(self._endpoint.open)
        pool.close()

    def inspect(self) -> Snapshot:
        """Return what there is; see :meth:`Bus.inspect`."""
        with self._asking() as connection:
            return self._log.inspect(connection)

    @contextlib.contextmanager
    def _asking(self) -> Iterator[Connection]:
        """Lend a connection for what may be done again."""
        try:
            with self._pool.connection(
                time.monotonic() + self._options.publish_timeout_seconds
            ) as connection:
                yield connection
        except FAULTS as error:
            raise BusUnavailable(
                f"The Redis at {self._address} cannot be asked: {message_of(error)}.{cure_of(error)}"
            ) from error

    def _open_reader(self) -> RedisReader:
        return RedisReader(self._endpoint.open, self._log, self._options)

    def _cure_of(self, error: Exception) -> str:
        return cure_of(error)

    def _unavailable(self, error: Exception, connection: Connection | None) -> BusUnavailable:
        where, said = f"the Redis at {self._address}", message_of(error)
        if is_refusal(error):
            return BusUnavailable(
                f"The event was not stored: {where} says {said!r} ({type(error).__name__}).{cure_of(error)}"
            )
        if connection is None or not connection.sent:
            return BusUnavailable(
                f"The event was not stored: {where} cannot be reached ({said}). "
                "See that it runs and can be reached from here."
            )
        return BusUnavailable(
            f"The event may have been stored: {where} did not answer ({said}). "
            "Publish it again with an idempotency_key, which stores nothing twice."
        )


@cache
def _warn_of_no_app(log: str) -> None:
    """Say once per process and log that nobody checks whose log it is."""
    logger.warning(
        "A publisher without an app writes to %s, whichever app that belongs to. To be sure that the "
        "right app gets its events, end SSE_PUSH_BUS_URL with the same name here and in the app, "
        'like "?prefix=shop".',
        log,
    )


def redis_bus(client: Any, prefix: str | None = None) -> BusFactory:
    """
    Return a value for ``SSE_PUSH_BUS_URL``: a bus on the server that a client of redis-py knows.

    Args:
        client (redis.Redis | redis.RedisCluster): Its addresses and credentials are taken, also those of
            Sentinels. Nothing is sent by it.
        prefix (str | None): Of all keys, and the name of the log; ``None`` for the log that belongs to
            one app.
    """
    return lambda options: RedisBus(client, options, prefix)
