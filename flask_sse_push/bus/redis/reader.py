"""What follows a Redis: one connection, that waits for entries and looks whether the log is still the same."""

from __future__ import annotations

import json
import logging
import os
import secrets
import select
import socket
import time
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

import redis

from ...core.log import ENTRY_OVERHEAD_BYTES, Entry
from ...core.stored import check_report, check_stored
from ..base import LEASE_SECONDS, BusOptions, Report, Retention
from ..reader import MAX_READ_SECONDS, LogChanged, Tail
from . import answers
from .link import FAULTS, Link, is_refusal
from .owner import Claimant
from .script import REPORT, TOUCH

__all__ = ["MARGIN_SECONDS", "Keys", "RedisReader", "read_report", "retention_words", "touch_words"]

MARGIN_SECONDS = 2.0
"""How much longer than it was asked to wait a Redis may take: then it hangs."""

_PAGE = 1000
_READ_AT_ONCE = 500
_WITHDRAW_SECONDS = 0.5  # the process is about to end
_SWEEP_EVERY = 8  # reports: each sweep reads those of all processes
_MAX_CHANGES = 10  # of a log while it is read: more in a row are no logs
_MAX_TIMESTAMP_DIGITS = 15  # 30,000 years in milliseconds

logger = logging.getLogger("flask_sse_push")


class Keys(NamedTuple):
    """The keys of one bus: with one hash tag, so that a Cluster has them in one place, as scripts want it."""

    log: str
    meta: str
    keys: str
    reports: str

    @staticmethod
    def of(prefix: str) -> Keys:
        """Return those with a prefix."""
        return Keys(*(f"{{{prefix}}}:{name}" for name in Keys._fields))


