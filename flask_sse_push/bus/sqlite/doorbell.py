"""How one process wakes the others of a machine: a datagram to the socket of each, in a folder beside the log."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import socket
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from ...platform.fork import keep_from_children
from ...platform.ownership import check_private_folder, is_private_folder

__all__ = ["Bells", "Doorbell"]

MAX_ADDRESS_BYTES = 107
"""What fits into ``sun_path`` on Linux, beside its NUL."""

_COARSE_CLOCK_NANOSECONDS = 50_000_000  # the kernel stamps a folder by a clock of a few milliseconds: a younger stamp may hide a change

_HANG_TRIES = 5

# Ours, and hung: what else there may be in the folder is neither rung nor removed.
_NAME = re.compile(r"\d+-[0-9a-f]{8}")


class Doorbell:
    """
    The socket of a process that listens. For one thread; ``ring`` from any.

    Args:
        folder (Path): Where the sockets of all processes are. It is made for this user alone.

    Raises:
        OSError: There can be no socket here, or others could reach into the folder.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / f"{os.getpid()}-{secrets.token_hex(4)}"
        for tries_left in reversed(range(_HANG_TRIES)):
            try:
                self._socket = self._hang()
                break
            except FileNotFoundError:
                # The last of the others took the folder away just now.
                if not tries_left:
                    raise
        keep_from_children(self)

    def _hang(self) -> socket.socket:
        folder = self._path.parent
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        check_private_folder(folder, "Remove it.")
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        # Hung under its name when it can be rung: in the middle of bind() it looks like that of a dead process.
        unbound = self._path.with_name(f"{self._path.name}.new")
        try:
            sock.setblocking(False)
            with _address(unbound) as address:
                sock.bind(address)
            unbound.rename(self._path)
        except BaseException:
            sock.close()
            raise
        return sock

    def is_there(self) -> bool:
        """Say whether others can still find it: somebody may have tidied up."""
        return os.path.lexists(self._path)

    def fileno(self) -> int:
        """Return what to wait for: it is readable when somebody rang."""
        return self._socket.fileno()

    def answer(self) -> None:
        """Make it silent again. Look at what it announces after this, never before."""
        with contextlib.suppress(BlockingIOError):
            while self._socket.recv(64):
                pass

    def ring(self) -> None:
        """Ring this one."""
        _ring(self._socket, self._path)

    def close(self) -> None:
        """Take it away, and the folder with the last."""
        with contextlib.suppress(OSError):
            self._path.unlink()
        self._socket.close()
        with contextlib.suppress(OSError):
            self._path.parent.rmdir()


class Bells:
    """
    All sockets of a folder, rung by who publishes. Not thread-safe: its owner has a lock.

    Ringing never waits: a bell whose buffer is full has been rung and not answered yet.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._socket: socket.socket | None = None
        self._paths: list[Path] = []
        self._listed_at = -1

    def ring(self) -> None:
        """Wake every process that listens; a socket whose process is dead is removed."""
        try:
            found = os.lstat(self._folder)
        except OSError:
            return  # nobody has ever listened
        if not is_private_folder(found):
            return  # whoever could put a name there would choose what is rung, and what is removed
        changed_at = found.st_mtime_ns
        if changed_at != self._listed_at:
            try:
                self._paths = [
                    path
                    for path in self._folder.iterdir()
                    if _NAME.fullmatch(path.name) and stat.S_ISSOCK(path.lstat().st_mode)
                ]
            except OSError:
                return
            self._listed_at = changed_at if time.time_ns() - changed_at > _COARSE_CLOCK_NANOSECONDS else -1
        if self._socket is None:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._socket.setblocking(False)
        for path in self._paths:
            _ring(self._socket, path)

    def close(self) -> None:
        """Let go of the socket that rings."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def _ring(sock: socket.socket, path: Path) -> None:
    try:
        with _address(path) as address:
            sock.sendto(b"!", socket.MSG_DONTWAIT, address)
    except BlockingIOError:
        pass  # rung already
    except ConnectionRefusedError:
        # Bound once, and nobody has it open: its process was killed.
        with contextlib.suppress(OSError):
            path.unlink()
    except OSError:
        pass  # gone, or no socket: the others are to be rung all the same


@contextlib.contextmanager
def _long_address(path: Path) -> Iterator[str]:
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def _address(path: Path) -> contextlib.AbstractContextManager[str]:
    """Return what to give to the socket: a path that is too long is gone to by way of its open folder."""
    text = str(path)
    return (
        contextlib.nullcontext(text) if len(os.fsencode(text)) <= MAX_ADDRESS_BYTES else _long_address(path)
    )
