"""The database as a file: whose it is, and how it is made."""

from __future__ import annotations

import os
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from operator import attrgetter
from pathlib import Path

from ...platform.ownership import check_file, check_parent

__all__ = ["DatabaseFile", "identity"]

identity = attrgetter("st_dev", "st_ino", "st_uid", "st_mode")
"""Returns what of an ``os.stat_result`` tells one file of ours from all others."""

_PARENT_CURE = "Name a file in a folder of this user's own (mkdir -m 700)."

# SQLite applies these to the file, whoever made them: a journal of another user would overwrite all of it.
_BESIDE = ("-journal", "-wal", "-shm")


class DatabaseFile:
    """
    One file, with what SQLite keeps beside it. Not thread-safe; nothing in it waits.

    SQLite opens it by its name, and follows links. So its folder must be one in which others cannot swap it,
    and it must be the same plain file of this user before and after SQLite opens it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.identity: tuple[int, int, int, int] | None = None
        """What :func:`identity` gave of the file that was found."""
        self._is_common = False

    def prepare(self) -> None:
        """
        Make the file where there is none.

        Raises:
            UnusablePathError: Others could have written what is there, or could swap it.
            sqlite3.OperationalError: Another process is making it.
        """
        self._is_common = check_parent(self._path.parent, _PARENT_CURE)
        if self._look() is None:
            self._make()
        if self._is_common:
            self._take_names()
        self.identity = self._look()

    def confirm(self) -> None:
        """
        Check that SQLite has opened the file that was found before.

        Raises:
            UnusablePathError: Other users replaced it in between.
            sqlite3.OperationalError: Another process of this user replaced it in between.
        """
        if self._is_common:
            self._take_names()  # again: SQLite has used up the journal's, if it made the tables
        if self.identity is None or self._look() != self.identity:
            raise sqlite3.OperationalError("locked by another process that replaces it")

    def _look(self) -> tuple[int, int, int, int] | None:
        found = check_file(self._path)
        for ending in _BESIDE:
            check_file(self._beside(ending))
        return None if found is None else identity(found)

    def _make(self) -> None:
        """
        Make an empty file, and remove what a deleted file has left beside it: processes that have the deleted
        file open would share its -shm with those that open the new one.

        Under a lock, and only where there is no file: a process that comes a moment later must not remove
        what others use by then.
        """
        if not self._path.parent.is_dir():
            return  # SQLite says what is wrong there
        with _locked(self._beside("-lock")):
            if self._look() is not None:
                return
            for ending in _BESIDE:
                self._beside(ending).unlink(missing_ok=True)
            # For this user alone; SQLite gives -wal and -shm the same mode. Made under another name, because
            # closing the file itself would drop the locks of a thread that has opened it since.
            new = self._beside(f"-{secrets.token_hex(4)}")
            os.close(os.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW, 0o600))
            new.rename(self._path)

    def _take_names(self) -> None:
        """
        Make empty files with the names that SQLite uses beside the file, in a folder where others may make
        files too. SQLite takes an empty one for none.

        A look is not enough there: SQLite would read what another user makes between the look and the
        opening. In a sticky folder nobody can replace a file of ours.
        """
        for ending in _BESIDE:
            with suppress(OSError):  # it is there, or SQLite will say what is wrong
                os.close(
                    os.open(self._beside(ending), os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW, 0o600)
                )

    def _beside(self, ending: str) -> Path:
        return self._path.with_name(self._path.name + ending)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """
    Lock a file that only this user can open. (Anybody who may read the folder could lock the folder itself.)

    The file is removed with the lock. A process that opened it before that sees in the end that another file
    has its name.
    """
    import fcntl  # not on Windows

    check_file(path)
    file = os.open(path, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW, 0o600)
    try:
        check_file(path)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise sqlite3.OperationalError("locked by another process that makes it") from None
        if not _is_at(path, os.fstat(file)):
            raise sqlite3.OperationalError("locked by another process that has just made it")
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
    finally:
        os.close(file)


def _is_at(path: Path, found: os.stat_result) -> bool:
    try:
        return os.path.samestat(path.lstat(), found)
    except FileNotFoundError:
        return False
