"""Where a Redis is: at an address, behind Sentinels or in a Cluster; as a URL or a client of redis-py says it."""

from __future__ import annotations

import re
import ssl
import time
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

import redis
from redis.connection import Connection, SSLConnection, UnixDomainSocketConnection, parse_url
from redis.crc import key_slot
from redis.sentinel import SentinelConnectionPool

from ...errors import ConfigurationError
from . import answers
from .link import FAULTS, Link

__all__ = ["DEFAULT_PREFIX", "Cluster", "Sentinels", "Server", "Where", "of_client", "of_url"]

DEFAULT_PREFIX = "sse_push"

_PREFIX = re.compile(r"[A-Za-z0-9_.:-]{1,64}")
_MAX_LEARNED = 8
_EXAMPLE = 'Write it like "redis://user:password@host:6379/0?prefix=shop"'

# What says where a server is, and who comes. Everything else says how redis-py's own clients wait, try again and decode, which is not wanted here.
_KEPT = frozenset(
    {"host", "port", "path", "db", "username", "password", "credential_provider", "client_name"}
)
_KEPT_BEGINNINGS = ("ssl_", "socket_keepalive", "socket_type", "socket_read_size")
_WITHOUT_EFFECT = re.compile(
    "timeout|socket_(connect_)?timeout|retry_on_.*|health_check_interval|max_connections|protocol|.*_responses|encoding.*|lib_.*"
)

# A name given to the server would take two answers more at each connect; redis-py 8 calls the option otherwise.
_NAMELESS: dict[str, Any] = (
    {"driver_info": None}
    if int(redis.__version__.partition(".")[0]) >= 8
    else {"lib_name": None, "lib_version": None}
)


class Where(Protocol):
    """The way to a server that takes events."""

    text: str
    """For people; without a password."""

    def open(self, until: float) -> Link:
        """
        Return a new connection by a moment on the monotonic clock.

        Raises:
            redis.RedisError: There is none; see :data:`redis_link.FAULTS`.
        """


class Server:
    """
    One server.

    Args:
        kind (type): redis-py's kind of connection.
        options (dict[str, Any]): What it is made of.

    Raises:
        TypeError: There is no such option.
    """

    def __init__(self, kind: type[Any], options: dict[str, Any]) -> None:
        self._kind = kind
        self._options = {**options, "protocol": 2, **_NAMELESS}  # one answer less before the first command
        if issubclass(kind, SSLConnection):
            self._options["ssl_check_hostname"] = _checks_hostname(options)
        self.text = (
            str(options["path"])
            if "path" in options
            else f"{options.get('host', 'localhost')}:{options.get('port', 6379)}"
        )
        self.host = str(options.get("host", "localhost"))
        Link(self._kind, self._options)  # opens nothing

    def at(self, host: str, port: int) -> Server:
        """Return another one, to which everything else applies."""
        return Server(self._kind, {**self._options, "host": host, "port": port})

    def open(self, until: float) -> Link:
        """Return a new connection; see :meth:`Where.open`."""
        link = Link(self._kind, self._options)
        try:
            link.open(until)
        except BaseException:
            link.close()
            raise
        return link


