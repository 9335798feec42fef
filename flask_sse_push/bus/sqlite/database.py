"""One connection to the database, its transactions, and the state of the log in it."""

from __future__ import annotations

import os
import sqlite3
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import TracebackType

from ...core.positions import EventId, is_epoch
from ...core.retention import RetentionRules, read_rules
from ...platform.fork import close_with, forks
from . import schema
from .file import DatabaseFile, identity
from .rows import MAX_NUMBER

__all__ = ["LOG_COLUMNS", "LOG_TABLES", "Database", "LogState"]

LOG_COLUMNS = "l.epoch, l.digest, e.before, e.ordinal, e.size, l.kept, l.kept_bytes, l.names, l.floor"
LOG_TABLES = f"log l JOIN entries e ON e.id = {schema.END}"

_LOG = f"SELECT {LOG_COLUMNS} FROM {LOG_TABLES}"  # noqa: S608  # our own names
_COUNT = f"""
    SELECT count(DISTINCT id >> {schema.PLACE_BITS}), count(DISTINCT channel) FROM entries
    WHERE id < {schema.END}
"""  # noqa: S608
_MAX_RULES_BYTES = 256 * 1024

# SQLite quotes what it cannot parse, and the standard library fails where that is no UTF-8.
_DAMAGED_SCHEMA = "malformed: its schema is damaged"


class LogState:
    """What a log counts, as one transaction finds it and leaves it."""

    __slots__ = ("_stored", "events", "floor", "head", "kept", "kept_bytes", "names", "size")

    def __init__(
        self, head: int, events: int, size: int, kept: int, kept_bytes: int, names: int, floor: int
    ) -> None:
        self.head = head
        """The number that was given last."""
        self.events = events
        """Rows of the history of all channels."""
        self.size = size
        """What they count for, in bytes."""
        self.kept = kept
        """Kept values of all channels."""
        self.kept_bytes = kept_bytes
        """What they count for."""
        self.names = names
        """Rows of the table of channels."""
        self.floor = floor
        """The last number of a channel that is in no table is at most this one."""
        self._stored = (kept, kept_bytes, names, floor)

    def store(self, execute: schema.Execute) -> None:
        """Write what has changed; each publish changes what the row at the end holds."""
        execute(_STORE_END, (self.head, self.events, self.size))
        if (now := (self.kept, self.kept_bytes, self.names, self.floor)) != self._stored:
            execute("UPDATE log SET kept = ?, kept_bytes = ?, names = ?, floor = ?", now)
            self._stored = now


_STORE_END = f"UPDATE entries SET before = ?, ordinal = ?, size = ? WHERE id = {schema.END}"  # noqa: S608


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
        if error is None:
            try:
                self._connection.execute("COMMIT")
            except BaseException:
                self._undo()
                raise
            return
        self._undo()
        if isinstance(error, UnicodeDecodeError):
            raise sqlite3.DatabaseError(_DAMAGED_SCHEMA) from error

    def _undo(self) -> None:
        with suppress(sqlite3.Error):
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")


