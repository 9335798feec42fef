"""How a database is followed: by a connection, and the doorbell of this process."""

from __future__ import annotations

import logging
import os
import secrets
import sqlite3
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from ...core.entry import Entry
from ...core.messages import check_stored
from ...errors import BusUnavailable
from ...platform.backends import current_backend
from ..base import Report
from ..reader import MAX_READ_SECONDS, LogChanged, Tail
from .database import Database
from .doorbell import Doorbell, doorbell_folder
from .rows import CLOCK_TOLERANCE_SECONDS, ENTRIES, MAX_CHANNELS_LENGTH, PoisonEntry, PoisonLog
from .write_lock import PATIENCE_SECONDS, WriteLock, is_busy

__all__ = ["SqliteReader"]

_READ_AT_ONCE = 500
_NO_BLOCK = "its block is no bytes, or longer than SSE_PUSH_MAX_EVENT_BYTES"
_REPORT_PATIENCE_SECONDS = 0.1  # entries wait meanwhile, and the next report comes in two seconds

logger = logging.getLogger("flask_sse_push")


class SqliteReader:
    """
    One connection to the database; see :class:`Reader`. Belongs to the thread or greenlet that makes it; any
    may call ``wake``.

    Args:
        path (Path): The database.
        open (Callable): Opens it.
        write_lock (WriteLock): The one of the bus: a report must not be written in the middle of a publish.
        poison_log (PoisonLog): Logs which entries are left out.
        max_event_bytes (int): Larger events are left out.
    """

    def __init__(
        self,
        path: Path,
        open: Callable[[], Database],
        write_lock: WriteLock,
        poison_log: PoisonLog,
        max_event_bytes: int,
    ) -> None:
        self._process = f"{os.getpid()}-{secrets.token_hex(4)}"
        self._folder = doorbell_folder(path)
        self._write_lock, self._poison_log, self._max_event_bytes = write_lock, poison_log, max_event_bytes
        self._database = write_lock.run(PATIENCE_SECONDS, open)
        self._readable_at = time.monotonic()
        self._may_have_more = True
        self._backend = current_backend()
        self._wakeup = self._backend.wakeup()
        self._doorbell: Doorbell | None = None
        self._hang()

    def _hang(self) -> None:
        try:
            self._doorbell = Doorbell(self._folder)
        except OSError as error:
            logger.warning(
                "No process can ring in %s (%s): events of other processes are looked for once a second.",
                str(self._folder),
                error,
            )

    def epoch(self) -> str:
        """Store how much is to be kept, and return the epoch; see :meth:`Reader.epoch`."""
        self._write_lock.run(PATIENCE_SECONDS, self._database.set_retention)
        return self._database.epoch

    def tail(self) -> Tail:
        """Return all that is kept; see :meth:`Reader.tail`."""
        database = self._database
        if database.is_replaced():
            raise FileNotFoundError("the file was replaced once more")
        entries: list[Entry] = []
        with database.reading:
            head, _, _ = database.look()
            epoch, oldest = database.epoch, time.monotonic() - database.retention.seconds
            rows = database.execute(
                f"{ENTRIES} AND appended_at >= ? ORDER BY sequence",
                (MAX_CHANNELS_LENGTH, self._max_event_bytes, 1, head, oldest),
            )
            while some := rows.fetchmany(_READ_AT_ONCE):
                entries += self._check(epoch, some)
                time.sleep(0)  # other greenlets run: a long history takes a second
        return Tail(epoch, entries[0].sequence - 1 if entries else head, entries)

    def read(self, epoch: str, position: int, seconds: float) -> list[Entry]:
        """Return what comes after a number; see :meth:`Reader.read`."""
        # Asked before reading: then a file that was replaced is read to its end first.
        is_replaced = self._database.is_replaced()
        # No look before a wait where the last one came to the end: who publishes after that rings.
        if self._may_have_more or is_replaced or not seconds:
            entries = self._read(epoch, position)
            if entries:
                return entries
            if is_replaced:
                raise FileNotFoundError("the file was deleted or replaced")
        if not seconds:
            return []
        self._wait(min(seconds, MAX_READ_SECONDS))
        return self._read(epoch, position)

    def _read(self, epoch: str, position: int) -> list[Entry]:
        self._may_have_more = True
        entries: list[Entry] = []
        try:
            # On behind pages of nothing but poison: from their begin the next call would read them again.
            while not entries and self._may_have_more:
                entries, position = self._read_page(epoch, position)
        except sqlite3.Error as error:
            if not is_busy(error) or time.monotonic() - self._readable_at > PATIENCE_SECONDS:
                raise
            return []
        self._readable_at = time.monotonic()
        return entries

    def _read_page(self, epoch: str, position: int) -> tuple[list[Entry], int]:
        """Return some entries behind a number, and the number up to which this looked."""
        database = self._database
        with database.reading:
            head, _, _ = database.look()
            if database.epoch != epoch:
                raise LogChanged
            if head <= position:
                self._may_have_more = False
                return [], position
            rows = database.execute(
                f"{ENTRIES} ORDER BY sequence LIMIT ?",
                (MAX_CHANNELS_LENGTH, self._max_event_bytes, position + 1, head, _READ_AT_ONCE),
            ).fetchall()
        self._may_have_more = len(rows) == _READ_AT_ONCE
        return self._check(epoch, rows), rows[-1][0] if rows else head

    def _check(self, epoch: str, rows: list[tuple[int, bytes | None, bytes | None, float]]) -> list[Entry]:
        """Return the rows that are entries of ours, and warn of the others."""
        entries: list[Entry] = []
        poison: list[PoisonEntry] = []
        prefix = f"id: {epoch}-".encode()
        latest = time.monotonic() + CLOCK_TOLERANCE_SECONDS
        for sequence, channels, block, appended_at in rows:
            try:
                if block is None:
                    raise ValueError(_NO_BLOCK)  # noqa: TRY301
                if type(appended_at) not in (int, float) or not 0 <= appended_at <= latest:
                    raise ValueError("its time is none, or has not come yet")  # noqa: TRY301
                names = check_stored(channels, block, self._max_event_bytes)
            except ValueError as error:
                poison.append(PoisonEntry(sequence, str(error)))
            else:
                entries.append(Entry(sequence, names, b"%b%d\n%b" % (prefix, sequence, block), appended_at))
        if poison:
            self._poison_log.warn(epoch, poison)
        return entries

    def _wait(self, seconds: float) -> None:
        doorbell = self._doorbell
        if doorbell is None:
            self._wakeup.wait(seconds)
            return
        self._backend.wait_readable(doorbell.fileno(), seconds)
        # Silent: perhaps somebody removed the doorbell. Where the file is gone too, the next read() raises.
        if not doorbell.answer() and not doorbell.is_there() and not self._database.is_replaced():
            self._doorbell = None
            doorbell.close()
            self._hang()

    def wake(self) -> None:
        """End a wait; see :meth:`Reader.wake`."""
        if self._doorbell is not None:
            with suppress(OSError, ValueError):
                self._doorbell.ring()
        self._wakeup.wake()

    def report(self, report: Report) -> None:
        """Store a report; see :meth:`Reader.report`."""
        self._write_report(report)

    def withdraw(self) -> None:
        """Remove the report; see :meth:`Reader.withdraw`."""
        self._write_report(None)

    def _write_report(self, report: Report | None) -> None:
        try:
            self._write_lock.run(_REPORT_PATIENCE_SECONDS, self._database.report, self._process, report)
        except (sqlite3.Error, BusUnavailable) as error:
            logger.debug("A report was left out: %s", error)

    def close(self) -> None:
        """Let go of the connection and the doorbell; see :meth:`Reader.close`."""
        if self._doorbell is not None:
            self._doorbell.close()
        self._database.close()
