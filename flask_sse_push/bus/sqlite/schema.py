"""The tables of the database, and whether those in a file are ours."""

from __future__ import annotations

import hashlib
import secrets
import sqlite3
from collections.abc import Callable
from functools import cache
from pathlib import Path

__all__ = [
    "APPLICATION_ID",
    "END",
    "PLACE_BITS",
    "SCHEMA_VERSION",
    "begin_log",
    "boot_id",
    "boot_of",
    "digest_of",
    "is_current",
    "is_there",
    "text_of",
]

APPLICATION_ID = 0x53534550
"""Marks a file as ours, so that an app's own database is never taken for one."""

SCHEMA_VERSION = 2

PLACE_BITS = 10
"""
An entry has a row for each of its channels; the id of a row is the number of the entry, and so many bits for
the place of the channel among those of the entry.
"""

END = 1 << 62
"""
The id of the row behind all entries. It says what there is before it: ``before`` the number that was given
last, ``ordinal`` how many rows there are, and ``size`` what they count for. There, and not in the row of the
log, because a publish writes to this page of the file anyway: a page more costs a seventh of a publish.
"""

# SQLite keeps the text of these statements, and :func:`is_there` compares it: another space is another
# format.
_TABLES = {
    # Of the log; "digest" is short and tells whether "rules" has changed.
    "log": (
        "CREATE TABLE log (only INTEGER PRIMARY KEY CHECK (only = 1), epoch TEXT NOT NULL, "
        "boot TEXT NOT NULL, rules TEXT NOT NULL, digest TEXT NOT NULL, kept INTEGER NOT NULL, "
        "kept_bytes INTEGER NOT NULL, names INTEGER NOT NULL, floor INTEGER NOT NULL)"
    ),
    # The history of all channels. "before" is the number of the entry before it in the channel,
    # "history_before" that of the one before it here; "ordinal" counts on from row to row of the channel.
    "entries": (
        "CREATE TABLE entries (id INTEGER PRIMARY KEY, channel TEXT NOT NULL, before INTEGER NOT NULL, "
        "history_before INTEGER NOT NULL, ordinal INTEGER NOT NULL, size INTEGER NOT NULL, "
        "appended_at REAL NOT NULL, closes INTEGER NOT NULL, checksum INTEGER NOT NULL, key TEXT, "
        "block BLOB)"
    ),
    "entries_by_channel": "CREATE INDEX entries_by_channel ON entries (channel)",
    # What channels keep by keys.
    "kept": (
        "CREATE TABLE kept (id INTEGER PRIMARY KEY, channel TEXT NOT NULL, before INTEGER NOT NULL, "
        "history_before INTEGER NOT NULL, size INTEGER NOT NULL, appended_at REAL NOT NULL, "
        "closes INTEGER NOT NULL, checksum INTEGER NOT NULL, key TEXT NOT NULL, block BLOB)"
    ),
    "kept_by_key": "CREATE UNIQUE INDEX kept_by_key ON kept (channel, key)",
    # The block of an entry of several channels, whose rows have none, and how many rows are left of it.
    "bodies": (
        "CREATE TABLE bodies (number INTEGER PRIMARY KEY, channels TEXT NOT NULL, befores TEXT NOT NULL, "
        "history_befores TEXT NOT NULL, places INTEGER NOT NULL, size INTEGER NOT NULL, "
        "checksum INTEGER NOT NULL, block BLOB NOT NULL)"
    ),
    # Channels of which the rows of their entries do not say everything.
    "channels": (
        "CREATE TABLE channels (name TEXT PRIMARY KEY, last INTEGER NOT NULL, mark INTEGER NOT NULL, "
        "kept INTEGER NOT NULL, closed INTEGER NOT NULL, closed_at REAL NOT NULL, forget_at REAL NOT NULL)"
    ),
    "channels_by_last": "CREATE INDEX channels_by_last ON channels (last) WHERE kept = 0 AND closed = 0",
    "channels_by_closing": "CREATE INDEX channels_by_closing ON channels (forget_at) WHERE closed > 0",
    # Idempotency keys.
    "onces": "CREATE TABLE onces (once TEXT PRIMARY KEY, number INTEGER NOT NULL, forget_at REAL NOT NULL)",
    "onces_by_end": "CREATE INDEX onces_by_end ON onces (forget_at)",
    "leases": "CREATE TABLE leases (name TEXT PRIMARY KEY, text TEXT NOT NULL, expires_at REAL NOT NULL)",
}

