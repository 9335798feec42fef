"""One connection to the database, and what is read and written by it, each in one transaction."""

from __future__ import annotations

import json
import os
import sqlite3
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import TracebackType

from ...core.positions import is_epoch
from ...core.reports import MAX_REPORT_BYTES, check_report
from ...platform.fork import close_with, forks
from ..base import LEASE_SECONDS, BusOptions, PublishResult, Report, Retention, Snapshot, overhead_of
from . import schema
from .file import DatabaseFile, identity
from .rows import CLOCK_TOLERANCE_SECONDS, is_time

__all__ = ["MAX_TRIMMED", "Database"]

MAX_TRIMMED = 8
"""The most old events that one publish removes: more than it adds, and not so many that it takes long."""

_LOG = "SELECT epoch, history_seconds, history_bytes, history_events, head, events, bytes FROM log LIMIT 1"

# SQLite's integers end at twice that: nothing that is added to such a number reaches the end.
_MAX_NUMBER = 1 << 62

# SQLite quotes what it cannot parse, and the standard library fails where that is no UTF-8.
_DAMAGED_SCHEMA = "malformed: its schema is damaged"

_AGE_LOOK_SECONDS = 1.0  # how often a publish looks for events that are too old


class _Transaction:
    """
    Commits at the end of a ``with`` block, or undoes all of it.

    Args:
        connection (sqlite3.Connection): What the transactions run on, one after the other.
        kind (str): ``"IMMEDIATE"`` to write, ``"DEFERRED"`` to read.
    """

    __slots__ = ("_begin", "_connection")

    def __init__(self, connection: sqlite3.Connection, kind: str) -> None:
        self._connection = connection
        self._begin = f"BEGIN {kind}"

    def __enter__(self) -> None:
        self._connection.execute(self._begin)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self._connection.execute("COMMIT")
        finally:
            with suppress(sqlite3.Error):
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
        if isinstance(error, UnicodeDecodeError):
            raise sqlite3.DatabaseError(_DAMAGED_SCHEMA) from error


