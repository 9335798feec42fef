"""The rows of the tables: those that this package wrote, as entries, and how the others are told apart."""

from __future__ import annotations

import time
import zlib
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from ...core.channels import MAX_CHANNELS_PER_EVENT
from ...core.entry import Entry
from ...core.messages import MAX_KEY_BYTES, check_key, check_stored
from .poison import PoisonEntry, PoisonLog
from .schema import PLACE_BITS

__all__ = [
    "BODY",
    "CLOCK_TOLERANCE_SECONDS",
    "COLUMNS",
    "MAX_NUMBER",
    "Bodies",
    "Decoder",
    "Found",
    "Row",
    "bound",
    "checksum_of",
    "is_number",
    "is_size",
    "is_time",
]

MAX_NUMBER = 1 << 50
"""
The largest number of an entry, and the largest count. SQLite's integers end at 2 to the power of 63, and the
id of a row is a number shifted by 10 bits.
"""

CLOCK_TOLERANCE_SECONDS = 1.0

_CHECKED_BYTES = 512  # of a block: all of a large one would take longer than to store it
_MAX_NAMES_LENGTH = MAX_CHANNELS_PER_EVENT * 129  # of at most 128 characters, with a line feed between two

# What is taken of a row, without values that are too long. The first parameter is the largest block.
COLUMNS = f"""
    id, CASE WHEN length(channel) <= 128 THEN channel END, before, history_before, appended_at, closes,
    checksum, CASE WHEN length(key) <= {MAX_KEY_BYTES} THEN key WHEN key IS NOT NULL THEN x'ff' END,
    CASE WHEN typeof(block) = 'blob' AND length(block) <= ?1 THEN block END, block IS NULL
"""
BODY = f"""
    SELECT CASE WHEN length(channels) <= {_MAX_NAMES_LENGTH} THEN channels END,
    CASE WHEN length(befores) <= {MAX_CHANNELS_PER_EVENT * 20} THEN befores END,
    CASE WHEN length(history_befores) <= {MAX_CHANNELS_PER_EVENT * 20} THEN history_befores END, checksum,
    CASE WHEN typeof(block) = 'blob' AND length(block) <= ?1 THEN block END FROM bodies WHERE number = ?2
"""  # noqa: S608  # numbers of ours

Row = tuple[int, Any, Any, Any, Any, Any, Any, Any, Any, int]
"""Of :data:`COLUMNS`. The last one says whether the block is in a body."""

Bodies = Mapping[int, tuple[Any, ...] | None]
"""What the channels of an entry share, by its number; ``None`` where it is gone."""

_PLACES = (1 << PLACE_BITS) - 1
_DAMAGED = "it was damaged, or moved from another place"
_NO_NUMBERS = "it does not say what was before it"
_NO_BLOCK = "its block is no bytes, or longer than SSE_PUSH_MAX_EVENT_BYTES"


class Found(NamedTuple):
    """An entry, and what it says of those before it in each of its channels."""

    entry: Entry
    before: tuple[int, ...]
    history_before: tuple[int, ...]


