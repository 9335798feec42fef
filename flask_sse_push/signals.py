"""
The signals that observers can connect to. No event reaches a client by them.

A receiver runs in the greenlet or thread that publishes, opens or closes, outside of all locks, and delays
it. An error that a receiver raises is logged and goes no further: by then the event is stored, or the stream
is open or closed.
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
Sent by the app after ``publish`` has stored an event, in the process that published it.
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
Arguments: ``stream`` (:class:`StreamInfo`), ``reason`` (str): ``"gone"`` (the client closed), ``"stalled"``
(the client stopped reading), ``"draining"`` (the server stops, or is one where streams end in time),
``"finished"`` (the iterable of ``sse.response`` ended), ``"failed"`` (the iterable raised, or a snapshot
could not be made) or ``"closed"`` (the server closed the stream).
"""


def send(signal: Any, sender: object, **arguments: Any) -> None:
    """Call every receiver of a signal, also after one has raised."""
    if not signal.receivers:
        return
    for receiver in signal.receivers_for(sender):
        try:
            receiver(sender, **arguments)
        except Exception:
            logger.exception("A receiver of the signal %r failed.", signal.name)
