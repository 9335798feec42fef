"""The file: its tables, and what is read from and written to them, each in one transaction."""

from __future__ import annotations

import json
import secrets
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from ...core.channels import MAX_CHANNELS_PER_EVENT
from ...core.log import Entry
from ...core.messages import check_stored
from ...core.positions import is_epoch
from ...core.reports import MAX_REPORT_BYTES, check_report
from ..base import LEASE_SECONDS, BusOptions, PublishResult, Report, Retention, Snapshot
from ..follower import Tail
from .file import DatabaseFile

__all__ = ["APPLICATION_ID", "MAX_TRIMMED", "SCHEMA_VERSION", "Database", "Page", "Refused"]

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

# What SQLite keeps of it: the text of each statement, and an index of its own for the key of the reports.
_OURS: set[tuple[str, str | None]] = {
    ("log", _SCHEMA[0]),
    ("entries", _SCHEMA[1]),
    ("entries_by_key", _SCHEMA[2]),
    ("reports", _SCHEMA[3]),
    ("sqlite_autoindex_reports_1", None),
}

# Too long a text is not even read. The index finds the numbers.
_ENTRIES = """
    SELECT sequence, CASE WHEN length(channels) <= ? THEN channels END, CASE WHEN typeof(block) = 'blob' AND
    length(block) <= ? THEN block END, appended_at FROM entries WHERE sequence BETWEEN ? AND ?
"""

# SQLite's integers end at twice that, and nothing that is added to one of these reaches it.
_MAX_NUMBER = 1 << 62
_MAX_CHANNELS_LENGTH = MAX_CHANNELS_PER_EVENT * 129  # names of 128 characters, and what is between them
_CLOCK_TOLERANCE_SECONDS = 1.0

_NO_BLOCK = "its block is no bytes, or longer than SSE_PUSH_MAX_EVENT_BYTES"

_AGE_LOOK_SECONDS = 1.0  # how often a publish looks for what is too old
_READ_AT_ONCE = 500


class Page(NamedTuple):
    """Some of what comes after a number."""

    epoch: str
    """The life of the log."""
    entries: list[Entry]
    """In order."""
    last: int
    """The number up to which this looked; where it began when there is nothing behind that."""
    refused: list[Refused]
    """What was left out."""


class Refused(NamedTuple):
    """
    An entry that no process of this package wrote, or that was damaged since: its number is missing, which is
    told as a gap.
    """

    sequence: int
    """Its number."""
    reason: str
    """Why, for people."""


class _Head(NamedTuple):
    """The log's one row, checked."""

    epoch: str
    head: int
    events: int
    size_bytes: int
    retention: Retention


