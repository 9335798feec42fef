"""What a Redis has of some channels, gathered from as many answers as that takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import redis

from ...core.entry import Entry
from ...core.past import Past
from ..store import StoredEntry, Tail, Wanted
from . import answers
from .texts import TextReader, number_in

__all__ = ["Found", "Tails"]


@dataclass
class Found:
    """What was found of one channel."""

    channel: str
    behind: int
    last: int = 0
    lost: int = 0
    closed: int = 0
    closed_at: int = 0
    events: list[bytes] = field(default_factory=list)
    values: list[bytes] = field(default_factory=list)
    numbers: set[int] | None = None
    """Of the values that are still there, when they came in several answers."""

    def stored(self, texts: TextReader) -> Iterator[StoredEntry]:
        """Return the events and values that can be read."""
        for text in (*self.events, *self.values):
            with suppress(ValueError):
                yield texts.entry(text, self.channel)

    def tail(self, texts: TextReader, warn: Callable[[str, int, ValueError], None]) -> Tail:
        """
        Return it with its texts read. What is no event of ours counts as lost.

        Args:
            texts (TextReader): Reads them.
            warn (Callable): Called with channel, number and error for each that is none.
        """
        lost, top, is_unsure = self.lost, self.behind, False
        events: list[Entry] = []
        values: dict[str, Entry] = {}
        for text in self.events:
            number = number_in(text)
            try:
                entry = self._entry(texts, text, is_value=False)
            except ValueError as error:
                warn(self.channel, number, error)
                lost, is_unsure = max(lost, number), is_unsure or number <= top
                continue
            if entry.sequence <= top:
                is_unsure = True  # it stands in the place of a later one
                continue
            lost, top, is_unsure = max(lost, entry.sequence - 1 if is_unsure else 0), entry.sequence, False
            events.append(entry)
        if is_unsure:
            lost = max(lost, self.last if self.last >= 0 else ~self.last)
        for text in self.values:
            try:
                entry = self._entry(texts, text, is_value=True)
            except ValueError as error:
                warn(self.channel, number_in(text), error)
                lost = max(lost, number_in(text))
                continue
            if entry.key is not None and (self.numbers is None or entry.sequence in self.numbers):
                values[entry.key] = entry  # one that came while they were read is newer
        kept = sorted(values.values(), key=lambda entry: entry.sequence)
        known = [entry for entry in events if entry.sequence > lost]
        closed_at = texts.moment(self.closed_at) if self.closed else 0.0
        past = Past(self.channel, self.behind, lost, known, kept, self.closed, closed_at)
        return Tail(past, self.last)

    def _entry(self, texts: TextReader, text: bytes, *, is_value: bool) -> Entry:
        entry = texts.entry(text, self.channel).entry
        if (entry.key is not None) is not is_value or not entry.wire:
            raise ValueError("it is in the place of something else")
        return entry


class Tails:
    """
    Asks until everything is there.

    Args:
        wanted (Sequence[Wanted]): What is asked for.
        values_behind (int): The number above which values are asked for.
    """

    def __init__(self, wanted: Sequence[Wanted], values_behind: int = 0) -> None:
        self.asked = [
            (channel, -1 if behind is None else behind, values_behind) for channel, behind in wanted
        ]
        """What is to be asked for, as :meth:`RedisLog.tails` takes it; nothing when all is there."""
        self.found: dict[str, Found] = {}
        """By channel."""

    def add(self, page: answers.Tails) -> None:
        """
        Add an answer to :attr:`asked`.

        Raises:
            redis.InvalidResponse: It brings nothing new, and says that there is more.
        """
        rest = self.asked[len(page.channels) :]
        for (channel, behind, behind_value), tail in zip(self.asked, page.channels, strict=False):
            found = self.found.get(channel)
            if found is None:
                found = self.found[channel] = Found(channel, page.head if behind < 0 else behind)
            found.last, found.closed, found.closed_at = tail.last, tail.closed, tail.closed_at
            found.lost = max(found.lost, tail.lost)
            found.events += tail.events
            found.values += tail.values
            found.numbers = set(tail.numbers) if behind_value else found.numbers
            if tail.is_cut:
                place = (
                    channel,
                    max([behind, *map(number_in, tail.events)]),
                    max([behind_value, *map(number_in, tail.values)]),
                )
                if place == (channel, behind, behind_value):
                    raise redis.InvalidResponse("the server says that there is more, and gives nothing")
                rest.insert(0, place)
        self.asked = rest
