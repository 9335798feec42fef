"""What a developer names a Redis by: a URL, or a client of redis-py."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlencode, urlsplit

import redis
from redis.connection import Connection, SSLConnection, UnixDomainSocketConnection, parse_url
from redis.sentinel import SentinelConnectionPool

from ...errors import ConfigurationError
from .endpoints import Cluster, Endpoint, Node, Sentinels, is_used

__all__ = ["DEFAULT_PREFIX", "find_endpoint"]

DEFAULT_PREFIX = "sse_push"

_PREFIX = re.compile(r"[A-Za-z0-9_.:-]{1,64}")
_EXAMPLE = 'Write it like "redis://user:password@host:6379/0?prefix=shop"'

# Options for redis-py's own clients, which may stand in a URL that several programs share.
_IGNORED = re.compile(
    "timeout|socket_(connect_)?timeout|retry_on_.*|health_check_interval|max_connections|protocol|"
    ".*_responses|encoding.*|lib_.*"
)


class _WrongURL(ValueError):
    """What is wrong with a URL, said without quoting it."""


def find_endpoint(target: Any, prefix: str | None) -> tuple[Endpoint, str | None]:
    """
    Return the endpoint, and the prefix of the keys, ``None`` where nobody has named one.

    Opens nothing, and sends nothing by a client.

    Args:
        target (str | redis.Redis | redis.RedisCluster): See :class:`~flask_sse_push.bus.redis.RedisBus`.
        prefix (str | None): ``None`` for what the URL says.

    Raises:
        ConfigurationError: It is no URL of a Redis and no such client, or no keys may have this prefix. The
            message has no password in it.
    """
    if isinstance(target, str):
        return _find_by_url(target, prefix)
    return _find_by_client(target, _check_prefix(prefix)), prefix


def _find_by_url(url: str, prefix: str | None) -> tuple[Endpoint, str | None]:
    try:
        parts = urlsplit(url)
        if parts.fragment:
            raise _WrongURL("there is a # in it")
        query = (
            dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=True)) if parts.query else {}
        )
        named = query.pop("prefix", None)
        prefix = named if prefix is None else prefix
        return _endpoint(parts, query, _check_prefix(prefix)), prefix
    except (ValueError, TypeError, redis.RedisError) as error:
        reason = str(error).rpartition("__init__() ")[2]
        if not isinstance(error, _WrongURL) and ("@" in url or "password" in url.lower()):
            # The standard library quotes what it did not understand, which may be a part of a password.
            reason = "in a password / is written %2F, @ %40, # %23 and ? %3F"
        raise ConfigurationError(
            f"SSE_PUSH_BUS_URL is no URL of a Redis, got {_hidden(url)!r} ({reason}). "
            f"{_EXAMPLE}, or leave it out."
        ) from None


def _check_prefix(prefix: str | None) -> str:
    """Return the prefix of the keys."""
    if prefix is None:
        return DEFAULT_PREFIX
    if not isinstance(prefix, str) or not _PREFIX.fullmatch(prefix):
        raise ConfigurationError(
            f'"prefix" must be 1 to 64 letters, digits or any of _ . : -, got {prefix!r}. {_EXAMPLE}.'
        )
    return prefix


def _endpoint(url: SplitResult, query: dict[str, str], tag: str) -> Endpoint:
    user, _, netloc = url.netloc.rpartition("@")
    scheme, _, many = url.scheme.partition("+")
    if not many:
        return _node(scheme, user, netloc, url.path, query)
    if scheme not in ("redis", "rediss") or many not in ("sentinel", "cluster"):
        raise _WrongURL(
            "it begins with none of redis://, rediss://, unix://, redis+sentinel:// and redis+cluster://"
        )
    default = 26379 if many == "sentinel" else 6379
    hosts = [host if urlsplit(f"//{host}").port else f"{host}:{default}" for host in netloc.split(",")]
    if not all(urlsplit(f"//{host}").hostname for host in hosts):
        raise _WrongURL("hosts are separated by commas, like host:6379,host:6379")
    if many == "cluster":
        if url.path not in ("", "/", "/0"):
            raise _WrongURL("a Cluster has no other database than 0")
        return Cluster([_node(scheme, user, host, "", query) for host in hosts], tag)
    service, _, database = url.path.strip("/").partition("/")
    if not service:
        raise _WrongURL("the path is the name of the service, like redis+sentinel://host:26379/mymaster/0")
    login = {
        name: query.pop(f"sentinel_{name}")
        for name in ("username", "password")
        if f"sentinel_{name}" in query
    }
    tls = {name: value for name, value in query.items() if name.startswith("ssl_")}
    sentinels = [_node(scheme, "", host, "", {**tls, **login}) for host in hosts]
    model = _node(scheme, user, hosts[0], f"/{database}", query)
    return Sentinels(sentinels, unquote(service), model)


def _node(scheme: str, user: str, host: str, path: str, query: dict[str, str]) -> Node:
    if scheme == "unix":
        if path in ("", "/"):
            raise _WrongURL("the path of the socket is missing")
    elif not host:
        raise _WrongURL("there is no host in it")
    elif not re.fullmatch(r"/?[0-9]*", path):
        raise _WrongURL("behind the host comes the number of the database")
    query = {name: value for name, value in query.items() if not _IGNORED.fullmatch(name)}
    unknown = next((name for name in query if not is_used(name)), None)
    if unknown is not None:
        named = unknown.isidentifier()  # else it may be a piece of a password
        raise _WrongURL(f"there is no option {unknown}" if named else "there is an option that is none")
    options = dict(
        parse_url(  # type: ignore[no-untyped-call,unused-ignore]
            f"{scheme}://{user}{'@' if user else ''}{host}{path}{'?' if query else ''}{urlencode(query)}"
        )
    )
    return Node(options.pop("connection_class", Connection), options)


def _hidden(url: str) -> str:
    """Return a URL without what may be a password, also one that cannot be taken apart."""
    scheme, found, rest = url.partition("://")
    if "@" in rest:
        rest = "...@" + rest.rpartition("@")[2]
    return re.sub(r"(?i)(password=).*", r"\1...", scheme + found + rest)


def _find_by_client(client: Any, tag: str) -> Endpoint:
    if isinstance(client, redis.RedisCluster):
        known = client.nodes_manager.connection_kwargs
        kind = SSLConnection if known.get("ssl") else known.get("connection_class") or Connection
        nodes = [
            Node(_base(kind), {**known, "host": node.host, "port": node.port})
            for node in client.nodes_manager.startup_nodes.values()
        ]
        return Cluster(nodes, tag)
    pool = getattr(client, "connection_pool", None)
    if not isinstance(client, redis.Redis) or not isinstance(pool, redis.ConnectionPool):
        raise ConfigurationError(
            f'"client" must be a redis.Redis or a redis.RedisCluster, got {type(client)!r}. '
            "For asyncio, give the URL instead."
        )
    if isinstance(pool, SentinelConnectionPool):
        if not pool.is_master:
            raise ConfigurationError(
                '"client" reads from replicas, and events are written. Give that of Sentinel.master_for().'
            )
        sentinels = [_node_of_pool(sentinel.connection_pool) for sentinel in pool.sentinel_manager.sentinels]
        return Sentinels(sentinels, str(pool.service_name), _node_of_pool(pool))
    return _node_of_pool(pool)


def _node_of_pool(pool: Any) -> Node:
    return Node(_base(pool.connection_class), pool.connection_kwargs)


def _base(kind: type[Any]) -> type[Any]:
    """Return which of redis-py's three classes a class of connections is made from."""
    return next(
        base for base in (UnixDomainSocketConnection, SSLConnection, Connection) if issubclass(kind, base)
    )
