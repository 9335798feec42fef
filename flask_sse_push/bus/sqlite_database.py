"""The file: its tables, and what is read from and written to them, each in one transaction."""

from __future__ import annotations

import json
import os
import secrets
import sqlite3
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..core.log import Entry
from .base import LEASE_SECONDS, Accepted, Report, Retention, Snapshot
from .follower import Tail

__all__ = ["APPLICATION_ID", "MAX_TRIMMED", "SCHEMA_VERSION", "Database"]

APPLICATION_ID = 0x53534550
"""Marks a file as ours, so that an app's own database is never taken for one."""

SCHEMA_VERSION = 1

_SCHEMA = (
    """CREATE TABLE log (
        only INTEGER PRIMARY KEY CHECK (only = 1), epoch TEXT NOT NULL, boot TEXT NOT NULL, head INTEGER NOT NULL, events INTEGER NOT NULL,
        bytes INTEGER NOT NULL, history_seconds REAL NOT NULL, history_bytes INTEGER NOT NULL, history_events INTEGER NOT NULL
    )""",
    """CREATE TABLE entries (
        sequence INTEGER PRIMARY KEY, channels TEXT NOT NULL, block BLOB NOT NULL, size INTEGER NOT NULL, appended_at REAL NOT NULL, idempotency_key TEXT
    )""",
    "CREATE UNIQUE INDEX entries_by_key ON entries (idempotency_key) WHERE idempotency_key IS NOT NULL",
    "CREATE TABLE reports (process TEXT PRIMARY KEY, report TEXT NOT NULL, expires_at REAL NOT NULL)",
)

MAX_TRIMMED = 8
"""How many old events one publish removes at most: more than it adds, and never a long wait."""

_AGE_LOOK_SECONDS = 1.0  # how often a publish looks for what is too old
_READ_AT_ONCE = 500


