"""An event stream read as the standard says, and complained about where it says nothing good."""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass

from .errors import InvalidStream

__all__ = ["DecodedEvent", "Decoder", "decode"]


_LINE_END = re.compile("\r\n|\r|\n")


@dataclass(frozen=True, slots=True)
class DecodedEvent:
    """What a browser would dispatch."""

    type: str
    """``event.type``: ``"message"`` where the stream names none."""
    data: str
    """``event.data``."""
    last_event_id: str
    """``event.lastEventId``: the last id that the stream gave, by this event or before it."""


class Decoder:
    """
    Reads the bytes of one stream, in any pieces.

    Written from the standard, apart from the encoder, so that the two check each other. It is strict: what
    a browser repairs or drops without a word is an error here.

    Raises:
        InvalidStream: From :meth:`feed` and :meth:`close`.

    See:
        WHATWG HTML, 9.2.5 and 9.2.6
        https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
    """

    def __init__(self) -> None:
        self.last_event_id = ""
        """What a browser would send as ``Last-Event-ID`` if it reconnected now."""
        self.retry: int | None = None
        """The reconnection time in milliseconds, once the stream has set it."""
        self.comments: list[str] = []
        """The comments so far."""
        self._utf8 = codecs.getincrementaldecoder("utf-8")("strict")
        self._text = ""
        self._begun = self._after_cr = False
        self._data: list[str] = []
        self._type = ""
        self._id_buffer = ""
        self._dirty = False

    def feed(self, chunk: bytes) -> list[DecodedEvent]:
        """Read some more bytes, and return the events that are complete by them."""
        try:
            self._text += self._utf8.decode(chunk)
        except UnicodeDecodeError as error:
            raise InvalidStream(f"the stream must be UTF-8, got {error.object[error.start : error.end]!r}. A browser would show U+FFFD.") from None
        if not self._begun and self._text:
            # "One leading U+FEFF BYTE ORDER MARK character must be ignored if any are present." (9.2.6)
            self._text = self._text.removeprefix("\ufeff")
            self._begun = True
        lines = _LINE_END.split(self._text)
        if self._after_cr and self._text:
            # The LF of a CRLF whose CR ended a line already, in the piece before.
            if self._text[0] == "\n":
                del lines[0]
            self._after_cr = False
        if self._text:
            self._after_cr = self._text[-1] == "\r"
        self._text = lines.pop() if lines else ""
        return [event for line in lines if (event := self._line(line)) is not None]

    def close(self) -> None:
        """
        Say that the stream is over.

        Raises:
            InvalidStream: It ended within a block, which a browser throws away.
        """
        try:
            self._utf8.decode(b"", final=True)
        except UnicodeDecodeError as error:
            raise InvalidStream(f"the stream must be UTF-8, but ends within {error.object!r}. A browser would show U+FFFD.") from None
        # "Once the end of the file is reached, any pending data must be discarded." (9.2.6)
        if self._dirty or self._text:
            raise InvalidStream(f"the stream must end with a blank line, got {self._text or 'an open block'!r}. A browser would drop what came last.")

    def _line(self, line: str) -> DecodedEvent | None:
        if not line:
            self._dirty = False
            return self._dispatch()
        self._dirty = True
        field, colon, value = line.partition(":")
        if not field:
            self.comments.append(value.removeprefix(" "))
            return None
        # "If value starts with a U+0020 SPACE character, remove it from value." One, not all.
        self._field(field, value.removeprefix(" ") if colon else "")
        return None

    def _field(self, field: str, value: str) -> None:
        if field == "data":
            self._data.append(value)
        elif field == "event":
            self._type = value
        elif field == "id":
            if "\0" in value:
                raise InvalidStream(f'"id" must not contain NUL, got {value!r}. A browser would ignore it.')
            self._id_buffer = value
        elif field == "retry":
            if not value.isascii() or not value.isdigit() or len(value) > 15:
                raise InvalidStream(f'"retry" must be ASCII digits, at most 15, got {value[:40]!r}. A browser would ignore it, or never come back.')
            self.retry = int(value)
        else:
            raise InvalidStream(f"a field must be data, event, id or retry, got {field!r}. A browser would ignore it.")

    def _dispatch(self) -> DecodedEvent | None:
        self.last_event_id = self._id_buffer
        data, type = self._data, self._type
        self._data, self._type = [], ""
        # Each "data" line adds its value and an LF, and the last LF is taken away again: no line at all is another thing than an empty one.
        return DecodedEvent(type or "message", "\n".join(data), self.last_event_id) if data else None


def decode(stream: bytes) -> list[DecodedEvent]:
    """
    Return the events of a whole stream.

    Args:
        stream (bytes): From the first byte to the last.

    Raises:
        InvalidStream: A browser would not read it as its sender meant it.
    """
    decoder = Decoder()
    events = decoder.feed(stream)
    decoder.close()
    return events
