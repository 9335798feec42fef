"""
Whether a file or folder belongs to this user alone.

What another user owns, could write or could swap is not used: somebody who plants a database reads what is
published and forges what is read. The rule holds for root too: the owner of a file chooses what is in it.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

__all__ = [
    "UnusablePathError",
    "check_file",
    "check_parent",
    "check_private_folder",
    "is_private_folder",
    "user_name",
]


class UnusablePathError(OSError):
    """
    A path that cannot be used as it is. The message names the path, its owner and mode, and the cure.
    """


def check_parent(folder: Path, cure: str) -> bool:
    """
    Refuse a folder in which other users could swap this user's files. A missing folder is not refused.

    Args:
        folder (Path): A link is followed: what counts is who owns the folder that it leads to.
        cure (str): What to do instead, as a sentence.

    Returns:
        bool: Whether other users may make files of their own there, as in ``/tmp``.

    Raises:
        UnusablePathError: It belongs to another user than this one or root, or others may write in it and it
        is not sticky.
    """
    try:
        found = folder.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    is_common = _others_may_write(found)
    is_safe = found.st_uid in (0, os.geteuid()) and (bool(found.st_mode & stat.S_ISVTX) or not is_common)
    if not is_safe:
        raise UnusablePathError(
            f"the folder {str(folder)!r} must belong to {_this_user()} or root, and nobody else may write "
            f"in it unless it is sticky, got {_describe(found)}: others could swap the files in it. {cure}"
        )
    return is_common


def check_file(path: Path) -> os.stat_result | None:
    """
    Return the status of a file of this user, or ``None`` if there is no file. A link is not followed.

    Raises:
        UnusablePathError: It is no plain file of this user that others cannot write.
    """
    try:
        found = path.lstat()
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
        cure = "Name the file itself, by the one name that it has, or remove what is there."
    elif found.st_uid != os.geteuid():
        owner = user_name(found.st_uid)
        cure = f"All processes of a bus run as one user: run this one as {owner}, or name another file."
    elif _others_may_write(found):
        cure = "If nobody else wrote it, take the right to write from them (chmod go-w)."
    else:
        return found
    names = f" with {found.st_nlink} names" if found.st_nlink > 1 else ""
    raise UnusablePathError(
        f"{str(path)!r} must be a plain file of {_this_user()} that nobody else may write, "
        f"got {_describe(found)}{names}. {cure}"
    )


def check_private_folder(folder: Path, cure: str) -> None:
    """
    Refuse a folder that other users can enter. A link is not followed.

    Args:
        folder (Path): It must be there.
        cure (str): What to do, as a sentence.

    Raises:
        FileNotFoundError: It is not there.
        UnusablePathError: It is no folder, it belongs to another user, or others can enter it.
    """
    found = folder.lstat()
    if not is_private_folder(found):
        raise UnusablePathError(
            f"{str(folder)!r} must be a folder of {_this_user()} that nobody else can enter, "
            f"got {_describe(found)}. {cure}"
        )


def is_private_folder(found: os.stat_result) -> bool:
    """
    Return whether this is the status (by ``lstat``) of a folder of this user that nobody else can enter.
    """
    return stat.S_ISDIR(found.st_mode) and not found.st_mode & 0o077 and found.st_uid == os.geteuid()


def user_name(uid: int) -> str:
    """Return a user's name and number, for people."""
    import pwd  # not on Windows

    try:
        return f"user {pwd.getpwuid(uid).pw_name!r} ({uid})"
    except KeyError:
        return f"user {uid}"


def _this_user() -> str:
    return user_name(os.geteuid())


def _describe(found: os.stat_result) -> str:
    return f"mode {stat.filemode(found.st_mode)} of {user_name(found.st_uid)}"


def _others_may_write(found: os.stat_result) -> bool:
    if found.st_mode & stat.S_IWOTH:
        return True
    return bool(found.st_mode & stat.S_IWGRP) and not _is_group_of_one(found)


def _is_group_of_one(found: os.stat_result) -> bool:
    """
    Whether a file's group has its owner as the only member.

    Where each user has a group of the same name and umask 002, everything that a user makes is open to that
    group.
    """
    import grp  # not on Windows
    import pwd

    try:
        owner, group = pwd.getpwuid(found.st_uid).pw_name, grp.getgrgid(found.st_gid)
    except KeyError:
        return False
    return group.gr_name == owner and not set(group.gr_mem) - {owner}
