"""The bus of a lone process: a counter, and a signal."""

from __future__ import annotations

import itertools
import logging
import secrets
import time
from collections import OrderedDict, deque
from collections.abc import Sequence
from heapq import heappop, heappush

from blinker import Signal

from ..core.entry import Entry
from ..core.messages import Message
from ..core.positions import EventId
from ..platform.locks import Busy, ReentrantLock
from .base import BusOptions, Health, Listener, PublishResult, Snapshot
from .channel_states import ChannelStates

__all__ = ["MemoryBus"]

_MAX_REMEMBERED = 100_000  # idempotency keys

logger = logging.getLogger("flask_sse_push")


class MemoryBus:
    """
    Keeps events in this process alone. Thread-safe, and safe in finalizers and signal handlers.

    The listener holds the only copy of the log, so it listens from the start, not from the first stream on.

    Args:
        options (BusOptions): Idempotency keys are kept as long as events of their channel, and the newest
            100,000 at most.
    """

    name = "memory"
    shared = False

    def __init__(self, options: BusOptions) -> None:
        self.entry_numbered = Signal("an entry was numbered")
        """
        Sent by the bus for each entry, with ``entry`` (:class:`core.log.Entry`), in the order of the numbers.

        Observers connect before the bus is used. They are called one at a time, in a thread or greenlet that
        publishes. An observer that waits delays publishers, and no stream; its exceptions are logged.
        """
        self._epoch = secrets.token_hex(6)
        self._head = 0
        self._numbers = itertools.count(1)
        self._unsent: list[tuple[int, Entry]] = []  # a heap
        self._unobserved: deque[Entry] = deque()
        self._rules = options.retention
        self._states = ChannelStates(options.retention)
        self._once: OrderedDict[str, tuple[PublishResult, float]] = OrderedDict()  # and until when
        self._leases: dict[str, tuple[str, float]] = {}  # and until when
        self._listener: Listener | None = None
        self._health = Health("up", time.monotonic())
        self._lock = ReentrantLock()
        self._observers = ReentrantLock()

    def publish(self, message: Message) -> PublishResult:
        """Number an event and hand it on; see :meth:`Bus.publish`. The bus is never away."""
        try:
            result = self._lock.run(self._publish, message)
        except Busy:
            # A finalizer or a signal handler publishes in the middle of a publish, which hands on both
            # events.
            result = self._publish(message, is_within=True)
            self._lock.post(self._hand_on_unsent)
        if self._unobserved:
            self._observers.post(self._tell_observers)
        return result

    def start(self, listener: Listener) -> None:
        """Say where the log begins; see :meth:`Bus.start`."""
        self._lock.run(self._start, listener)

    def follow(self, channels: Sequence[str], *, whole: bool) -> None:
        """All channels are followed; see :meth:`Bus.follow`."""

    def head(self) -> EventId:
        """Return where the log ends now; see :meth:`Bus.head`."""
        return EventId(self._epoch, self._head)

    def put_lease(self, name: str, text: str, seconds: float) -> None:
        """Store a text until its time is over; see :meth:`Bus.put_lease`."""
        self._leases[name] = text, time.monotonic() + seconds

    def drop_lease(self, name: str) -> None:
        """Remove a lease; see :meth:`Bus.drop_lease`."""
        self._leases.pop(name, None)

    def leases(self, prefix: str) -> dict[str, str]:
        """Return the leases that live; see :meth:`Bus.leases`."""
        now = time.monotonic()
        for name, (_, ends_at) in list(self._leases.items()):
            if ends_at < now:
                self._leases.pop(name, None)
        return {name: text for name, (text, _) in self._leases.copy().items() if name.startswith(prefix)}

    def close(self) -> None:
        """Nothing is open."""

    def health(self) -> Health:
        """Return that it is up."""
        return self._health

    def inspect(self) -> Snapshot:
        """Return what this process knows; the listener holds the history."""
        report = self._listener.report() if self._listener is not None else {}
        history = report.get("history", {})
        return Snapshot(
            self._epoch,
            self._head,
            history.get("events", 0),
            history.get("bytes", 0),
            history.get("channels", 0),
            history.get("kept", 0),
            [report] if report else [],
        )

    def _start(self, listener: Listener) -> None:
        if self._listener is None:
            self._listener = listener
            listener.log_begun(self._epoch, self._head)
            listener.caught_up()

    def _publish(self, message: Message, *, is_within: bool = False) -> PublishResult:
        now = time.monotonic()
        channels, block, key, closes, once = message
        if once is not None and (known := self._find(once, now)) is not None:
            return known._replace(is_repeated=True)
        is_plain = key is None and not closes
        if not is_plain or self._states:
            checked = self._states.check(message, now)
            if isinstance(checked, PublishResult):
                return (
                    checked if checked.id else PublishResult(f"{self._epoch}-{self._head}", self._head, True)
                )
            message, channels = checked, checked.channels
        number = next(self._numbers)
        id = f"{self._epoch}-{number}"
        result = PublishResult(id, number)
        if once is not None:
            self._once[once] = result, now + self._rules.of(channels[0]).seconds
        wire = f"id: {id}\n".encode() + block if block else b""
        entry = Entry(number, channels, wire, now, key, closes)
        if is_plain and not is_within and not self._unsent:
            self._hand_on(entry)
            return result
        # An event that was published within this publish may have a lower number.
        heappush(self._unsent, (number, entry))
        try:
            if not is_plain:
                self._states.note(message, result, now)
            if not is_within:
                self._hand_on_unsent()
        except BaseException:
            # Of a signal handler. The listener may not have the entry, so closing must be possible again.
            self._states.open_again(channels)
            raise
        return result

    def _hand_on_unsent(self) -> None:
        while self._unsent:
            self._hand_on(heappop(self._unsent)[1])

    def _hand_on(self, entry: Entry) -> None:
        self._head = entry.sequence
        if self._listener is not None:
            self._listener.entries_came((entry,), entry.sequence)
        if self.entry_numbered.receivers:
            self._unobserved.append(entry)

    def _tell_observers(self) -> None:
        while self._unobserved:
            entry = self._unobserved.popleft()
            for receiver in self.entry_numbered.receivers_for(self):
                try:
                    receiver(self, entry=entry)
                except Exception:
                    logger.exception("An observer of the memory bus failed.")

    def _find(self, once: str, now: float) -> PublishResult | None:
        keys = self._once
        while keys and (next(iter(keys.values()))[1] < now or len(keys) > _MAX_REMEMBERED):
            keys.popitem(last=False)
        found = keys.get(once)
        return found[0] if found is not None and found[1] >= now else None
