"""
The bus of all processes of a machine: a table as the log, and a doorbell for each process that listens.

Numbers are given under SQLite's write lock, so their order is the order of the commits, and a number that
anybody sees was stored. All times in the file are of the machine's monotonic clock, which all processes
share, so a wall clock that jumps does no harm.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from ...core.messages import Message
from ...core.positions import EventId
from ...core.reports import check_report
from ...errors import BusUnavailable, ConfigurationError, SSEPushError
from ..base import BusOptions, PublishResult, Snapshot
from ..stored import StoredBus
from .append import Appender
from .checkpoints import Checkpoints
from .database import Database
from .doorbells import Doorbells, doorbell_folder
from .faults import cure_of, say
from .leases import Leases
from .poison import PoisonLog
from .reader import REPORTS, SqliteReader
from .write_lock import PATIENCE_SECONDS, WriteLock, is_busy

__all__ = ["SqliteBus"]

MAX_PATH_BYTES = 504
"""SQLite opens no longer path, and does not say why."""

T = TypeVar("T")


class _Connection:
    """The connection of all that this process writes, and what writes by it."""

    def __init__(self, database: Database, path: Path) -> None:
        self.database = database
        self.appender = Appender(database)
        self.leases = Leases(database)
        self.checkpoints = Checkpoints(database.execute, str(path))


class SqliteBus(StoredBus):
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
        self._connection: _Connection | None = None
        self._doorbells = Doorbells(doorbell_folder(self._path))

    def publish(self, message: Message) -> PublishResult:
        """
        Number an event, store it and wake the others; see :meth:`Bus.publish`.

        The time-out bounds the wait for other writers. What no process can bound comes on top: the write to
        the disk, which once in about a thousand events waits for the disk, and the time until the system or
        gevent's loop runs the caller again.
        """
        try:
            result = self._write_lock.run(self._options.publish_timeout_seconds, self._append, message)
        except (sqlite3.Error, OSError) as error:
            raise self._unavailable("The event was not stored", error) from error
        connection = self._connection
        if connection is not None and connection.checkpoints.is_full:
            connection.checkpoints.make_room(self._while_unused)
        if self._health.state == "down":
            self._retry_soon()
        return result

    def _while_unused(self, work: Callable[[], bool]) -> bool:
        """Return what some work with the connection returns; False where another thread uses it."""
        try:
            return self._write_lock.run(0.0, work)
        except (sqlite3.Error, BusUnavailable):
            return False

    def _append(self, message: Message) -> PublishResult:
        try:
            connection = self._open()
            result = connection.appender.append(message)
        except BaseException as error:
            self._give_up(error)
            raise
        if not result.is_repeated:
            self._doorbells.ring(message.channels)
            connection.checkpoints.wrote(len(message.block))
        return result

    def head(self) -> EventId:
        """Return where the log ends now; see :meth:`Bus.head`."""
        return EventId(*self._try("The end of the log is not known", self._read_head))

    def _read_head(self) -> tuple[str, int]:
        return self._open().database.head()

    def put_lease(self, name: str, text: str, seconds: float) -> None:
        """Store a text until its time is over; see :meth:`Bus.put_lease`."""
        self._try("The lease was not stored", lambda: self._open().leases.put(name, text, seconds))

    def drop_lease(self, name: str) -> None:
        """Remove a lease; see :meth:`Bus.drop_lease`."""
        self._try("The lease was not removed", lambda: self._open().leases.drop(name))

    def leases(self, prefix: str) -> dict[str, str]:
        """Return the leases that live; see :meth:`Bus.leases`."""
        return self._try("The leases are not known", lambda: self._open().leases.find(prefix))

    def _try(self, failed: str, work: Callable[[], T]) -> T:
        use: Callable[[Callable[[], T]], T] = self._use
        try:
            return self._write_lock.run(self._options.publish_timeout_seconds, use, work)
        except (sqlite3.Error, OSError) as error:
            raise self._unavailable(failed, error) from error

    def _use(self, work: Callable[[], T]) -> T:
        try:
            return work()
        except BaseException as error:
            self._give_up(error)
            raise

    def _give_up(self, error: BaseException) -> None:
        """Close the connection, unless what was raised leaves it as it was."""
        if not is_busy(error) and not isinstance(error, SSEPushError):
            # At once, also when a signal handler has raised: a transaction that stays open until the garbage
            # collector comes locks out every process.
            self._close_connection()

    def _open(self) -> _Connection:
        connection = self._connection
        if connection is None or connection.database.is_replaced():
            self._close_connection()
            connection = self._connection = _Connection(self._open_database(), self._path)
        return connection

    def _unavailable(self, failed: str, error: Exception) -> BusUnavailable:
        if not is_busy(error):
            return BusUnavailable(f"{failed}: {say(self._path, error)}")
        return BusUnavailable(
            f"{failed}: {str(self._path)!r} was locked by another process or thread for "
            f"{self._options.publish_timeout_seconds:g} s. Find out which holds a transaction open or waits "
            "for the disk, or raise SSE_PUSH_PUBLISH_TIMEOUT_SECONDS."
        )

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
            return Snapshot("", 0, 0, 0, 0, 0, [])
        try:
            return self._write_lock.run(self._options.publish_timeout_seconds, self._inspect)
        except (sqlite3.Error, OSError) as error:
            raise BusUnavailable(f"The bus cannot be looked at: {say(self._path, error)}") from error

    def _inspect(self) -> Snapshot:
        database = self._open_database()
        try:
            with database.reading:
                log = database.look()
                events, channels = database.count()
                found = Leases(database).read(REPORTS).values()
            reports = [report for text in found if (report := check_report(text)) is not None]
            return Snapshot(database.epoch, log.head, events, log.size, channels, log.kept, reports)
        finally:
            database.close()

    def _let_go(self) -> None:
        self._close_connection()
        self._doorbells.close()

    def _close_connection(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.database.close()

    def _open_reader(self) -> SqliteReader:
        return SqliteReader(
            self._path,
            self._open_database,
            self._write_lock,
            self._poison_log,
            self._options.retention,
            self._options.max_event_bytes,
        )

    def _cure_of(self, error: Exception) -> str:
        return cure_of(error)

    def _open_database(self) -> Database:
        if self._make_folder is not None:
            self._make_folder()
        return Database(self._path, self._options.retention, volatile=self._volatile)
