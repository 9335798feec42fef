"""Texts that are stored until their time is over, also when their process is killed."""

from __future__ import annotations

import time
from typing import Any

from ...core.reports import MAX_REPORT_BYTES
from .database import Database

__all__ = ["MAX_LEASE_SECONDS", "Leases"]

MAX_LEASE_SECONDS = 8 * 86_400.0
"""A lease with a later end was damaged: it would stay for ever."""


class Leases:
    """
    The leases in the database of one connection. Not thread-safe; nothing in it waits.

    Args:
        database (Database): The connection.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, name: str, text: str, seconds: float) -> None:
        """Store a text for so long, and forget those that are over."""
        now = time.monotonic()
        with self._database.writing:
            self._database.look()
            self._forget_old(now)
            self._database.execute(
                "INSERT OR REPLACE INTO leases VALUES (?, ?, ?)",
                (name, text, now + min(seconds, MAX_LEASE_SECONDS)),
            )

    def drop(self, name: str) -> None:
        """Remove a lease before its time."""
        with self._database.writing:
            self._forget_old(time.monotonic())
            self._database.execute("DELETE FROM leases WHERE name = ?", (name,))

    def find(self, prefix: str) -> dict[str, str]:
        """Return the leases that live, by their names."""
        with self._database.reading:
            return self.read(prefix)

    def read(self, prefix: str) -> dict[str, str]:
        """Return what :meth:`find` does, in a transaction of the caller."""
        now = time.monotonic()
        rows: list[tuple[Any, Any]] = self._database.execute(
            "SELECT CAST(name AS BLOB), CAST(text AS BLOB) FROM leases WHERE expires_at BETWEEN ? AND ? "
            "AND length(name) <= 300 AND length(text) <= ? ORDER BY name",
            (now, now + MAX_LEASE_SECONDS, MAX_REPORT_BYTES),
        ).fetchall()
        found = ((name.decode("utf-8", "replace"), text.decode("utf-8", "replace")) for name, text in rows)
        return {name: text for name, text in found if name.startswith(prefix)}

    def _forget_old(self, now: float) -> None:
        self._database.execute(
            "DELETE FROM leases WHERE expires_at NOT BETWEEN ? AND ?", (now, now + MAX_LEASE_SECONDS)
        )
