"""What is removed from the log: what is too old, too much, or forgotten."""

from __future__ import annotations

from collections.abc import Sequence

from ...core.channels import CONTROL_CHANNEL, is_channel
from ...core.retention import RetentionRules
from .channels import ChannelRow, find_channel
from .database import Database, LogState
from .rows import MAX_NUMBER, bound, is_number, is_size, is_time
from .schema import END, PLACE_BITS

__all__ = ["MAX_NAMES", "MAX_TRIMMED", "Trimmer"]

MAX_TRIMMED = 16
"""
The most old rows that one publish removes, and two more for each row that it adds: not so many that it takes
long, and more than come.
"""

TRIM_EVERY = 8
"""
A long history is trimmed by every eighth publish, more than these add: one row at a time made each publish a
third slower, because what is old lies on other pages of the file. Meanwhile it is longer by 1 in 64 at most.
"""

MAX_NAMES = 100_000
"""
Of so many channels that have no entry any more the last number is remembered. Of the others one number is,
which is at least theirs: clients that come back there are told of a gap.
"""

_LOOK_SECONDS = 1.0  # how often a publish looks for what is too old
_LOOK_ON_SECONDS = 0.01  # where the look before did not come to the end
_LOOKED_AT = 64
_BEGIN = -END * 2  # of SQLite's integers
_TRIMMED_OF_MANY = 4  # of each channel, by an event of several

_OLDEST = """
    SELECT id, CASE WHEN length(channel) <= 128 THEN CAST(channel AS BLOB) END, size, appended_at,
    block IS NULL FROM entries WHERE id > ? AND id < ? ORDER BY id LIMIT ?
"""


