"""
The bus of all processes of a machine: a table as the log, and a doorbell for each process that listens.

Numbers are given under SQLite's write lock, so their order is the order of the commits, and a number that is seen was stored. All times
in the file are of the machine's monotonic clock, which its processes share: a wall clock that jumps does nothing.
"""

from __future__ import annotations

import json
import logging
import os
import random
import secrets
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from blinker import Signal

from ..concurrency import current_mode, reentrant_lock
from ..core.log import ENTRY_OVERHEAD_BYTES, PLACE_OVERHEAD_BYTES, Entry
from ..errors import BusUnavailable
from .base import LEASE_SECONDS, Accepted, BusOptions, Health, Report, Retention, Snapshot
from .doorbell import Bells, Doorbell
from .follower import MAX_READ_SECONDS, Follower, LogChanged, Tail

__all__ = ["SqliteBus"]

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
_FIRST_PAUSE_SECONDS = 0.0005
_LONGEST_PAUSE_SECONDS = 0.01
_PATIENCE_SECONDS = 5.0  # of a reader, whom nobody waits for

_BUSY = frozenset({5, 6})  # SQLITE_BUSY and SQLITE_LOCKED, which Python names from 3.11 on

T = TypeVar("T")

logger = logging.getLogger(__package__.rpartition(".")[0])


class SqliteBus:
    """
    Events live in a file, and reach every process of the machine that opens it. Thread-safe.

    Publishing from within publishing on the same thread (a finalizer, a signal handler) is refused at once: its own transaction is in the way.

    Args:
        path (str): The file; made when it is missing, in a folder that is there. Nobody else's database.
        options (BusOptions): See there.
        volatile (bool): Whether the file ends with the server: then nothing is forced to the disk.
    """

    name = "sqlite"
    shared = True

    def __init__(self, path: str, options: BusOptions, *, volatile: bool = False) -> None:
        self.log_begun = Signal("a log begins")
        self.entry_numbered = Signal("one entry was numbered")
        self.caught_up = Signal("all entries were handed on")
        self._path = Path(path).absolute()
        self._options = options
        self._volatile = volatile
        self._turn = _Turn()
        self._database: _Database | None = None
        self._bells = Bells(bells_folder(self._path))
        self._follower = Follower(self, str(self._path), self._open_reader, (sqlite3.Error, OSError, BusUnavailable))

    def publish(self, channels: tuple[str, ...], block: bytes, key: str | None = None) -> Accepted:
        """Number an event, store it and wake the others; see :meth:`Bus.publish`."""
        size = len(block) + ENTRY_OVERHEAD_BYTES + PLACE_OVERHEAD_BYTES * len(channels) + sum(map(len, channels))
        try:
            return _patiently(lambda: self._turn.take(lambda: self._append(channels, block, size, key)), self._options.publish_timeout_seconds)
        except (sqlite3.Error, OSError) as error:
            if not _is_busy(error):
                raise BusUnavailable(f"The event was not stored: {_say(self._path, error)}") from error
            raise BusUnavailable(
                f"The event was not stored: {str(self._path)!r} was locked by another process for {self._options.publish_timeout_seconds:g} s. "
                "Find out which holds a transaction open, or raise SSE_PUSH_PUBLISH_TIMEOUT_SECONDS."
            ) from error

    def _append(self, channels: tuple[str, ...], block: bytes, size: int, key: str | None) -> Accepted:
        try:
            if self._database is None or self._database.is_replaced():
                self._close_database()
                self._database = _Database(self._path, self._options.retention, volatile=self._volatile)
            accepted = self._database.append(channels, block, size, key)
        except BaseException as error:
            if not _is_busy(error):
                # Closed on the spot also behind an interruption: a transaction that waits for the collector locks every process out.
                self._close_database()
            raise
        if not accepted.is_repeated:
            self._bells.ring()
        return accepted

    def start(self, report: Callable[[], Report], wanted: Callable[[], bool]) -> None:
        """Begin to follow; see :meth:`Bus.start`."""
        self._follower.start(report, wanted)

    def close(self) -> None:
        """Stop to follow and close the file; see :meth:`Bus.close`."""
        self._follower.stop()
        # Called in the middle of publish(), or while another thread stands still in there, it leaves the connection to the end of the process.
        with suppress(BusUnavailable, sqlite3.Error):
            self._turn.take(self._let_go)

    def health(self) -> Health:
        """Return how following goes; see :meth:`Bus.health`."""
        return self._follower.health()

    def inspect(self) -> Snapshot:
        """Return what there is; see :meth:`Bus.inspect`. Makes no file."""
        if not self._path.exists():
            return Snapshot("", 0, 0, 0, [])
        try:
            return _patiently(lambda: self._turn.take(self._inspect), self._options.publish_timeout_seconds)
        except (sqlite3.Error, OSError) as error:
            raise BusUnavailable(f"The bus cannot be looked at: {_say(self._path, error)}") from error

    def _inspect(self) -> Snapshot:
        database = _Database(self._path, self._options.retention, volatile=self._volatile)
        try:
            return database.inspect()
        finally:
            database.close()

    def _let_go(self) -> None:
        self._close_database()
        self._bells.close()

    def _close_database(self) -> None:
        database, self._database = self._database, None
        if database is not None:
            database.close()

    def _open_reader(self) -> _Reader:
        return _patiently(lambda: _Reader(self._path, self._options.retention, self._turn, volatile=self._volatile), _PATIENCE_SECONDS)


