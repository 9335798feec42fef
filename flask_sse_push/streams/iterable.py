"""
A stream's source: an iterable that runs beside it, as the tokens of a model or the progress of a job do.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from ..core import positions, wire
from ..core.event import Event
from ..core.log import MAX_BATCH_BYTES
from ..core.values import shown, text_of
from ..errors import InvalidEvent
from ..platform.backends import current_backend
from ..platform.fork import PerProcess
from ..platform.waiting import Wakeup

__all__ = ["DONE_TYPE", "FAILED_TYPE", "FINAL_ID", "IterableSource", "abandoned", "close_iterable"]

DONE_TYPE = "done"
"""The event that says: this was all. Its data is what the generator returned, as JSON."""

FAILED_TYPE = "failed"
"""The event that says: there will be no more, and this was not all. Its data is ``{"reason": ...}``."""

FINAL_ID = "end"
"""The id of the last event: an ``EventSource`` that comes back with it is told, by 204, not to."""

logger = logging.getLogger("flask_sse_push")


class IterableSource:
    """
    Runs an iterable beside its stream, so that heartbeats go out while it thinks, and no further ahead than
    the client reads.

    It needs no lock. Blocks go through a deque. ``_result`` is set behind the last block and read before the
    blocks, and ``_has_begun`` is set before ``_is_closed`` is read, on the one side as on the other.
    ``_has_ended`` is set before the source leaves ``abandoned``, and read after it came in.

    Args:
        iterable (Iterable): Items are ``str`` (sent as they are), :class:`Event`, or anything that ``dumps``
            can encode.
        dumps (Callable): Encodes values as JSON.
        max_event_bytes (int): Larger events fail the stream.
        last_event_id (str | None): Where the client stopped; anything at all.
    """

    channels: tuple[str, ...] = ()
    has_more = False

    def __init__(
        self,
        iterable: Iterable[Any],
        dumps: Callable[[Any], str],
        max_event_bytes: int,
        last_event_id: str | None = None,
    ) -> None:
        self.outcome: str | None = None
        self._iterable = iterable
        self._dumps = dumps
        self._max_event_bytes = max_event_bytes
        is_ours = last_event_id != FINAL_ID and positions.is_token(last_event_id)
        self._last_event_id = last_event_id if is_ours else None
        self._ready: deque[bytes] = deque()
        self._given_bytes = self._taken_bytes = 0  # each is changed on one side alone
        self._result: str | None = None
        self._has_begun = self._has_ended = self._is_closed = False
        self._reader: Wakeup | None = None
        self._room: Wakeup | None = None
        self._interrupt: Callable[[], None] | None = None

    def open(self, wakeup: Wakeup) -> None:
        """Begin to run the iterable."""
        backend = current_backend()
        self._reader, self._room = wakeup, backend.wakeup()
        self._interrupt = backend.spawn(self._run, "flask_sse_push.response")

    def close(self) -> None:
        """
        Close the iterable: a greenlet is interrupted where it waits; a thread ends with the item that it is
        working on.

        A generator that waits in its own ``finally`` is interrupted there too, because nobody can tell.
        """
        if self._is_closed:
            return
        self._is_closed = True
        if self._interrupt is None or self._room is None:
            close_iterable(self._iterable)  # it was never begun
            return
        left = abandoned.get()
        left.add(self)
        if self._has_ended:
            left.discard(self)
        self._room.wake()
        # A greenlet that was spawned and has not begun would be forgotten, with the iterable open. It begins,
        # sees that it is over, and closes the iterable.
        if self._has_begun and self._result is None:
            self._interrupt()

    def prelude(self) -> bytes:
        """
        Return the id that the client came with, if an item of ours can have had it.

        Items need no ids, and the first blank line on a connection without one lets a client that reads the
        standard by the letter forget its own.
        """
        return wire.ID_BLOCK % self._last_event_id.encode() if self._last_event_id is not None else b"\n"

    def read(self) -> bytes:
        """Return what the iterable has given since."""
        result, blocks = self._result, []
        while self._ready:
            blocks.append(self._ready.popleft())
        chunk = b"".join(blocks)
        self._taken_bytes += len(chunk)
        self.outcome = result
        if self._room is not None:
            self._room.wake()
        return chunk

    def heartbeat(self) -> bytes:
        """Return a comment."""
        return wire.COMMENT

    def farewell(self) -> bytes:
        """Say that the server stops before the iterable ended."""
        return self._failed("draining")

    def _run(self) -> None:
        self._has_begun = True
        try:
            self._send_all()
        finally:
            self._has_ended = True
            abandoned.get().discard(self)

    def _send_all(self) -> None:
        try:
            result = self._send_items()
            done = Event(self._dumps(result), type=DONE_TYPE, id=FINAL_ID)
            last, outcome = self._encoded(done), "finished"
        except (
            BaseException
        ):  # a time-out of gevent's is no Exception, and the client must hear of it all the same
            if not self._is_closed:
                logger.exception(
                    "The iterable of a stream failed; its client gets the event %r.", FAILED_TYPE
                )
            last, outcome = self._failed("error"), "failed"
        self._ready.append(last)
        self._result = outcome
        assert self._reader is not None
        self._reader.wake()
        close_iterable(self._iterable)

    def _send_items(self) -> Any:
        items = iter(self._iterable)
        while not self._is_closed:
            try:
                item = next(items)
            except StopIteration as stop:
                return stop.value
            self._put(self._item(item))
        return None

    def _put(self, block: bytes) -> None:
        assert self._reader is not None and self._room is not None
        self._ready.append(block)
        self._given_bytes += len(block)
        self._reader.wake()
        while self._given_bytes - self._taken_bytes >= MAX_BATCH_BYTES and not self._is_closed:
            self._room.wait()

    def _item(self, item: Any) -> bytes:
        if not isinstance(item, Event):
            text = text_of(item)
            return self._encoded(Event(self._dumps(item) if text is None else text))
        # Made anew: it may be of a subclass, or changed behind its back. What is checked must be what is
        # sent.
        item = Event(item.data, item.type, item.id, item.retry)
        if item.type in (DONE_TYPE, FAILED_TYPE) or item.id == FINAL_ID:
            raise InvalidEvent(
                f'"type" and "id" of an item must not be those of the last event, got {shown(item)}. '
                f"Return the value from the generator instead: the event {DONE_TYPE!r} carries it."
            )
        return self._encoded(item)

    def _encoded(self, event: Event) -> bytes:
        block = wire.encode(event)
        if len(block) > self._max_event_bytes:
            raise InvalidEvent(
                f'"data" makes an event of {len(block):,} bytes, '
                f"SSE_PUSH_MAX_EVENT_BYTES allows {self._max_event_bytes:,}. Send it in parts."
            )
        return block

    def _failed(self, reason: str) -> bytes:
        return wire.encode(Event(self._dumps({"reason": reason}), type=FAILED_TYPE, id=FINAL_ID))


def close_iterable(iterable: Iterable[Any]) -> None:
    """Call ``close`` where there is one; what it raises is logged."""
    close = getattr(iterable, "close", None)
    if close is not None:
        try:
            close()
        except BaseException:
            logger.exception("Closing the iterable of a stream failed.")


abandoned: PerProcess[set[IterableSource]] = PerProcess(set)
"""
Those of this process that still run though their response is over: a thread that waits for a silent upstream
cannot be interrupted.
"""
