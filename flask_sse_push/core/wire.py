"""
The bytes that this package sends: events, ids, comments, and requests to come back.

Lines end in LF, text is UTF-8.

See:
    WHATWG HTML, 9.2.6 "Interpreting an event stream"
    https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
"""

from __future__ import annotations

import json
import re

from ..errors import InvalidEvent
from .event import Event

__all__ = [
    "COMMENT",
    "HEARTBEAT_EVENT",
    "ID_BLOCK",
    "KEPT",
    "RESET_TYPE",
    "RETRY_LINE",
    "come_back",
    "encode",
    "encode_fields",
    "reset",
]

COMMENT = b":\n\n"
"""A heartbeat without news. Clients ignore it, and proxies see that the connection is used."""

HEARTBEAT_EVENT = b"event: sse.heartbeat\ndata:\n\n"
"""A heartbeat that a page sees as an event, for clients that show no comments."""

ID_BLOCK = b"id: %b\n\n"
"""A block of an ``id:`` alone: a client keeps it as its last event id, and dispatches nothing."""

KEPT = b":kept\n"
"""
A comment before values that a channel keeps by their keys. Tabs that share a stream learn by it that a new
tab must get such values by a stream of its own.
"""

RETRY_LINE = b"retry: %d\n"
"""Says after how many milliseconds a client comes back. It begins a block, or stands alone."""

RESET_TYPE = "sse.reset"
"""Events of this type tell a client that it may have missed something, and is to load its data again."""

_LINE_END = re.compile("\r\n|\r|\n")


def encode(event: Event, id: str | None = None) -> bytes:
    """
    Return the bytes of one event, ready for the wire.

    Args:
        event (Event): What to send. CRLF, CR and LF in its ``data`` each begin a new ``data:`` line, and no
            other character does.
        id (str | None): The position of the event, sent as ``id:``; ``None`` sends the event's own, if any.

    Returns:
        bytes: UTF-8 with LF only, ending in a blank line.

    Raises:
        InvalidEvent: A field holds a lone surrogate, which has no UTF-8.

    See:
        WHATWG HTML, 9.2.6 "Interpreting an event stream"
        https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
    """
    return encode_fields(event.data, event.type, id or event.id, event.retry)


def encode_fields(data: str, type: str | None, id: str | None, retry: int | None) -> bytes:
    """Return the bytes of an event whose fields were checked, and are plain values; see :func:`encode`."""
    if "\n" in data or "\r" in data:
        data = "\ndata: ".join(_LINE_END.split(data))
    # Empty data needs its "data:" line: the line adds an LF to the client's buffer, and a client dispatches
    # nothing when its buffer is empty.
    block = f"data: {data}\n\n"
    if retry is not None:
        block = f"retry: {retry}\n{block}"
    if type is not None:
        block = f"event: {type}\n{block}"
    if id is not None:
        block = f"id: {id}\n{block}"
    try:
        # Before the event reaches a log, where it would end every stream that reads it.
        return block.encode()
    except UnicodeEncodeError as error:
        piece = error.object[max(0, error.start - 10) : error.start + 10]
        raise InvalidEvent(
            f'"data" and "type" must be encodable as UTF-8, got a lone surrogate in {piece!r}. '
            'Decode the text with errors="replace" first.'
        ) from None


def reset(reason: str, channels: tuple[str, ...], id: str) -> bytes:
    """
    Return the bytes of the event that tells a client of a gap.

    Args:
        reason (str): ``"evicted"``, ``"epoch"``, ``"future"``, ``"malformed"`` or ``"unavailable"``.
        channels (tuple[str, ...]): Where the client may have missed events.
        id (str): The client's position now: before the events that follow at once, if there are any. Where
            kept values or a snapshot follow, it is one that makes the same gap known again: a client that is
            cut off in between must not come back as one that has them.
    """
    data = json.dumps({"reason": reason, "channels": channels})
    return f"id: {id}\nevent: {RESET_TYPE}\ndata: {data}\n\n".encode()


def come_back(reason: str, milliseconds: int) -> bytes:
    """
    Return the whole body of an answer, with status 200, that asks a client to come back.

    Any other status would stop an ``EventSource`` for ever.

    Args:
        reason (str): One line of text for people, sent as a comment.
        milliseconds (int): When to come back. Callers choose a random time for each client, so that clients
            that were refused together come back apart.
    """
    # Without a blank line. There a client must "set the last event ID string of the event source to the value
    # of the last event ID buffer" (WHATWG 9.2.6), and the buffer of a connection without an "id" is empty: a
    # client that follows the standard by the letter would forget its position.
    return b": %b\n%b" % (reason.encode(), RETRY_LINE % milliseconds)
