"""The bus of many machines: a Redis stream as the log, written by one script and read by one connection per process."""

from __future__ import annotations

import json
import logging
import os
import re
import secrets
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple
from urllib.parse import SplitResult, parse_qsl, unquote, urlencode, urlsplit, urlunsplit

from blinker import Signal

from ..core.ids import EventId
from ..core.log import ENTRY_OVERHEAD_BYTES, PLACE_OVERHEAD_BYTES, Entry
from ..errors import BusUnavailable, ConfigurationError
from .base import LEASE_SECONDS, Accepted, BusFactory, BusOptions, Health, Report, Snapshot
from .follower import MAX_READ_SECONDS, Follower, LogChanged, Tail
from .redis_script import PUBLISH, TOUCH

try:
    import redis
    from redis.backoff import NoBackoff
    from redis.cluster import ClusterNode, RedisCluster
    from redis.retry import Retry
    from redis.sentinel import MasterNotFoundError, Sentinel, SentinelConnectionPool
except ImportError as error:
    raise ConfigurationError("SSE_PUSH_BUS_URL names a Redis, and redis-py is not installed. Run: pip install 'flask_sse_push[redis]'") from error

__all__ = ["DEFAULT_PREFIX", "RedisBus", "redis_bus"]

DEFAULT_PREFIX = "sse_push"

MAX_CONNECTIONS = 16
"""How many publishes of a process are on their way at once; more wait, and their waiting counts."""

_PREFIX = re.compile(r"[A-Za-z0-9_.:-]{1,64}")
_PLACE_LOOK_SECONDS = 0.002
_PAGE = 1000
_READ_AT_ONCE = 500
_READ_MARGIN_SECONDS = 2.0  # how much longer than it was asked to wait a Redis may take: then it hangs
_CURE = 'Write it like "redis://user:password@host:6379/0?prefix=shop"'

logger = logging.getLogger(__package__.rpartition(".")[0])