class Sentinels:
    """
    The master of a service, as Sentinels know it now: they are asked at each connect.

    Args:
        sentinels (list[Server]): Whom to ask.
        service (str): What they call it.
        model (Server): All of a master but its address.
    """

    def __init__(self, sentinels: list[Server], service: str, model: Server) -> None:
        self._sentinels, self._service, self._model = sentinels, service, model
        self.text = f"{','.join(sentinel.text for sentinel in sentinels)}/{service}"

    def open(self, until: float) -> Link:
        """Return a new connection; see :meth:`Where.open`."""
        return _first(self._sentinels, until, self._open_by)

    def _open_by(self, sentinel: Server, share: float, until: float) -> Link:
        link = sentinel.open(share)
        try:
            address = answers.address(
                link.call("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._service, until=share)
            )
        finally:
            link.close()
        if address is None:
            raise redis.ConnectionError(f"the Sentinel at {sentinel.text} knows no service {self._service!r}")
        return self._model.at(*address).open(until)


class Cluster:
    """
    The node of a Cluster that holds the keys.

    Args:
        nodes (list[Server]): Some of its nodes.
        tag (str): The hash tag of all keys.
    """

    def __init__(self, nodes: list[Server], tag: str) -> None:
        self._given, self._learned = nodes, list[Server]()
        self._slot = key_slot(tag.encode())
        self.text = ",".join(node.text for node in nodes)

    def open(self, until: float) -> Link:
        """Return a new connection; see :meth:`Where.open`."""
        return _first([*self._learned, *self._given], until, self._open_by)

    def _open_by(self, node: Server, share: float, until: float) -> Link:
        link = node.open(share)
        try:
            ranges = answers.slots(link.call("CLUSTER", "SLOTS", until=share))
        finally:
            link.close()
        masters = {(low, high): node.at(host or node.host, port) for low, high, host, port in ranges}
        # Those that were given may be gone some day.
        self._learned = list({master.text: master for master in masters.values()}.values())[:_MAX_LEARNED]
        for (low, high), master in masters.items():
            if low <= self._slot <= high:
                return master.open(until)
        raise redis.ConnectionError(f"nobody in the Cluster of {node.text} holds slot {self._slot}")


def _first(servers: list[Server], until: float, attempt: Callable[[Server, float, float], Link]) -> Link:
    """Ask one after the other, each for a share of what is left: the last share is for the server that is found."""
    error: Exception | None = None
    for index, server in enumerate(servers):
        now = time.monotonic()
        try:
            return attempt(server, now + max(0.0, until - now) / (len(servers) - index + 1), until)
        except FAULTS as fault:
            error = fault
    assert error is not None
    raise error


def _checks_hostname(options: dict[str, Any]) -> bool:
    """
    Say whether a certificate must be for the host that was asked for: anybody can have a good one for a host of theirs.

    Said here, and not left to redis-py, whose default was another one until 6.0. ``ssl_check_hostname=false`` takes any certificate
    that the CA has signed, and ``ssl_cert_reqs=none`` takes any at all.
    """
    if options.get("ssl_cert_reqs", "required") in (None, "none", ssl.CERT_NONE):
        return False
    return options.get("ssl_check_hostname", True) is not False


class _Wrong(ValueError):
    """Something in a URL; said without quoting it."""


class _Parsed(NamedTuple):
    scheme: str
    user: str
    hosts: str
    path: str
    query: dict[str, str]


def of_url(url: str, prefix: str | None) -> tuple[Where, str | None]:
    """
    Return the way, and the prefix of the keys, ``None`` where nobody has named one. Opens nothing.

    Args:
        url (str): See :class:`RedisBus`.
        prefix (str | None): ``None`` for what the URL says.

    Raises:
        ConfigurationError: It is no URL of a Redis. The message has no password in it.
    """
    try:
        parsed = _split(url)
        found = parsed.query.pop("prefix", None)
        named = found if prefix is None else prefix
        return _where(parsed, _checked(DEFAULT_PREFIX if named is None else named)), named
    except (ValueError, TypeError, redis.RedisError) as error:
        reason = str(error).rpartition("__init__() ")[2]
        if not isinstance(error, _Wrong) and ("@" in url or "password" in url.lower()):
            # The standard library quotes what it did not understand, and that may be a part of a password.
            reason = "in a password / is written %2F, @ %40, # %23 and ? %3F"
        raise ConfigurationError(
            f"SSE_PUSH_BUS_URL is no URL of a Redis, got {_hidden(url)!r} ({reason}). {_EXAMPLE}, or leave it out."
        ) from None


def _checked(prefix: str) -> str:
    if not isinstance(prefix, str) or not _PREFIX.fullmatch(prefix):
        raise ConfigurationError(
            f'"prefix" must be 1 to 64 letters, digits or any of _ . : -, got {prefix!r}. {_EXAMPLE}.'
        )
    return prefix


def _split(url: str) -> _Parsed:
    parts = urlsplit(url)
    if parts.fragment:
        raise _Wrong("there is a # in it")
    user, _, hosts = parts.netloc.rpartition("@")
    query = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=True)) if parts.query else {}
    return _Parsed(parts.scheme, user, hosts, parts.path, query)


