"""
The bus of all processes of a machine: a table as the log, and a doorbell for each process that listens.

Numbers are given under SQLite's write lock, so their order is the order of the commits, and a number that
anybody sees was stored. All times in the file are of the machine's monotonic clock, which all processes
share, so a wall clock that jumps does no harm.
"""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from ...errors import BusUnavailable, ConfigurationError
from ...platform.ownership import UnusablePathError
from ..base import BusOptions, PublishResult, Snapshot
from ..follower import FollowedBus
from .database import Database
from .doorbell import Doorbells, doorbell_folder
from .reader import SqliteReader
from .rows import PoisonLog
from .write_lock import PATIENCE_SECONDS, WriteLock, is_busy

__all__ = ["SqliteBus"]

MAX_PATH_BYTES = 504
"""SQLite opens no longer path, and does not say why."""


_OTHER_PATH = "Set SSE_PUSH_BUS_URL to another path."
_BROKEN = "It is broken: delete it, with its -wal and -shm, and a new log begins."

# By a part of what an error says. The first that is found counts.
_CURES = (
    ("another program", _OTHER_PATH),
    ("write-ahead", _OTHER_PATH),
    ("full", "Make room on its disk; nothing else is needed."),
    ("malformed", _BROKEN),
    ("not a database", _BROKEN),
    ("unable to open", "Make its folder, where this user may write."),
)


class SqliteBus(FollowedBus):
    """
    Keeps events in a file, and brings them to every process of the machine that opens it. Thread-safe.

    A publish in the middle of another one of the same thread (by a finalizer or a signal handler) is refused
    at once: it would wait for the transaction that it interrupted.

    Args:
        path (str): The file. It is made when it is missing, in a folder that is there.
        options (BusOptions): What the bus is told.
        volatile (bool): Whether the file ends with the server: then nothing is forced to the disk.
        make_folder (Callable | None): Called each time before the file is opened, to make its folder where
            somebody has removed it.

    Raises:
        ConfigurationError: The path is too long for SQLite.
    """

    name = "sqlite"
    faults = (sqlite3.Error, OSError, BusUnavailable)

    def __init__(
        self,
        path: str,
        options: BusOptions,
        *,
        volatile: bool = False,
        make_folder: Callable[[], None] | None = None,
    ) -> None:
        self._path = Path(path).absolute()
        if (size := len(os.fsencode(self._path))) > MAX_PATH_BYTES:
            raise ConfigurationError(
                f"The path of a SQLite bus must have at most {MAX_PATH_BYTES} bytes, got {size}: "
                f"{str(self._path)!r}. Name a shorter one in SSE_PUSH_BUS_URL; "
                'with "auto" give gunicorn a shorter --worker-tmp-dir.'
            )
        super().__init__(str(self._path))
        self._options = options
        self._volatile = volatile
        self._make_folder = make_folder
        self._poison_log = PoisonLog(str(self._path))
        self._write_lock = WriteLock()
        self._database: Database | None = None
        self._doorbells = Doorbells(doorbell_folder(self._path))

    def publish(self, channels: tuple[str, ...], block: bytes, key: str | None = None) -> PublishResult:
        """
        Number an event, store it and wake the others; see :meth:`Bus.publish`.

        The time-out bounds the wait for other writers. What no process can bound comes on top: the write to
        the disk, which once in about a thousand events waits for the disk, and the time until the system or
        gevent's loop runs the caller again.
        """
        seconds = self._options.publish_timeout_seconds
        try:
            result = self._write_lock.run(seconds, self._append, channels, block, key)
        except (sqlite3.Error, OSError) as error:
            if not is_busy(error):
                raise BusUnavailable(f"The event was not stored: {_say(self._path, error)}") from error
            raise BusUnavailable(
                f"The event was not stored: {str(self._path)!r} was locked by another process or thread for "
                f"{seconds:g} s. Find out which holds a transaction open or waits for the disk, "
                "or raise SSE_PUSH_PUBLISH_TIMEOUT_SECONDS."
            ) from error
        if self._health.state == "down":
            self._retry_soon()
        return result

    def _append(self, channels: tuple[str, ...], block: bytes, key: str | None) -> PublishResult:
        try:
            if self._database is None or self._database.is_replaced():
                self._close_database()
                self._database = self._open_database()
            result = self._database.append(channels, block, key)
        except BaseException as error:
            if not is_busy(error):
                # At once, also when a signal handler has raised: a transaction that stays open until the
                # garbage collector comes locks out every process.
                self._close_database()
            raise
        if not result.is_repeated:
            self._doorbells.ring()
        return result

    def close(self) -> None:
        """Stop to follow and close the file; see :meth:`Bus.close`."""
        self._stop_following()
        # In the middle of a publish, or while another thread is stuck in one, the connection stays open until
        # the process ends.
        with suppress(BusUnavailable, sqlite3.Error):
            self._write_lock.run(PATIENCE_SECONDS, self._let_go)

    def inspect(self) -> Snapshot:
        """Return what there is; see :meth:`Bus.inspect`. Makes no file."""
        if not os.path.lexists(self._path):
            return Snapshot("", 0, 0, 0, [])
        try:
            return self._write_lock.run(self._options.publish_timeout_seconds, self._inspect)
        except (sqlite3.Error, OSError) as error:
            raise BusUnavailable(f"The bus cannot be looked at: {_say(self._path, error)}") from error

    def _inspect(self) -> Snapshot:
        database = self._open_database()
        try:
            return database.inspect()
        finally:
            database.close()

    def _let_go(self) -> None:
        self._close_database()
        self._doorbells.close()

    def _close_database(self) -> None:
        database, self._database = self._database, None
        if database is not None:
            database.close()

    def _open_reader(self) -> SqliteReader:
        return SqliteReader(
            self._path,
            self._open_database,
            self._write_lock,
            self._poison_log,
            self._options.max_event_bytes,
        )

    def _cure_of(self, error: Exception) -> str:
        return _cure_of(error)

    def _open_database(self) -> Database:
        if self._make_folder is not None:
            self._make_folder()
        return Database(self._path, self._options, volatile=self._volatile)


def _say(path: Path, error: Exception) -> str:
    if isinstance(error, UnusablePathError):
        return str(error)
    if "another version" in str(error):
        return f"{str(path)!r} cannot be used: {error}."
    cure = _cure_of(error) or " See that the disk has room and that this user may write there."
    return f"{str(path)!r} says {str(error)!r}.{cure}"


def _cure_of(error: Exception) -> str:
    """Return what to do about an error: a sentence with a space in front, or nothing."""
    words = str(error)
    if isinstance(error, UnusablePathError) or "another version" in words:
        return ""  # the message ends with its cure
    if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
        return " Give the file a shorter name: others of up to 20 characters more are made beside it."
    return next((f" {cure}" for mark, cure in _CURES if mark in words), "")
