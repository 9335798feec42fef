"""What every server here publishes, and how fast."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping

__all__ = ["Work", "publish_in_a_loop"]


class Work:
    """
    One request to publish: asked by the server's own loop what to do next, so that it fits threads, greenlets
    and coroutines.

    Args:
        query (Mapping): Of the request. ``seconds`` is how long, ``rate`` the events per second (0 is flat
            out), ``channels`` the number of channels, which get events in
            turn, ``most`` the number of events that ends it sooner, and ``text`` the characters of filling in
            each.
    """

    def __init__(self, query: Mapping[str, str]) -> None:
        self._seconds = float(query["seconds"])
        self._rate = float(query["rate"])
        self._channels = int(query["channels"])
        self._most = int(query["most"])
        self._text = "0" * int(query["text"])
        self._nanoseconds: list[int] = []
        self._began = time.monotonic()

    def is_over(self) -> bool:
        """Say whether everything is published, or the time is over."""
        done = len(self._nanoseconds)
        return (
            done >= self._most
            or time.monotonic() - self._began >= self._seconds
            or (self._rate > 0 and done / self._rate >= self._seconds)
        )

    def publish(self, publish: Callable[[str, str], object]) -> None:
        """
        Publish the next event by a function of its data and its channel's name, and look at the clock before
        and after.
        """
        seq, channel = divmod(len(self._nanoseconds), self._channels)
        began = time.monotonic_ns()
        publish(
            f'{{"channel":{channel},"seq":{seq},"ts":{began},"text":"{self._text}"}}',
            f"c{channel}",
        )
        self._nanoseconds.append(time.monotonic_ns() - began)

    def pause(self) -> float:
        """Return how many seconds to leave to everybody else; 0 is one turn of the loop."""
        return (
            max(0.0, self._began + len(self._nanoseconds) / self._rate - time.monotonic())
            if self._rate
            else 0.0
        )

    def answer(self) -> dict[str, int]:
        """Return the answer to the request: how many events were published, and the median time of a call."""
        return {
            "published": len(self._nanoseconds),
            "median_nanoseconds": int(statistics.median(self._nanoseconds or [0])),
        }


def publish_in_a_loop(publish: Callable[[str, str], object], query: Mapping[str, str]) -> dict[str, int]:
    """Do the work of a request in a thread or greenlet of its own, and return the answer."""
    work = Work(query)
    while not work.is_over():
        work.publish(publish)
        time.sleep(work.pause())
    return work.answer()
