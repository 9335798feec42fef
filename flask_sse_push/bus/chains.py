"""The proof that nothing is missing: each entry says which one was before it in each of its channels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ..core.entry import Entry
from ..core.past import Past
from .store import StoredEntry, Tail, Wanted

__all__ = ["Chains"]


class Chains:
    """
    The end of each channel that is followed, over any number of readers in turn. Not thread-safe: the
    follower alone uses it.

    A number that is not known is written ``~n``: it is at most ``n``.

    Args:
        ends (Mapping[str, int]): The number of the last entry of each channel that is followed already.
    """

    def __init__(self, ends: Mapping[str, int]) -> None:
        self._ends = dict(ends)
        self._broken: set[str] = set()

    def wanted(self, head: int) -> list[Wanted]:
        """
        Return what another reader is to bring of each channel.

        Args:
            head (int): What came behind it may not have been handed on.
        """
        return [Wanted(channel, min(_most(end), head)) for channel, end in self._ends.items()]

    def take(self, tail: Tail, head: int) -> Past:
        """
        Go on behind what a store has of a channel, and return that.

        Args:
            tail (Tail): What it has.
            head (int): Streams may have read the channel up to this number.

        Returns:
            Past: As it came; or with a loss, where it holds what should have come up to ``head`` and did not.
        """
        past, last = tail
        channel = past.channel
        end, self._ends[channel] = self._ends.get(channel), last
        was_broken = channel in self._broken
        self._broken.discard(channel)
        if end is None:
            return past
        known = _most(end)
        if _fits(last, end, head):
            # Nothing came behind the end, so a loss behind it is a guess of a store that forgot the channel.
            return past._replace(lost_up_to=min(past.lost_up_to, known))
        if (was_broken and known < past.lost_up_to <= head) or any(
            known < entry.sequence <= head for entries in (past.entries, past.kept) for entry in entries
        ):
            return past._replace(lost_up_to=max(past.lost_up_to, head + 1))  # also for a stream at the head
        return past

    def drop(self, channels: Iterable[str]) -> None:
        """Forget channels that are followed no longer."""
        for channel in channels:
            self._ends.pop(channel, None)
            self._broken.discard(channel)

    def add(self, stored: Iterable[StoredEntry], head: int) -> tuple[list[Entry], list[Wanted]]:
        """
        Check entries, in the order of their numbers.

        Args:
            stored (Iterable[StoredEntry]): What came.
            head (int): Streams may have read up to this number, and no new entry may be at or below it.

        Returns:
            tuple: Those that are new in a channel that is followed; and each channel in which something is
                missing, with the number up to which it was handed on. :meth:`take` mends it.
        """
        ends, broken = self._ends, self._broken
        new: list[Entry] = []
        for entry, before in stored:
            sequence, is_new = entry.sequence, False
            for channel, previous in zip(entry.channels, before, strict=True):
                end = ends.get(channel)
                if end is None or sequence <= (end if end >= 0 else ~end):
                    continue
                is_new = True
                if channel in broken:
                    continue
                if sequence > head and (previous == end or _fits(previous, end, head)):
                    ends[channel] = sequence
                else:
                    broken.add(channel)
            if is_new:
                new.append(entry)
        # From the head on: a log takes a past that ends behind these entries before it is given them.
        return new, [Wanted(channel, min(_most(ends[channel]), head)) for channel in broken]


def _fits(last: int, end: int, head: int) -> bool:
    """
    Say whether a channel still ends where it is known to end.

    Where the store does not know its last entry any more, that one is at most ``~last``. Up to the head the
    channel is known here, so nothing can hide in what the store forgot up to there.
    """
    if last >= 0:
        return last == end or (end < 0 and last <= ~end)
    return end <= ~last <= head if end >= 0 else ~last <= max(~end, head)


def _most(number: int) -> int:
    return number if number >= 0 else ~number
