"""
What observers can connect to. None of these carries events to clients.

Receivers run in the greenlet or thread that did the thing, in no lock, and delay it for as long as they take. What
a receiver raises is logged and goes no further: the event is stored by then and the stream is open or closed.
"""

from __future__ import annotations

import logging
from typing import Any

from blinker import Namespace

__all__ = ["event_published", "stream_closed", "stream_opened"]

_signals = Namespace()
logger = logging.getLogger("flask_sse_push")

event_published = _signals.signal("sse-push-event-published")
"""
Sent by the app after ``publish`` stored an event, in the publishing process only.
Arguments: ``event`` (:class:`Event`), ``channels`` (tuple of str), ``id`` (str).
"""

stream_opened = _signals.signal("sse-push-stream-opened")
"""
Sent by the app when the server begins to send a stream, before its first byte.
Arguments: ``stream`` (:class:`StreamInfo`).
"""

stream_closed = _signals.signal("sse-push-stream-closed")
"""
Sent by the app when a stream that was opened is over and holds nothing any more.
Arguments: ``stream`` (:class:`StreamInfo`), ``reason`` (str): ``"gone"`` (the client closed), ``"stalled"`` (it stopped reading),
``"draining"`` (the server stops), ``"finished"`` (the iterable of ``sse.response`` ended), ``"failed"`` (it raised) or ``"closed"`` (the server closed it).
"""


def send(signal: Any, sender: object, **arguments: Any) -> None:
    """Call every receiver, also behind one that raises."""
    if not signal.receivers:
        return
    for receiver in signal.receivers_for(sender):
        try:
            receiver(sender, **arguments)
        except Exception:
            logger.exception("A receiver of the signal %r failed.", signal.name)