class RedisBus:
    """
    Events live in a Redis and reach every process that it can be reached from. Thread-safe.

    Connecting, logging in and the one command of a publish each have their share of ``publish_timeout_seconds``, and nothing is tried again. Not bounded
    is how long the name of the host takes to be found. The time-outs and retries of a given client are not used, only its addresses and credentials.

    Args:
        target (str | redis.Redis | redis.RedisCluster): A URL, or a client.
        options (BusOptions): See there.
        prefix (str | None): Of all keys; ``None`` for the URL's ``?prefix=``, or ``"sse_push"``.

    Raises:
        ConfigurationError: The URL is none of Redis.
    """

    name = "redis"
    shared = True

    def __init__(self, target: Any, options: BusOptions, prefix: str | None = None) -> None:
        self.log_begun = Signal("a log begins")
        self.entry_numbered = Signal("one entry was numbered")
        self.caught_up = Signal("all entries were handed on")
        self._options = options
        self._server = _server_of_url(target) if isinstance(target, str) else _server_of_client(target)
        prefix = prefix or self._server.prefix
        if not _PREFIX.fullmatch(prefix):
            raise ConfigurationError(f'"prefix" must be 1 to 64 letters, digits or any of _ . : -, got {prefix!r}. {_CURE}.')
        # One hash tag: in a Cluster all of them are in one place, as a script wants it.
        self._keys = _Keys(*(f"{{{prefix}}}:{name}" for name in ("log", "meta", "keys", "reports")))
        self._connections: tuple[Any, deque[None]] | None = None
        self._callers: set[int] = set()
        self._follower = Follower(self, self._server.where, self._open_reader, (redis.RedisError, OSError))

    def publish(self, channels: tuple[str, ...], block: bytes, key: str | None = None) -> Accepted:
        """Number an event and store it; see :meth:`Bus.publish`."""
        size = len(block) + ENTRY_OVERHEAD_BYTES + PLACE_OVERHEAD_BYTES * len(channels) + sum(map(len, channels))
        arguments = (*self._keys[:3], secrets.token_hex(6), *_text(self._options.retention), "\n".join(channels), block, size, key or "")
        try:
            epoch, sequence, known = self._call(lambda client: client.eval(PUBLISH, 3, *arguments))
        except (redis.RedisError, OSError) as error:
            raise self._unavailable(error) from error
        return Accepted(EventId(epoch.decode(), sequence), is_repeated=bool(known))

    def start(self, report: Callable[[], Report], wanted: Callable[[], bool]) -> None:
        """Begin to follow; see :meth:`Bus.start`."""
        self._follower.start(report, wanted)

    def close(self) -> None:
        """Stop to follow and close all connections; see :meth:`Bus.close`."""
        self._follower.stop()
        connections, self._connections = self._connections, None
        if connections is not None:
            connections[0].close()

    def health(self) -> Health:
        """Return how following goes; see :meth:`Bus.health`."""
        return self._follower.health()

    def inspect(self) -> Snapshot:
        """Return what there is; see :meth:`Bus.inspect`."""
        try:
            epoch, head, events, size = self._call(lambda client: client.hmget(self._keys.meta, "epoch", "head", "events", "bytes"))
            reports = self._call(lambda client: client.hvals(self._keys.reports))
            now = self._call(_time)
        except (redis.RedisError, OSError) as error:
            raise BusUnavailable(f"The Redis at {self._server.where} cannot be asked ({error}). See that it runs and can be reached from here.") from error
        living = [report for expires_at, report in map(_split_report, reports) if expires_at >= now]
        return Snapshot((epoch or b"").decode(), int(head or 0), int(events or 0), int(size or 0), living)

    def _call(self, command: Callable[[Any], Any]) -> Any:
        """Run a command on a connection of the pool, when there is a place."""
        caller = threading.get_ident()  # of a greenlet, where gevent has patched
        if caller in self._callers:
            raise BusUnavailable(
                "The event was not stored: publish() was called from within itself, by a finalizer or a signal handler, and redis-py's locks are in the way. "
                "Publish from a thread instead."
            )
        self._callers.add(caller)
        try:
            client, places = self._connections or self._connect()
            give_up_at = time.monotonic() + self._options.publish_timeout_seconds / 4
            while True:
                try:
                    place = places.pop()
                    break
                except IndexError:
                    if time.monotonic() > give_up_at:
                        words = f"{MAX_CONNECTIONS} other publishes of this process wait for it; not connecting to it once more"
                        raise redis.ConnectionError(words) from None
                    time.sleep(_PLACE_LOOK_SECONDS)
            try:
                return command(client)
            finally:
                places.append(place)
        finally:
            self._callers.discard(caller)

    def _connect(self) -> tuple[Any, deque[None]]:
        # A quarter is for waiting for a place; connecting, logging in, choosing the database and the command share the rest. In no lock: two
        # may both come first, and one of the two clients is dropped before it has connected.
        seconds = self._options.publish_timeout_seconds * 0.75 / (2 + self._server.greetings)
        self._connections = connections = (self._server.connect(seconds, None), deque([None] * MAX_CONNECTIONS))
        return connections

    def _open_reader(self) -> _Reader:
        return _Reader(self._server.connect(_READ_MARGIN_SECONDS, MAX_READ_SECONDS + _READ_MARGIN_SECONDS), self._keys, self._options)

    def _unavailable(self, error: Exception) -> BusUnavailable:
        words, where = str(error), f"the Redis at {self._server.where}"
        if isinstance(error, redis.ResponseError | redis.AuthenticationError | redis.BusyLoadingError):
            return BusUnavailable(f"The event was not stored: {where} says {words!r} ({type(error).__name__}). {_cure(error)}")
        if "connecting to" in words or isinstance(error, MasterNotFoundError):
            return BusUnavailable(f"The event was not stored: {where} cannot be reached ({words}). See that it runs and can be reached from here.")
        return BusUnavailable(
            f"The event may have been stored: {where} did not answer ({words}). Publish it again with an idempotency_key, which stores nothing twice."
        )


def redis_bus(client: Any, prefix: str = DEFAULT_PREFIX) -> BusFactory:
    """
    Return what ``SSE_PUSH_BUS_URL`` may be instead of a URL: a bus on the server that a client of redis-py knows.

    Args:
        client (redis.Redis | redis.RedisCluster): Its addresses and credentials are taken, also those of Sentinels. Nothing is sent by it.
        prefix (str): Of all keys.
    """
    return lambda options: RedisBus(client, options, prefix)


