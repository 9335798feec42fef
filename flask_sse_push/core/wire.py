"""
The bytes that this package sends: events, positions, signs of life, and requests to come back.

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
    "RESET_TYPE",
    "come_back",
    "encode",
    "encode_fields",
    "id_block",
    "reset",
    "retry_line",
]

COMMENT = b":\n\n"
"""A sign of life that says nothing. Clients ignore it, and proxies see that the connection is used."""

RESET_TYPE = "sse.reset"
"""The event that says: you may have missed something; load what you show again."""

_LINE_END = re.compile("\r\n|\r|\n")


def encode(event: Event, id: str | None = None) -> bytes:
    """
    Return the bytes of one event, ready for the wire.

    Args:
        event (Event): What to send. Its ``data`` may hold any line endings; CRLF, CR and LF
            each begin a new ``data:`` line, and no other character does.
        id (str | None): The position of the event, sent as ``id:``; ``None`` sends the event's own, if any.

    Returns:
        bytes: UTF-8 with LF only, ending in a blank line.

    Raises:
        InvalidEvent: A lone surrogate, which no UTF-8 can hold.

    See:
        WHATWG HTML, 9.2.6 "Interpreting an event stream"
        https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
    """
    return encode_fields(event.data, event.type, id or event.id, event.retry)


def encode_fields(data: str, type: str | None, id: str | None, retry: int | None) -> bytes:
    """Return the bytes of an event whose fields were checked, and are no subclass's; see :func:`encode`."""
    if "\n" in data or "\r" in data:
        data = "\ndata: ".join(_LINE_END.split(data))
    # An empty "data:" line still makes an event: the line adds an LF to the buffer, and only an empty buffer is dropped.
    block = f"data: {data}\n\n"
    if retry is not None:
        block = f"retry: {retry}\n{block}"
    if type is not None:
        block = f"event: {type}\n{block}"
    if id is not None:
        block = f"id: {id}\n{block}"
    try:
        # Strictly, and here: an event that cannot be encoded must not reach a log, where it would end every stream that meets it.
        return block.encode()
    except UnicodeEncodeError as error:
        piece = error.object[max(0, error.start - 10) : error.start + 10]
        raise InvalidEvent(
            f'"data" and "type" must be encodable as UTF-8, got a lone surrogate in {piece!r}. Decode the text with errors="replace" first.'
        ) from None


def reset(reason: str, channels: tuple[str, ...], id: str) -> bytes:
    """
    Return the bytes of the event that tells of a gap.

    Args:
        reason (str): ``"evicted"``, ``"epoch"``, ``"future"``, ``"malformed"`` or ``"unavailable"``.
        channels (tuple[str, ...]): In which the client may have missed events.
        id (str): Where the client stands now: before the events that follow at once, if there are any.
    """
    data = json.dumps({"reason": reason, "channels": channels})
    return f"id: {id}\nevent: {RESET_TYPE}\ndata: {data}\n\n".encode()


def id_block(id: str) -> bytes:
    """Return a block of an ``id:`` alone: a client keeps it as its last event id, and dispatches nothing."""
    return b"id: %s\n\n" % id.encode()


def retry_line(milliseconds: int) -> bytes:
    """Return the line that says after how long a client comes back. It begins a block, or stands alone."""
    return b"retry: %d\n" % milliseconds


def come_back(reason: str, milliseconds: int) -> bytes:
    """
    Return the whole body of an answer, with status 200, that asks a client to come back.

    Any other status would stop an ``EventSource`` for ever.

    Args:
        reason (str): One line of plain text for people, sent as a comment.
        milliseconds (int): After how long. Callers choose another time for each client, so that those that
            were refused together come back apart.
    """
    # One line feed ends the line, a second one would end a block. At a blank line "set the last event ID string
    # of the event source to the value of the last event ID buffer", which is empty on a connection that had no
    # "id" yet: a client that follows the standard by the letter would forget where it stands.
    return b": %b\n%b" % (reason.encode(), retry_line(milliseconds))