class Database:
    """
    One connection to the file. Not thread-safe; nothing in it waits.

    Other programs may have written to the file: a value in the log's row that this package does not write
    raises ``sqlite3.DatabaseError``.

    Args:
        path (Path): The file, which is made when it is missing.
        options (BusOptions): What the bus is told.
        volatile (bool): Whether the file ends with the server: then nothing is forced to the disk.

    Raises:
        sqlite3.Error: The file cannot be used.
        OSError: The file cannot be used, or others could write it.
    """

    def __init__(self, path: Path, options: BusOptions, *, volatile: bool) -> None:
        self._path = str(path)
        self._options_retention = options.retention
        self._look_at_age = 0.0
        self._settled: tuple[object, ...] = ()
        self.epoch = ""
        """The epoch of the log, when :meth:`look` was called last."""
        self.retention = options.retention
        """How much the log keeps, when :meth:`look` was called last."""
        file = DatabaseFile(path)
        file.prepare()
        # With a timeout SQLite itself would wait, and stop a whole loop of greenlets.
        connection = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
        # As text, bytes that are no UTF-8 would raise in the middle of a read, and the good entries of that
        # read would be lost.
        connection.text_factory = bytes
        self._connection, self.execute = connection, connection.execute
        self.reading = _Transaction(connection, "DEFERRED")
        self.writing = _Transaction(connection, "IMMEDIATE")
        try:
            self._prepare(volatile=volatile)
            file.confirm()
        except UnicodeDecodeError as error:
            connection.close()
            raise sqlite3.DatabaseError(_DAMAGED_SCHEMA) from error
        except BaseException:
            connection.close()
            raise
        self._identity = file.identity
        close_with(self, partial(_close, connection, forks()))

    def _prepare(self, *, volatile: bool) -> None:
        execute = self.execute
        # A schema is code. Until it is known to be ours, it may call only functions that do no harm.
        execute("PRAGMA trusted_schema = OFF")
        execute("PRAGMA cell_size_check = ON")  # else a damaged page may be taken for data
        boot = schema.boot_id()
        # Before the write-ahead log is turned on, which would already wait for the disk.
        execute(f"PRAGMA synchronous = {'OFF' if volatile else 'NORMAL' if boot else 'FULL'}")
        with self.reading:
            is_there = schema.is_there(execute)
        if execute("PRAGMA journal_mode = WAL").fetchall() != [(b"wal",)]:
            raise sqlite3.OperationalError("its folder takes no write-ahead log: name a file on a local disk")
        if is_there and schema.is_current(execute, boot):
            return
        with self.writing:
            # Asked again: another process may have been faster.
            if not (schema.is_there(execute) and schema.is_current(execute, boot)):
                # When the machine stops, the last commits may be lost (synchronous = NORMAL). So each run of
                # the machine has a log of its own.
                schema.begin_log(execute, boot, self.retention)

    def is_replaced(self) -> bool:
        """
        Say whether the file was deleted or replaced, or others may write it now: then it has to be opened
        anew.
        """
        try:
            return identity(os.lstat(self._path)) != self._identity
        except OSError:
            return True

    def look(self) -> tuple[int, int, int]:
        """
        Read the log's row: return the number that was given last, how many entries are kept, and their size.
        Call it in a transaction.

        Raises:
            sqlite3.DatabaseError: The row holds something that this package does not write.
        """
        row = self.execute(_LOG).fetchone()
        if row is not None:
            settled = row[:4]
            if settled == self._settled or self._settle(settled):
                head, events, size = row[4:]
                if (
                    type(head) is type(events) is type(size) is int
                    and 0 <= head <= _MAX_NUMBER
                    and 0 <= events <= _MAX_NUMBER
                    and 0 <= size <= _MAX_NUMBER
                ):
                    return head, events, size
        raise sqlite3.DatabaseError("malformed: its row of the log is damaged")

    def _settle(self, settled: tuple[object, ...]) -> bool:
        """Check and remember the columns that seldom change. Return False where they are damaged."""
        epoch, *numbers = settled
        epoch = schema.text_of(epoch) if isinstance(epoch, bytes) else ""
        if not is_epoch(epoch) or not all(
            type(number) in (int, float) and 0 <= number <= _MAX_NUMBER  # type: ignore[operator]
            for number in numbers
        ):
            return False
        self.epoch, self.retention, self._settled = epoch, Retention(*numbers), settled  # type: ignore[arg-type]
        return True

    def append(self, channels: tuple[str, ...], block: bytes, key: str | None) -> PublishResult:
        """Number an event and store it, and remove a few old ones; see :meth:`Bus.publish`."""
        execute = self.execute
        with self.writing:
            head, events, size = self.look()
            now = time.monotonic()
            if key is not None and (known := self._find(key, head, now)):
                return PublishResult(f"{self.epoch}-{known}", known, is_repeated=True)
            head, events, size = head + 1, events + 1, size + (added := len(block) + overhead_of(channels))
            # OR REPLACE: a row behind the head was written by another program, and must not be in the way.
            execute(
                "INSERT OR REPLACE INTO entries VALUES (?, ?, ?, ?, ?, ?)",
                (head, "\n".join(channels), block, added, now, key),
            )
            _, most_bytes, most_events = self.retention
            if size > most_bytes or events > most_events or now >= self._look_at_age:
                events, size = self._trim(head, now, events, size)
            execute("UPDATE log SET head = ?, events = ?, bytes = ?", (head, events, size))
        return PublishResult(f"{self.epoch}-{head}", head)

    def _find(self, key: str, head: int, now: float) -> int:
        """Return the number of the event with an idempotency key; 0 when no such event is kept."""
        row = self.execute(
            "SELECT sequence, appended_at FROM entries WHERE idempotency_key = ?", (key,)
        ).fetchone()
        if row is None:
            return 0
        sequence, appended_at = row
        if 0 < sequence <= head and is_time(appended_at, now) and appended_at >= now - self.retention.seconds:
            return int(sequence)
        self.execute("UPDATE entries SET idempotency_key = NULL WHERE sequence = ?", (sequence,))
        return 0

    def _trim(self, head: int, now: float, events: int, size: int) -> tuple[int, int]:
        """
        Remove some events that are too old or too many, never the newest; return how many are left, and their
        size.
        """
        seconds, most_bytes, most_events = self.retention
        trimmed, is_damaged = None, False
        self._look_at_age = now + _AGE_LOOK_SECONDS
        for sequence, weight, appended_at in self.execute(
            "SELECT sequence, size, appended_at FROM entries WHERE sequence < ? ORDER BY sequence LIMIT ?",
            (head, MAX_TRIMMED),
        ).fetchall():
            if (
                type(weight) is int
                and 0 <= weight <= _MAX_NUMBER
                and is_time(appended_at, now)
                and sequence > 0
            ):
                if size <= most_bytes and events <= most_events and appended_at >= now - seconds:
                    break
                size -= weight
            else:
                is_damaged = True  # the log's row may count it with another size, or not at all
            trimmed, events = sequence, events - 1
        else:
            self._look_at_age = 0.0  # there may be more: the next publish looks again
        if trimmed is not None:
            self.execute("DELETE FROM entries WHERE sequence <= ?", (trimmed,))
        if is_damaged or events < 1 or size < 0:
            return self._count(head)
        return events, size

    def _count(self, head: int) -> tuple[int, int]:
        """Count all entries and add up their sizes: the numbers in the log's row cannot be right."""
        ((events, size),) = self.execute(
            "SELECT count(*), total(size) FROM entries "
            "WHERE sequence BETWEEN 1 AND ? AND typeof(size) = 'integer' AND size BETWEEN 0 AND ?",
            (head, _MAX_NUMBER),
        )
        return events, int(min(size, _MAX_NUMBER))

    def set_retention(self) -> None:
        """Store how much is to be kept. Publishers obey that."""
        with self.reading:
            self.look()
        if self.retention != self._options_retention:
            with self.writing:
                self.execute(
                    "UPDATE log SET history_seconds = ?, history_bytes = ?, history_events = ?",
                    self._options_retention,
                )

    def report(self, process: str, report: Report | None) -> None:
        """Store the report of a process; ``None`` removes it."""
        now = time.monotonic()
        with self.writing:
            self.execute(
                "DELETE FROM reports WHERE process = ? OR expires_at NOT BETWEEN ? AND ?",
                (process, now, now + LEASE_SECONDS + CLOCK_TOLERANCE_SECONDS),
            )
            if report is not None:
                self.execute(
                    "INSERT INTO reports VALUES (?, ?, ?)", (process, json.dumps(report), now + LEASE_SECONDS)
                )

    def inspect(self) -> Snapshot:
        """Return what there is; see :meth:`Bus.inspect`."""
        now = time.monotonic()
        with self.reading:
            head, events, size = self.look()
            rows = self.execute(
                "SELECT CAST(report AS BLOB) FROM reports "
                "WHERE expires_at BETWEEN ? AND ? AND length(report) <= ?",
                (now, now + LEASE_SECONDS + CLOCK_TOLERANCE_SECONDS, MAX_REPORT_BYTES),
            ).fetchall()
        reports = [report for (text,) in rows if (report := check_report(text)) is not None]
        return Snapshot(self.epoch, head, events, size, reports)

    def close(self) -> None:
        """Close the connection."""
        _close(self._connection)


_not_ours: list[sqlite3.Connection] = []


def _close(connection: sqlite3.Connection, opened_in: int | None = None) -> None:
    """
    Close a connection, except the copy in a forked child of one that was in a transaction.

    To undo that would write to memory that the child shares with its parent.
    """
    if opened_in not in (None, forks()) and connection.in_transaction:
        _not_ours.append(connection)
        return
    with suppress(sqlite3.Error):
        connection.close()
