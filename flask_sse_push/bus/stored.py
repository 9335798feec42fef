"""The half of a shared bus that follows its store: it reads what somebody listens to, and no more."""

from __future__ import annotations

import logging
import time
from abc import abstractmethod
from collections.abc import Sequence

from ..core.channels import CONTROL_CHANNEL
from ..core.entry import Entry
from ..core.values import shown
from ..platform.locks import ReentrantLock
from .base import REPORT_SECONDS, Listener
from .chains import Chains
from .follower import LINGER_SECONDS, FollowedBus, FollowerRun
from .store import MAX_READ_SECONDS, BrokenLog, LogChanged, News, Reader, StoredEntry, Wanted

__all__ = ["StoredBus"]

_PAGE = 256  # channels in one question
_MAX_REPAIRS = 10  # of one read: a store that breaks its chains more often says anything
_MAX_CHANGES = 10  # of the log while it is read
_LOOK_SECONDS = 2.0

logger = logging.getLogger("flask_sse_push")


class StoredBus(FollowedBus):
    """
    Follows the channels of a store that somebody listens to: the base of each shared bus. Thread-safe.

    The follower tells its listener a head only when all channels are known up to there: by what the store
    says, and by the chains of numbers (:class:`~.chains.Chains`). Where a chain is broken it first asks the
    store what is there.

    Args:
        address (str): Where the store is, for people, without passwords.
    """

    shared = True

    def __init__(self, address: str) -> None:
        super().__init__(address)
        # The follower alone uses these: they go on where a reader, or a run of the follower, has stopped.
        self._epoch = ""
        self._head = 0
        self._chains = Chains({})
        self._unheard_since: dict[str, float] = {}
        # The lock guards what any thread may change. Both say of a channel whether it is wanted as a whole.
        self._interest = ReentrantLock()
        self._followed: dict[str, bool] = {}
        self._asked: dict[str, bool] = {}

    @abstractmethod
    def _open_reader(self) -> Reader:
        """Return a new reader, or raise a fault."""

    def follow(self, channels: Sequence[str], *, whole: bool) -> None:
        """Follow some channels soon; see :meth:`Bus.follow`."""
        followed = self._followed
        if all(followed.get(channel, -1) >= whole for channel in channels):
            return  # without the lock, nearly always
        with self._interest:
            is_new = self._want(channels, whole)
        run = self._run_now
        if is_new and run is not None and (reader := run.reader) is not None:
            reader.wake()

    def _want(self, channels: Sequence[str], whole: bool) -> bool:
        """Note what is to be followed, under the lock. Return whether something of it was not asked for."""
        followed, asked = self._followed, self._asked
        new = [
            channel for channel in channels if max(followed.get(channel, -1), asked.get(channel, -1)) < whole
        ]
        asked.update(dict.fromkeys(new, whole))
        return bool(new)

    def _follow(self, run: FollowerRun, listener: Listener, reader: Reader) -> None:
        self._begin(listener, reader)
        self._set_up()
        listener.caught_up()
        next_report = next_look = 0.0
        while not run.is_stopping:
            now = time.monotonic()
            if now >= next_report:
                next_report = now + REPORT_SECONDS
                reader.report(listener.report())
            if now >= next_look:
                next_look = now + _LOOK_SECONDS
                if self._is_over(run, listener):
                    break
                left = self._leave_unheard(listener, now)
                if left:
                    reader.ignore(left)
            try:
                if self._asked:
                    self._follow_asked(listener, reader)
                    seconds = 0.0
                else:
                    seconds = MAX_READ_SECONDS
                self._hand_on(listener, reader, reader.read(self._head, seconds))
            except LogChanged:
                self._begin(listener, reader)
        try:
            reader.withdraw()
        except self.faults as error:
            # It expires by itself. The health of the bus stays: another run may have begun.
            logger.debug("A report could not be removed: %s", error)

    def _begin(self, listener: Listener, reader: Reader) -> None:
        """Read on where another reader has stopped, or begin with another log."""
        for _ in range(_MAX_CHANGES):
            epoch, head = reader.begin()
            if epoch != self._epoch:
                self._begin_log(listener, epoch, head)
            self._leave_unheard(listener, time.monotonic())
            try:
                wanted = self._chains.wanted(self._head)
                self._hand_on(listener, reader, self._read_tails(listener, reader, wanted, self._head))
                return self._follow_asked(listener, reader)
            except LogChanged:
                continue
        raise BrokenLog(f"the log changed {_MAX_CHANGES} times while it was read")

    def _begin_log(self, listener: Listener, epoch: str, head: int) -> None:
        with self._interest:
            known = [channel for channel in self._followed if channel != CONTROL_CHANNEL]
            self._followed = {CONTROL_CHANNEL: False}
            self._want(known, whole=True)  # who listens has read nothing of this log
        # Every process follows the commands, from the beginning of the log on.
        self._chains = Chains({CONTROL_CHANNEL: ~head})
        self._epoch, self._head = epoch, head
        listener.log_begun(epoch, head)

    def _follow_asked(self, listener: Listener, reader: Reader) -> None:
        with self._interest:
            asked = list(self._asked.items())
        for first in range(0, len(asked), _PAGE):
            page = asked[first : first + _PAGE]
            wanted = [Wanted(channel, 0 if whole else None) for channel, whole in page]
            self._hand_on(listener, reader, self._read_tails(listener, reader, wanted, self._head))
            with self._interest:
                for channel, whole in page:
                    self._followed[channel] = whole
                    if self._asked[channel] == whole:  # else it was asked for as a whole meanwhile
                        del self._asked[channel]

    def _read_tails(self, listener: Listener, reader: Reader, wanted: Sequence[Wanted], head: int) -> News:
        """Give the listener the pasts of any number of channels, and return what else came meanwhile."""
        stored: list[StoredEntry] = []
        for first in range(0, len(wanted), _PAGE):
            entries, head, tails = reader.tail(wanted[first : first + _PAGE], head)
            stored += entries
            listener.past_came([self._chains.take(tail, self._head) for tail in tails])
        return News(stored, head)

    def _hand_on(self, listener: Listener, reader: Reader, news: News) -> None:
        """Give the listener what came, behind what was missing before it."""
        came: list[Entry] = []
        for _ in range(_MAX_REPAIRS):
            entries, broken = self._chains.add(news.entries, self._head)
            came += entries
            if not broken:
                listener.entries_came(came, news.head)
                self._head = max(self._head, news.head)
                return
            news = self._read_tails(listener, reader, broken, news.head)
        raise BrokenLog(f"entries are missing in it again and again, of {shown(broken[0].channel)}")

    def _leave_unheard(self, listener: Listener, now: float) -> list[str]:
        """Let go of channels that nobody has listened to for a while, and return them."""
        self._unheard_since = unheard = {
            channel: self._unheard_since.get(channel, now)
            for channel in self._followed
            if channel != CONTROL_CHANNEL and not listener.is_heard(channel)
        }
        over = {
            channel: self._followed[channel]
            for channel, since in unheard.items()
            if now - since > LINGER_SECONDS
        }
        if not over:
            return []
        with self._interest:
            for channel in over:
                del self._followed[channel]
        # Asked again: from here on follow() sees that it is not followed, until then it did not.
        left = [channel for channel in over if not listener.is_heard(channel)]
        with self._interest:
            for channel in left:
                del over[channel], unheard[channel]
            self._followed.update(over)
        self._chains.drop(left)
        if left:
            listener.channels_left(left)
        return left
