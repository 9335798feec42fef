"""Who rings the bells, and when: the batching that adapts."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

from ..platform.backends import current_backend
from ..platform.locks import short_lock, when_free
from ..platform.threads import THREADS
from ..platform.waiting import Backend, Wakeup

__all__ = ["MAX_PAUSE_SECONDS", "Fanout"]

MAX_PAUSE_SECONDS = 0.02
"""The longest that news waits for a fan-out that is resting: below what a person notices, and half of it on average."""

_GATHER_SECONDS = 0.002  # between two looks whether they still do

logger = logging.getLogger("flask_sse_push")


class Fanout:
    """
    One greenlet or thread that rings, alive while somebody listens.

    It gathers as long as others publish in a loop, and when news came during a fan-out that took time T, the next begins no sooner than
    T later; both together 20 ms at most. So a hub that keeps up adds no delay, and a busy one puts many events into each write: a write costs
    as much as a publish, however much it carries.

    Args:
        take_bells (Callable): Returns whom to wake now; called in no lock.
    """

    def __init__(self, take_bells: Callable[[], Sequence[Wakeup]]) -> None:
        self._take_bells = take_bells
        self._lock = short_lock()
        self._listeners = 0
        self._backend: Backend | None = None  # set while the ringer runs
        self._news: Wakeup | None = None
        self._announced = False
        self._urgent = False
        self.is_ringing = False
        """Whether some of the bells taken last are still to be rung."""

    def join(self) -> None:
        """
        Somebody listens: see that the ringer runs.

        Raises:
            RuntimeError: No thread can be started.
        """
        with when_free(self._lock):
            self._listeners += 1
            if self._backend is not None:
                return
            backend = self._backend = current_backend()
            self._news = backend.wakeup()
        try:
            backend.spawn(self._run, "flask_sse_push.streams.fanout")
        except RuntimeError:
            with when_free(self._lock):
                self._listeners -= 1
                self._backend = self._news = None
            raise
        self.announce(False)  # what came while nobody rang

    def leave(self) -> None:
        """Undo one :meth:`join`; the ringer ends with the last."""
        with when_free(self._lock):
            self._listeners -= 1
            if self._listeners or self._news is None:
                return
            news = self._news
        news.wake()

    def announce(self, urgent: bool) -> None:
        """
        Say that there is something to read. From any thread; never blocks.

        Args:
            urgent (bool): Do not rest first: the history is filling up.
        """
        if urgent and not self._urgent:
            self._urgent = True
        elif self._announced:
            return
        self._announced = True
        news = self._news
        if news is not None:
            news.wake()

    def give_turn(self) -> bool:
        """Let the ringer and the streams run. False when there are none, or the caller cannot make way for them."""
        backend = self._backend
        return backend is not None and backend.give_way()

    def _run(self) -> None:
        while True:
            try:
                return self._ring_while_heard()
            except Exception:  # a signal handler of the app's raised, and we were what it interrupted: nobody else would ring
                self.is_ringing = False
                self._announced = True
                logger.exception("The ringer was interrupted and goes on.")

    def _ring_while_heard(self) -> None:
        backend, news = self._backend, self._news
        assert backend is not None and news is not None
        ring_by: float | None = None
        while True:
            with when_free(self._lock):
                if not self._listeners:
                    self._backend = self._news = None
                    return
            if not self._announced:
                news.wait()
                ring_by = None
                continue
            if backend is not THREADS:
                self._gather(
                    backend, news, time.monotonic() + MAX_PAUSE_SECONDS if ring_by is None else ring_by
                )
            self._announced = self._urgent = False
            started = time.monotonic()
            self._ring(backend)
            backend.give_way()  # in greenlets this returns when everybody who was woken has written, or waits for a socket
            if self._announced:
                now = time.monotonic()
                ring_by = now + MAX_PAUSE_SECONDS
                self._wait(news, min(now + now - started, ring_by))

    def _ring(self, backend: Backend) -> None:
        try:
            bells = self._take_bells()
        except Exception:
            logger.exception(
                "What was published could not be taken in; the streams are woken by what comes next."
            )
            return
        self.is_ringing = True
        for wakeup in backend.in_turns(bells):
            try:
                wakeup.wake()
            except Exception:
                logger.exception("A wakeup failed; its stream reads at its next heartbeat.")
        self.is_ringing = False

    def _gather(self, backend: Backend, news: Wakeup, until: float) -> None:
        """Wait while each turn of the others brings more. (Threads have their turns whenever they like.)"""
        while not self._urgent and (now := time.monotonic()) < until:
            self._announced = False
            backend.give_way()
            if not self._announced:
                return
            self._wait(news, min(now + _GATHER_SECONDS, until))

    def _wait(self, news: Wakeup, until: float) -> None:
        """Wait, but not when the history fills up."""
        while not self._urgent and (left := until - time.monotonic()) > 0:
            news.wait(left)