class _Turn:
    """
    One writer of this process at a time, for one transaction in which nothing waits or switches.

    The lock is reentrant, so that a finalizer or a signal handler further down the same stack gets in and is seen, also in the moment
    between taking the lock and writing down who has it. With another lock it would wait there for itself, for ever.
    """

    def __init__(self) -> None:
        self._lock = reentrant_lock()
        self._owner = 0

    def take(self, work: Callable[[], T]) -> T:
        """
        Return what the work returns.

        Raises:
            BusUnavailable: It is called from within itself.
        """
        with self._lock:
            if self._owner == threading.get_ident():
                raise BusUnavailable(
                    "The event was not stored: publish() was called from within itself, by a finalizer or a signal handler, and its own transaction is in "
                    "the way. Publish from a thread instead."
                )
            if self._owner:
                # Foreign code in its transaction gave way to us. To wait as greenlets wait lets it finish.
                raise sqlite3.OperationalError("locked by another greenlet of this process")
            try:
                self._owner = threading.get_ident()
                return work()
            finally:
                self._owner = 0


class _Database:
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
        with self.transaction("DEFERRED"):
            epoch, head = self._connection.execute("SELECT epoch, head FROM log").fetchone()
            if head <= position:
                return epoch, []
            rows = self._connection.execute(
                "SELECT sequence, channels, block, appended_at FROM entries WHERE sequence > ? ORDER BY sequence LIMIT ?", (position, _READ_AT_ONCE)
            ).fetchall()
        return epoch, [_entry(epoch, row) for row in rows]

    def report(self, process: str, report: Report | None) -> None:
        with self.transaction():
            self._connection.execute("DELETE FROM reports WHERE process = ? OR expires_at < ?", (process, time.monotonic()))
            if report is not None:
                self._connection.execute("INSERT INTO reports VALUES (?, ?, ?)", (process, json.dumps(report), time.monotonic() + LEASE_SECONDS))

    def inspect(self) -> Snapshot:
        with self.transaction("DEFERRED"):
            epoch, head, events, size = self._connection.execute("SELECT epoch, head, events, bytes FROM log").fetchone()
            rows = self._connection.execute("SELECT report FROM reports WHERE expires_at >= ?", (time.monotonic(),)).fetchall()
        return Snapshot(epoch, head, events, size, [json.loads(report) for (report,) in rows])

    def close(self) -> None:
        with suppress(sqlite3.Error):
            self._connection.close()


