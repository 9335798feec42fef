"""Which bus a URL names."""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

from ..errors import ConfigurationError
from .base import Bus, BusFactory, BusOptions
from .memory import MemoryBus

__all__ = ["open_bus"]

_REDIS_SCHEMES = frozenset(
    {"redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster"}
)


def open_bus(url: str | BusFactory, options: BusOptions) -> Bus:
    """
    Return the bus that a URL names. Opens nothing yet.

    Args:
        url (str | BusFactory): ``"memory://"``, ``"sqlite:///events.db"`` (four slashes for a path from the
            root), ``"redis://host:6379/0"`` or another scheme of :mod:`flask_sse_push.bus.redis`, or a
            function that makes a bus.
        options (BusOptions): What the bus is told.

    Raises:
        ConfigurationError: No bus is known by this URL, or what it needs is not installed.
    """
    if callable(url):
        return url(options)
    scheme = urlsplit(url).scheme
    if url == "memory://":
        return MemoryBus(options)
    if scheme == "sqlite":
        from .sqlite.bus import SqliteBus  # not on every machine

        return SqliteBus(_database_path(url), options)
    if scheme in _REDIS_SCHEMES:
        from .redis.bus import RedisBus  # needs the extra "redis"

        return RedisBus(url, options)
    raise ConfigurationError(
        'SSE_PUSH_BUS_URL must be "auto", or begin with memory://, sqlite://, redis://, rediss:// or '
        f'unix://, got {_hidden(url)!r}. Leave it out for "auto".'
    )


def _database_path(url: str) -> str:
    parts = urlsplit(url)
    path = unquote(parts.path)[1:]
    if parts.netloc or not path or parts.query or parts.fragment or path.endswith("/") or "\0" in path:
        raise ConfigurationError(
            f'SSE_PUSH_BUS_URL must name a file and nothing else behind "sqlite:///", got {url!r}. '
            'Set it to something like "sqlite:////var/lib/shop/events.db" (four slashes: from the root) '
            'or "sqlite:///events.db" (from the working directory).'
        )
    return path


def _hidden(url: str) -> str:
    """Return a URL without what may be a password."""
    scheme, found, rest = url.partition("://")
    return f"{scheme}://...@{rest.rpartition('@')[2]}" if found and "@" in rest else url
