"""What is published, and its bytes on the wire."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..errors import InvalidEvent
from .ids import check_token

__all__ = [
    "MAX_RETRY_MILLISECONDS",
    "MIN_RETRY_MILLISECONDS",
    "RESERVED_PREFIX",
    "RESERVED_TYPES",
    "Event",
    "check_retry",
    "check_type",
    "encode",
    "encode_fields",
]

MIN_RETRY_MILLISECONDS = 500
"""Below this a browser reconnects about as fast as the server can end the stream (0 was measured at 23 ms)."""

MAX_RETRY_MILLISECONDS = 3_600_000
"""One hour. A larger number is "never" to a browser that nobody reloads."""

RESERVED_TYPES = frozenset({"open", "error"})
"""Types that would call the handlers of ``EventSource``'s own events, with data they do not expect."""

RESERVED_PREFIX = "sse."
"""Types that begin so are sent by this package only."""

# Only these three end a line; str.splitlines() knows seven more and would cut data in pieces.
# "Lines must be separated by either a U+000D U+000A CRLF, a single U+000A LF, or a single U+000D CR" (WHATWG 9.2.5)
_LINE_END = re.compile("\r\n|\r|\n")
_FORBIDDEN_IN_FIELD = re.compile("[\r\n\0]")

# Takes the characters of any str as they are. Formatting asks an enum's member for its name, and "+" lets a Markup escape the other side.
_join = "".join


@dataclass(frozen=True, slots=True)
class Event:
    """
    One event, checked when it is made.

    Args:
        data (str): What the browser finds in ``event.data``. CRLF, CR and LF end a line and
            arrive as LF; every other character arrives as it is.
        type (str | None): The name to listen for; ``None`` is the browser's ``message``.
        id (str | None): A position of your own, for :meth:`SSEPush.response` only, where your
            view may read it back from ``Last-Event-ID``. Letters, digits and ``. _ ~ -``, at most
            64. Published events get theirs from the bus.
        retry (int | None): Milliseconds (500 to 3,600,000) that the browser is to wait before it
            reconnects from now on.

    Raises:
        InvalidEvent: A field cannot be sent as it is.

    See:
        WHATWG HTML, 9.2.5 "Parsing an event stream"
        https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream
    """

    data: str
    type: str | None = None
    id: str | None = None
    retry: int | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.data, str):
            raise InvalidEvent(f'"data" of an Event must be a str, got {self.data!r}. Encode it first, for instance with json.dumps().')
        check_type(self.type)
        check_retry(self.retry)
        if self.id is not None:
            check_token(self.id)


def check_type(type: str | None) -> None:
    """
    Refuse an event type that cannot be sent, or that is not the caller's to send.

    Raises:
        InvalidEvent: ``type`` is not a str, is empty, holds CR, LF or NUL, or is reserved.
    """
    if type is None:
        return
    if not isinstance(type, str) or not type:
        raise InvalidEvent(f'"type" must be a non-empty str or None, got {type!r}. Leave it out for a plain message.')
    if _FORBIDDEN_IN_FIELD.search(type):
        raise InvalidEvent(f'"type" must not contain a line break or NUL, got {type!r}. Put free text into "data".')
    if type in RESERVED_TYPES:
        raise InvalidEvent(f'"type" must not be {type!r}: browsers use that name for the connection itself. Choose another name.')
    if type.startswith(RESERVED_PREFIX):
        raise InvalidEvent(f'"type" must not begin with {RESERVED_PREFIX!r}, got {type!r}: this package signals with those. Choose another name.')


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
    """Return the bytes of an event whose fields were checked; see :func:`encode`."""
    if "\n" in data or "\r" in data:
        data = "\ndata: ".join(_LINE_END.split(data))
    # An empty "data:" line still makes an event: the line adds an LF to the buffer, and only an empty buffer is dropped.
    block = _join(("data: ", data, "\n\n"))
    if retry is not None:
        block = _join(("retry: ", int.__repr__(retry), "\n", block))
    if type is not None:
        block = _join(("event: ", type, "\n", block))
    if id is not None:
        block = _join(("id: ", id, "\n", block))
    try:
        # Strictly, and here: an event that cannot be encoded must not reach a log, where it would end every stream that meets it.
        return block.encode()
    except UnicodeEncodeError as error:
        piece = error.object[max(0, error.start - 10) : error.end + 10]
        raise InvalidEvent(
            f'"data" and "type" must be encodable as UTF-8, got a lone surrogate in {piece!r}. Decode the text with errors="replace" first.'
        ) from None


def check_retry(retry: int | None) -> None:
    """
    Refuse a reconnection time that would keep a server busy, or a browser away for ever.

    Raises:
        InvalidEvent: Not a whole number of milliseconds from 500 to 3,600,000.
    """
    if retry is None:
        return
    if not isinstance(retry, int) or isinstance(retry, bool) or not MIN_RETRY_MILLISECONDS <= retry <= MAX_RETRY_MILLISECONDS:
        raise InvalidEvent(
            f'"retry" must be whole milliseconds from {MIN_RETRY_MILLISECONDS} to {MAX_RETRY_MILLISECONDS:,}, got {retry!r}. '
            "Leave it out to keep what the stream announced."
        )
