"""The doorbell of this process, and what it says that this process listens to; see :mod:`.doorbells`."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
from collections import Counter
from collections.abc import Iterable
from functools import partial
from pathlib import Path

from ...platform.fork import close_with, forks, keep_from_children
from ...platform.ownership import check_private_folder
from .doorbells import ENDING, SLOTS, call_with_address, ring_at, slots_of

__all__ = ["Doorbell", "Interest"]

_HANG_TRIES = 5


class Doorbell:
    """
    The socket of a process that listens. For one thread; any may call ``ring``.

    Args:
        folder (Path): Where the sockets of all processes are. It is made for this user alone.

    Raises:
        OSError: No socket can be made there, or other users could reach into the folder.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / f"{os.getpid()}-{secrets.token_hex(4)}"
        """Where it is."""
        self._opened_in = forks()
        for tries_left in reversed(range(_HANG_TRIES)):
            try:
                self._socket, self.interest = self._hang()
                break
            except FileNotFoundError:
                # Another process, the last one that listened, has just removed the folder.
                if not tries_left:
                    raise
        keep_from_children(self)

    def _hang(self) -> tuple[socket.socket, Interest]:
        folder = self.path.parent
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        check_private_folder(folder, "Remove it.")
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        # Renamed when it is bound: in the middle of bind() it looks like the socket of a dead process.
        unbound = self.path.with_name(f"{self.path.name}.new")
        interest = Interest(self.path)  # before the doorbell: who finds it finds this too
        try:
            sock.setblocking(False)
            call_with_address(sock.bind, str(unbound))
            unbound.rename(self.path)
        except BaseException:
            sock.close()
            interest.close()
            raise
        return sock, interest

    def is_there(self) -> bool:
        """Say whether others can still find it: somebody may have removed it."""
        return os.path.lexists(self.path)

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
        ring_at(self._socket.sendto, str(self.path))

    def close(self) -> None:
        """Remove it, and the folder with the last one. In a forked child, only let go of it."""
        if self._opened_in != forks():
            self._socket.close()
            return
        self.interest.close()
        with contextlib.suppress(OSError):
            self.path.unlink()
        self._socket.close()
        with contextlib.suppress(OSError):
            self.path.parent.rmdir()


class Interest:
    """
    The file of this process. Not thread-safe. In a forked child it does nothing.

    Where it cannot be written, every event counts as one that this process cares about.

    Args:
        bell (Path): Of the doorbell. The file is there before the doorbell is.
    """

    def __init__(self, bell: Path) -> None:
        self._path = bell.with_name(bell.name + ENDING)
        self._counts: Counter[int] = Counter()  # so that one channel's end does not clear another's
        self._opened_in = forks()
        self._file = -1
        with contextlib.suppress(OSError):
            self._file = os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW, 0o600)
            close_with(self, partial(os.close, self._file))
            self._write_whole()

    def add(self, channels: Iterable[str]) -> None:
        """Say that this process listens to some channels. Once for each."""
        for slot in slots_of(channels):
            self._counts[slot] += 1
            if self._counts[slot] == 1:
                self._write(slot, b"\1")

    def remove(self, channels: Iterable[str]) -> None:
        """Say that this process listens to them no longer. Once for each that was added."""
        for slot in slots_of(channels):
            self._counts[slot] -= 1
            if self._counts[slot] < 1:
                del self._counts[slot]
                self._write(slot, b"\0")

    def _write(self, slot: int, content: bytes) -> None:
        if self._file < 0 or self._opened_in != forks():
            return
        with contextlib.suppress(OSError):
            # Written behind its end, a file that was cut short would get zeros in between.
            if os.fstat(self._file).st_size == SLOTS and os.pwrite(self._file, content, slot):
                return
        self._write_whole()

    def _write_whole(self) -> None:
        content = bytearray(SLOTS)
        for slot in self._counts:
            content[slot] = 1
        try:
            if os.pwrite(self._file, content, 0) == SLOTS:
                os.ftruncate(self._file, SLOTS)
                return
        except OSError:
            pass  # no room, perhaps
        with contextlib.suppress(OSError):
            os.ftruncate(self._file, 0)  # read as "listens to everything"

    def close(self) -> None:
        """Remove the file."""
        if self._opened_in == forks():
            with contextlib.suppress(OSError):
                self._path.unlink()