class _Reader:
    """What the follower reads by: a connection, and the doorbell of this process."""

    def __init__(self, path: Path, retention: Retention, turn: _Turn, *, volatile: bool) -> None:
        self._process = f"{os.getpid()}-{secrets.token_hex(4)}"
        self._folder = bells_folder(path)
        # It writes in turn with publish(): a finalizer that publishes in the middle of this would wait for its own stack.
        self._turn = turn
        self._database = turn.take(lambda: _Database(path, retention, volatile=volatile))
        self._readable_at = time.monotonic()
        self._doorbell: Doorbell | None = None
        self._bell = current_mode().bell()
        self._hang()

    def _hang(self) -> None:
        try:
            self._doorbell = Doorbell(self._folder)
        except OSError as error:
            logger.warning("No process can ring in %s (%s): events of other processes are looked for once a second.", str(self._folder), error)

    def epoch(self) -> str:
        return _patiently(lambda: self._turn.take(self._database.epoch), _PATIENCE_SECONDS)

    def tail(self) -> Tail:
        if self._database.is_replaced():
            raise FileNotFoundError("the file was replaced once more")
        return self._database.tail()

    def read(self, epoch: str, position: int, seconds: float) -> list[Entry]:
        replaced = self._database.is_replaced()  # asked first: what is left in the old file is read then, to its end
        entries = self._read(epoch, position)
        if entries:
            return entries
        if replaced:
            raise FileNotFoundError("the file was deleted or replaced")
        if seconds:
            self._wait(min(seconds, MAX_READ_SECONDS))
            entries = self._read(epoch, position)
        return entries

    def _read(self, epoch: str, position: int) -> list[Entry]:
        try:
            found, entries = self._database.read(position)
        except sqlite3.Error as error:
            if not _is_busy(error) or time.monotonic() - self._readable_at > _PATIENCE_SECONDS:
                raise
            return []
        self._readable_at = time.monotonic()
        if found != epoch:
            raise LogChanged
        return entries

    def _wait(self, seconds: float) -> None:
        if self._doorbell is None:
            self._bell.wait(seconds)
        else:
            current_mode().wait_readable(self._doorbell.fileno(), seconds)
            self._doorbell.answer()
            if not self._doorbell.is_there():
                doorbell, self._doorbell = self._doorbell, None
                doorbell.close()
                self._hang()

    def wake(self) -> None:
        if self._doorbell is not None:
            with suppress(OSError, ValueError):
                self._doorbell.ring()
        self._bell.ring()

    def report(self, report: Report) -> None:
        self._write_report(report)

    def withdraw(self) -> None:
        self._write_report(None)

    def _write_report(self, report: Report | None) -> None:
        try:
            self._turn.take(lambda: self._database.report(self._process, report))
        except (sqlite3.Error, BusUnavailable) as error:
            # Who writes now is not waited for: the next report comes soon, and an old one runs out.
            logger.debug("A report was left out: %s", error)

    def close(self) -> None:
        if self._doorbell is not None:
            self._doorbell.close()
        self._database.close()


def bells_folder(path: Path) -> Path:
    """Return where the processes that follow a database have their sockets."""
    return path.with_name(path.name + "-bells")


def _entry(epoch: str, row: tuple[int, str, bytes, float]) -> Entry:
    sequence, channels, block, appended_at = row
    return Entry(sequence, tuple(channels.split("\n")), b"id: %s-%d\n%s" % (epoch.encode(), sequence, block), appended_at)


def _patiently(call: Callable[[], T], seconds: float) -> T:
    """Return what a call returns that meets no lock of another process; waited for in no lock of ours, as greenlets wait."""
    give_up_at = time.monotonic() + seconds
    pause = _FIRST_PAUSE_SECONDS
    while True:
        try:
            return call()
        except sqlite3.Error as error:
            if not _is_busy(error) or time.monotonic() + pause > give_up_at:
                raise
            busy = error
        try:
            time.sleep(random.uniform(pause / 2, pause))
        except AssertionError:
            raise busy from None  # gevent's, in a callback of the loop itself, which cannot wait
        pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)


def _is_busy(error: BaseException) -> bool:
    if not isinstance(error, sqlite3.Error):
        return False
    code = getattr(error, "sqlite_errorcode", None)  # from Python 3.11 on
    return code & 0xFF in _BUSY if code is not None else "locked" in str(error)


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


def _say(path: Path, error: Exception) -> str:
    words = str(error)
    cure = "See that the disk has room and that this user may write there."
    if "another program" in words or "write-ahead" in words:
        cure = "Set SSE_PUSH_BUS_URL to another path."
    elif "full" in words:
        cure = "Make room on its disk; nothing else is needed."
    elif "malformed" in words or "not a database" in words:
        cure = "It is broken: delete it, with its -wal and -shm, and a new log begins."
    elif "unable to open" in words:
        cure = "Make its folder, where this user may write."
    return f"{str(path)!r} says {words!r}. {cure}"


def _boot_id() -> str:
    """What tells this run of the machine from all others; empty where nothing does."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""
