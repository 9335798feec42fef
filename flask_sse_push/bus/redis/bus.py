"""The bus of many machines: a Redis stream as the log, written by one script and read by one connection per process."""

from __future__ import annotations

import logging
import secrets
import time
from typing import Any

from ...core.entry import ENTRY_OVERHEAD_BYTES, PLACE_OVERHEAD_BYTES
from ...errors import BusUnavailable, ConfigurationError
from ..base import BusFactory, BusOptions, PublishResult, Snapshot
from ..follower import FollowedBus

try:
    import redis
except ImportError as error:
    raise ConfigurationError(
        "SSE_PUSH_BUS_URL names a Redis, and redis-py is not installed. Run: pip install 'flask_sse_push[redis]'"
    ) from error

if int(redis.__version__.partition(".")[0]) < 6:
    raise ConfigurationError(
        f"redis-py must be 6 or newer, got {redis.__version__!r}: older ones take a TLS certificate of any host. Run: pip install 'redis>=6'"
    )

from . import answers
from .clients import DEFAULT_PREFIX, of_client, of_url
from .link import FAULTS, Link, is_refusal
from .owner import Claimant
from .pool import Pool
from .reader import Keys, RedisReader, read_report, retention_words, touch_words
from .script import PUBLISH, TOUCH

__all__ = ["DEFAULT_PREFIX", "RedisBus", "redis_bus"]

_RIGHTS = "Let its user run EVAL, EVALSHA, INFO, TIME, UNLINK, PEXPIRE and the commands of streams and hashes on these keys."
_LOGIN = "Put the password into SSE_PUSH_BUS_URL."
_CURES: tuple[tuple[type[Exception], str], ...] = (
    (
        redis.exceptions.OutOfMemoryError,
        "Give it more memory, or set maxmemory-policy to one that frees some.",
    ),
    (
        redis.exceptions.ReadOnlyError,
        "It is a replica: name the master, or ask Sentinels for it (redis+sentinel://).",
    ),
    (redis.exceptions.MovedError, "It is a node of a Cluster: begin the URL with redis+cluster://."),
    (redis.exceptions.BusyLoadingError, "It has just started; try again in a moment."),
    (redis.exceptions.NoPermissionError, _RIGHTS),
)
_ELSEWHERE = (redis.exceptions.ReadOnlyError, redis.exceptions.AskError)  # MovedError is a kind of AskError
_CURES_OF_WORDS = (
    ("uthentication required", _LOGIN),
    ("unauthenticated", _LOGIN),
    ("user executing the script", _RIGHTS),
    ("username", "Correct the user or password in SSE_PUSH_BUS_URL."),
    ("MISCONF", "It cannot write to its disk; see its log."),
    ("NOREPLICAS", "It has too few replicas; see min-replicas-to-write."),
    ("WRONGTYPE", "Another program uses these keys: choose another prefix, like ?prefix=shop."),
    ("max number of clients", "Raise its maxclients, or see who holds so many connections."),
    ("unknown command", "Redis 6.2 or newer is needed, or Valkey."),
    ("syntax error", "Redis 6.2 or newer is needed, or Valkey."),
)

_MAX_CLAIMS = 3  # of a log in one publish: it changes hands once in many minutes

logger = logging.getLogger("flask_sse_push")

_told: set[str] = set()  # of which logs this process has said that it writes to them without an app