class Database:
    """
    One connection to the file. Not thread-safe; nothing in it waits.

    Other programs may have written to the file: a value in the log's row that this package does not write
    raises ``sqlite3.DatabaseError``.

    Args:
        path (Path): The file, which is made when it is missing.
        rules (RetentionRules): What a log that is begun here keeps.
        volatile (bool): Whether the file ends with the server: then nothing is forced to the disk.

    Raises:
        sqlite3.Error: The file cannot be used.
        OSError: The file cannot be used, or others could write it.
    """

    def __init__(self, path: Path, rules: RetentionRules, *, volatile: bool) -> None:
        self._path = str(path)
        self._boot = ""
        self._settled: tuple[object, ...] = ()
        self.epoch = ""
        """The epoch of the log, when :meth:`look` was called last."""
        self.rules = rules
        """What the log keeps, when :meth:`look` was called last."""
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
        # Before the write-ahead log is turned on, which would already wait for the disk.
        execute(f"PRAGMA synchronous = {'OFF' if volatile else 'NORMAL' if schema.boot_id() else 'FULL'}")
        with self.reading:
            is_there = schema.is_there(execute)
        if execute("PRAGMA journal_mode = WAL").fetchall() != [(b"wal",)]:
            raise sqlite3.OperationalError("its folder takes no write-ahead log: name a file on a local disk")
        # Of the file that is there by now: confirm() says whether it is the one that was opened.
        boot = self._boot = schema.boot_of(os.lstat(self._path).st_ino)
        if is_there and schema.is_current(execute, boot):
            return
        with self.writing:
            # Asked again: another process may have been faster.
            if not (schema.is_there(execute) and schema.is_current(execute, boot)):
                # When the machine stops, the last commits may be lost (synchronous = NORMAL). So each run of
                # the machine has a log of its own.
                schema.begin_log(execute, boot, self.rules.text)

    def is_replaced(self) -> bool:
        """
        Say whether the file was deleted or replaced, or others may write it now: then it has to be opened
        anew.
        """
        try:
            return identity(os.lstat(self._path)) != self._identity
        except OSError:
            return True

    def look(self) -> LogState:
        """
        Read the state of the log. Call it in a transaction.

        Raises:
            sqlite3.DatabaseError: It holds something that this package does not write.
        """
        return self.state_in(self.execute(_LOG).fetchone())

    def state_in(self, row: tuple[object, ...] | None) -> LogState:
        """Return what :meth:`look` does, from a row that begins with :data:`LOG_COLUMNS`."""
        if row is not None:
            epoch, digest, head, events, size, kept, kept_bytes, names, floor = row[:9]
            if (
                ((epoch, digest) == self._settled or self._settle((epoch, digest)))
                and type(head) is type(events) is type(size) is type(kept) is int
                and type(kept_bytes) is type(names) is type(floor) is int
                and 0 <= head <= MAX_NUMBER
                and 0 <= events <= MAX_NUMBER
                and 0 <= size <= MAX_NUMBER
                and 0 <= kept <= MAX_NUMBER
                and 0 <= kept_bytes <= MAX_NUMBER
                and 0 <= names <= MAX_NUMBER
                and 0 <= floor <= head
            ):
                return LogState(head, events, size, kept, kept_bytes, names, floor)
        raise sqlite3.DatabaseError("malformed: its row of the log is damaged")

    def _settle(self, settled: tuple[object, ...]) -> bool:
        """Check and remember the columns that seldom change. Return False where they are damaged."""
        epoch = schema.text_of(settled[0])
        rules = read_rules(self._stored_rules())
        if not is_epoch(epoch) or rules is None:
            return False
        self.epoch, self.rules, self._settled = epoch, rules, settled
        return True

    def _stored_rules(self) -> str:
        (text,) = self.execute(
            "SELECT CASE WHEN length(rules) <= ? THEN rules END FROM log LIMIT 1", (_MAX_RULES_BYTES,)
        ).fetchone()
        return text.decode("utf-8", "replace") if isinstance(text, bytes) else ""

    def head(self) -> tuple[str, int]:
        """Return the epoch of the log and the number that was given last."""
        with self.reading:
            head = self.look().head
        return self.epoch, head

    def count(self) -> tuple[int, int]:
        """Return how many events and how many channels there are. Call it in a transaction."""
        ((events, channels),) = self.execute(_COUNT)
        return events, channels

    def write_rules(self, rules: RetentionRules) -> None:
        """Store what is to be kept. Publishers obey that."""
        with self.reading:
            self.look()
        if self.rules != rules:
            with self.writing:
                self.execute(
                    "UPDATE log SET rules = ?, digest = ?", (rules.text, schema.digest_of(rules.text))
                )
                self.look()

    def begin_where_forgotten(self, known: EventId) -> None:
        """
        Begin a new log where this one was put back to before a number that it has given.

        Args:
            known (EventId): The number, and the epoch in which it was given.
        """
        with self.writing:
            head = self.look().head
            if self.epoch == known.epoch and head < known.sequence:
                schema.begin_log(self.execute, self._boot, self.rules.text)

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
