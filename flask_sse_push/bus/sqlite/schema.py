"""The tables of the database, and whether those in a file are ours."""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Callable
from pathlib import Path

from ..base import Retention

__all__ = ["APPLICATION_ID", "SCHEMA_VERSION", "begin_log", "boot_id", "is_current", "is_there", "text_of"]

APPLICATION_ID = 0x53534550
"""Marks a file as ours, so that an app's own database is never taken for one."""

SCHEMA_VERSION = 1

# SQLite keeps the text of these statements, and :func:`is_there` compares it: another space is another
# format.
_TABLES = (
    (
        "CREATE TABLE log (\n        only INTEGER PRIMARY KEY CHECK (only = 1), epoch TEXT NOT NULL, "
        "boot TEXT NOT NULL, head INTEGER NOT NULL, events INTEGER NOT NULL,\n        "
        "bytes INTEGER NOT NULL, history_seconds REAL NOT NULL, history_bytes INTEGER NOT NULL, "
        "history_events INTEGER NOT NULL\n    )"
    ),
    (
        "CREATE TABLE entries (\n        sequence INTEGER PRIMARY KEY, channels TEXT NOT NULL, "
        "block BLOB NOT NULL, size INTEGER NOT NULL, appended_at REAL NOT NULL, idempotency_key TEXT\n    )"
    ),
    "CREATE UNIQUE INDEX entries_by_key ON entries (idempotency_key) WHERE idempotency_key IS NOT NULL",
    "CREATE TABLE reports (process TEXT PRIMARY KEY, report TEXT NOT NULL, expires_at REAL NOT NULL)",
)

# What SQLite keeps of them: the text of each statement, and an index of its own for the key of the reports.
_OURS: set[tuple[str, str | None]] = {
    ("log", _TABLES[0]),
    ("entries", _TABLES[1]),
    ("entries_by_key", _TABLES[2]),
    ("reports", _TABLES[3]),
    ("sqlite_autoindex_reports_1", None),
}

Execute = Callable[..., sqlite3.Cursor]


def is_there(execute: Execute) -> bool:
    """
    Say whether our tables are in the file; False where there are none. Call it in a transaction, because
    another process may be making them.

    Raises:
        sqlite3.DatabaseError: There is anything else. (A trigger or a view of others would run.)
    """
    ((marked,), (version,)) = (*execute("PRAGMA application_id"), *execute("PRAGMA user_version"))
    found = {
        (text_of(name), None if sql is None else text_of(sql))
        for name, sql in execute("SELECT name, sql FROM sqlite_master")
    }
    if not found and marked in (0, APPLICATION_ID):
        return False
    if marked != APPLICATION_ID:
        raise sqlite3.DatabaseError("it is the database of another program: name a file of its own")
    if version != SCHEMA_VERSION:
        raise sqlite3.DatabaseError(
            f"it was made by another version of this package (its format is {version}, "
            f"this version reads {SCHEMA_VERSION}): run one version, or name another file"
        )
    if found != _OURS:
        # By name alone: what their SQL says may be long, or meant for a terminal.
        others = sorted(name for name, _ in found ^ _OURS)
        raise sqlite3.DatabaseError(
            f"another program's tables, views or triggers are in it ({others[0][:60]!r}): "
            "name a file of its own"
        )
    return True


def is_current(execute: Execute, boot: str) -> bool:
    """Say whether the log was begun in this run of the machine."""
    row = execute("SELECT CAST(boot AS BLOB) FROM log").fetchone()
    return row is not None and text_of(row[0]) == boot


def begin_log(execute: Execute, boot: str, retention: Retention) -> None:
    """Make the tables where there are none, and begin a new log in them. Call it in a transaction."""
    if not is_there(execute):
        for statement in _TABLES:
            execute(statement)
        execute(f"PRAGMA application_id = {APPLICATION_ID}")
        execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    for table in ("entries", "reports", "log"):
        execute(f"DELETE FROM {table}")  # noqa: S608  # our own names
    execute(
        "INSERT INTO log VALUES (1, ?, ?, 0, 0, 0, ?, ?, ?)",
        (secrets.token_hex(6), boot, *retention),
    )


def boot_id() -> str:
    """Return the name of this run of the machine; empty where the system gives none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def text_of(value: object) -> str:
    """Return the text that SQLite gave as bytes; for any other value, a text that matches nothing of ours."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else repr(value)