class _Keys(NamedTuple):
    log: str
    meta: str
    keys: str
    reports: str


class _Server(NamedTuple):
    """Where a Redis is."""

    where: str
    """For people; without a password."""
    prefix: str
    greetings: int
    """How many answers are waited for between connecting and the first command."""
    make: Callable[[dict[str, Any]], Any]

    def connect(self, seconds: float, read_seconds: float | None) -> Any:
        """Return a client with connections of its own; opens nothing."""
        return self.make(
            {
                "socket_connect_timeout": seconds,
                "socket_timeout": read_seconds or seconds,
                # Its own ten tries would store an event twice, and take much longer than anybody was promised.
                "retry": Retry(NoBackoff(), 0),  # type: ignore[no-untyped-call,unused-ignore]
                "health_check_interval": 0,
                "protocol": 2,  # one answer less before the first command
                "decode_responses": False,
                **_NAMELESS,
            }
        )


# Telling the server a name takes two answers more. The option was called otherwise before redis-py 7.
_NAMELESS: dict[str, Any] = {"driver_info": None} if int(redis.__version__.split(".")[0]) >= 8 else {"lib_name": None, "lib_version": None}


def _server_of_url(url: str) -> _Server:
    parts = urlsplit(url)
    try:
        query = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=True)) if parts.query else {}
        prefix = query.pop("prefix", DEFAULT_PREFIX)
        scheme, _, kind = parts.scheme.partition("+")
        if kind:
            return _server_of_many(parts, query, prefix, over_tls=scheme == "rediss", kind=kind)
        plain = url.partition("?")[0] + (f"?{urlencode(query)}" if query else "")
        known = redis.ConnectionPool.from_url(plain).connection_kwargs  # looks at the URL alone
    except (ValueError, TypeError) as error:
        shown = urlunsplit(parts._replace(netloc="...@" + parts.netloc.rpartition("@")[2] if "@" in parts.netloc else parts.netloc))
        raise ConfigurationError(f"SSE_PUSH_BUS_URL is no URL of a Redis, got {shown!r} ({error}). {_CURE}, or leave it out.") from error
    host = unquote(parts.path) if scheme == "unix" else parts.netloc.rpartition("@")[2]
    return _Server(host, prefix, _greetings(known), lambda options: redis.Redis.from_url(plain, **options))


def _server_of_many(parts: SplitResult, query: dict[str, str], prefix: str, *, over_tls: bool, kind: str) -> _Server:
    """Return a service behind Sentinels, or a Cluster."""
    user, _, password = parts.netloc.rpartition("@")[0].partition(":")
    common: dict[str, Any] = {"username": unquote(user) or None, "password": unquote(password) or None, **({"ssl": True} if over_tls else {})}
    hosts = _hosts(parts.netloc.rpartition("@")[2], 26379 if kind == "sentinel" else 6379)
    where = ",".join(f"{host}:{port}" for host, port in hosts)
    if kind == "cluster":
        if query or parts.path not in ("", "/", "/0"):
            raise ValueError("a Cluster has one database, and no options but prefix")
        return _Server(where, prefix, 3, lambda options: _cluster([_node(*host) for host in hosts], {**common, **options}))
    service, _, database = parts.path.strip("/").partition("/")
    if not service:
        raise ValueError("the path is the name of the service, like redis+sentinel://host:26379/mymaster/0")
    sentinel = {name.removeprefix("sentinel_"): query.pop(name) for name in ("sentinel_username", "sentinel_password") if name in query}
    if query:
        raise ValueError(f"there is no option {next(iter(query))}")
    common["db"] = int(database or 0)

    def make(options: dict[str, Any]) -> Any:
        timeouts = {"socket_connect_timeout": options["socket_connect_timeout"], "socket_timeout": options["socket_connect_timeout"]}
        return Sentinel(hosts, sentinel_kwargs={**sentinel, **timeouts}, **common, **options).master_for(service)  # type: ignore[no-untyped-call,unused-ignore]

    return _Server(f"{where}/{service}", prefix, 4, make)