class Decoder:
    """
    Makes entries of rows. Not thread-safe.

    Args:
        poison_log (PoisonLog): Logs which rows are none.
        max_event_bytes (int): Larger events are left out.
    """

    def __init__(self, poison_log: PoisonLog, max_event_bytes: int) -> None:
        self._poison_log = poison_log
        self._max_event_bytes = max_event_bytes

    def decode(self, epoch: str, rows: Iterable[Row], bodies: Bodies) -> list[Found]:
        """
        Return the rows that are entries of ours, each entry once, and log that of the others.

        Args:
            epoch (str): Of the log that they are in.
            rows (Iterable[Row]): In the order of their ids.
            bodies (Bodies): What those of them need that have no block.
        """
        found: list[Found] = []
        poison: list[PoisonEntry] = []
        latest = time.monotonic() + CLOCK_TOLERANCE_SECONDS
        prefix, taken = f"id: {epoch}-".encode(), 0
        for row in rows:
            number = row[0] >> PLACE_BITS
            if number == taken:
                continue  # another channel's row of an entry that has them all
            try:
                found.append(self._entry(row, number, prefix, latest, bodies))
                taken = number
            except ValueError as error:
                poison.append(PoisonEntry(number, str(error)))
        if poison:
            self._poison_log.warn(epoch, poison)
        return found

    def _entry(self, row: Row, number: int, prefix: bytes, latest: float, bodies: Bodies) -> Found:
        """
        Return what a row holds.

        Raises:
            ValueError: It is none that this package wrote.
        """
        id, channel, before, history_before, appended_at, closes, checksum, key, block, is_part = row
        if type(appended_at) is not float or not 0 <= appended_at <= latest:
            raise ValueError("its time is none, or has not come yet")
        if closes not in (0, 1):
            raise ValueError("it neither closes its channels nor leaves them open")
        if key is not None:
            key = check_key(_text(key))
        if is_part:
            names, befores, history_befores, block = self._body(number, bodies.get(number))
            part = id & _PLACES
            if part >= len(names) or names[part] != _text(channel):
                raise ValueError("it is at the place of another channel")
            is_whole = checksum == checksum_of(number, channel, key, closes, b"")
        else:
            names = check_stored(channel, block, self._max_event_bytes) if block is not None else ()
            befores, history_befores = (before,), (history_before,)
            is_whole = len(names) == 1 and checksum == checksum_of(number, channel, key, closes, block)
        if block is None or not (block or closes or key is not None):
            raise ValueError(_NO_BLOCK)
        if not is_whole:
            raise ValueError(_DAMAGED)
        if not all(is_number(value, number - 1) for value in (*befores, *history_befores)):
            raise ValueError(_NO_NUMBERS)
        wire = b"%b%d\n%b" % (prefix, number, block) if block else b""
        return Found(Entry(number, names, wire, appended_at, key, bool(closes)), befores, history_befores)

    def _body(
        self, number: int, row: tuple[Any, ...] | None
    ) -> tuple[tuple[str, ...], tuple[int, ...], tuple[int, ...], bytes]:
        """Return the channels, the numbers before and the block of an entry of several channels."""
        if row is None:
            raise ValueError("its block is gone")
        channels, befores, history_befores, checksum, block = row
        if block is None:
            raise ValueError(_NO_BLOCK)
        names = check_stored(channels, block, self._max_event_bytes)
        if checksum != checksum_of(number, channels, None, False, block):
            raise ValueError(_DAMAGED)
        before, history_before = (
            tuple(map(int, _text(numbers).split(" "))) for numbers in (befores, history_befores)
        )
        if len(before) != len(names) or len(history_before) != len(names):
            raise ValueError(_NO_NUMBERS)
        return names, before, history_before, block


def is_time(value: object, now: float) -> bool:
    """
    Say whether a value can be when an entry was stored: one of the future would make all before it look too
    old.
    """
    return type(value) in (int, float) and 0 <= value <= now + CLOCK_TOLERANCE_SECONDS  # type: ignore[operator]


def is_number(value: object, head: int) -> bool:
    """Say whether a value can be the number of an entry of a log, or ``~n`` for one that is at most ``n``."""
    return type(value) is int and ~head <= value <= head


def is_size(value: object) -> bool:
    """Say whether a value can be what a row counts for, in bytes, or how many rows there are."""
    return type(value) is int and 0 <= value <= MAX_NUMBER


def bound(number: int) -> int:
    """Return what a number is at most, where ``~n`` stands for one that is not known and at most ``n``."""
    return number if number >= 0 else ~number


def checksum_of(number: int, channels: bytes, key: str | None, closes: bool, block: bytes) -> int:
    """
    Return what a row of an entry says in its last column, so that a row that was damaged, or was moved to
    another number or channel, is not taken for an entry. It is no defence against who means to forge one.
    """
    start = (number << 1 | closes) & 0xFFFFFFFF
    if key is not None:
        start = zlib.crc32(key.encode(), start)
    return zlib.crc32(block[:_CHECKED_BYTES], zlib.crc32(channels, start)) ^ len(block)


def _text(value: object) -> str:
    """Return a text that SQLite gave as bytes; ``ValueError`` where it is none."""
    if not isinstance(value, bytes):
        raise ValueError(_DAMAGED)  # noqa: TRY004  # as for all else that a row may hold
    return value.decode()
