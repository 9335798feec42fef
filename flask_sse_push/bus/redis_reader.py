"""What follows a Redis: one connection, that waits for entries and looks whether the log is still the same."""

from __future__ import annotations

import json
import logging
import os
import secrets
import select
import socket
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from ..core.log import Entry
from .base import LEASE_SECONDS, Report, Retention
from .follower import MAX_READ_SECONDS, LogChanged, Tail
from .redis_link import FAULTS, Link, is_refusal
from .redis_script import REPORT, TOUCH

__all__ = ["MARGIN_SECONDS", "Keys", "RedisReader", "read_report", "retention_words"]

MARGIN_SECONDS = 2.0
"""How much longer than it was asked to wait a Redis may take: then it hangs."""

_PAGE = 1000
_READ_AT_ONCE = 500
_WITHDRAW_SECONDS = 0.5  # the process is about to end
_SWEEP_EVERY = 8  # reports: each sweep reads those of all processes

logger = logging.getLogger(__package__.rpartition(".")[0])


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
        retention (Retention): What is to be kept, for all who publish.
    """

    def __init__(self, open: Callable[[float], Link], keys: Keys, retention: Retention) -> None:
        self._open, self._keys, self._retention = open, keys, retention
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
        while True:
            position = self._touch(write=True)
            prefix, after = self._prefix, "-"
            entries: list[Entry] = []
            while True:
                page = self._call("XRANGE", self._keys.log, after, "+", "COUNT", _PAGE)
                if any(not id.startswith(prefix) for id, _ in page):
                    break  # another log began meanwhile
                for entry in self._entries(page):
                    if entries and entry.sequence != entries[-1].sequence + 1:
                        entries.clear()  # the oldest were removed under our hands, and all before the hole are gone by now
                    entries.append(entry)
                if len(page) < _PAGE:
                    oldest = time.monotonic() - self._retention.seconds
                    entries = [entry for entry in entries if entry.appended_at >= oldest]
                    return Tail(self._epoch, entries[0].sequence - 1 if entries else position, entries)
                after = "(" + page[-1][0].decode()

    def read(self, epoch: str, position: int, seconds: float) -> list[Entry]:
        """Return what comes behind a position; see :meth:`Reader.read`."""
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
            elif any(not id.startswith(self._prefix) for id, _ in page):
                # The next log, whose ids are above these; or a stranger's entry, which ends this one. (Looked at before the rest is used: what comes
                # before it was read in the same moment, and is gone with the old log.)
                self._touch(write=True)
                raise LogChanged
            elif entries := self._entries(page):
                return entries
            else:
                position = int(page[-1][0].rpartition(b"-")[2])  # none of it can be read; what comes behind it may
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
            now = self._link.run(REPORT, (self._keys.reports,), self._process, json.dumps(report), int(LEASE_SECONDS * 1000), sweep)
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

    def _wait(self, after: bytes, seconds: float, *, interruptible: bool = True) -> list[Any] | None:
        """Return what is behind an id, an empty list when nothing came, and ``None`` when it was woken."""
        if self._asked and self._asked != after.decode():
            self._settle()
        if not self._asked:
            block = ("BLOCK", max(1, int(1000 * min(seconds, MAX_READ_SECONDS)))) if seconds else ()  # 0 would be for ever
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
        return found[0][1] if found else []

    def _touch(self, *, write: bool) -> int:
        self._settle()
        arguments = (secrets.token_hex(6), *retention_words(self._retention), int(write))
        epoch, self._prefix, head, now = self._link.run(TOUCH, self._keys[:3], *arguments)
        self._epoch = epoch.decode()
        self._clock = now / 1000 - time.monotonic()
        return int(head)

    def _entries(self, page: list[Any]) -> list[Entry]:
        return [entry for id, values in page if (entry := self._entry(id, values)) is not None]

    def _entry(self, id: bytes, values: list[bytes] | None) -> Entry | None:
        fields = dict(zip(values[::2], values[1::2], strict=True)) if values else {}
        if fields.get(b"v") == b"1":
            try:
                sequence = int(id.rpartition(b"-")[2])
                wire = b"id: %s-%d\n%s" % (self._epoch.encode(), sequence, fields[b"b"])
                now = time.monotonic()
                return Entry(sequence, tuple(fields[b"c"].decode().split("\n")), wire, min(now, int(fields[b"t"]) / 1000 - self._clock))
            except (KeyError, ValueError):
                pass
        # Its number is a hole in the log then, and clients are told of that.
        if not self._complained:
            self._complained = True
            logger.warning("The entry %s in %s is none of ours, or of a later version. It and its like are left out.", id.decode(), self._keys.log)
        return None


def retention_words(retention: Retention) -> tuple[str, str, str]:
    """Return how a retention is stored."""
    return f"{retention.seconds:g}", str(retention.max_bytes), str(retention.max_events)


def read_report(stored: bytes) -> tuple[float, Report] | None:
    """Return when a report ends, in milliseconds of the server's clock, and what it says; ``None`` for what is none."""
    ends_at, _, text = stored.partition(b" ")
    try:
        report = json.loads(text)
        return (float(ends_at), report) if isinstance(report, dict) else None
    except ValueError:
        return None