def _hosts(netloc: str, port: int) -> list[tuple[str, int]]:
    hosts = []
    for part in netloc.split(","):
        parsed = urlsplit(f"//{part}")
        if not parsed.hostname:
            raise ValueError("hosts are separated by commas, like host:6379,host:6379")
        hosts.append((parsed.hostname, parsed.port or port))
    return hosts


def _server_of_client(client: Any) -> _Server:
    if isinstance(client, RedisCluster):
        nodes = [_node(node.host, node.port) for node in client.nodes_manager.startup_nodes.values()]
        known = _credentials(client.nodes_manager.connection_kwargs)
        return _Server(",".join(f"{node.host}:{node.port}" for node in nodes), DEFAULT_PREFIX, 3, lambda options: _cluster(nodes, {**known, **options}))
    pool = getattr(client, "connection_pool", None)
    if not isinstance(pool, redis.ConnectionPool):
        raise ConfigurationError(f'"client" must be a redis.Redis or a redis.RedisCluster, got {client!r}. For asyncio, give the URL instead.')
    known = _credentials(pool.connection_kwargs)
    if isinstance(pool, SentinelConnectionPool):
        service, manager = pool.service_name, pool.sentinel_manager
        return _Server(
            f"Sentinel's {service}",
            DEFAULT_PREFIX,
            4,
            lambda options: redis.Redis(connection_pool=SentinelConnectionPool(service, manager, **{**known, **options})),  # type: ignore[no-untyped-call,unused-ignore]
        )
    where = known.get("path") or f"{known.get('host', 'localhost')}:{known.get('port', 6379)}"
    kind = pool.connection_class

    def make(options: dict[str, Any]) -> Any:
        return redis.Redis(connection_pool=redis.ConnectionPool(connection_class=kind, **{**known, **options}))

    return _Server(str(where), DEFAULT_PREFIX, _greetings(known), make)


_PLACE_AND_IDENTITY = frozenset({"host", "port", "path", "db", "username", "password", "credential_provider"})


def _greetings(kwargs: dict[str, Any]) -> int:
    """Count the answers before the first command: to a password, and to another database than the first."""
    return bool(kwargs.get("password") or kwargs.get("credential_provider")) + bool(kwargs.get("db"))


def _credentials(kwargs: dict[str, Any]) -> dict[str, Any]:
    """What says where a server is and who comes; nothing that says how to wait for it."""
    return {key: value for key, value in kwargs.items() if key in _PLACE_AND_IDENTITY or key.startswith("ssl")}


def _node(host: str, port: int) -> Any:
    return ClusterNode(host, port)  # type: ignore[no-untyped-call,unused-ignore]


def _cluster(nodes: list[Any], options: dict[str, Any]) -> Any:
    options = {key: value for key, value in options.items() if key != "retry"}
    try:
        return RedisCluster(startup_nodes=nodes, retry=Retry(NoBackoff(), 0), **options)  # type: ignore[no-untyped-call,unused-ignore]
    except (redis.RedisError, OSError):
        raise
    except Exception as error:  # RedisClusterException is none of RedisError
        raise redis.ConnectionError(f"{error} while connecting to the cluster") from error


