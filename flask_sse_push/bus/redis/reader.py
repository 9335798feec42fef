"""What follows a Redis: one connection, by which messages come and the past is asked for."""

from __future__ import annotations

import json
import logging
import os
import secrets
import socket
import time
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import redis

from ...core.positions import EventId
from ...core.values import shown
from ...platform.fork import keep_from_children
from ..base import LEASE_SECONDS, BusOptions, Report
from ..store import MAX_READ_SECONDS, Beginning, LogChanged, News, StoredEntry, Wanted
from .connection import Connection
from .faults import is_refusal
from .log import REPORT, RedisLog
from .resp3 import Push
from .script import TOUCH
from .subscriber import Subscriber
from .tails import Tails
from .texts import TextReader, number_in

__all__ = ["RedisReader"]

_MARGIN_SECONDS = 2.0  # how much longer than it was asked to wait a Redis may take: then it hangs
_WITHDRAW_SECONDS = 0.5  # the process is about to end
_ASK_SECONDS = 1.0  # between two questions for the head
_SWEEP_EVERY = 8  # reports: each sweep reads those of all processes

logger = logging.getLogger("flask_sse_push")


class RedisReader:
    """
    See :class:`Reader`.

    The head is the number up to which everything is here. It moves with each message, because messages come
    in the order of their numbers; and with the answer to a question for the last number, which the server
    writes to this connection behind all messages that it published before.

    Args:
        open (Callable): Returns a new connection by a moment on the monotonic clock.
        log (RedisLog): What is read.
        options (BusOptions): How large an event may be.
    """

    def __init__(self, open: Callable[[float], Connection], log: RedisLog, options: BusOptions) -> None:
        self._log = log
        self._max_event_bytes = options.max_event_bytes
        self._name = f"{REPORT}{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        self._epoch, self._head = "", 0
        self._known: EventId | None = None  # a number that the server should know
        self._top = 0  # the number of the last message
        self._texts = TextReader(b"", 0, 0.0)
        self._listened: set[str] = set()
        self._rung: set[str] = set()  # channels of which something came that was too large for a message
        self._entries: list[StoredEntry] = []
        self._ask_at, self._asked_at = 0.0, 0.0
        self._reports = 0
        self._has_warned = False
        connection = open(time.monotonic() + _MARGIN_SECONDS)
        connection.set_patience(_MARGIN_SECONDS)
        keep_from_children(connection)
        self._subscriber = Subscriber(connection)
        keep_from_children(self._subscriber.woken)

    def begin(self) -> Beginning:
        """Return the log; see :meth:`Reader.begin`."""
        if self._listened:
            self._subscriber.unsubscribe([])
            self._listened, self._rung = set(), set()
        touched = self._log.touch(self._subscriber, write=True, known=self._known)
        self._epoch, self._head, self._known = touched.epoch, touched.head, None
        self._entries, self._top, self._asked_at = [], 0, 0.0
        self._set_clock(touched.now)
        self._take_messages()
        self._ask_at = time.monotonic() + _ASK_SECONDS
        return Beginning(self._epoch, self._head)

    def tail(self, wanted: Sequence[Wanted], head: int) -> News:
        """Listen to channels, and return their pasts; see :meth:`Reader.tail`."""
        if head > self._head:
            # An earlier connection was told of more than this server knows.
            self._change_log(head)
        new = [channel for channel, _ in wanted if channel not in self._listened]
        if new:
            self._subscriber.subscribe([self._log.messages + channel for channel in new])
            self._listened.update(new)
        tails = Tails(wanted)
        head_now = self._page(tails)
        # What comes behind the first answer waits for the next read.
        self._take_messages()
        came, self._entries = self._entries, []
        self._head = head_now
        while tails.asked:
            self._page(tails)
        pasts = [found.tail(self._texts, self._warn) for found in tails.found.values()]
        return News(self._with_rung(came, head), head_now, pasts)

    def ignore(self, channels: Sequence[str]) -> None:
        """Listen to some channels no longer; see :meth:`Reader.ignore`."""
        left = [channel for channel in channels if channel in self._listened]
        if left:
            self._subscriber.unsubscribe([self._log.messages + channel for channel in left])
            self._listened.difference_update(left)
            self._rung.difference_update(left)

    def read(self, head: int, seconds: float) -> News:
        """Return what came; see :meth:`Reader.read`."""
        until = time.monotonic() + min(seconds, MAX_READ_SECONDS)
        is_woken = False
        while True:
            self._take_messages()
            now = time.monotonic()
            if not self._asked_at and now >= self._ask_at:
                self._ask(now)
            has_news = self._entries or self._rung or self._head > head
            pause = 0.0 if has_news else max(0.0, min(until, self._asked_at or self._ask_at) - now)
            is_woken |= self._subscriber.wait(pause)
            self._take_messages()
            now = time.monotonic()
            if self._entries or self._rung or self._head > head or is_woken or now >= until:
                came, self._entries = self._entries, []
                return News(self._with_rung(came, head), self._head)
            if self._asked_at and now >= self._asked_at:
                raise TimeoutError("no answer came in time")

    def wake(self) -> None:
        """End a wait; see :meth:`Reader.wake`."""
        self._subscriber.wake()

    def report(self, report: Report) -> None:
        """Store what this process says of itself; see :meth:`Reader.report`."""
        sweep = self._reports % _SWEEP_EVERY == 0
        self._reports += 1
        text = json.dumps(report)
        try:
            now = self._log.put_lease(self._subscriber, self._name, text, LEASE_SECONDS, sweep=sweep)
        except redis.RedisError as error:
            if not is_refusal(error):
                raise
            # A server that is full, or a user who may not write, can be read from all the same.
            logger.debug("A report was not stored: %s", error)
        else:
            self._set_clock(now)

    def withdraw(self) -> None:
        """Take the report back; see :meth:`Reader.withdraw`."""
        self._subscriber.set_deadline(time.monotonic() + _WITHDRAW_SECONDS)
        self._log.drop_lease(self._subscriber, self._name)

    def close(self) -> None:
        """Close the connection; see :meth:`Reader.close`."""
        self._subscriber.close()

    def _ask(self, now: float) -> None:
        """Ask for the head, and whether the log is still the same."""
        arguments = self._log.touch_arguments(write=False, known=EventId(self._epoch, self._head))
        self._subscriber.ask(TOUCH, (self._log.meta,), *arguments)
        self._asked_at = now + _MARGIN_SECONDS

    def _page(self, tails: Tails) -> int:
        """Ask for one more page of tails, and return the head of that moment."""
        page = self._log.tails(self._subscriber, tails.asked)
        if page.epoch != self._epoch or page.head < self._head:
            self._change_log(self._head)
        self._set_clock(page.now)
        tails.add(page)
        return page.head

    def _with_rung(self, came: list[StoredEntry], head: int) -> list[StoredEntry]:
        """Return what came, and what was too large for messages."""
        if not self._rung:
            return came
        rung, self._rung = self._rung, set()
        tails = Tails([Wanted(channel, head) for channel in rung], head)
        while tails.asked:
            self._page(tails)
        by_number = {stored.entry.sequence: stored for stored in came}
        for found in tails.found.values():
            by_number.update((stored.entry.sequence, stored) for stored in found.stored(self._texts))
        return [by_number[number] for number in sorted(by_number)]

    def _take_messages(self) -> None:
        """Take what came, in order."""
        came = self._subscriber.came
        while came:
            item = came.popleft()
            if isinstance(item, Push):
                self._take_message(item.items)
            elif self._asked_at:
                touched = self._log.read_touch(item.value)
                self._asked_at, self._ask_at = 0.0, time.monotonic() + _ASK_SECONDS
                if touched.epoch != self._epoch:
                    raise LogChanged
                self._set_clock(touched.now)
                self._head = max(self._head, touched.head)

    def _take_message(self, items: list[Any]) -> None:
        kind, name, text = items if len(items) == 3 else (None, None, None)
        if kind != b"message" or type(name) is not bytes or type(text) is not bytes:
            return
        channel = name.decode("utf-8", "replace").removeprefix(self._log.messages)
        if channel not in self._listened:
            return
        epoch, _, text = text.partition(b" ")
        number = number_in(text)
        if epoch != self._epoch.encode() or not number:
            self._ask_at = 0.0  # another log, or a stranger's message: the server knows
        elif b"\n" not in text:
            self._rung.add(channel)
        elif number > self._top:  # an event of several channels comes once for each
            try:
                stored = self._texts.entry(text, channel)
            except ValueError as error:
                self._warn(channel, number, error)
                return
            self._top, self._head = number, max(self._head, number)
            self._entries.append(stored)

    def _set_clock(self, now: int) -> None:
        offset = now / 1000 - time.monotonic()
        self._texts = TextReader(b"id: %s-" % self._epoch.encode(), self._max_event_bytes, offset)

    def _change_log(self, head: int) -> NoReturn:
        """Let the log begin anew where it has forgotten a number."""
        self._known = EventId(self._epoch, head)
        raise LogChanged

    def _warn(self, channel: str, number: int, error: ValueError) -> None:
        if not self._has_warned:
            self._has_warned = True
            logger.warning(
                "The entry %s of the channel %s is none of ours, or of a later version (%s). "
                "It and its like are left out.",
                number,
                shown(channel),
                error,
            )