class Database:
    """
    One connection to the file. Not thread-safe; nothing in it waits.

    What it reads, anybody may have written who could: a value that is none of ours raises
    ``sqlite3.DatabaseError``, and an entry that is none of ours is left out.

    Args:
        path (Path): Where the file is, or is made.
        options (BusOptions): See there.
        volatile (bool): Whether the file ends with the server.

    Raises:
        sqlite3.Error: It cannot be used.
        OSError: It cannot be used, or belongs to others.
    """

    def __init__(self, path: Path, options: BusOptions, *, volatile: bool) -> None:
        self._retention = options.retention
        self._max_event_bytes = options.max_event_bytes
        self._look_at_age = 0.0
        self._file = DatabaseFile(path)
        self._file.prepare()
        # "timeout" would wait within SQLite, and hold up a whole loop.
        self._connection = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
        # Bytes that are no UTF-8 would raise in the middle of a read, and take the good entries of that read
        # with them.
        self._connection.text_factory = bytes
        try:
            self._prepare(volatile=volatile)
            self._file.confirm()
        except BaseException:
            self._connection.close()
            raise

    def _execute(self, statement: str, values: Sequence[Any] = ()) -> sqlite3.Cursor:
        try:
            return self._connection.execute(statement, values)
        except UnicodeDecodeError as error:
            # SQLite quotes what it does not understand of a damaged schema, and the standard library wants UTF-8.
            raise sqlite3.DatabaseError("malformed: its schema is damaged") from error

    def _prepare(self, *, volatile: bool) -> None:
        execute = self._execute
        # A schema is code: what it calls may do no more than compute, until it is known to be ours.
        execute("PRAGMA trusted_schema = OFF")
        execute("PRAGMA cell_size_check = ON")  # a damaged page is met as such, and not by what it looks like
        boot = _boot_id()
        # First: to turn the write-ahead log on would already wait for the disk.
        execute(f"PRAGMA synchronous = {'OFF' if volatile else 'NORMAL' if boot else 'FULL'}")
        # One look at all: another process may be making the tables in between.
        with self.transaction("DEFERRED"):
            known = self._check_schema()
        if execute("PRAGMA journal_mode = WAL").fetchall() != [(b"wal",)]:
            raise sqlite3.OperationalError("its folder takes no write-ahead log: name a file on a local disk")
        if known and self._boot() == boot:
            return
        with self.transaction():
            # Somebody else may have been here first.
            if not self._check_schema():
                for statement in _SCHEMA:
                    execute(statement)
                execute(f"PRAGMA application_id = {APPLICATION_ID}")
                execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            elif self._boot() == boot:
                return
            # With synchronous = NORMAL the last commits may be lost when the machine stops: in another run of it this is another log.
            for table in ("entries", "reports", "log"):
                execute(f"DELETE FROM {table}")  # noqa: S608  # our own names
            execute(
                "INSERT INTO log VALUES (1, ?, ?, 0, 0, 0, ?, ?, ?)",
                (secrets.token_hex(6), boot, *self._retention),
            )

    def _check_schema(self) -> bool:
        """
        Say whether our tables are there; False where nothing is. Anything else is refused: a trigger or a
        view of others would run.
        """
        execute = self._execute
        ((marked,), (version,)) = (*execute("PRAGMA application_id"), *execute("PRAGMA user_version"))
        found = {
            (_text(name), None if sql is None else _text(sql))
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
                f"another program's tables, views or triggers are in it ({others[0][:60]!r}): name a file of its own"
            )
        return True

    def _boot(self) -> str | None:
        row = self._execute("SELECT CAST(boot AS BLOB) FROM log").fetchone()
        return None if row is None else _text(row[0])

    @contextmanager
    def transaction(self, kind: str = "IMMEDIATE") -> Iterator[None]:
        """Commit at the end of the block, or undo all of it; ``kind`` is SQLite's: ``"IMMEDIATE"`` writes, ``"DEFERRED"`` reads."""
        self._execute(f"BEGIN {kind}")
        try:
            yield
            self._execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):
                if self._connection.in_transaction:
                    self._execute("ROLLBACK")
            raise

    def is_replaced(self) -> bool:
        """Say whether the file was deleted, and perhaps another made, or whether others may write it now."""
        return self._file.is_replaced()

    def _head(self) -> _Head:
        """
        Return the log's row, in a transaction.

        Raises:
            sqlite3.DatabaseError: It is none of ours.
        """
        row = self._execute(
            "SELECT epoch, head, events, bytes, history_seconds, history_bytes, history_events FROM log LIMIT 1"
        ).fetchone()
        if row is not None:
            epoch, *numbers = row
            epoch = _text(epoch) if isinstance(epoch, bytes) else ""
            if is_epoch(epoch) and all(
                type(number) in (int, float) and 0 <= number <= _MAX_NUMBER for number in numbers
            ):
                head, events, size, seconds, most_bytes, most_events = numbers
                if type(head) is type(events) is type(size) is int:
                    return _Head(epoch, head, events, size, Retention(seconds, most_bytes, most_events))
        raise sqlite3.DatabaseError("malformed: its row of the log is damaged")

    def append(self, channels: tuple[str, ...], block: bytes, size: int, key: str | None) -> PublishResult:
        """Number an event and store it, and remove a few old ones; see :meth:`Bus.publish`."""
        execute = self._execute
        with self.transaction():
            epoch, head, events, total, (seconds, most_bytes, most_events) = self._head()
            now = time.monotonic()
            if key is not None:
                found = execute(
                    "SELECT sequence, appended_at FROM entries WHERE idempotency_key = ?", (key,)
                ).fetchone()
                if (
                    found is not None
                    and 0 < found[0] <= head
                    and _is_time(found[1], now)
                    and found[1] >= now - seconds
                ):
                    return PublishResult(f"{epoch}-{found[0]}", found[0], is_repeated=True)
                if found is not None:
                    execute("UPDATE entries SET idempotency_key = NULL WHERE sequence = ?", (found[0],))
            head, events, total = head + 1, events + 1, total + size
            # Replaced: an entry beyond the head is none of ours, and must not keep the number from who is
            # given it.
            execute(
                "INSERT OR REPLACE INTO entries VALUES (?, ?, ?, ?, ?, ?)",
                (head, "\n".join(channels), block, size, now, key),
            )
            if total > most_bytes or events > most_events or now >= self._look_at_age:
                events, total = self._trim(head, now, seconds, events, total, most_bytes, most_events)
            execute("UPDATE log SET head = ?, events = ?, bytes = ?", (head, events, total))
        return PublishResult(f"{epoch}-{head}", head)

    def _trim(
        self,
        head: int,
        now: float,
        seconds: float,
        events: int,
        total: int,
        most_bytes: float,
        most_events: float,
    ) -> tuple[int, int]:
        """Remove some of what is too old or too much, never the newest; return what is left."""
        trimmed, is_damaged = None, False
        self._look_at_age = now + _AGE_LOOK_SECONDS
        for sequence, size, appended_at in self._execute(
            "SELECT sequence, size, appended_at FROM entries WHERE sequence < ? ORDER BY sequence LIMIT ?",
            (head, MAX_TRIMMED),
        ).fetchall():
            if type(size) is int and 0 <= size <= _MAX_NUMBER and _is_time(appended_at, now) and sequence > 0:
                if total <= most_bytes and events <= most_events and appended_at >= now - seconds:
                    break
                total -= size
            else:
                is_damaged = True  # in nobody's counts, or counted for what it was
            trimmed, events = sequence, events - 1
        else:
            self._look_at_age = 0.0  # there may be more
        if trimmed is not None:
            self._execute("DELETE FROM entries WHERE sequence <= ?", (trimmed,))
        if is_damaged or events < 1 or total < 0:
            return self._count(head)
        return events, total

    def _count(self, head: int) -> tuple[int, int]:
        """
        Return how many entries there are and what they count for, by looking at all: the row of the log said
        what cannot be.
        """
        ((events, total),) = self._execute(
            "SELECT count(*), total(size) FROM entries "
            "WHERE sequence BETWEEN 1 AND ? AND typeof(size) = 'integer' AND size BETWEEN 0 AND ?",
            (head, _MAX_NUMBER),
        )
        return events, int(min(total, _MAX_NUMBER))

    def epoch(self) -> str:
        """Return the life of the log, after writing how much is to be kept."""
        log = self._head()
        if log.retention != self._retention:
            with self.transaction():
                self._execute(
                    "UPDATE log SET history_seconds = ?, history_bytes = ?, history_events = ?",
                    self._retention,
                )
        return log.epoch

    def tail(self) -> tuple[Tail, list[Refused]]:
        """Return all that is kept, and give way in between; and what was left out of it."""
        entries: list[Entry] = []
        refused: list[Refused] = []
        with self.transaction("DEFERRED"):
            log = self._head()
            oldest = time.monotonic() - log.retention.seconds
            rows = self._execute(
                f"{_ENTRIES} AND appended_at >= ? ORDER BY sequence", (*self._limits(), 1, log.head, oldest)
            )
            while some := rows.fetchmany(_READ_AT_ONCE):
                self._take(log.epoch, some, entries, refused)
                time.sleep(0)  # others have their turn: all of a long history takes a second
        return Tail(log.epoch, entries[0].sequence - 1 if entries else log.head, entries), refused

    def read(self, position: int) -> Page:
        """Return some of what comes after a number."""
        entries: list[Entry] = []
        refused: list[Refused] = []
        with self.transaction("DEFERRED"):
            log = self._head()
            if log.head <= position:
                return Page(log.epoch, entries, position, refused)
            rows = self._execute(
                f"{_ENTRIES} ORDER BY sequence LIMIT ?",
                (*self._limits(), position + 1, log.head, _READ_AT_ONCE),
            ).fetchall()
        self._take(log.epoch, rows, entries, refused)
        return Page(log.epoch, entries, rows[-1][0] if rows else log.head, refused)

    def _limits(self) -> tuple[int, int]:
        return _MAX_CHANNELS_LENGTH, self._max_event_bytes

    def _take(
        self,
        epoch: str,
        rows: list[tuple[int, bytes | None, bytes | None, float]],
        entries: list[Entry],
        refused: list[Refused],
    ) -> None:
        """Add what is ours to the entries, and the rest to what is refused."""
        prefix = f"id: {epoch}-".encode()
        now = time.monotonic()
        for sequence, channels, block, appended_at in rows:
            try:
                if block is None:
                    raise ValueError(_NO_BLOCK)  # noqa: TRY301
                if not _is_time(appended_at, now):
                    raise ValueError("its time is none, or has not come yet")  # noqa: TRY301
                names = check_stored(channels, block, self._max_event_bytes)
            except ValueError as error:
                refused.append(Refused(sequence, str(error)))
            else:
                entries.append(Entry(sequence, names, b"%b%d\n%b" % (prefix, sequence, block), appended_at))

    def report(self, process: str, report: Report | None) -> None:
        """Store what a process says of itself; ``None`` takes it back."""
        now = time.monotonic()
        with self.transaction():
            self._execute(
                "DELETE FROM reports WHERE process = ? OR expires_at NOT BETWEEN ? AND ?",
                (process, now, now + LEASE_SECONDS + _CLOCK_TOLERANCE_SECONDS),
            )
            if report is not None:
                self._execute(
                    "INSERT INTO reports VALUES (?, ?, ?)", (process, json.dumps(report), now + LEASE_SECONDS)
                )

    def inspect(self) -> Snapshot:
        """Return what there is; see :meth:`Bus.inspect`."""
        now = time.monotonic()
        with self.transaction("DEFERRED"):
            log = self._head()
            rows = self._execute(
                "SELECT CAST(report AS BLOB) FROM reports WHERE expires_at BETWEEN ? AND ? AND length(report) <= ?",
                (now, now + LEASE_SECONDS + _CLOCK_TOLERANCE_SECONDS, MAX_REPORT_BYTES),
            ).fetchall()
        reports = [report for (text,) in rows if (report := check_report(text)) is not None]
        return Snapshot(log.epoch, log.head, log.events, log.size_bytes, reports)

    def close(self) -> None:
        """Close the connection."""
        with suppress(sqlite3.Error):
            self._connection.close()


def _text(value: object) -> str:
    """Return a text as it is, and whatever else may be in its place as some text that is none of ours."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else repr(value)


def _is_time(value: object, now: float) -> bool:
    """
    Say whether an entry can have been stored at this time. One from the future would make all before it look
    too old.
    """
    return type(value) in (int, float) and 0 <= value <= now + _CLOCK_TOLERANCE_SECONDS  # type: ignore[operator]


def _boot_id() -> str:
    """What tells this run of the machine from all others; empty where nothing does."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""
