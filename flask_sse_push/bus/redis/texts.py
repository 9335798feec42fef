"""The text that a Redis has of an event, read and checked: anybody may have written it."""

from __future__ import annotations

import time
from typing import NamedTuple

from ...core.entry import Entry
from ...core.messages import check_key, check_stored
from ..store import StoredEntry
from . import answers
from .faults import FAULTS

__all__ = ["TextReader", "number_in"]


class TextReader(NamedTuple):
    """Reads the texts of one log; see :mod:`.script` for how they are written."""

    id_line: bytes
    """The ``id:`` line of its events, up to the number."""
    max_event_bytes: int
    clock_offset: float
    """Seconds from the monotonic clock to the server's."""

    def entry(self, text: bytes, channel: str) -> StoredEntry:
        """
        Return the event of a text that was found in a channel.

        Raises:
            ValueError: No publisher can have written it. The error says what is wrong, without its data.
        """
        try:
            line, names, key, block = text.split(b"\n", 3)
            number, milliseconds, _, befores, *end = line.split(b" ")
            sequence = answers.count(number)
            before = tuple(map(answers.before, befores.split(b",")))
            appended_at = self.moment(answers.count(milliseconds))
        except FAULTS as error:
            raise ValueError("its first line is none") from error
        channels = check_stored(names.replace(b" ", b"\n"), block, self.max_event_bytes)
        if channel not in channels or len(before) != len(channels) or end not in ([], [b"!"]):
            raise ValueError("its channels are others")
        if not all((~last if last < 0 else last) < sequence for last in before):
            raise ValueError("its number is none")
        if not (block or key or end):
            raise ValueError("it is empty")
        wire = b"%s%d\n%s" % (self.id_line, sequence, block) if block else b""
        named = check_key(key.decode()) if key else None
        return StoredEntry(Entry(sequence, channels, wire, appended_at, named, bool(end)), before)

    def moment(self, milliseconds: int) -> float:
        """Return a time of the server on the monotonic clock, never one in the future."""
        return min(time.monotonic(), milliseconds / 1000 - self.clock_offset)


def number_in(text: bytes) -> int:
    """Return the number with which a text begins; 0 where there is none."""
    number = text[:15].partition(b" ")[0]
    return int(number) if number.isdigit() else 0
