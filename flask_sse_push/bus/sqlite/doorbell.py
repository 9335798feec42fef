"""
How one process wakes the others of a machine: by a datagram to the socket of each, in a folder beside the
database.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import socket
import stat
import time
from collections.abc import Callable
from functools import partial
from operator import attrgetter
from pathlib import Path

from ...platform.fork import close_with, keep_from_children
from ...platform.ownership import check_private_folder, is_private_folder

__all__ = ["Doorbell", "Doorbells", "doorbell_folder"]

MAX_ADDRESS_BYTES = 107
"""The longest address of a Unix socket on Linux, without its NUL."""

# The clock by which the kernel stamps a folder ticks every few milliseconds: two changes may have one stamp.
_COARSE_CLOCK_NANOSECONDS = 50_000_000

_HANG_TRIES = 5

# Of a doorbell that can be rung. Other files in the folder are neither rung nor removed.
_NAME = re.compile(r"\d+-[0-9a-f]{8}")

_stamp = attrgetter("st_dev", "st_ino", "st_uid", "st_mode", "st_mtime_ns")


class Doorbell:
    """
    The socket of a process that listens. For one thread; any may call ``ring``.

    Args:
        folder (Path): Where the sockets of all processes are. It is made for this user alone.

    Raises:
        OSError: No socket can be made there, or other users could reach into the folder.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / f"{os.getpid()}-{secrets.token_hex(4)}"
        for tries_left in reversed(range(_HANG_TRIES)):
            try:
                self._socket = self._hang()
                break
            except FileNotFoundError:
                # Another process, the last one that listened, has just removed the folder.
                if not tries_left:
                    raise
        keep_from_children(self)

    def _hang(self) -> socket.socket:
        folder = self._path.parent
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        check_private_folder(folder, "Remove it.")
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        # Renamed when it is bound: in the middle of bind() it looks like the socket of a dead process.
        unbound = self._path.with_name(f"{self._path.name}.new")
        try:
            sock.setblocking(False)
            _call_with_address(sock.bind, str(unbound))
            unbound.rename(self._path)
        except BaseException:
            sock.close()
            raise
        return sock

    def is_there(self) -> bool:
        """Say whether others can still find it: somebody may have removed it."""
        return os.path.lexists(self._path)

    def fileno(self) -> int:
        """Return the file to wait for: it is readable when somebody rang."""
        return self._socket.fileno()

    def answer(self) -> bool:
        """
        Make it silent again, and say whether it rang.

        Look for new entries after this, never before: who publishes in between rings again.
        """
        rang = False
        with contextlib.suppress(BlockingIOError):
            while self._socket.recv(64):
                rang = True
        return rang

    def ring(self) -> None:
        """Ring this one."""
        _ring(self._socket, str(self._path))

    def close(self) -> None:
        """Remove it, and the folder with the last one."""
        with contextlib.suppress(OSError):
            self._path.unlink()
        self._socket.close()
        with contextlib.suppress(OSError):
            self._path.parent.rmdir()


class Doorbells:
    """
    All doorbells of a folder, to be rung by a process that publishes. Not thread-safe: its owner has a lock.

    Ringing never waits: a doorbell whose buffer is full was rung already.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = str(folder)
        self._sockets: list[socket.socket] = []  # one, once something was rung
        self._paths: list[str] = []
        self._listed: tuple[int, ...] = ()
        close_with(self, partial(_close_all, self._sockets))

    def ring(self) -> None:
        """Wake every process that listens, and remove the sockets of dead ones."""
        try:
            found = os.lstat(self._folder)
            stamp = _stamp(found)
            if stamp != self._listed and not self._list(found, stamp):
                return
        except OSError:
            return  # nobody has ever listened
        if not self._sockets:
            self._sockets.append(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
            self._sockets[0].setblocking(False)
        for path in self._paths:
            _ring(self._sockets[0], path)

    def _list(self, found: os.stat_result, stamp: tuple[int, ...]) -> bool:
        if not is_private_folder(found):
            return False  # who can put names there chooses what is rung, and what is removed
        with os.scandir(self._folder) as entries:
            self._paths = [
                entry.path
                for entry in entries
                if _NAME.fullmatch(entry.name) and stat.S_ISSOCK(entry.stat(follow_symlinks=False).st_mode)
            ]
        is_settled = time.time_ns() - found.st_mtime_ns > _COARSE_CLOCK_NANOSECONDS
        self._listed = stamp if is_settled else ()
        return True

    def close(self) -> None:
        """Close the socket that rings."""
        _close_all(self._sockets)


def doorbell_folder(database: Path) -> Path:
    """Return the folder with the doorbells of the processes that follow a database."""
    return database.with_name(database.name + "-bells")


def _close_all(sockets: list[socket.socket]) -> None:
    while sockets:
        sockets.pop().close()


def _ring(sock: socket.socket, path: str) -> None:
    try:
        _call_with_address(partial(sock.sendto, b"!", socket.MSG_DONTWAIT), path)
    except BlockingIOError:
        pass  # rung already
    except ConnectionRefusedError:
        # It was bound, and nobody has it open: its process was killed.
        with contextlib.suppress(OSError):
            Path(path).unlink()
    except OSError:
        pass  # gone, or no socket: the others are rung all the same


def _call_with_address(call: Callable[[str], object], path: str) -> None:
    """
    Call with the address of a socket; where its path is too long for an address, by way of its open folder.
    """
    if len(os.fsencode(path)) <= MAX_ADDRESS_BYTES:
        call(path)
        return
    folder, name = os.path.split(path)
    number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        call(f"/proc/self/fd/{number}/{name}")
    finally:
        os.close(number)