# What SQLite keeps of them: the text of each statement, and an index of its own for each key that is a text.
_OURS: set[tuple[str, str | None]] = {
    *_TABLES.items(),
    *((f"sqlite_autoindex_{name}_1", None) for name in ("channels", "onces", "leases")),
}

# What there is in a file of the first format. None of it runs anything when its table is removed.
_FIRST_FORMAT = {
    ("log", "table"),
    ("entries", "table"),
    ("reports", "table"),
    ("entries_by_key", "index"),
    ("sqlite_autoindex_reports_1", "index"),
}

Execute = Callable[..., sqlite3.Cursor]


def is_there(execute: Execute) -> bool:
    """
    Say whether our tables are in the file; False where there are none, or those of an older format. Call it
    in a transaction, because another process may be making them.

    Raises:
        sqlite3.DatabaseError: There is anything else. (A trigger or a view of others would run.)
    """
    ((marked,), (version,)) = (*execute("PRAGMA application_id"), *execute("PRAGMA user_version"))
    found = {
        (text_of(name), None if sql is None else text_of(sql), text_of(kind))
        for name, sql, kind in execute("SELECT name, sql, type FROM sqlite_master")
    }
    if not found and marked in (0, APPLICATION_ID):
        return False
    if marked != APPLICATION_ID:
        raise sqlite3.DatabaseError("it is the database of another program: name a file of its own")
    if version > SCHEMA_VERSION or version < 1:
        raise sqlite3.DatabaseError(
            f"it was made by another version of this package (its format is {version}, "
            f"this version reads {SCHEMA_VERSION}): run one version, or name another file"
        )
    if version == 1:
        others = sorted(name for name, _, kind in found if (name, kind) not in _FIRST_FORMAT)
    else:
        others = sorted(name for name, _ in {(name, sql) for name, sql, _ in found} ^ _OURS)
    if others:
        # By name alone: what their SQL says may be long, or meant for a terminal.
        raise sqlite3.DatabaseError(
            f"another program's tables, views or triggers are in it ({others[0][:60]!r}): "
            "name a file of its own"
        )
    return bool(version == SCHEMA_VERSION)


def is_current(execute: Execute, boot: str) -> bool:
    """Say whether the log was begun in this file, and in this run of the machine; see :func:`boot_of`."""
    row = execute("SELECT CAST(boot AS BLOB) FROM log").fetchone()
    return row is not None and text_of(row[0]) == boot


def begin_log(execute: Execute, boot: str, rules: str) -> None:
    """
    Make the tables where there are none, in place of those of an older format, and begin a new log in them.
    Call it in a transaction.
    """
    if not is_there(execute):
        for table in ("entries", "reports", "log"):
            execute(f"DROP TABLE IF EXISTS {table}")
        for statement in _TABLES.values():
            execute(statement)
        execute(f"PRAGMA application_id = {APPLICATION_ID}")
        execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    for name, statement in _TABLES.items():
        if statement.startswith("CREATE TABLE"):
            execute(f"DELETE FROM {name}")  # noqa: S608  # our own names
    execute(
        "INSERT INTO log VALUES (1, ?, ?, ?, ?, 0, 0, 0, 0)",
        (secrets.token_hex(6), boot, rules, digest_of(rules)),
    )
    execute("INSERT INTO entries VALUES (?, '', 0, 0, 0, 0, 0, 0, 0, NULL, NULL)", (END,))


def digest_of(rules: str) -> str:
    """Return a short name of rules of retention."""
    return hashlib.blake2b(rules.encode(), digest_size=8).hexdigest()


@cache
def boot_id() -> str:
    """Return the name of this run of the machine; empty where the system gives none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def boot_of(inode: int) -> str:
    """
    Return what the log of a file is begun for: this run of the machine, and this file. A copy of the file,
    such as a backup that was put in its place, is older than events that were accepted.
    """
    return f"{boot_id()} {inode}"


def text_of(value: object) -> str:
    """Return the text that SQLite gave as bytes; for any other value, a text that matches nothing of ours."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else repr(value)
