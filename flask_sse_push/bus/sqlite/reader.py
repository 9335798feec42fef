"""What follows a database: a connection of its own, and the doorbell of this process."""

from __future__ import annotations

import logging
import os
import secrets
import sqlite3
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from ...core.log import Entry
from ...errors import BusUnavailable
from ...platform.backends import current_backend
from ..base import Report
from ..follower import MAX_READ_SECONDS, LogChanged, Tail
from .database import Database, Refused
from .doorbell import Doorbell
from .turns import PATIENCE_SECONDS, Turn, is_busy, patiently

__all__ = ["SqliteReader", "Told", "bells_folder"]

logger = logging.getLogger("flask_sse_push")


class Told:
    """
    Up to which number this process has said what was left out: a poisoned entry is met by each reader anew,
    and is worth one line.
    """

    def __init__(self) -> None:
        self.epoch = ""
        self.sequence = 0


class SqliteReader:
    """
    What the follower reads by: a connection, and the doorbell of this process.

    Args:
        path (Path): Of the database.
        open (Callable): Opens it.
        turn (Turn): Of this process.
        told (Told): What was said of its poisoned entries.
    """

    def __init__(self, path: Path, open: Callable[[], Database], turn: Turn, told: Told) -> None:
        self._process = f"{os.getpid()}-{secrets.token_hex(4)}"
        self._path = path
        self._folder = bells_folder(path)
        self._told = told
        # It writes in turn with publish(): a finalizer that publishes in the middle of this would wait for its own stack.
        self._turn = turn
        self._database = turn.take(open)
        self._readable_at = time.monotonic()
        self._doorbell: Doorbell | None = None
        self._wakeup = current_backend().wakeup()
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
        """Return the life of the log, after writing how much is to be kept."""
        return patiently(lambda left: self._turn.take(self._database.epoch, left), PATIENCE_SECONDS)

    def tail(self) -> Tail:
        """Return all that is kept."""
        if self._database.is_replaced():
            raise FileNotFoundError("the file was replaced once more")
        tail, refused = self._database.tail()
        self._tell(tail.epoch, refused)
        return tail

    def read(self, epoch: str, position: int, seconds: float) -> list[Entry]:
        """Return what comes after a number; waits for it until the wakeup rings, at most ``seconds``."""
        # Asked first: what is left in the old file is read then, to its end.
        replaced = self._database.is_replaced()
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
            while True:
                page = self._database.read(position)
                if page.epoch != epoch:
                    break
                self._tell(epoch, page.refused)
                if page.entries or page.last == position:
                    break
                # Nothing but poison: on behind it, for who asks next begins in front of it again.
                position = page.last
        except sqlite3.Error as error:
            if not is_busy(error) or time.monotonic() - self._readable_at > PATIENCE_SECONDS:
                raise
            return []
        self._readable_at = time.monotonic()
        if page.epoch != epoch:
            raise LogChanged
        return page.entries

    def _tell(self, epoch: str, refused: list[Refused]) -> None:
        told = self._told
        if told.epoch != epoch:
            told.epoch, told.sequence = epoch, 0
        news = [entry for entry in refused if entry.sequence > told.sequence]
        if news:
            told.sequence = news[-1].sequence
            logger.warning(
                "%d of the entries in %r were left out, and clients are told of a gap: "
                "the first is number %d, %s. "
                "Find out which other program writes there; the file may be damaged.",
                len(news),
                str(self._path),
                news[0].sequence,
                news[0].reason,
            )

    def _wait(self, seconds: float) -> None:
        if self._doorbell is None:
            self._wakeup.wait(seconds)
        else:
            current_backend().wait_readable(self._doorbell.fileno(), seconds)
            self._doorbell.answer()
            # Where the file is gone too, the next look says so, and this reader ends.
            if not self._doorbell.is_there() and not self._database.is_replaced():
                doorbell, self._doorbell = self._doorbell, None
                doorbell.close()
                self._hang()

    def wake(self) -> None:
        """End a wait. From anywhere."""
        if self._doorbell is not None:
            with suppress(OSError, ValueError):
                self._doorbell.ring()
        self._wakeup.wake()

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
        """Give the connection and the wakeup back."""
        if self._doorbell is not None:
            self._doorbell.close()
        self._database.close()


def bells_folder(path: Path) -> Path:
    """Return where the processes that follow a database have their sockets."""
    return path.with_name(path.name + "-bells")
