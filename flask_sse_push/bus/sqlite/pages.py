"""Entries as they are read from the database: what is new, and what there is of a channel."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from operator import itemgetter
from typing import Any, NamedTuple

from ...core.entry import Entry
from ...core.past import Past
from ..store import LogChanged, News, StoredEntry, Tail, Wanted
from .channels import ChannelRow, find_channel
from .database import LOG_TABLES, Database, LogState
from .rows import BODY, COLUMNS, MAX_NUMBER, Decoder, Found, Row, bound
from .schema import PLACE_BITS

__all__ = ["Pages"]

_READ_AT_ONCE = 500
_BYTES_AT_ONCE = 1 << 20  # a long read keeps the write-ahead log from being emptied
_LOOKED_AT_ONCE = 5_000  # entries of all channels: 2 ms
_PLACES = (1 << PLACE_BITS) - 1

# Our own names. "+" keeps SQLite from looking each name up: the rows behind a position are few, and the names
# are many.
_NEWS = f"SELECT {COLUMNS} FROM %s WHERE id > ?2 AND id < ?3 AND +channel IN interest ORDER BY id"  # noqa: S608
_NEWS_OF_HISTORY, _NEWS_OF_KEPT = _NEWS % "entries", _NEWS % "kept"
_HISTORY = f"SELECT {COLUMNS} FROM entries WHERE channel = ?2 AND id > ?3 AND id < ?4 ORDER BY id"  # noqa: S608
_KEPT = f"SELECT {COLUMNS} FROM kept WHERE channel = ?2 AND id > 0 AND id < ?3 ORDER BY id"  # noqa: S608
# Less than all that Database.look() returns and checks, which would be a fifth of a read.
_HEAD = f"SELECT l.epoch, e.before, l.kept FROM {LOG_TABLES}"  # noqa: S608


class _RawTail(NamedTuple):
    """The rows of a channel."""

    channel: ChannelRow
    behind: int
    history: list[Row]
    kept: list[Row]


class Pages:
    """
    Reads what a process listens to, each time in one transaction. Not thread-safe; waits only to let other
    greenlets run.

    Args:
        database (Database): The connection.
        decoder (Decoder): Makes entries of rows.
        max_event_bytes (int): Larger events are left out.
    """

    def __init__(self, database: Database, decoder: Decoder, max_event_bytes: int) -> None:
        self._database = database
        self._execute = database.execute
        self._decoder = decoder
        self._max_event_bytes = max_event_bytes
        self._bodies: dict[int, tuple[Any, ...] | None] = {}
        # In the memory of this connection, and not in the file.
        database.execute("PRAGMA temp_store = MEMORY")
        database.execute("CREATE TEMP TABLE interest (name TEXT PRIMARY KEY) WITHOUT ROWID")

    def listen(self, channels: Sequence[str]) -> None:
        """Let :meth:`read` bring the entries of some channels."""
        for channel in channels:
            self._execute("INSERT OR IGNORE INTO interest VALUES (?)", (channel,))

    def ignore(self, channels: Sequence[str]) -> None:
        """Let :meth:`read` leave out the entries of some channels."""
        for channel in channels:
            self._execute("DELETE FROM interest WHERE name = ?", (channel,))

    def read(self, epoch: str, head: int) -> tuple[News, bool]:
        """
        Return some entries behind a number, and whether there may be more behind them.

        Raises:
            LogChanged: The log is another one.
        """
        with self._database.reading:
            last, has_kept = self._head(epoch, head)
            if last <= head:
                return News((), head), False
            is_far = last - head > _LOOKED_AT_ONCE
            last = min(last, head + _LOOKED_AT_ONCE)
            arguments = self._max_event_bytes, (head << PLACE_BITS) + _PLACES, (last + 1) << PLACE_BITS
            rows, is_part = self._some(_NEWS_OF_HISTORY, arguments)
            if is_part:
                last, is_far = rows[-1][0] >> PLACE_BITS, True
            if has_kept:
                kept, is_part = self._some(_NEWS_OF_KEPT, arguments)
                if is_part:
                    last, is_far = min(last, kept[-1][0] >> PLACE_BITS), True
                rows = sorted((row for row in (*rows, *kept) if row[0] >> PLACE_BITS <= last), key=_id)
            self._find_bodies(rows)
        # Outside of the transaction: who reads keeps the write-ahead log from being emptied.
        found = self._decoder.decode(epoch, rows, self._bodies)
        self._bodies.clear()
        return News(_chained(found, head), last), is_far

    def tail(self, epoch: str, wanted: Sequence[Wanted], head: int) -> News:
        """
        Return what there is of some channels.

        Raises:
            LogChanged: The log is another one.
        """
        with self._database.reading:
            log = self._look(epoch, head)
            raw = [self._raw_tail(channel, behind, log) for channel, behind in wanted]
        now = time.monotonic()
        tails = [self._tail(tail, now) for tail in raw]
        self._bodies.clear()
        return News((), head, tails)

    def _head(self, epoch: str, head: int) -> tuple[int, bool]:
        """Return the number that was given last, and whether any channel keeps a value."""
        row = self._execute(_HEAD).fetchone()
        if row is not None:
            name, last, kept = row
            if name == epoch.encode() and type(last) is int and head <= last <= MAX_NUMBER:
                return last, kept != 0
        log = self._look(epoch, head)
        return log.head, log.kept > 0

    def _look(self, epoch: str, head: int) -> LogState:
        log = self._database.look()
        if self._database.epoch != epoch or log.head < head:
            raise LogChanged
        return log

    def _some(self, query: str, arguments: tuple[int, ...]) -> tuple[list[Row], bool]:
        """Return the first rows of a query, and whether there may be more."""
        rows: list[Row] = []
        size = 0
        for row in self._execute(query, arguments):
            rows.append(row)
            size += len(row[8] or b"")
            if size > _BYTES_AT_ONCE or len(rows) == _READ_AT_ONCE:
                return rows, True
        return rows, False

    def _find_bodies(self, rows: list[Row]) -> None:
        for row in rows:
            if row[9] and (number := row[0] >> PLACE_BITS) not in self._bodies:
                self._bodies[number] = self._execute(BODY, (self._max_event_bytes, number)).fetchone()

    def _raw_tail(self, channel: str, behind: int | None, log: LogState) -> _RawTail:
        row = find_channel(self._execute, channel, self._database.rules, log.head, log.floor)
        end = (log.head + 1) << PLACE_BITS
        history: list[Row] = []
        if behind is None:
            behind = log.head  # a new reader gets the kept values all the same
        else:
            arguments = self._max_event_bytes, channel, (behind << PLACE_BITS) + _PLACES, end
            history = list(self._in_turns(_HISTORY, arguments))
        kept = list(self._in_turns(_KEPT, (self._max_event_bytes, channel, end))) if row.kept else []
        return _RawTail(row, behind, history, kept)

    def _in_turns(self, query: str, arguments: tuple[object, ...]) -> Iterator[Row]:
        cursor = self._execute(query, arguments)
        while some := cursor.fetchmany(_READ_AT_ONCE):
            self._find_bodies(some)
            yield from some
            if len(some) == _READ_AT_ONCE:
                time.sleep(0)  # other greenlets run: a long history takes a second

    def _tail(self, raw: _RawTail, now: float) -> Tail:
        row, behind, _, _ = raw
        closed, closed_at, forgotten = row.closed, row.closed_at, 0
        if closed and now > row.forget_at:
            closed, closed_at, forgotten = 0, 0.0, row.closed
        oldest = now - row.retention.seconds
        lost, entries, before = forgotten, [], behind
        for entry, _, history_before in self._decode(raw.history):
            # What was before it here, and is here no longer.
            previous = bound(history_before[entry.channels.index(row.name)])
            if previous > before:
                lost = max(lost, previous)
            before = entry.sequence
            if entry.appended_at < oldest:
                lost = max(lost, before)
            elif before > forgotten:
                entries.append(entry)
        if bound(row.mark) > before:
            lost = max(lost, bound(row.mark))
        kept: list[Entry] = []
        if row.kept and not forgotten:
            kept = [entry for entry, _, _ in self._decode(raw.kept)]
            if len(kept) != row.kept:
                lost = max(lost, bound(row.last))  # a value is damaged, or gone
        past = Past(row.name, behind, lost if lost > behind else 0, entries, kept, closed, closed_at)
        return Tail(past, row.last)

    def _decode(self, rows: list[Row]) -> Iterator[Found]:
        for first in range(0, len(rows), _READ_AT_ONCE):
            if first:
                time.sleep(0)  # other greenlets run
            yield from self._decoder.decode(
                self._database.epoch, rows[first : first + _READ_AT_ONCE], self._bodies
            )


_id = itemgetter(0)


def _chained(found: list[Found], head: int) -> list[StoredEntry]:
    """
    Return entries with the numbers of those before them, where values that were replaced are left out.

    A value that was replaced is no loss. So a number before that is gone is replaced by the one that is there
    instead, if no entry of the history is gone between the two.

    Args:
        found (list[Found]): All that is there behind ``head`` in the channels that are listened to.
        head (int): Everything up to this number was read before.
    """
    stored: list[StoredEntry] = []
    last: dict[str, int] = {}
    last_of_history: dict[str, int] = {}
    for entry, before, history_before in found:
        sequence, is_value = entry.sequence, entry.key is not None and entry.wire
        numbers = list(before)
        for place, channel in enumerate(entry.channels):
            known = last.get(channel)
            is_next = numbers[place] == known if known is not None else bound(numbers[place]) <= head
            if not is_next and bound(history_before[place]) <= last_of_history.get(channel, head):
                numbers[place] = ~head if known is None else known
            last[channel] = sequence
            if not is_value:
                last_of_history[channel] = sequence
        stored.append(StoredEntry(entry, tuple(numbers)))
    return stored