class RedisReader:
    """
    See :class:`Reader`.

    Args:
        open (Callable): Returns a new link by a moment on the monotonic clock.
        keys (Keys): What is read.
        options (BusOptions): What is to be kept, for all who publish, and how large an event may be.
        claimant (Claimant): Who reads.
    """

    def __init__(
        self, open: Callable[[float], Link], keys: Keys, options: BusOptions, claimant: Claimant
    ) -> None:
        self._open, self._keys, self._claimant = open, keys, claimant
        self._retention, self._max_event_bytes = options.retention, options.max_event_bytes
        claimant.look_again()
        self._process = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        self._epoch, self._prefix = "", b""
        self._clock = 0.0  # what to add to the monotonic clock for the server's, in seconds
        self._reports = 0
        self._asked = ""  # the id behind which a read waits that was interrupted
        self._complained = False
        self._link = self._open_patient()
        self._bell, self._ear = socket.socketpair()
        self._bell.setblocking(False)

    def epoch(self) -> str:
        """Return the life of the log; see :meth:`Reader.epoch`."""
        self._touch(write=True)
        return self._epoch

    def tail(self) -> Tail:
        """Return what is kept; see :meth:`Reader.tail`."""
        for _ in range(_MAX_CHANGES):
            position = self._touch(write=True)
            entries = self._tail()
            if entries is not None:
                oldest = time.monotonic() - self._retention.seconds
                kept = [entry for entry in entries if entry.appended_at >= oldest]
                return Tail(self._epoch, kept[0].sequence - 1 if kept else position, kept)
        raise redis.InvalidResponse(f"the log changed {_MAX_CHANGES} times while it was read")

    def _tail(self) -> deque[Entry] | None:
        """Return what can be read of the log; ``None`` when another began meanwhile."""
        entries: deque[Entry] = deque()
        size, last, after = 0, (0, 0), "-"
        while True:
            page = answers.page(self._call("XRANGE", self._keys.log, after, "+", "COUNT", _PAGE))
            if not all(item.id.startswith(self._prefix) for item in page):
                return None
            if page and page[0][1:3] <= last:
                raise redis.InvalidResponse("the log gives the same entries again")
            for item in page:
                if last[1] and item.sequence != last[1] + 1:
                    entries.clear()  # the oldest were removed under our hands, and all before the hole are gone by now
                    size = 0
                last = item[1:3]
                if (entry := self._entry(item)) is not None:
                    entries.append(entry)
                    size += len(entry.wire) + ENTRY_OVERHEAD_BYTES
                    # Who publishes keeps it within these; somebody else may have put any number there.
                    while len(entries) > self._retention.max_events or (
                        size > self._retention.max_bytes and len(entries) > 1
                    ):
                        size -= len(entries.popleft().wire) + ENTRY_OVERHEAD_BYTES
            if len(page) < _PAGE:
                return entries
            after = "(" + page[-1].id.decode()

    def read(self, epoch: str, position: int, seconds: float) -> list[Entry]:
        """Return what comes behind a position; see :meth:`Reader.read`."""
        changes, until = 0, time.monotonic() + seconds
        while epoch == self._epoch:
            page = self._wait(b"%s%d" % (self._prefix, position), seconds)
            if page is None:
                return []
            if not page:
                # Nobody published, or the log is gone: a flush, a restart and a promotion make no noise.
                if seconds:
                    self._touch(write=False)
                if epoch == self._epoch:
                    return []
            elif not all(item.id.startswith(self._prefix) for item in page):
                # The next log, whose ids are above these; or a stranger's entry, which ends this one. (Looked at before the rest is used: what comes
                # before it was read in the same moment, and is gone with the old log.)
                self._touch(write=True)
                if (changes := changes + 1) == _MAX_CHANGES:
                    raise redis.InvalidResponse(
                        "the log has entries of another one, and says that it is the same"
                    )
            elif page[0].sequence <= position:
                raise redis.InvalidResponse("the log gives the same entries again")
            elif entries := [entry for item in page if (entry := self._entry(item)) is not None]:
                return entries
            else:
                position = page[-1].sequence  # none of it can be read; what comes behind it may
                seconds = max(0.0, until - time.monotonic())
        raise LogChanged

    def wake(self) -> None:
        """End a wait; see :meth:`Reader.wake`."""
        try:
            self._bell.send(b"\0")
        except OSError:
            pass  # it is closed, or rings already

    def report(self, report: Report) -> None:
        """Say how this process is; see :meth:`Reader.report`."""
        sweep = int(self._reports % _SWEEP_EVERY == 0)
        self._reports += 1
        self._settle()
        try:
            keys, who = (self._keys.reports, self._keys.meta), self._claimant.words().digest
            now = answers.count(
                self._link.run(
                    REPORT, keys, self._process, json.dumps(report), int(LEASE_SECONDS * 1000), sweep, who
                )
            )
        except FAULTS as error:
            if not is_refusal(error):
                raise
            # A server that is full, or does not let this user write, can be read all the same.
            logger.debug("A report was left out: %s", error)
            return
        self._clock = now / 1000 - time.monotonic()

    def withdraw(self) -> None:
        """Take it back; see :meth:`Reader.withdraw`."""
        until = time.monotonic() + _WITHDRAW_SECONDS
        if self._asked:
            # An answer may be a second away on this one.
            self._link.close()
            self._link = self._open(until)
        self._link.call("HDEL", self._keys.reports, self._process, until=until)

    def close(self) -> None:
        """Let go of the connection; see :meth:`Reader.close`."""
        for thing in (self._link, self._bell, self._ear):
            thing.close()

    def _open_patient(self) -> Link:
        link = self._open(time.monotonic() + MARGIN_SECONDS)
        link.patience = MARGIN_SECONDS
        return link

    def _call(self, *words: Any) -> Any:
        self._settle()
        return self._link.call(*words)

    def _settle(self) -> None:
        """Read the answer that an interrupted wait did not. Nothing is lost: its entries are there for the next one."""
        if self._asked:
            self._wait(self._asked.encode(), MAX_READ_SECONDS, interruptible=False)

    def _wait(self, after: bytes, seconds: float, *, interruptible: bool = True) -> list[answers.Item] | None:
        """Return what is behind an id, an empty list when nothing came, and ``None`` when it was woken."""
        if self._asked and self._asked != after.decode():
            self._settle()
        if not self._asked:
            block = (
                ("BLOCK", max(1, int(1000 * min(seconds, MAX_READ_SECONDS)))) if seconds else ()
            )  # 0 would be for ever
            self._link.send("XREAD", "COUNT", _READ_AT_ONCE, *block, "STREAMS", self._keys.log, after)
        if seconds:
            self._asked = after.decode()
            poll = select.poll()
            poll.register(self._link.fileno(), select.POLLIN)
            if interruptible:
                poll.register(self._ear.fileno(), select.POLLIN)
            ready = {number for number, _ in poll.poll(1000 * (MAX_READ_SECONDS + MARGIN_SECONDS))}
            if self._ear.fileno() in ready:
                self._ear.recv(4096)
            if self._link.fileno() not in ready:
                if ready:
                    return None
                raise TimeoutError(f"no answer within {MAX_READ_SECONDS + MARGIN_SECONDS:g} s")
        found = self._link.answer()
        self._asked = ""
        return answers.page(answers.first_stream(found))

    def _touch(self, *, write: bool) -> int:
        self._settle()
        arguments = touch_words(self._retention, self._claimant, write=write)
        touched = answers.touched(self._link.run(TOUCH, self._keys[:3], *arguments))
        self._claimant.refuse_unless_free(touched.owner)
        self._epoch, self._prefix = touched.epoch, touched.prefix
        self._clock = touched.now / 1000 - time.monotonic()
        return touched.head

    def _entry(self, item: answers.Item) -> Entry | None:
        reason = ""
        try:
            fields = dict(zip(item.fields[::2], item.fields[1::2], strict=True))
            if fields.get(b"v") == b"1" and item.sequence:
                channels = check_stored(fields[b"c"], fields[b"b"], self._max_event_bytes)
                wire = b"id: %s-%d\n%s" % (self._epoch.encode(), item.sequence, fields[b"b"])
                appended_at = _milliseconds(fields[b"t"]) / 1000 - self._clock
                return Entry(item.sequence, channels, wire, min(time.monotonic(), appended_at))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            reason = f" ({error})" if isinstance(error, ValueError) else ""
        # Its number is a hole in the log then, and clients are told of that.
        if not self._complained:
            self._complained = True
            logger.warning(
                "The entry %s in %s is none of ours, or of a later version%s. It and its like are left out.",
                item.id.decode(),
                self._keys.log,
                reason,
            )
        return None


def touch_words(retention: Retention, claimant: Claimant, *, write: bool) -> tuple[Any, ...]:
    """Return what the script TOUCH is given."""
    who = claimant.words()
    return (
        secrets.token_hex(6),
        *retention_words(retention),
        who.digest,
        int(write),
        who.name,
        who.routes,
        int(LEASE_SECONDS * 1000),
    )


def retention_words(retention: Retention) -> tuple[str, str, str]:
    """Return how a retention is stored."""
    return f"{retention.seconds:g}", str(retention.max_bytes), str(retention.max_events)


def read_report(stored: bytes) -> tuple[float, Report] | None:
    """Return when a report ends, in milliseconds of the server's clock, and what it says; ``None`` for what is none."""
    ends_at, _, text = stored.partition(b" ")
    report = check_report(text)
    try:
        return (_milliseconds(ends_at), report) if report is not None else None
    except ValueError:
        return None


def _milliseconds(text: bytes) -> int:
    if not text.isdigit() or len(text) > _MAX_TIMESTAMP_DIGITS:
        raise ValueError("its time is no number")
    return int(text)
