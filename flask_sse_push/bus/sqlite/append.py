"""How an event is numbered and stored, in one transaction."""

from __future__ import annotations

import time
from collections.abc import Sequence

from ...core.entry import ENTRY_OVERHEAD_BYTES, PLACE_OVERHEAD_BYTES
from ...core.messages import Message
from ..base import PublishResult
from ..channel_states import closed_error
from .channels import CHANNEL_COLUMNS, CHANNEL_TABLES, ChannelRow, channel_in, find_channel, store_body
from .database import LOG_COLUMNS, LOG_TABLES, Database, LogState
from .kept import KeptValues
from .onces import find_once, store_once
from .rows import checksum_of
from .schema import PLACE_BITS
from .trimming import Trimmer

__all__ = ["Appender"]

_PLAIN = (None, False, None)  # the end of a message without key, closing and idempotency key
_MAX_KNOWN = 1_000  # channels

# The state of the log and that of a channel in one statement, which spares a publish a tenth of its time.
_LOOK = f"SELECT {LOG_COLUMNS}, {CHANNEL_COLUMNS} FROM {LOG_TABLES} {CHANNEL_TABLES}".replace(  # noqa: S608
    "?2", f"(e.before + 1 << {PLACE_BITS})"
)


class _Known:
    """What a connection has left in the database with its last commit."""

    def __init__(self, version: int) -> None:
        self.version = version
        """Another one when another connection has committed since."""
        self.log: LogState | None = None
        self.rows: dict[str, ChannelRow] = {}


class Appender:
    """
    Writes to the log of one connection. Not thread-safe; nothing in it waits.

    Args:
        database (Database): The connection.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._trimmer = Trimmer(database)
        self._kept = KeptValues(database, self._trimmer)
        self._known: _Known | None = None

    def append(self, message: Message) -> PublishResult:
        """
        Number an event and store it, and remove a few old ones; see :meth:`Bus.publish`.

        Raises:
            ChannelClosed: One of the channels is closed.
            TooManyKept: The value cannot be kept.
            sqlite3.Error: The file cannot be written, or the log's row is damaged.
        """
        database = self._database
        is_plain = message[2:] == _PLAIN and len(message.channels) == 1  # nearly always
        known, self._known = (self._known if is_plain else None), None
        with database.writing:
            now = time.monotonic()
            known, log, row = self._look(message.channels[0], known)
            number = log.head + 1
            if is_plain and not row.closed:
                block = message.block
                size = ENTRY_OVERHEAD_BYTES + PLACE_OVERHEAD_BYTES + len(row.name) + len(block)
                self._insert(number << PLACE_BITS, row, size, now, False, None, block)
                log.events += 1
                log.size += size
                row.last = row.mark = number
                rows: Sequence[ChannelRow] = (row,)
            else:
                known = None
                found = self._prepare(message, log, row, now)
                if isinstance(found, int):
                    return PublishResult(f"{database.epoch}-{found}", found, is_repeated=True)
                rows = found
                self._store(number, rows, message, log, now)
            log.head = number
            self._trimmer.trim(log, rows, now)
            log.store(database.execute)
        self._known = known  # it was committed
        return PublishResult(f"{database.epoch}-{number}", number)

    def _look(self, channel: str, known: _Known | None) -> tuple[_Known, LogState, ChannelRow]:
        """
        Return what is known, the state of the log, and that of one channel.

        Where nobody else has written since the last commit of this connection, the state is still known: that
        spares a process that publishes much a fifth of each publish.
        """
        execute = self._database.execute
        ((version,),) = execute("PRAGMA data_version")
        if known is None or known.version != version or len(known.rows) > _MAX_KNOWN:
            known = _Known(version)
        row = known.rows.get(channel)
        if known.log is not None and row is not None:
            return known, known.log, row
        # Behind the number that was given last there may be rows of another program.
        found = execute(_LOOK, (channel,)).fetchone()
        log = self._database.state_in(found)
        if known.log is None:
            known.log = log
        rules = self._database.rules
        row = known.rows[channel] = channel_in(found[9:], execute, channel, rules, log.head, log.floor)
        return known, known.log, row

    def _prepare(
        self, message: Message, log: LogState, row: ChannelRow, now: float
    ) -> list[ChannelRow] | int:
        """
        Return the channels in which a message has a place; or the number of what makes it needless.

        Raises:
            ChannelClosed: One of the channels is closed.
        """
        execute = self._database.execute
        if message.once is not None and (known := find_once(execute, message.once, log.head, now)):
            return known
        return self._check([row, *self._find(message.channels[1:], log)], message, log, now)

    def _find(self, channels: Sequence[str], log: LogState) -> list[ChannelRow]:
        execute, rules = self._database.execute, self._database.rules
        return [find_channel(execute, name, rules, log.head, log.floor) for name in channels]

    def _store(
        self, number: int, rows: Sequence[ChannelRow], message: Message, log: LogState, now: float
    ) -> None:
        _, block, key, closes, once = message
        database = self._database
        if key is not None and block:
            self._kept.keep(number, rows, block, key, closes, log, now)
        else:
            self._add(number, rows, block, key, closes, log, now)
        if closes:
            for row in rows:
                row.closed, row.closed_at, row.last = number, now, number
                row.forget_at = now + row.retention.seconds
                log.names += row.store(database.execute)
        if once is not None:
            store_once(database.execute, once, number, now, rows[0].retention.seconds)

    def _check(
        self, rows: list[ChannelRow], message: Message, log: LogState, now: float
    ) -> list[ChannelRow] | int:
        """Return the channels in which a message has a place; or the number of what makes it needless."""
        _, block, key, closes, _ = message
        for row in rows:
            if row.closed and now > row.forget_at:
                self._trimmer.forget_closed(row, log)
        closed = [row for row in rows if row.closed]
        if closed and (block or not closes):
            raise closed_error(closed[0].name)
        if closes and not block:
            return [row for row in rows if not row.closed] or max(row.closed for row in closed)
        if key is not None and not block:
            return [row for row in rows if self._kept.find(row.name, key) is not None] or log.head
        return rows

    def _add(
        self,
        number: int,
        rows: Sequence[ChannelRow],
        block: bytes,
        key: str | None,
        closes: bool,
        log: LogState,
        now: float,
    ) -> None:
        """Add an entry to the history of its channels."""
        execute = self._database.execute
        is_lone = len(rows) == 1
        for place, row in enumerate(rows):
            size = PLACE_OVERHEAD_BYTES + len(row.name)
            if is_lone:
                size += ENTRY_OVERHEAD_BYTES + len(block)
            self._insert(
                number << PLACE_BITS | place, row, size, now, closes, key, block if is_lone else None
            )
            log.events += 1
            log.size += size
            if key is not None:
                self._kept.drop(row, key, log)
                log.names += row.store(execute)
        if not is_lone:
            log.size += store_body(execute, number, rows, block)
        for row in rows:
            row.last = row.mark = number

    def _insert(
        self,
        id: int,
        row: ChannelRow,
        size: int,
        now: float,
        closes: bool,
        key: str | None,
        block: bytes | None,
    ) -> None:
        """Add a row to the history of a channel."""
        name = row.name
        row.ordinal += 1
        checksum = checksum_of(id >> PLACE_BITS, name.encode(), key, closes, block or b"")
        # OR REPLACE: a row behind the head was written by another program, and must not be in the way.
        self._database.execute(
            "INSERT OR REPLACE INTO entries VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (id, name, row.last, row.mark, row.ordinal, size, now, closes, checksum, key, block),
        )