class RedisBus(FollowedBus):
    """
    Events live in a Redis and reach every process that it can be reached from. Thread-safe, also in finalizers and signal handlers.

    Waiting for a connection, connecting, logging in and the command of a publish together take no longer than
    ``publish_timeout_seconds``, and what the machine needs to let this thread or greenlet run again. Without gevent it is not bounded
    how long the name of the host takes to be found, and never what a credential provider does. What may have been done is never tried
    again. Of a given client, or of redis-py's options in a URL, only what says where
    the server is and who comes is used: no time-out, retry, size of a pool or decoding.

    A new epoch begins when the server was restarted, a replica was promoted or the keys are gone, for then accepted events may be lost.
    The first two are seen by ``INFO replication``; who may not run it sees only the last.

    Where no prefix is named, the log belongs to one app, the first that comes (:attr:`BusOptions.identity`): any other is refused, and
    neither reads nor writes. Once nobody has published or followed for as long as the history is kept (7 seconds at least), the next
    app gets it, as a new log. A log with a name belongs to all who name it.

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
        if isinstance(target, str):
            self._where, prefix = of_url(target, prefix)
        else:
            self._where = of_client(target, DEFAULT_PREFIX if prefix is None else prefix)
        super().__init__(self._where.text)
        self._keys = Keys.of(DEFAULT_PREFIX if prefix is None else prefix)
        log = f"the log {prefix or DEFAULT_PREFIX!r} of the Redis at {self._where.text}"
        self._claimant = Claimant(options.identity if prefix is None else None, log)
        self._untold = log if prefix is None and options.identity is None else ""
        self._pool = Pool(self._where.open)

    def publish(self, channels: tuple[str, ...], block: bytes, key: str | None = None) -> PublishResult:
        """Number an event and store it; see :meth:`Bus.publish`."""
        until = time.monotonic() + self._options.publish_timeout_seconds
        size = (
            len(block) + ENTRY_OVERHEAD_BYTES + PLACE_OVERHEAD_BYTES * len(channels) + sum(map(len, channels))
        )
        arguments = ["\n".join(channels), block, size]
        if key:
            arguments.append(key)
        if self._untold:
            self._tell()
        accepted = self._run(arguments, until)
        if self._health.state == "down":
            self._retry_soon()
        return accepted

    def close(self) -> None:
        """Stop to follow and close all connections; see :meth:`Bus.close`."""
        self._stop_following()
        pool, self._pool = self._pool, Pool(self._where.open)
        pool.close()

    def inspect(self) -> Snapshot:
        """Return what there is; see :meth:`Bus.inspect`."""
        until = time.monotonic() + self._options.publish_timeout_seconds
        try:
            with self._pool.link(until) as link:
                meta = link.call(
                    "HMGET", self._keys.meta, "epoch", "head", "bytes", "apps", "owner", until=until
                )
                epoch, head, size, apps, owner = answers.texts(meta, 5)
                who = self._claimant.words().digest.encode()
                if owner is not None and who not in (apps or b""):
                    self._touch(link, until, write=False)
                events = answers.count(link.call("XLEN", self._keys.log, until=until))
                stored = answers.texts(link.call("HVALS", self._keys.reports, until=until))
                now = answers.server_time(link.call("TIME", until=until))
                snapshot = Snapshot(
                    "" if epoch is None else answers.epoch(epoch),
                    answers.count(head or b"0"),
                    events,
                    answers.count(size or b"0"),
                    [],
                )
        except FAULTS as error:
            raise BusUnavailable(
                f"The Redis at {self._where.text} cannot be asked: {_said(error)}.{_cure(error)}"
            ) from error
        living = [
            found[1]
            for report in stored
            if (found := read_report(report or b"")) is not None and found[0] >= now
        ]
        return snapshot._replace(reports=living)

    def _run(self, arguments: list[Any], until: float) -> PublishResult:
        pool, tries = self._pool, 2
        while True:
            link: Link | None = None
            try:
                with pool.link(until) as link:
                    return self._publish(link, arguments, until)
            except FAULTS as error:
                tries -= 1
                if tries and isinstance(error, _ELSEWHERE):
                    # Nothing was done, and the master is another by now: all these connections lead to what it was.
                    pool.forget()
                    continue
                raise self._unavailable(error, sent=link is not None and link.sent) from error

    def _publish(self, link: Link, arguments: list[Any], until: float) -> PublishResult:
        for _ in range(_MAX_CLAIMS):
            who, retention = self._claimant.words().digest, retention_words(self._options.retention)
            answer = link.run(
                PUBLISH, self._keys[:3], secrets.token_hex(6), *retention, who, *arguments, until=until
            )
            if answer is not None or not who:
                return answers.accepted(answer)
            # The log knows nothing of this app, or of this version of it.
            self._claimant.look_again()
            self._touch(link, until, write=True)
        raise redis.InvalidResponse("it gives the log to this app, and does not know it then")

    def _touch(self, link: Link, until: float, *, write: bool) -> None:
        arguments = touch_words(self._options.retention, self._claimant, write=write)
        self._claimant.refuse_unless_free(
            answers.touched(link.run(TOUCH, self._keys[:3], *arguments, until=until)).owner
        )

    def _tell(self) -> None:
        """Say once per process and log that nobody checks whose it is."""
        log, self._untold = self._untold, ""
        if log not in _told:
            _told.add(log)
            logger.warning(
                "A publisher without an app writes to %s, whichever app that belongs to. To be sure that the right app gets its events, "
                'end SSE_PUSH_BUS_URL with the same name here and in the app, like "?prefix=shop".',
                log,
            )

    def _unavailable(self, error: Exception, *, sent: bool) -> BusUnavailable:
        where = f"the Redis at {self._where.text}"
        if is_refusal(error):
            return BusUnavailable(
                f"The event was not stored: {where} says {_said(error)!r} ({type(error).__name__}).{_cure(error)}"
            )
        if not sent:
            return BusUnavailable(
                f"The event was not stored: {where} cannot be reached ({_said(error)}). See that it runs and can be reached from here."
            )
        return BusUnavailable(
            f"The event may have been stored: {where} did not answer ({_said(error)}). Publish it again with an idempotency_key, which stores nothing twice."
        )

    def _open_reader(self) -> RedisReader:
        return RedisReader(self._where.open, self._keys, self._options, self._claimant)


def redis_bus(client: Any, prefix: str | None = None) -> BusFactory:
    """
    Return what ``SSE_PUSH_BUS_URL`` may be instead of a URL: a bus on the server that a client of redis-py knows.

    Args:
        client (redis.Redis | redis.RedisCluster): Its addresses and credentials are taken, also those of Sentinels. Nothing is sent by it.
        prefix (str | None): Of all keys, and the name of the log; ``None`` for the log that belongs to one app.
    """
    return lambda options: RedisBus(client, options, prefix)


def _said(error: Exception) -> str:
    # Redis 7 puts behind an error in which script and line it was.
    return str(error).partition(" script: ")[0]


def _cure(error: Exception) -> str:
    """Return a sentence with a space in front, or nothing."""
    for kind, cure in _CURES:
        if isinstance(error, kind):
            return f" {cure}"
    return next((f" {cure}" for word, cure in _CURES_OF_WORDS if word in str(error)), "")
