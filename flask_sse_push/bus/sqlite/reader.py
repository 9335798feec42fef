"""How a database is followed: by a connection, and the doorbell of this process."""

from __future__ import annotations

import json
import logging
import os
import secrets
import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from ...core.positions import EventId
from ...core.retention import RetentionRules
from ...errors import BusUnavailable
from ...platform.backends import current_backend
from ..base import LEASE_SECONDS, Report
from ..store import MAX_READ_SECONDS, Beginning, LogChanged, News, Wanted
from .checkpoints import Checkpoints
from .database import Database
from .doorbell import Doorbell
from .doorbells import doorbell_folder
from .leases import Leases
from .pages import Pages
from .poison import PoisonLog
from .rows import Decoder
from .write_lock import PATIENCE_SECONDS, WriteLock, is_busy

__all__ = ["REPORTS", "SqliteReader"]

REPORTS = "report/"
"""How the names of the leases begin that hold what processes say of themselves."""

_BUSY_SECONDS = 0.002
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
        rules (RetentionRules): What is to be kept.
        max_event_bytes (int): Larger events are left out.
    """

    def __init__(
        self,
        path: Path,
        open: Callable[[], Database],
        write_lock: WriteLock,
        poison_log: PoisonLog,
        rules: RetentionRules,
        max_event_bytes: int,
    ) -> None:
        self._report_name = f"{REPORTS}{os.getpid()}-{secrets.token_hex(4)}"
        self._folder = doorbell_folder(path)
        self._write_lock, self._rules = write_lock, rules
        self._database = write_lock.run(PATIENCE_SECONDS, open)
        self._leases = Leases(self._database)
        self._checkpoints = Checkpoints(self._database.execute, str(path))
        try:
            decoder = Decoder(poison_log, max_event_bytes)
            self._pages = Pages(self._database, decoder, max_event_bytes)
        except BaseException:
            self._database.close()
            raise
        self._epoch = ""
        self._known: EventId | None = None  # a number that the log should know
        self._channels: set[str] = set()
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
        else:
            self._doorbell.interest.add(self._channels)

    def begin(self) -> Beginning:
        """Store how much is to be kept, and return the log; see :meth:`Reader.begin`."""
        if self._database.is_replaced():
            raise FileNotFoundError("the file was replaced once more")
        self.ignore(list(self._channels))
        known, self._known = self._known, None
        if known is not None:
            self._write_lock.run(PATIENCE_SECONDS, self._database.begin_where_forgotten, known)
        self._write_lock.run(PATIENCE_SECONDS, self._database.write_rules, self._rules)
        self._epoch, head = self._database.head()
        self._may_have_more = True
        return Beginning(self._epoch, head)

    def tail(self, wanted: Sequence[Wanted], head: int) -> News:
        """Listen to some channels, and return their pasts; see :meth:`Reader.tail`."""
        news = [channel for channel, _ in wanted if channel not in self._channels]
        if self._doorbell is not None:
            self._doorbell.interest.add(news)  # before the tail is read: see doorbells.py
        self._channels.update(news)
        self._pages.listen(news)
        self._may_have_more = True
        self._checkpoints.give_way()
        while True:
            try:
                tails = self._pages.tail(self._epoch, wanted, head)
            except LogChanged:
                self._known = EventId(self._epoch, head)
                raise
            except sqlite3.Error as error:
                if not is_busy(error) or time.monotonic() - self._readable_at > PATIENCE_SECONDS:
                    raise
                time.sleep(_BUSY_SECONDS)
            else:
                self._readable_at = time.monotonic()
                return tails

    def ignore(self, channels: Sequence[str]) -> None:
        """Listen to some channels no longer; see :meth:`Reader.ignore`."""
        left = [channel for channel in channels if channel in self._channels]
        self._channels.difference_update(left)
        self._pages.ignore(left)
        if self._doorbell is not None:
            self._doorbell.interest.remove(left)

    def read(self, head: int, seconds: float) -> News:
        """Return what came; see :meth:`Reader.read`."""
        # Asked before reading: then a file that was replaced is read to its end first.
        is_replaced = self._database.is_replaced()
        # No look before a wait where the last one came to the end: who publishes after that rings.
        if self._may_have_more or is_replaced or not seconds:
            news = self._read(head)
            if news.entries or news.head > head:
                return news
            if is_replaced:
                raise FileNotFoundError("the file was deleted or replaced")
        if not seconds:
            return News((), head)
        self._wait(min(seconds, MAX_READ_SECONDS))
        return self._read(head)

    def _read(self, head: int) -> News:
        self._checkpoints.give_way()
        self._may_have_more = True
        try:
            news, self._may_have_more = self._pages.read(self._epoch, head)
        except LogChanged:
            self._known = EventId(self._epoch, head)
            raise
        except sqlite3.Error as error:
            if not is_busy(error) or time.monotonic() - self._readable_at > PATIENCE_SECONDS:
                raise
            return News((), head)
        self._readable_at = time.monotonic()
        return news

    def _wait(self, seconds: float) -> None:
        doorbell = self._doorbell
        if doorbell is None:
            self._wakeup.wait(seconds)
            return
        self._backend.wait_readable((doorbell.fileno(),), seconds)
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
        self._write_report(self._leases.put, self._report_name, json.dumps(report), LEASE_SECONDS)

    def withdraw(self) -> None:
        """Remove the report; see :meth:`Reader.withdraw`."""
        self._write_report(self._leases.drop, self._report_name)

    def _write_report(self, write: Callable[..., None], *arguments: object) -> None:
        try:
            self._write_lock.run(_REPORT_PATIENCE_SECONDS, write, *arguments)
        except (sqlite3.Error, BusUnavailable) as error:
            logger.debug("A report was left out: %s", error)

    def close(self) -> None:
        """Let go of the connection and the doorbell; see :meth:`Reader.close`."""
        if self._doorbell is not None:
            self._doorbell.close()
        self._database.close()
