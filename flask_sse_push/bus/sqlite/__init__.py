"""The bus of all processes of one machine."""

from .bus import SqliteBus

__all__ = ["SqliteBus"]