class Trimmer:
    """
    Removes rows in the transactions of one connection. Not thread-safe; nothing in it waits.

    Args:
        database (Database): The connection.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._execute = database.execute
        self._look_at = 0.0
        self._looked_up_to = _BEGIN
        self._rules: RetentionRules | None = None
        self._shortest_seconds = 0.0
        self._is_damaged = False

    def trim(self, log: LogState, rows: Sequence[ChannelRow], now: float) -> None:
        """
        Remove a few rows that are too old or too many, never the newest.

        Args:
            log (LogState): What there is, the newest entry included. It is changed.
            rows (Sequence[ChannelRow]): The channels of the newest entry.
            now (float): Of the monotonic clock.
        """
        rules = self._database.rules
        for row in rows:
            length = row.retention.length
            if row.ordinal > length and (row.ordinal % TRIM_EVERY == 0 or length < 64 * TRIM_EVERY):
                self._trim_channel(log, row, length, MAX_TRIMMED if len(rows) == 1 else _TRIMMED_OF_MANY)
        most = MAX_TRIMMED if len(rows) == 1 else MAX_TRIMMED + 2 * len(rows)
        excess = log.size - rules.max_bytes
        if excess > 0 and (log.head % TRIM_EVERY == 0 or excess > rules.max_bytes // 64):
            self._trim_bytes(log, rules.max_bytes, most)
        if now >= self._look_at:
            self._trim_age(log, now, most)
            self._forget_closed(log, now, most)
        if log.names > MAX_NAMES:
            self._forget_names(log, min(log.names - MAX_NAMES, MAX_TRIMMED + len(rows)))
        if self._is_damaged or min(log.events, log.size, log.kept, log.kept_bytes, log.names) < 0:
            self._count(log)

    def forget_closed(self, row: ChannelRow, log: LogState) -> None:
        """Open a closed channel again, as a new one: what it keeps is gone. Its history is too old by now."""
        for id, size, has_body in self._execute(
            "SELECT id, size, block IS NULL FROM kept WHERE channel = ?", (row.name,)
        ).fetchall():
            self.drop_kept(id, size, has_body, log)
            if bound(row.mark) < id >> PLACE_BITS <= log.head:
                row.mark = id >> PLACE_BITS
        row.kept = row.closed = 0
        row.closed_at = row.forget_at = 0.0
        log.names += row.store(self._execute)

    def drop_kept(self, id: int, size: object, has_body: bool, log: LogState) -> None:
        """Remove a kept value; the caller counts those of the channel."""
        self._execute("DELETE FROM kept WHERE id = ?", (id,))
        log.kept -= 1
        log.kept_bytes -= self._size(size) + (self._drop_place(id) if has_body else 0)

    def _drop_entry(self, id: int, size: object, has_body: bool, log: LogState) -> None:
        self._execute("DELETE FROM entries WHERE id = ?", (id,))
        log.events -= 1
        log.size -= self._size(size) + (self._drop_place(id) if has_body else 0)

    def _size(self, size: object) -> int:
        if is_size(size):
            return size  # type: ignore[return-value]
        self._is_damaged = True  # the log's row may count it with another size, or not at all
        return 0

    def _drop_place(self, id: int) -> int:
        """Note that a row of an entry of several channels is gone; return what went with the last one."""
        number = id >> PLACE_BITS
        row = self._execute("SELECT places, size FROM bodies WHERE number = ?", (number,)).fetchone()
        if row is None:
            self._is_damaged = True
            return 0
        places, size = row
        if type(places) is int and places > 1:
            self._execute("UPDATE bodies SET places = ? WHERE number = ?", (places - 1, number))
            return 0
        self._execute("DELETE FROM bodies WHERE number = ?", (number,))
        return self._size(size)

    def _trim_channel(self, log: LogState, row: ChannelRow, length: int, most: int) -> None:
        """Remove what a channel has too much. Its newest entry stays."""
        for id, ordinal, size, has_body in self._execute(
            "SELECT id, ordinal, size, block IS NULL FROM entries WHERE channel = ? AND id < ? "
            "ORDER BY id LIMIT ?",
            (row.name, log.head << PLACE_BITS, most),
        ).fetchall():
            if type(ordinal) is int and row.ordinal - length < ordinal < row.ordinal:
                break
            self._drop_entry(id, size, has_body, log)

    def _trim_bytes(self, log: LogState, most_bytes: int, most: int) -> None:
        """Remove the oldest entries of all channels."""
        newest = log.head << PLACE_BITS
        for id, channel, size, _, has_body in self._execute(_OLDEST, (_BEGIN, newest, most)).fetchall():
            if log.size <= most_bytes:
                break
            self._drop_oldest(log, id, channel, size, has_body)

    def _trim_age(self, log: LogState, now: float, most: int) -> None:
        """Remove entries that are older than their channels keep them, and those that are damaged."""
        rules, left = self._database.rules, most
        if rules is not self._rules:
            self._rules, self._looked_up_to = rules, _BEGIN
            kept_for = [rules.default, rules.of(CONTROL_CHANNEL), *(kept for _, kept in rules.patterns)]
            self._shortest_seconds = min(seconds for _, seconds in kept_for)
        self._look_at = now + _LOOK_ON_SECONDS
        found = self._execute(
            _OLDEST,
            (self._looked_up_to, log.head << PLACE_BITS, max(most, _LOOKED_AT if rules.patterns else 0)),
        ).fetchall()
        young = now - self._shortest_seconds
        for id, channel, size, appended_at, has_body in found:
            is_whole = id > 0 and is_size(size) and is_time(appended_at, now)
            if is_whole and appended_at >= young:
                break  # and so are all behind it
            if not is_whole or appended_at < now - rules.of(_name(channel)).seconds:
                self._drop_oldest(log, id, channel, size, has_body)
                left -= 1
                if not left:
                    return
            self._looked_up_to = id
        else:
            if found:
                return
        self._look_at, self._looked_up_to = now + _LOOK_SECONDS, _BEGIN

    def _drop_oldest(
        self, log: LogState, id: int, channel: bytes | None, size: object, has_body: bool
    ) -> None:
        """Remove the oldest entry of its channel, and note its number where it was the only one."""
        self._drop_entry(id, size, has_body, log)
        name, number = _name(channel), id >> PLACE_BITS
        if not 0 < number < log.head or not (is_channel(name) or name == CONTROL_CHANNEL):
            self._is_damaged = True
            return
        if self._execute("SELECT 1 FROM entries WHERE channel = ? AND id > 0 LIMIT 1", (name,)).fetchone():
            return
        changed = self._execute(
            "UPDATE channels SET last = max(last, ?1), mark = max(mark, ?1) WHERE name = ?2", (number, name)
        )
        if not changed.rowcount:
            self._execute("INSERT INTO channels VALUES (?, ?, ?, 0, 0, 0, 0)", (name, number, number))
            log.names += 1

    def _forget_closed(self, log: LogState, now: float, most: int) -> None:
        for rowid, name in self._execute(
            "SELECT rowid, CASE WHEN length(name) <= 128 THEN CAST(name AS BLOB) END FROM channels "
            "WHERE closed > 0 AND forget_at < ? LIMIT ?",
            (now, most),
        ).fetchall():
            row = find_channel(self._execute, _name(name), self._database.rules, log.head, log.floor)
            if row.closed and row.forget_at < now:
                self.forget_closed(row, log)
            else:  # damaged
                self._execute("DELETE FROM channels WHERE rowid = ?", (rowid,))
                log.names, log.floor = log.names - 1, log.head

    def _forget_names(self, log: LogState, most: int) -> None:
        for rowid, last in self._execute(
            "SELECT rowid, last FROM channels WHERE kept = 0 AND closed = 0 ORDER BY last LIMIT ?", (most,)
        ).fetchall():
            self._execute("DELETE FROM channels WHERE rowid = ?", (rowid,))
            log.floor = max(log.floor, bound(last) if is_number(last, log.head) else log.head)
            log.names -= 1

    def _count(self, log: LogState) -> None:
        """Count all rows and add up their sizes: the numbers in the log's rows cannot be right."""
        self._is_damaged = False
        end = (log.head + 1) << PLACE_BITS
        log.events, log.size = self._add_up("entries", end)
        log.kept, log.kept_bytes = self._add_up("kept", end)
        ((log.names,),) = self._execute("SELECT count(*) FROM channels")

    def _add_up(self, table: str, end: int) -> tuple[int, int]:
        is_whole = f"typeof(size) = 'integer' AND size BETWEEN 0 AND {MAX_NUMBER}"
        ((rows, size),) = self._execute(
            f"SELECT count(*), total(size) FROM {table} WHERE id > 0 AND id < ? AND {is_whole}",  # noqa: S608
            (end,),
        )
        ((bodies,),) = self._execute(
            f"SELECT total(size) FROM bodies WHERE {is_whole} AND EXISTS (SELECT 1 FROM {table} "  # noqa: S608
            f"WHERE id BETWEEN number << {PLACE_BITS} AND (number << {PLACE_BITS}) + 1023)"
        )
        return rows, int(min(size + bodies, MAX_NUMBER))


def _name(channel: object) -> str:
    """Return the name that SQLite gave as bytes; for any other value, no name."""
    return channel.decode("utf-8", "replace") if isinstance(channel, bytes) else ""
