"""What a database knows of one channel at the moment of a publish."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...core.entry import ENTRY_OVERHEAD_BYTES
from ...core.retention import ChannelRetention, RetentionRules
from .rows import bound, checksum_of, is_number
from .schema import END, PLACE_BITS, Execute

__all__ = ["CHANNEL_COLUMNS", "CHANNEL_TABLES", "ChannelRow", "channel_in", "find_channel", "store_body"]

CHANNEL_COLUMNS = "c.last, c.mark, c.kept, c.closed, c.closed_at, c.forget_at, n.id, n.ordinal"
"""Of the row of a channel, and of the newest row of its history that has a number which was given."""

CHANNEL_TABLES = """
    LEFT JOIN channels c ON c.name = ?1
    LEFT JOIN entries n ON n.id = (SELECT max(id) FROM entries WHERE channel = ?1 AND id < ?2)
"""

_FIND = f"SELECT {CHANNEL_COLUMNS} FROM (SELECT 1) {CHANNEL_TABLES}"  # noqa: S608  # our own names


class ChannelRow:
    """One channel. Belongs to one transaction."""

    __slots__ = (
        "closed",
        "closed_at",
        "forget_at",
        "is_stored",
        "kept",
        "last",
        "mark",
        "name",
        "ordinal",
        "retention",
    )

    def __init__(self, name: str, retention: ChannelRetention) -> None:
        self.name = name
        self.retention = retention
        """How much of it is kept."""
        self.is_stored = False
        """Whether the table of channels has a row for it."""
        self.last = 0
        """The number of its last entry; ``~n`` where that is not known, and at most ``n``."""
        self.mark = 0
        """The number of the newest entry of its history that was ever there; ``~n`` as above."""
        self.kept = 0
        """How many values it keeps."""
        self.closed = 0
        """The number of the entry that closed it; 0 while it is open."""
        self.closed_at = 0.0
        """When that was, on the monotonic clock."""
        self.forget_at = 0.0
        """When its closing is to be forgotten."""
        self.ordinal = 0
        """That of the newest row of its history; 0 where there is none."""

    def store(self, execute: Execute) -> int:
        """Write its row, and return by how many rows the table has grown."""
        execute(
            "INSERT OR REPLACE INTO channels VALUES (?, ?, ?, ?, ?, ?, ?)",
            (self.name, self.last, self.mark, self.kept, self.closed, self.closed_at, self.forget_at),
        )
        is_new, self.is_stored = not self.is_stored, True
        return int(is_new)


def find_channel(execute: Execute, name: str, rules: RetentionRules, head: int, floor: int) -> ChannelRow:
    """
    Look a channel up.

    Args:
        execute (Execute): In a transaction.
        name (str): The channel.
        rules (RetentionRules): Those of the log.
        head (int): The number that was given last.
        floor (int): The last number of a channel that is in no table is at most this one.

    Returns:
        ChannelRow: What is known. Of a channel whose row is damaged, no number is.
    """
    found = execute(_FIND, (name, (head + 1) << PLACE_BITS)).fetchone()
    return channel_in(found, execute, name, rules, head, floor)


def channel_in(
    row: tuple[Any, ...], execute: Execute, name: str, rules: RetentionRules, head: int, floor: int
) -> ChannelRow:
    """Return what :func:`find_channel` does, from a row of :data:`CHANNEL_COLUMNS`."""
    channel = ChannelRow(name, rules.of(name))
    last, mark, kept, closed, closed_at, forget_at, newest, ordinal = row
    if last is not None:
        channel.is_stored = True
        if (
            is_number(last, head)
            and is_number(mark, head)
            and {type(kept), type(closed)} == {int}
            and kept >= 0
            and 0 <= closed <= head
            and (not closed or type(closed_at) is type(forget_at) is float)
        ):
            channel.last, channel.mark, channel.kept = last, mark, kept
            channel.closed, channel.closed_at, channel.forget_at = closed, closed_at, forget_at
        else:
            channel.last = channel.mark = ~head
            ((channel.kept,),) = execute("SELECT count(*) FROM kept WHERE channel = ?", (name,))
    elif newest is None and floor:
        channel.last = channel.mark = ~floor
    if newest is not None and newest > 0:
        number = newest >> PLACE_BITS
        channel.ordinal = ordinal if type(ordinal) is int and 0 < ordinal < END else 1
        if number >= bound(channel.last):
            channel.last = number
        if number >= bound(channel.mark):
            channel.mark = number
    return channel


def store_body(execute: Execute, number: int, rows: Sequence[ChannelRow], block: bytes) -> int:
    """Store what the rows of an entry of several channels share, and return what it counts for."""
    names = "\n".join(row.name for row in rows)
    lasts = " ".join(str(row.last) for row in rows)
    marks = " ".join(str(row.mark) for row in rows)
    size = ENTRY_OVERHEAD_BYTES + len(block) + len(names) + len(lasts) + len(marks)
    execute(
        "INSERT OR REPLACE INTO bodies VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            number,
            names,
            lasts,
            marks,
            len(rows),
            size,
            checksum_of(number, names.encode(), None, False, block),
            block,
        ),
    )
    return size
