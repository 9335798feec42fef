"""The bus of many machines."""

from .bus import DEFAULT_PREFIX, RedisBus, redis_bus

__all__ = ["DEFAULT_PREFIX", "RedisBus", "redis_bus"]
