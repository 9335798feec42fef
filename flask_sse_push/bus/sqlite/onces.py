"""Idempotency keys: which of them were used, and for which entries."""

from __future__ import annotations

from .rows import CLOCK_TOLERANCE_SECONDS
from .schema import PLACE_BITS, Execute

__all__ = ["find_once", "store_once"]

_FORGET_AT_ONCE = 8  # more than one publish adds
_LOOK_AGAIN_SECONDS = 60.0

_LONGEST_SECONDS = 8 * 86_400.0  # longer than any retention: a time behind that is damaged


def find_once(execute: Execute, once: str, head: int, now: float) -> int:
    """
    Return the number of the entry that was stored with an idempotency key; 0 when it may be stored.

    Args:
        execute (Execute): In a transaction.
        once (str): The key.
        head (int): The number that was given last.
        now (float): Of the monotonic clock.
    """
    row = execute("SELECT number, forget_at FROM onces WHERE once = ?", (once,)).fetchone()
    if row is None:
        return 0
    number, forget_at = row
    if type(number) is not int or not 0 < number <= head or not _is_end(forget_at, now):
        return 0
    return number if now <= forget_at or _is_there(execute, number) else 0


def store_once(execute: Execute, once: str, number: int, now: float, seconds: float) -> None:
    """Note that an entry was stored with an idempotency key, and forget a few old ones."""
    execute("INSERT OR REPLACE INTO onces VALUES (?, ?, ?)", (once, number, now + seconds))
    for row, of, forget_at in execute(
        "SELECT rowid, number, forget_at FROM onces WHERE forget_at < ? OR forget_at > ? LIMIT ?",
        (now, now + _LONGEST_SECONDS, _FORGET_AT_ONCE),
    ).fetchall():
        if type(of) is int and 0 < of < number and _is_end(forget_at, now) and _is_there(execute, of):
            execute("UPDATE onces SET forget_at = ? WHERE rowid = ?", (now + _LOOK_AGAIN_SECONDS, row))
        else:
            execute("DELETE FROM onces WHERE rowid = ?", (row,))


def _is_end(value: object, now: float) -> bool:
    return type(value) is float and 0 <= value <= now + _LONGEST_SECONDS + CLOCK_TOLERANCE_SECONDS


def _is_there(execute: Execute, number: int) -> bool:
    """Say whether an entry is in the history of a channel, or kept."""
    first, last = number << PLACE_BITS, (number + 1 << PLACE_BITS) - 1
    ((found,),) = execute(
        "SELECT EXISTS (SELECT 1 FROM entries WHERE id BETWEEN ?1 AND ?2) "
        "OR EXISTS (SELECT 1 FROM kept WHERE id BETWEEN ?1 AND ?2)",
        (first, last),
    )
    return bool(found)
