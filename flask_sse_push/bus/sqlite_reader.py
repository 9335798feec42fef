"""What follows a database: a connection of its own, and the doorbell of this process."""

from __future__ import annotations

import logging
import os
import secrets
import sqlite3
import time
from contextlib import suppress
from pathlib import Path

from ..concurrency import current_mode
from ..core.log import Entry
from ..errors import BusUnavailable
from .base import Report, Retention
from .doorbell import Doorbell
from .follower import MAX_READ_SECONDS, LogChanged, Tail
from .sqlite_database import Database
from .sqlite_turns import PATIENCE_SECONDS, Turn, is_busy, patiently

__all__ = ["SqliteReader", "bells_folder"]

logger = logging.getLogger(__package__.rpartition(".")[0])


class SqliteReader:
    """What the follower reads by: a connection, and the doorbell of this process."""

    def __init__(self, path: Path, retention: Retention, turn: Turn, *, volatile: bool) -> None:
        self._process = f"{os.getpid()}-{secrets.token_hex(4)}"
        self._folder = bells_folder(path)
        # It writes in turn with publish(): a finalizer that publishes in the middle of this would wait for its own stack.
        self._turn = turn
        self._database = turn.take(lambda: Database(path, retention, volatile=volatile))
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
        """Return the life of the log, after writing how much is to be kept."""
        return patiently(lambda: self._turn.take(self._database.epoch), PATIENCE_SECONDS)

    def tail(self) -> Tail:
        """Return all that is kept."""
        if self._database.is_replaced():
            raise FileNotFoundError("the file was replaced once more")
        return self._database.tail()

    def read(self, epoch: str, position: int, seconds: float) -> list[Entry]:
        """Return what comes after a number; waits for it until the bell rings, at most ``seconds``."""
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
            if not is_busy(error) or time.monotonic() - self._readable_at > PATIENCE_SECONDS:
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
        """End a wait. From anywhere."""
        if self._doorbell is not None:
            with suppress(OSError, ValueError):
                self._doorbell.ring()
        self._bell.ring()

    def report(self, report: Report) -> None:
        """Tell the others of this process."""
        self._write_report(report)

    def withdraw(self) -> None:
        """Take that back."""
        self._write_report(None)

    def _write_report(self, report: Report | None) -> None:
        try:
            self._turn.take(lambda: self._database.report(self._process, report))
        except (sqlite3.Error, BusUnavailable) as error:
            # Who writes now is not waited for: the next report comes soon, and an old one runs out.
            logger.debug("A report was left out: %s", error)

    def close(self) -> None:
        """Give the connection and the bell back."""
        if self._doorbell is not None:
            self._doorbell.close()
        self._database.close()


def bells_folder(path: Path) -> Path:
    """Return where the processes that follow a database have their sockets."""
    return path.with_name(path.name + "-bells")
