"""Reads an event stream by the standard, and refuses what a browser would repair or drop."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..errors import InvalidStream
from .values import shown

__all__ = ["MAX_COMMENTS", "MAX_COMMENT_CHARACTERS", "MAX_EVENT_BYTES", "DecodedEvent", "Decoder", "decode"]

MAX_EVENT_BYTES = 64 * 1024 * 1024
"""The largest event that ``SSE_PUSH_MAX_EVENT_BYTES`` can allow."""

MAX_COMMENTS = 1_000
"""How many comments a decoder keeps: a stream of some weeks has one per heartbeat."""

MAX_COMMENT_CHARACTERS = 1_000
"""How much of each comment a decoder keeps."""

_ID_LINE_BYTES = 1_024
"""Room for the ``id:`` line, which ``SSE_PUSH_MAX_EVENT_BYTES`` does not count."""

_SHOWN_CHARACTERS = 80

# In the bytes, before decoding: no byte of a longer UTF-8 sequence is CR or LF, and one that cuts a sequence
# short ends the line all the same.
_LINE_END = re.compile(b"\r\n|\r|\n")
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class DecodedEvent:
    """What a browser would dispatch."""

    type: str
    """``event.type``: ``"message"`` where the stream names none."""
    data: str
    """``event.data``."""
    last_event_id: str
    """``event.lastEventId``: the id of this event, or of the last one before it that had an id."""


class Decoder:
    """
    Reads the bytes of one stream, in any pieces, in time linear in their number.

    It is written from the standard, apart from the encoder, so that the two check each other. It is strict:
    what a browser repairs or drops is an error here. Not thread-safe. A decoder reads one connection: a
    client that reconnects needs another one.

    Args:
        max_event_bytes (int): How long the lines of one event may be together, line ends included; a comment
            counts by itself. At least 1; the default takes whatever ``SSE_PUSH_MAX_EVENT_BYTES`` can allow.
            A decoder holds about as much at most, beside the comments.

    Raises:
        InvalidStream: From :meth:`feed` and :meth:`close`. The decoder cannot be used after it.

    See:
        WHATWG HTML, 9.2.5 and 9.2.6
        https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
    """

    def __init__(self, *, max_event_bytes: int = MAX_EVENT_BYTES + _ID_LINE_BYTES) -> None:
        self.last_event_id = ""
        """
        What a browser would send as ``Last-Event-ID`` if it reconnected now.

        Empty at first, whatever an earlier connection gave: the standard's *last event ID buffer* is empty
        when a connection begins, and a blank line copies it. So a client that follows the standard by the
        letter forgets its position at a blank line before the first ``id:``.
        """
        self.retry: int | None = None
        """The reconnection time in milliseconds, once the stream has set it."""
        self.comments: list[str] = []
        """The latest 1,000 comments, each up to its first 1,000 characters."""
        self._max_event_bytes = max_event_bytes
        self._line = bytearray()  # the beginning of a line whose end has not come yet
        self._begun = self._after_cr = False
        self._event_bytes = 0  # since the last blank line
        self._data = bytearray()  # the value of each data line, and an LF
        self._type = ""
        self._id_buffer = ""
        self._open = False  # whether a browser would drop lines if the stream ended now

    def feed(self, chunk: bytes) -> list[DecodedEvent]:
        """Read some more bytes, and return the events that are complete by them."""
        if not chunk:
            return []
        # The CR at the end of the chunk before ended its line already; this LF belongs to it.
        skip = self._after_cr and chunk[:1] == b"\n"
        self._after_cr = chunk[-1:] == b"\r"
        *lines, rest = _LINE_END.split(chunk[1:] if skip else chunk)
        events = []
        for line in lines:
            self._check_size(line)
            if self._line:
                self._line += line
                line = bytes(self._line)  # noqa: PLW2901
                self._line.clear()
            if (event := self._read(line)) is not None:
                events.append(event)
        self._check_size(rest)
        self._line += rest
        return events

    def close(self) -> None:
        """
        Check that the stream ended where a stream may end.

        Raises:
            InvalidStream: The stream ended within a line or an event, which a browser would drop. ``retry:``
                and comments take effect at once, so they need no blank line behind them.
        """
        # "Once the end of the file is reached, any pending data must be discarded." (9.2.6)
        line = self._text(self._without_bom(bytes(self._line)))
        if line or self._open:
            raise InvalidStream(
                "the stream must end with a blank line, "
                f"got {shown(line or 'an open block', _SHOWN_CHARACTERS)}. "
                "A browser would drop what came last."
            )

    def _check_size(self, more: bytes) -> None:
        if self._event_bytes + len(self._line) + len(more) >= self._max_event_bytes and (more or self._line):
            raise InvalidStream(
                f"an event must be at most {self._max_event_bytes:,} bytes, got more before its end. "
                "Send a smaller one, or give the Decoder a larger max_event_bytes."
            )

    def _without_bom(self, line: bytes) -> bytes:
        # "One leading U+FEFF BYTE ORDER MARK character must be ignored if any are present." (9.2.6)
        return line if self._begun else line.removeprefix(_BOM)

    def _read(self, line: bytes) -> DecodedEvent | None:
        line = self._without_bom(line)
        self._begun = True
        if not line:
            self._open = False
            self._event_bytes = 0
            return self._dispatch()
        field, colon, value = line.partition(b":")
        # "If value starts with a U+0020 SPACE character, remove it from value." One, not all.
        value = value.removeprefix(b" ")
        if colon and not field:
            self.comments.append(self._text(value)[:MAX_COMMENT_CHARACTERS])
            del self.comments[:-MAX_COMMENTS]
        else:
            self._event_bytes += len(line) + 1
            self._field(field, value)
        return None

    def _field(self, field: bytes, value: bytes) -> None:
        if field == b"data":
            self._data += value + b"\n"
        elif field == b"event":
            self._type = self._text(value)
        elif field == b"id":
            if b"\0" in value:
                raise InvalidStream(
                    f'"id" must not contain NUL, got {self._shown(value)}. A browser would ignore it.'
                )
            self._id_buffer = self._text(value)
        elif field == b"retry":
            if not value.isdigit() or len(value) > 15:
                raise InvalidStream(
                    f'"retry" must be ASCII digits, at most 15, got {self._shown(value)}. '
                    "A browser would ignore it, or never come back."
                )
            self.retry = int(value)
            return
        else:
            raise InvalidStream(
                f"a field must be data, event, id or retry, got {self._shown(field)}. "
                "A browser would ignore it."
            )
        self._open = True

    def _dispatch(self) -> DecodedEvent | None:
        self.last_event_id = self._id_buffer
        type, self._type = self._type, ""
        if not self._data:
            return None
        # Each "data" line has added its value and an LF. The last LF is removed: one empty line is an event
        # without text, no line at all is no event.
        del self._data[-1:]
        data, self._data = self._data, bytearray()
        return DecodedEvent(type or "message", self._text(data), self.last_event_id)

    def _shown(self, raw: bytes) -> str:
        return shown(self._text(raw), _SHOWN_CHARACTERS)

    def _text(self, raw: bytes | bytearray) -> str:
        try:
            return raw.decode()
        except UnicodeDecodeError as error:
            wrong = bytes(raw[error.start : error.end])
            raise InvalidStream(
                f"the stream must be UTF-8, got {wrong!r}. A browser would show U+FFFD."
            ) from None


def decode(stream: bytes) -> list[DecodedEvent]:
    """
    Return the events of a whole stream, of any size.

    Args:
        stream (bytes): From the first byte to the last.

    Raises:
        InvalidStream: A browser would not read the stream as its sender meant it.
    """
    decoder = Decoder(max_event_bytes=len(stream) + 1)
    events = decoder.feed(stream)
    decoder.close()
    return events
