"""What can go wrong beside a lost event."""

from __future__ import annotations

__all__ = ["BrokenRun"]


class BrokenRun(Exception):
    """A server or the load generator did not work at all."""
