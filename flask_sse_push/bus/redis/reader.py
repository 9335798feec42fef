"""What follows a Redis: one connection, which waits for entries and sees when another log begins."""

from __future__ import annotations

import logging
import os
import secrets
import socket
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import redis

from ...core.entry import ENTRY_OVERHEAD_BYTES, Entry
from ...core.messages import check_stored
from ...platform.backends import current_backend
from ...platform.fork import keep_from_children
from ..base import BusOptions, Report
from ..reader import MAX_READ_SECONDS, LogChanged, Tail
from . import answers
from .connection import Connection
from .faults import FAULTS, is_refusal
from .log import RedisLog

__all__ = ["RedisReader"]

_MARGIN_SECONDS = 2.0  # how much longer than it was asked to wait a Redis may take: then it hangs
_PAGE = 1000
_MAX_READ_ENTRIES = 500
_WITHDRAW_SECONDS = 0.5  # the process is about to end
_SWEEP_EVERY = 8  # reports: each sweep reads those of all processes
_MAX_CHANGES = 10  # of a log while it is read: a server that says so more often says anything

logger = logging.getLogger("flask_sse_push")


class RedisReader:
    """
    See :class:`Reader`.

    Args:
        open (Callable): Returns a new connection by a moment on the monotonic clock.
        log (RedisLog): What is read.
        options (BusOptions): How much is to be kept, and how large an event may be.
    """

    def __init__(self, open: Callable[[float], Connection], log: RedisLog, options: BusOptions) -> None:
        self._open, self._log = open, log
        self._retention, self._max_event_bytes = options.retention, options.max_event_bytes
        self._process = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        self._epoch, self._prefix = "", b""
        self._clock_offset = 0.0  # seconds from the monotonic clock to the server's
        self._reports = 0
        self._is_reading = self._is_woken = False
        self._has_warned = False
        self._connection = open(time.monotonic() + _MARGIN_SECONDS)
        self._connection.set_patience(_MARGIN_SECONDS)
        keep_from_children(self._connection)

    def epoch(self) -> str:
        """Return the life of the log; see :meth:`Reader.epoch`."""
        self._touch(write=True)
        return self._epoch

    def tail(self) -> Tail:
        """Return what is kept; see :meth:`Reader.tail`."""
        for _ in range(_MAX_CHANGES):
            head = self._touch(write=True)
            entries = self._read_all()
            if entries is not None:
                oldest = time.monotonic() - self._retention.seconds
                kept = [entry for entry in entries if entry.appended_at >= oldest]
                return Tail(self._epoch, kept[0].sequence - 1 if kept else head, kept)
        raise redis.InvalidResponse(f"the log changed {_MAX_CHANGES} times while it was read")

    def _read_all(self) -> deque[Entry] | None:
        """Return all entries of the log that are some; ``None`` when another log began meanwhile."""
        entries: deque[Entry] = deque()
        size, last, start = 0, (0, 0), "-"
        while True:
            page = answers.xrange(self._connection.call("XRANGE", self._log.key, start, "+", "COUNT", _PAGE))
            if not self._are_of_log(page):
                return None
            if page and page[0].number <= last:
                raise redis.InvalidResponse("the log gives the same entries again")
            for raw in page:
                if last[1] and raw.sequence != last[1] + 1:
                    # Publishers removed the oldest while they were read: all before the hole are gone by now.
                    entries.clear()
                    size = 0
                last = raw.number
                if (entry := self._entry(raw)) is not None:
                    entries.append(entry)
                    size += len(entry.wire) + ENTRY_OVERHEAD_BYTES
                    # Publishers keep the log within these bounds; somebody else may have added any number.
                    while len(entries) > self._retention.max_events or (
                        size > self._retention.max_bytes and len(entries) > 1
                    ):
                        size -= len(entries.popleft().wire) + ENTRY_OVERHEAD_BYTES
            if len(page) < _PAGE:
                return entries
            start = "(" + page[-1].id.decode()

    def read(self, epoch: str, position: int, seconds: float) -> list[Entry]:
        """Return what comes behind a position; see :meth:`Reader.read`."""
        try:
            return self._read(epoch, position, seconds)
        except FAULTS:
            if not self._is_woken:
                raise
            return []  # wake() has cut the connection
        finally:
            self._is_reading = False

    def _read(self, epoch: str, position: int, seconds: float) -> list[Entry]:
        changes, until = 0, time.monotonic() + seconds
        while epoch == self._epoch:
            page = self._xread(b"%s%d" % (self._prefix, position), seconds)
            if page is None:
                return []
            if not page:
                # Nobody published, or the log is gone: a flush, a restart and a promotion send no entry.
                if seconds:
                    self._touch(write=False)
                if epoch == self._epoch:
                    return []
            elif not self._are_of_log(page):
                # The next log, whose ids are above these; or a stranger's entry, which ends this log. Checked
                # before the entries are used: what stands before it was read in the same moment, and is gone
                # with the old log.
                self._touch(write=True)
                if (changes := changes + 1) == _MAX_CHANGES:
                    raise redis.InvalidResponse(
                        "the log has entries of another one, and says that it is the same"
                    )
            elif page[0].sequence <= position:
                raise redis.InvalidResponse("the log gives the same entries again")
            elif entries := [entry for raw in page if (entry := self._entry(raw)) is not None]:
                return entries
            else:
                position = page[-1].sequence  # none of these can be read; what comes behind them may
                seconds = max(0.0, until - time.monotonic())
        raise LogChanged

    def _xread(self, after: bytes, seconds: float) -> list[answers.RawEntry] | None:
        """Return what is behind an id, an empty list when nothing came in time, ``None`` after wake()."""
        # BLOCK 0 would wait for ever.
        block = ("BLOCK", max(1, int(1000 * min(seconds, MAX_READ_SECONDS)))) if seconds else ()
        self._connection.send("XREAD", "COUNT", _MAX_READ_ENTRIES, *block, "STREAMS", self._log.key, after)
        if seconds:
            self._is_reading = True  # set before _is_woken is read; wake() does it the other way round
            if not self._is_woken:
                current_backend().wait_readable(self._connection.fileno(), MAX_READ_SECONDS)
            if self._is_woken:
                return None
        return answers.xread(self._connection.answer())

    def wake(self) -> None:
        """
        End a wait; see :meth:`Reader.wake`.

        It also ends the connection, on which the answer to the read may be up to a second away.
        """
        self._is_woken = True
        if self._is_reading:
            self._connection.cut()

    def report(self, report: Report) -> None:
        """Store what this process says of itself; see :meth:`Reader.report`."""
        sweep = self._reports % _SWEEP_EVERY == 0
        self._reports += 1
        try:
            now = self._log.report(self._connection, self._process, report, sweep=sweep)
        except redis.RedisError as error:
            if not is_refusal(error):
                raise
            # A server that is full, or a user who may not write, can be read from all the same.
            logger.debug("A report was not stored: %s", error)
        else:
            self._clock_offset = now / 1000 - time.monotonic()

    def withdraw(self) -> None:
        """Take the report back; see :meth:`Reader.withdraw`."""
        until = time.monotonic() + _WITHDRAW_SECONDS
        if self._is_woken:
            self._connection.close()
            self._connection = self._open(until)
        self._connection.set_deadline(until)
        self._log.withdraw(self._connection, self._process)

    def close(self) -> None:
        """Close the connection; see :meth:`Reader.close`."""
        self._connection.close()

    def _touch(self, *, write: bool) -> int:
        """Learn which log is there, and return its last number."""
        touched = self._log.touch(self._connection, write=write)
        self._epoch, self._prefix = touched.epoch, touched.prefix
        self._clock_offset = touched.now / 1000 - time.monotonic()
        return touched.head

    def _are_of_log(self, page: list[answers.RawEntry]) -> bool:
        return all(raw.id.startswith(self._prefix) for raw in page)

    def _entry(self, raw: answers.RawEntry) -> Entry | None:
        """
        Return an entry, or ``None`` for one that publish() cannot have made.

        The number of such an entry is a hole in the log then, and clients are told of that.
        """
        reason = ""
        try:
            fields: dict[Any, Any] = dict(zip(raw.fields[::2], raw.fields[1::2], strict=True))
            if fields.get(b"v") == b"1" and raw.sequence:
                channels = check_stored(fields[b"c"], fields[b"b"], self._max_event_bytes)
                wire = b"id: %s-%d\n%s" % (self._epoch.encode(), raw.sequence, fields[b"b"])
                appended_at = answers.milliseconds(fields[b"t"]) / 1000 - self._clock_offset
                return Entry(raw.sequence, channels, wire, min(time.monotonic(), appended_at))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            reason = f" ({error})" if isinstance(error, ValueError) else ""
        if not self._has_warned:
            self._has_warned = True
            logger.warning(
                "The entry %s in %s is none of ours, or of a later version%s. It and its like are left out.",
                raw.id.decode(),
                self._log.key,
                reason,
            )
        return None
