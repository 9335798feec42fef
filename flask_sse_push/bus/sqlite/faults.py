"""What can go wrong with a database: what its errors say, and what a person can do about each."""

from __future__ import annotations

import errno
from pathlib import Path

from ...platform.ownership import UnusablePathError

__all__ = ["cure_of", "say"]

_OTHER_PATH = "Set SSE_PUSH_BUS_URL to another path."
_BROKEN = "It is broken: delete it, with its -wal and -shm, and a new log begins."

# By a part of what an error says. The first that is found counts.
_CURES = (
    ("another program", _OTHER_PATH),
    ("write-ahead", _OTHER_PATH),
    ("full", "Make room on its disk; nothing else is needed."),
    ("malformed", _BROKEN),
    ("not a database", _BROKEN),
    ("unable to open", "Make its folder, where this user may write."),
)


def say(path: Path, error: Exception) -> str:
    """Return what an error of a database says, and what to do about it."""
    if isinstance(error, UnusablePathError):
        return str(error)
    if "another version" in str(error):
        return f"{str(path)!r} cannot be used: {error}."
    cure = cure_of(error) or " See that the disk has room and that this user may write there."
    return f"{str(path)!r} says {str(error)!r}.{cure}"


def cure_of(error: Exception) -> str:
    """Return what to do about an error: a sentence with a space in front, or nothing."""
    words = str(error)
    if isinstance(error, UnusablePathError) or "another version" in words:
        return ""  # the message ends with its cure
    if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
        return " Give the file a shorter name: others of up to 20 characters more are made beside it."
    return next((f" {cure}" for mark, cure in _CURES if mark in words), "")
