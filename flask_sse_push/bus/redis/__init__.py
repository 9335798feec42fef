"""The bus of many machines, in a Redis or a Valkey. Importing it needs redis-py."""

from ...errors import ConfigurationError

try:
    import redis
except ImportError as error:
    raise ConfigurationError(
        "SSE_PUSH_BUS_URL names a Redis, and redis-py is not installed. "
        "Run: pip install 'flask_sse_push[redis]'"
    ) from error

if int(redis.__version__.partition(".")[0]) < 6:
    raise ConfigurationError(
        f"redis-py must be 6 or newer, got {redis.__version__!r}: older ones take a TLS certificate of any "
        "host. Run: pip install 'redis>=6'"
    )

from .bus import DEFAULT_PREFIX, RedisBus, redis_bus

__all__ = ["DEFAULT_PREFIX", "RedisBus", "redis_bus"]
