"""
How a process wakes those that listen to a channel: by a datagram to the socket of each, its *doorbell*, in a
folder beside the database.

Beside each doorbell is a small file that says what its process listens to. It has one byte for each of 65,536
hashes of names of channels: 1 where the process listens to a channel with that hash. Who publishes looks at
one byte, and rings only where somebody may care. The listener writes before it reads the past of a channel,
and the publisher looks after its commit: so either the past has the event, or the bell rings.

The files are read and written, never mapped into memory: another process may cut them short.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import stat
import time
import zlib
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple

from ...platform.fork import close_with
from ...platform.ownership import is_private_folder

__all__ = ["ENDING", "SLOTS", "Doorbells", "call_with_address", "doorbell_folder", "ring_at", "slots_of"]

SLOTS = 65_536
"""Bytes. With 10,000 channels, a process is rung for one event in seven that it does not care about."""

ENDING = ".channels"
"""Of the name of the file that says what a process listens to, behind the name of the doorbell."""

_MAX_ADDRESS_BYTES = 107  # of a Unix socket on Linux, without its NUL

# The clock by which the kernel stamps a folder ticks every few milliseconds: two changes may have one stamp.
_COARSE_CLOCK_NANOSECONDS = 50_000_000

# Of a doorbell that can be rung. Other files in the folder are neither rung nor removed.
_NAME = re.compile(r"\d+-[0-9a-f]{8}")

_stamp = attrgetter("st_dev", "st_ino", "st_uid", "st_mode", "st_mtime_ns")


class _Bell(NamedTuple):
    """The doorbell of a process."""

    path: str
    interest: int
    """The file that says what the process listens to, open; -1 where there is none."""


class Doorbells:
    """
    All doorbells of a folder, to be rung by a process that publishes. Not thread-safe: its owner has a lock.

    Ringing never waits: a doorbell whose buffer is full was rung already.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = str(folder)
        self._sockets: list[socket.socket] = []  # one, once something was rung
        self._bells: dict[str, _Bell] = {}
        self._listed: tuple[int, ...] = ()
        close_with(self, partial(_close_all, self._sockets, self._bells))

    def ring(self, channels: Sequence[str]) -> None:
        """
        Wake the processes that may listen to one of some channels, and remove the sockets of dead ones.

        Call it after the commit: a process that begins to listen says so before it reads what is there.
        """
        is_listed = False
        try:
            found = os.lstat(self._folder)
            stamp = _stamp(found)
            if stamp != self._listed:
                if not self._list(found, stamp):
                    return
                is_listed = True
        except OSError:
            return  # nobody has ever listened
        if not self._sockets:
            self._sockets.append(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
            self._sockets[0].setblocking(False)
        slots, send = slots_of(channels), self._sockets[0].sendto
        # A list, because a finalizer may come here in between.
        for path, interest in list(self._bells.values()):
            # When processes came or went, all of them once: so the socket of one that was killed is found.
            if is_listed or _is_interested(interest, slots):
                ring_at(send, path)

    def _list(self, found: os.stat_result, stamp: tuple[int, ...]) -> bool:
        if not is_private_folder(found):
            return False  # who can put names there chooses what is rung, and what is removed
        with os.scandir(self._folder) as entries:
            paths = {
                entry.path
                for entry in entries
                if _NAME.fullmatch(entry.name) and stat.S_ISSOCK(entry.stat(follow_symlinks=False).st_mode)
            }
        for path in self._bells.keys() - paths:
            _close_bell(self._bells.pop(path))
        for path in sorted(paths - self._bells.keys()):
            self._bells[path] = _Bell(path, _open_interest(path))
        is_settled = time.time_ns() - found.st_mtime_ns > _COARSE_CLOCK_NANOSECONDS
        self._listed = stamp if is_settled else ()
        return True

    def close(self) -> None:
        """Close the socket that rings, and the files."""
        self._listed = ()
        _close_all(self._sockets, self._bells)


def doorbell_folder(database: Path) -> Path:
    """Return the folder with the doorbells of the processes that follow a database."""
    return database.with_name(database.name + "-bells")


def slots_of(channels: Iterable[str]) -> list[int]:
    """Return the hashes of some names, the same in every process."""
    return [zlib.crc32(channel.encode()) % SLOTS for channel in channels]


def ring_at(send: Callable[..., object], path: str) -> None:
    """
    Ring one doorbell, and remove it where its process was killed. Never waits, never raises.

    Args:
        send (Callable): ``sendto`` of a socket that does not block.
        path (str): Where the doorbell is.
    """
    try:
        if len(path) <= _MAX_ADDRESS_BYTES and path.isascii():
            send(b"!", socket.MSG_DONTWAIT, path)
        else:
            call_with_address(partial(send, b"!", socket.MSG_DONTWAIT), path)
    except BlockingIOError:
        pass  # rung already
    except ConnectionRefusedError:
        # It was bound, and nobody has it open: its process was killed.
        for ending in ("", ENDING):
            with contextlib.suppress(OSError):
                Path(path + ending).unlink()
    except OSError:
        pass  # gone, or no socket: the others are rung all the same


def call_with_address(call: Callable[[str], object], path: str) -> None:
    """
    Call with the address of a socket; where its path is too long for an address, by way of its open folder.
    """
    if len(os.fsencode(path)) <= _MAX_ADDRESS_BYTES:
        call(path)
        return
    folder, name = os.path.split(path)
    number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        call(f"/proc/self/fd/{number}/{name}")
    finally:
        os.close(number)


def _open_interest(bell: str) -> int:
    """Return the file of a doorbell, open; -1 where there is none that can be read."""
    try:
        return os.open(bell + ENDING, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return -1


def _is_interested(file: int, slots: Sequence[int]) -> bool:
    """Say whether a process may listen to a channel with one of these hashes."""
    try:
        # Nothing is read at the end of a file that is too short.
        for slot in slots:
            if os.pread(file, 1, slot) != b"\0":
                return True
    except OSError:
        return True
    return False


def _close_all(sockets: list[socket.socket], bells: dict[str, _Bell]) -> None:
    while sockets:
        sockets.pop().close()
    while bells:
        _close_bell(bells.popitem()[1])


def _close_bell(bell: _Bell) -> None:
    if bell.interest >= 0:
        os.close(bell.interest)
