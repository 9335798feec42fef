"""The fields of an event, and the rules for each."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..errors import InvalidEvent
from .positions import check_token
from .values import number_of, shown, text_of

__all__ = [
    "MAX_RETRY_MILLISECONDS",
    "MIN_RETRY_MILLISECONDS",
    "RESERVED_PREFIX",
    "RESERVED_TYPES",
    "Event",
    "check_retry",
    "check_type",
]

MIN_RETRY_MILLISECONDS = 500
"""Below this a browser reconnects about as fast as a server can end streams (0 makes it 23 ms, measured)."""

MAX_RETRY_MILLISECONDS = 3_600_000
"""One hour. With a larger number a page that nobody reloads practically never reconnects."""

RESERVED_TYPES = frozenset({"open", "error"})
"""``EventSource`` has events of its own with these types, whose handlers do not expect data."""

RESERVED_PREFIX = "sse."
"""Only this package sends types that begin so."""

# "Lines must be separated by either a U+000D U+000A CRLF, a single U+000A LF, or a single U+000D CR" (WHATWG
# 9.2.5): other line ends of str.splitlines() are text. A browser ignores an "id" that holds NUL.
_FORBIDDEN_IN_FIELD = re.compile("[\r\n\0]")


@dataclass(frozen=True, slots=True)
class Event:
    """
    One event, checked when it is made.

    A value of a subclass of ``str`` or ``int`` (a ``Markup``, a member of an enum) is kept as a plain ``str``
    or ``int``.

    Args:
        data (str): What the browser finds in ``event.data``. CRLF, CR and LF arrive as LF; every other
            character arrives as it is.
        type (str | None): The name to listen for; ``None`` is the browser's ``message``.
        id (str | None): A position of your own, for :meth:`SSEPush.response` only, whose view may read it
            back from ``Last-Event-ID``: 1 to 64 letters, digits and ``. _ ~ -``. The bus gives published
            events theirs.
        retry (int | None): How long the browser is to wait before it reconnects, from now on: 500 to
            3,600,000 milliseconds.

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
        data, id = text_of(self.data), self.id
        if data is None:
            raise InvalidEvent(
                f'"data" of an Event must be a str, got {shown(self.data)}. '
                "Encode it first, for instance with json.dumps()."
            )
        checked = data, check_type(self.type), id if id is None else check_token(id), check_retry(self.retry)
        for name, value in zip(("data", "type", "id", "retry"), checked, strict=True):
            object.__setattr__(self, name, value)  # the class is frozen for everybody else


def check_type(type: object) -> str | None:
    """
    Return an event type as a plain ``str``, and refuse one that callers cannot send.

    Raises:
        InvalidEvent: ``type`` is not a ``str``, is empty, holds CR, LF or NUL, or is reserved.
    """
    if type is None:
        return None
    text = text_of(type)
    if not text:
        raise InvalidEvent(
            f'"type" must be a non-empty str or None, got {shown(type)}. Leave it out for a plain message.'
        )
    if _FORBIDDEN_IN_FIELD.search(text):
        raise InvalidEvent(
            f'"type" must not contain a line break or NUL, got {shown(text)}. Put free text into "data".'
        )
    if text in RESERVED_TYPES:
        raise InvalidEvent(
            f'"type" must not be {text!r}: browsers use that name for the connection itself. '
            "Choose another name."
        )
    if text.startswith(RESERVED_PREFIX):
        raise InvalidEvent(
            f'"type" must not begin with {RESERVED_PREFIX!r}, got {shown(text)}: '
            "this package signals with those. Choose another name."
        )
    return text


def check_retry(retry: object) -> int | None:
    """
    Return a reconnection time as a plain ``int``.

    A shorter time would keep a server busy, and a longer one would keep a browser away.

    Raises:
        InvalidEvent: ``retry`` is not a whole number of milliseconds from 500 to 3,600,000.
    """
    if retry is None:
        return None
    number = number_of(retry)
    if number is None or not MIN_RETRY_MILLISECONDS <= number <= MAX_RETRY_MILLISECONDS:
        raise InvalidEvent(
            f'"retry" must be whole milliseconds from {MIN_RETRY_MILLISECONDS} '
            f"to {MAX_RETRY_MILLISECONDS:,}, got {shown(retry)}. "
            "Leave it out to keep what the stream announced."
        )
    return number
