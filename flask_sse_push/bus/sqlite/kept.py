"""The values that channels keep by keys, as rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ...core.entry import ENTRY_OVERHEAD_BYTES, PLACE_OVERHEAD_BYTES
from ..channel_states import too_large_error, too_many_error
from .channels import ChannelRow, store_body
from .database import Database, LogState
from .rows import checksum_of, is_size
from .schema import PLACE_BITS
from .trimming import Trimmer

__all__ = ["KeptValues"]


class _Kept(NamedTuple):
    """A row of what a channel keeps."""

    id: int
    size: int
    has_body: bool


class KeptValues:
    """
    Writes them in the transactions of one connection. Not thread-safe; nothing in it waits.

    Args:
        database (Database): The connection.
        trimmer (Trimmer): Removes rows.
    """

    def __init__(self, database: Database, trimmer: Trimmer) -> None:
        self._database = database
        self._trimmer = trimmer

    def keep(
        self,
        number: int,
        rows: Sequence[ChannelRow],
        block: bytes,
        key: str,
        closes: bool,
        log: LogState,
        now: float,
    ) -> None:
        """
        Keep an entry in its channels, in place of what each keeps by the key.

        Raises:
            TooManyKept: There is no room.
        """
        execute, rules = self._database.execute, self._database.rules
        is_lone = len(rows) == 1
        before = log.kept_bytes
        for place, row in enumerate(rows):
            self.drop(row, key, log)
            if row.kept >= rules.max_kept:
                raise too_many_error(row.name, key, rules.max_kept)
            size = PLACE_OVERHEAD_BYTES + len(row.name) + len(key)
            if is_lone:
                size += ENTRY_OVERHEAD_BYTES + len(block)
            execute(
                "INSERT OR REPLACE INTO kept VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    number << PLACE_BITS | place,
                    row.name,
                    row.last,
                    row.mark,
                    size,
                    now,
                    closes,
                    checksum_of(number, row.name.encode(), key, closes, block if is_lone else b""),
                    key,
                    block if is_lone else None,
                ),
            )
            row.kept += 1
            log.kept += 1
            log.kept_bytes += size
        if not is_lone:
            log.kept_bytes += store_body(execute, number, rows, block)
        if before < log.kept_bytes > rules.max_kept_bytes:
            raise too_large_error(key, rules.max_kept_bytes)
        for row in rows:
            row.last = number
            log.names += row.store(execute)

    def find(self, channel: str, key: str) -> _Kept | None:
        """Return the value that a channel keeps by a key."""
        row = self._database.execute(
            "SELECT id, size, block IS NULL FROM kept WHERE channel = ? AND key = ?", (channel, key)
        ).fetchone()
        return None if row is None else _Kept(row[0], row[1] if is_size(row[1]) else 0, bool(row[2]))

    def drop(self, row: ChannelRow, key: str, log: LogState) -> None:
        """Remove the value that a channel keeps by a key, if there is one."""
        found = self.find(row.name, key)
        if found is not None:
            self._trimmer.drop_kept(found.id, found.size, found.has_body, log)
            row.kept = max(0, row.kept - 1)