class Database:
    """One connection to the file. Not thread-safe; nothing in it waits."""

    def __init__(self, path: Path, retention: Retention, *, volatile: bool) -> None:
        self._path = path
        self._retention = retention
        self._look_at_age = 0.0
        if not path.exists():
            _make(path)
        # "timeout" would wait within SQLite, and hold up a whole loop.
        self._connection = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
        try:
            self._prepare(volatile=volatile)
            found = path.stat()
            self._file = (found.st_dev, found.st_ino)
        except BaseException:
            self._connection.close()
            raise

    def _prepare(self, *, volatile: bool) -> None:
        execute = self._connection.execute
        with self.transaction("DEFERRED"):  # one look at both: another process may be making the tables between two
            known = execute("PRAGMA application_id").fetchall() == [(APPLICATION_ID,)]
            if not known and execute("SELECT count(*) FROM sqlite_master").fetchall() != [(0,)]:
                raise sqlite3.DatabaseError("it is the database of another program: name a file of its own")
        if execute("PRAGMA journal_mode = WAL").fetchall() != [("wal",)]:
            raise sqlite3.OperationalError("its folder takes no write-ahead log: name a file on a local disk")
        boot = _boot_id()
        execute(f"PRAGMA synchronous = {'OFF' if volatile else 'NORMAL' if boot else 'FULL'}")
        if known and execute("SELECT boot FROM log").fetchone() == (boot,):
            return
        with self.transaction():
            # Somebody else may have been here first.
            if not execute("SELECT count(*) FROM sqlite_master WHERE name = 'log'").fetchone()[0]:
                for statement in _SCHEMA:
                    execute(statement)
                execute(f"PRAGMA application_id = {APPLICATION_ID}")
                execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            elif execute("SELECT boot FROM log").fetchone() == (boot,):
                return
            # With synchronous = NORMAL the last commits may be lost when the machine stops: in another run of it this is another log.
            for table in ("entries", "reports", "log"):
                execute(f"DELETE FROM {table}")  # noqa: S608  # our own names
            execute("INSERT INTO log VALUES (1, ?, ?, 0, 0, 0, ?, ?, ?)", (secrets.token_hex(6), boot, *self._retention))

    @contextmanager
    def transaction(self, kind: str = "IMMEDIATE") -> Iterator[None]:
        """Commit at the end of the block, or undo all of it; ``kind`` is SQLite's: ``"IMMEDIATE"`` writes, ``"DEFERRED"`` reads."""
        self._connection.execute(f"BEGIN {kind}")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
            raise

    def is_replaced(self) -> bool:
        """Say whether the file was deleted, and perhaps another made."""
        try:
            found = os.stat(self._path)  # noqa: PTH116  # of a Path it costs twice
        except OSError:
            return True
        return (found.st_dev, found.st_ino) != self._file

    def append(self, channels: tuple[str, ...], block: bytes, size: int, key: str | None) -> Accepted:
        """Number an event and store it, and remove a few old ones; see :meth:`Bus.publish`."""
        execute = self._connection.execute
        with self.transaction():
            epoch, head, events, total, seconds, most_bytes, most_events = execute(
                "SELECT epoch, head, events, bytes, history_seconds, history_bytes, history_events FROM log"
            ).fetchone()
            if key is not None:
                found = execute("SELECT sequence, appended_at FROM entries WHERE idempotency_key = ?", (key,)).fetchone()
                if found is not None and found[1] >= time.monotonic() - seconds:
                    return Accepted(f"{epoch}-{found[0]}", found[0], is_repeated=True)
                if found is not None:
                    execute("UPDATE entries SET idempotency_key = NULL WHERE sequence = ?", (found[0],))
            now = time.monotonic()
            head, events, total = head + 1, events + 1, total + size
            execute("INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?)", (head, "\n".join(channels), block, size, now, key))
            if total > most_bytes or events > most_events or now >= self._look_at_age:
                events, total = self._trim(now - seconds, events, total, most_bytes, most_events)
            execute("UPDATE log SET head = ?, events = ?, bytes = ?", (head, events, total))
        return Accepted(f"{epoch}-{head}", head)

    def _trim(self, oldest: float, events: int, total: int, most_bytes: int, most_events: int) -> tuple[int, int]:
        """Remove some of what is too old or too much, never the newest; return what is left."""
        trimmed = 0
        self._look_at_age = time.monotonic() + _AGE_LOOK_SECONDS
        for sequence, size, appended_at in self._connection.execute(
            "SELECT sequence, size, appended_at FROM entries ORDER BY sequence LIMIT ?", (min(MAX_TRIMMED, events - 1),)
        ).fetchall():
            if total <= most_bytes and events <= most_events and appended_at >= oldest:
                break
            trimmed, events, total = sequence, events - 1, total - size
        else:
            self._look_at_age = 0.0  # there may be more
        if trimmed:
            self._connection.execute("DELETE FROM entries WHERE sequence <= ?", (trimmed,))
        return events, total

    def epoch(self) -> str:
        """Return the life of the log, after writing how much is to be kept."""
        (epoch, *kept) = self._connection.execute("SELECT epoch, history_seconds, history_bytes, history_events FROM log").fetchone()
        if tuple(kept) != tuple(self._retention):
            with self.transaction():
                self._connection.execute("UPDATE log SET history_seconds = ?, history_bytes = ?, history_events = ?", self._retention)
        return str(epoch)

    def tail(self) -> Tail:
        """Return all that is kept, and give way in between."""
        with self.transaction("DEFERRED"):
            epoch, head, seconds = self._connection.execute("SELECT epoch, head, history_seconds FROM log").fetchone()
            rows = self._connection.execute(
                "SELECT sequence, channels, block, appended_at FROM entries WHERE appended_at >= ? ORDER BY sequence", (time.monotonic() - seconds,)
            )
            entries: list[Entry] = []
            while some := rows.fetchmany(_READ_AT_ONCE):
                entries += [_entry(epoch, row) for row in some]
                time.sleep(0)  # others have their turn: all of a long history takes a second
        return Tail(epoch, entries[0].sequence - 1 if entries else head, entries)

    def read(self, position: int) -> tuple[str, list[Entry]]:
        """Return the epoch, and some of what comes after a number."""
        with self.transaction("DEFERRED"):
            epoch, head = self._connection.execute("SELECT epoch, head FROM log").fetchone()
            if head <= position:
                return epoch, []
            rows = self._connection.execute(
                "SELECT sequence, channels, block, appended_at FROM entries WHERE sequence > ? ORDER BY sequence LIMIT ?", (position, _READ_AT_ONCE)
            ).fetchall()
        return epoch, [_entry(epoch, row) for row in rows]

    def report(self, process: str, report: Report | None) -> None:
        """Store what a process says of itself; ``None`` takes it back."""
        with self.transaction():
            self._connection.execute("DELETE FROM reports WHERE process = ? OR expires_at < ?", (process, time.monotonic()))
            if report is not None:
                self._connection.execute("INSERT INTO reports VALUES (?, ?, ?)", (process, json.dumps(report), time.monotonic() + LEASE_SECONDS))

    def inspect(self) -> Snapshot:
        """Return what there is; see :meth:`Bus.inspect`."""
        with self.transaction("DEFERRED"):
            epoch, head, events, size = self._connection.execute("SELECT epoch, head, events, bytes FROM log").fetchone()
            rows = self._connection.execute("SELECT report FROM reports WHERE expires_at >= ?", (time.monotonic(),)).fetchall()
        return Snapshot(epoch, head, events, size, [json.loads(report) for (report,) in rows])

    def close(self) -> None:
        """Close the connection."""
        with suppress(sqlite3.Error):
            self._connection.close()


def _entry(epoch: str, row: tuple[int, str, bytes, float]) -> Entry:
    sequence, channels, block, appended_at = row
    return Entry(sequence, tuple(channels.split("\n")), b"id: %s-%d\n%s" % (epoch.encode(), sequence, block), appended_at)


def _make(path: Path) -> None:
    """
    Make an empty file, without what a deleted one has left: processes that have that one open share its -shm with whoever finds it by its name.

    Under a lock of the folder, and never again once the file is there: who comes a moment later must not take away what is in use by then.
    """
    if sys.platform == "win32":
        path.touch()  # a file in use cannot be deleted there
        return
    import fcntl

    try:
        folder = os.open(path.parent, os.O_RDONLY)
    except OSError:
        return  # what is wrong there, SQLite says
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise sqlite3.OperationalError("locked by another process that makes it") from None
        if path.exists():
            return
        for ending in ("-wal", "-shm"):
            path.with_name(path.name + ending).unlink(missing_ok=True)
        # Events are for those whom the app lets read them; -wal and -shm get the same mode. Renamed when it is closed: to close the file
        # itself would drop the locks of a thread that has opened it since.
        new = path.with_name(f"{path.name}-{secrets.token_hex(4)}")
        os.close(os.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        new.rename(path)
    finally:
        os.close(folder)


def _boot_id() -> str:
    """What tells this run of the machine from all others; empty where nothing does."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""