def _where(url: _Parsed, tag: str) -> Where:
    scheme, _, many = url.scheme.partition("+")
    if not many:
        return _one(url.scheme, url.user, url.hosts, url.path, url.query)
    if scheme not in ("redis", "rediss") or many not in ("sentinel", "cluster"):
        raise _Wrong(
            "it begins with none of redis://, rediss://, unix://, redis+sentinel:// and redis+cluster://"
        )
    default = 26379 if many == "sentinel" else 6379
    hosts = [host if urlsplit(f"//{host}").port else f"{host}:{default}" for host in url.hosts.split(",")]
    if not all(urlsplit(f"//{host}").hostname for host in hosts):
        raise _Wrong("hosts are separated by commas, like host:6379,host:6379")
    if many == "cluster":
        if url.path not in ("", "/", "/0"):
            raise _Wrong("a Cluster has no other database than 0")
        return Cluster([_one(scheme, url.user, host, "", url.query) for host in hosts], tag)
    service, _, database = url.path.strip("/").partition("/")
    if not service:
        raise _Wrong("the path is the name of the service, like redis+sentinel://host:26379/mymaster/0")
    query = dict(url.query)
    login = {
        name: query.pop(f"sentinel_{name}")
        for name in ("username", "password")
        if f"sentinel_{name}" in query
    }
    secured = {name: value for name, value in query.items() if name.startswith("ssl_")}
    sentinels = [_one(scheme, "", host, "", {**secured, **login}) for host in hosts]
    model = _one(scheme, url.user, hosts[0], f"/{database}", query)
    return Sentinels(sentinels, unquote(service), model)


def _one(scheme: str, user: str, host: str, path: str, query: dict[str, str]) -> Server:
    if scheme != "unix" and (not host or not re.fullmatch(r"/?[0-9]*", path)):
        raise _Wrong(
            "there is no host in it" if not host else "behind the host comes the number of the database"
        )
    if scheme == "unix" and path in ("", "/"):
        raise _Wrong("the path of the socket is missing")
    query = {name: value for name, value in query.items() if not _WITHOUT_EFFECT.fullmatch(name)}
    unknown = [name for name in query if name not in _KEPT and not name.startswith(_KEPT_BEGINNINGS)]
    if unknown:
        raise _Wrong(
            f"there is no option {unknown[0]}"
            if unknown[0].isidentifier()
            else "there is an option that is none"
        )
    options = dict(
        parse_url(  # type: ignore[no-untyped-call,unused-ignore]
            f"{scheme}://{user}{'@' if user else ''}{host}{path}{'?' if query else ''}{urlencode(query)}"
        )
    )
    return Server(options.pop("connection_class", Connection), options)


def _hidden(url: str) -> str:
    """Without what may be a password, also in a URL that cannot be taken apart."""
    scheme, found, rest = url.partition("://")
    if "@" in rest:
        rest = "...@" + rest.rpartition("@")[2]
    return re.sub(r"(?i)(password=).*", r"\1...", scheme + found + rest)


def of_client(client: Any, prefix: str) -> Where:
    """
    Return the way, from what a client of redis-py knows. Opens nothing, and sends nothing by the client.

    Raises:
        ConfigurationError: It is no such client, or keys should not have this prefix.
    """
    _checked(prefix)
    if isinstance(client, redis.RedisCluster):
        known = client.nodes_manager.connection_kwargs
        kind = (
            SSLConnection
            if known.get("ssl") or issubclass(known.get("connection_class") or Connection, SSLConnection)
            else Connection
        )
        nodes = [
            Server(kind, {**_kept(known), "host": node.host, "port": node.port})
            for node in client.nodes_manager.startup_nodes.values()
        ]
        return Cluster(nodes, prefix)
    pool = getattr(client, "connection_pool", None)
    if not isinstance(client, redis.Redis) or not isinstance(pool, redis.ConnectionPool):
        raise ConfigurationError(
            f'"client" must be a redis.Redis or a redis.RedisCluster, got {type(client)!r}. For asyncio, give the URL instead.'
        )
    if isinstance(pool, SentinelConnectionPool):
        if not pool.is_master:
            raise ConfigurationError(
                '"client" reads from replicas, and events are written. Give that of Sentinel.master_for().'
            )
        sentinels = [_of_pool(sentinel.connection_pool) for sentinel in pool.sentinel_manager.sentinels]
        return Sentinels(sentinels, str(pool.service_name), _of_pool(pool))
    return _of_pool(pool)


def _of_pool(pool: Any) -> Server:
    kinds = (UnixDomainSocketConnection, SSLConnection, Connection)
    return Server(
        next(kind for kind in kinds if issubclass(pool.connection_class, kind)), _kept(pool.connection_kwargs)
    )


def _kept(options: dict[str, Any]) -> dict[str, Any]:
    return {
        name: value for name, value in options.items() if name in _KEPT or name.startswith(_KEPT_BEGINNINGS)
    }