class _Reader:
    """What the follower reads by: one connection."""

    def __init__(self, client: Any, keys: _Keys, options: BusOptions) -> None:
        self._client = client
        self._keys = keys
        self._options = options
        self._process = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        self._epoch = ""
        self._prefix = ""
        self._now = 0.0

    def epoch(self) -> str:
        self._touch(write=True)
        return self._epoch

    def tail(self) -> Tail:
        while True:
            head = self._touch(write=False)
            prefix, after = self._prefix, "-"
            entries: list[Entry] = []
            since = self._now - 1000 * self._options.retention.seconds
            while page := self._client.execute_command("XRANGE", self._keys.log, after, f"{prefix}{head}", "COUNT", _PAGE):
                entries += [entry for raw in page if (entry := self._entry(raw)) is not None and _milliseconds(raw) >= since]
                after = "(" + page[-1][0].decode()
            if self._touch(write=False) >= head and self._prefix == prefix:
                break  # else another log began meanwhile
        numbers = [entry.sequence for entry in entries]
        return Tail(self._epoch, numbers[0] - 1 if numbers else head, entries)

    def read(self, epoch: str, position: int, seconds: float) -> list[Entry]:
        if epoch != self._epoch:
            raise LogChanged
        block = ("BLOCK", max(1, int(1000 * min(seconds, MAX_READ_SECONDS)))) if seconds else ()  # 0 would be for ever
        found = self._client.execute_command("XREAD", "COUNT", _READ_AT_ONCE, *block, "STREAMS", self._keys.log, f"{self._prefix}{position}")
        if not found:
            # Nobody published, or the log is gone: a flush, a restart and a promotion make no noise.
            self._touch(write=False)
            if epoch != self._epoch:
                raise LogChanged
            return []
        entries: list[Entry] = []
        for raw in found[0][1]:
            if not raw[0].decode().startswith(self._prefix):
                if entries:
                    break
                raise LogChanged
            entry = self._entry(raw)
            if entry is not None:
                entries.append(entry)
        return entries

    def wake(self) -> None:
        """A read ends within a second by itself."""

    def report(self, report: Report) -> None:
        now = self._client.execute_command("TIME")
        expires_at = int(now[0]) + LEASE_SECONDS
        self._client.hset(self._keys.reports, self._process, f"{expires_at} {json.dumps(report)}")
        for process, other in self._client.hgetall(self._keys.reports).items():
            if _split_report(other)[0] < int(now[0]):
                self._client.hdel(self._keys.reports, process)

    def withdraw(self) -> None:
        self._client.hdel(self._keys.reports, self._process)

    def close(self) -> None:
        self._client.close()

    def _touch(self, *, write: bool) -> int:
        epoch, prefix, head, now = self._client.eval(
            TOUCH, 3, self._keys.log, self._keys.meta, self._keys.keys, secrets.token_hex(6), *_text(self._options.retention), int(write)
        )
        self._epoch, self._prefix, self._now = epoch.decode(), prefix.decode(), float(now)
        return int(head)

    def _entry(self, raw: Any) -> Entry | None:
        id, values = raw
        fields = dict(zip(values[::2], values[1::2], strict=False)) if isinstance(values, list) else values
        if fields.get(b"v") == b"1":
            try:
                sequence = int(id.decode().partition("-")[2])
                age = max(0.0, (self._now - int(fields[b"t"])) / 1000)
                wire = b"id: %s-%d\n%s" % (self._epoch.encode(), sequence, fields[b"b"])
                return Entry(sequence, tuple(fields[b"c"].decode().split("\n")), wire, time.monotonic() - age)
            except (KeyError, ValueError):
                pass
        # Its number is a hole in the log then, and clients are told of that.
        logger.warning("The entry %r in %s is none of ours, or of a later version; it is left out.", id, self._keys.log)
        return None


def _milliseconds(raw: Any) -> float:
    fields = raw[1] if isinstance(raw[1], list) else [part for pair in raw[1].items() for part in pair]
    return float(fields[fields.index(b"t") + 1])


def _time(client: Any) -> float:
    return float(client.time()[0])


def _split_report(stored: bytes) -> tuple[float, Report]:
    expires_at, _, report = stored.decode().partition(" ")
    return float(expires_at), json.loads(report)


def _text(retention: Any) -> tuple[str, str, str]:
    return f"{retention.seconds:g}", str(retention.max_bytes), str(retention.max_events)


def _cure(error: Exception) -> str:
    told = f"{type(error).__name__} {error}"  # redis-py knows some of Redis' words by classes, and leaves them out
    for word, cure in (
        ("OutOfMemoryError", "Give it more memory, or set maxmemory-policy to one that frees some."),
        ("ReadOnlyError", "It is a replica: name the master, or ask Sentinels for it."),
        ("BusyLoadingError", "It has just started; try again in a moment."),
        ("AuthenticationError", "Correct the user or password in SSE_PUSH_BUS_URL."),
        ("NoPermissionError", "Let its user run EVAL and the commands of streams and hashes on these keys."),
        ("MISCONF", "It cannot write to its disk; see its log."),
    ):
        if word in told:
            return cure
    return "Redis 6.2 or newer is needed."
