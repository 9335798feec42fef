"""A client that does what the standard says of an event stream, and nothing that it does not say."""

__all__ = ["LetterClient"]


class LetterClient:
    """
    Reads connections one after the other, as WHATWG HTML 9.2.6 has it.

    What lives longer than a connection is the last event ID *string* and the reconnection time. The data, the
    type and the last event ID
    *buffer* begin empty on each; and each blank line copies the buffer to the string, also where it
    dispatches nothing. Browsers are kinder: they
    begin with what they had.
    """

    def __init__(self):
        self.last_event_id = ""
        """What the next request sends as ``Last-Event-ID``; no header while it is empty."""
        self.retry = None
        self.events = []
        """What was dispatched: type, data, ``lastEventId``."""
        self._rest = self._data = self._type = self._id = ""

    def headers(self):
        return [f"Last-Event-ID: {self.last_event_id}"] if self.last_event_id else []

    def connect(self, body=b""):
        """Begin a connection, with what came over it so far."""
        self._rest = self._data = self._type = self._id = ""
        self.feed(body)

    def feed(self, piece):
        """Read some more. (Our servers end lines by LF alone, which other tests see to.)"""
        *lines, self._rest = (self._rest + piece.decode()).split("\n")
        for line in lines:
            if not line:
                self._dispatch()
            elif not line.startswith(":"):
                field, _, value = line.partition(":")
                self._process(field, value.removeprefix(" "))

    def _process(self, field, value):
        if field == "event":
            self._type = value
        elif field == "data":
            self._data += value + "\n"
        elif field == "id" and "\0" not in value:
            self._id = value
        elif field == "retry" and value.isascii() and value.isdigit():
            self.retry = int(value)

    def _dispatch(self):
        self.last_event_id = self._id
        if self._data:
            self.events.append((self._type or "message", self._data.removesuffix("\n"), self.last_event_id))
        self._data = self._type = ""
