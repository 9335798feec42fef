"""
The folder of one server, private to its user, in which its workers share events when nobody named a bus.

The folder lives as long as gunicorn's master. A worker that takes the place of one that was reloaded,
recycled or killed finds the events there. The last worker of a server that stops removes the folder; what a
killed server left, the next server removes. Where somebody removes the folder of a running server, the
history is lost, and the next worker that publishes or reads makes the folder again.
"""

from __future__ import annotations

import atexit
import contextlib
import hashlib
import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

from ..errors import ConfigurationError
from ..platform.gunicorn import listening_sockets, master_listens
from ..platform.ownership import (
    UnusablePathError,
    check_parent,
    check_private_folder,
    is_private_folder,
    user_name,
)

__all__ = ["PrivateFolder", "private_folder"]

_PREFIX = "flask_sse_push"

# The user, the PID namespace, the number of the master's process and when it began, for numbers come again.
_NAME = re.compile(rf"{_PREFIX}-(\d+)-(\d+)-(\d+)-(\d+)-[0-9a-f]{{8}}")

_CURE = "Give gunicorn --worker-tmp-dir with a folder where the workers' user may write, such as /dev/shm."

# By their presence files: all apps of a process share one object, with its lock and its end.
_folders: dict[Path, PrivateFolder] = {}

_LISTENING = "0A"  # a socket's state in /proc/net/tcp
_ACCEPTS = 0x10000  # a Unix socket's flag in /proc/net/unix


def private_folder(worker: Any) -> PrivateFolder:
    """
    Return the folder of this worker's server, made if it is missing.

    Args:
        worker (Any): gunicorn's worker object of this process.

    Raises:
        ConfigurationError: No folder can be made that is this user's alone.
    """
    try:
        folder = PrivateFolder(worker)
        folder = _folders.setdefault(folder.presence, folder)
        folder.make()
    except OSError as error:
        raise ConfigurationError(f"The workers of this server cannot share events: {error}") from None
    return folder


class PrivateFolder:
    """
    The folder as one worker has it. Thread-safe.

    Nobody can know its name before the server runs, and put something in its place.

    Args:
        worker (Any): gunicorn's worker object of this process.

    Raises:
        OSError: There is no folder for temporary files.
    """

    def __init__(self, worker: Any) -> None:
        self._master, self._sockets = worker.ppid, listening_sockets(worker)
        parent = Path(worker.cfg.worker_tmp_dir or _temporary_folder()).absolute()
        self._prefix = f"{_PREFIX}-{os.geteuid()}-{_namespace()}"
        # Workers are forks of one master and inherit the secret by which Python hashes text. So all of them
        # come to the same number, and nobody else does.
        secret = hash("flask_sse_push: the private folder of this server") & 0xFFFFFFFF
        self._path = parent / f"{self._prefix}-{self._master}-{_started_at(self._master)}-{secret:08x}"
        self.presence = self._path / str(os.getpid())
        """A file that says that this process uses the folder."""
        self._lock: int | None = None
        self._is_to_be_left = False
        self._has_left = False

    def database(self, app: str) -> str:
        """
        Return the path of the database that the workers of an app share.

        Args:
            app (str): What tells the apps of a server apart.
        """
        return str(self._path / f"{hashlib.sha256(app.encode()).hexdigest()[:10]}.db")

    def is_used_by(self, process: int) -> bool:
        """Return whether another process uses the folder, or did until it was killed."""
        return self.presence.with_name(str(process)).exists()

    def make(self) -> None:
        """
        Make the folder, unless it is there, and be seen in it.

        Two threads may do so at once, or a finalizer in the middle: each step can be done twice.

        Raises:
            UnusablePathError: It cannot be made, or what is there is not ours.
        """
        parent = self._path.parent
        try:
            check_parent(parent, _CURE)
            if self._has_left:  # nobody would remove a folder that is made now
                self._check_after_end()
                return
            with contextlib.suppress(FileExistsError):
                self._path.mkdir(mode=0o700)
                self._remove_dead()
            check_private_folder(self._path, "Remove it.")
            self._hold()
            self.presence.touch(mode=0o600)
        except UnusablePathError:
            raise
        except OSError as error:
            user = user_name(os.geteuid())
            raise UnusablePathError(
                f"in {str(parent)!r} {user} can make no folder ({error.strerror}). {_CURE}"
            ) from error
        if not self._is_to_be_left:
            self._is_to_be_left = True
            atexit.register(self._leave)

    def _check_after_end(self) -> None:
        try:
            check_private_folder(self._path, "Remove it.")
        except FileNotFoundError:
            raise UnusablePathError(
                f"{str(self._path)!r} went with the last worker of the server, which stops. Publish earlier: "
                "an atexit function that is registered after the blueprint runs before that."
            ) from None

    def _hold(self) -> None:
        """
        Lock the folder as long as this process lives. systemd-tmpfiles, which removes what was not used for
        ten days, then leaves it alone.

        Other workers may hold the lock too: it is shared, and nobody waits for it.
        """
        import fcntl  # not on Windows

        if self._lock is not None and os.path.samestat(os.fstat(self._lock), self._path.lstat()):
            return
        folder = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        before, self._lock = self._lock, folder
        if before is not None:
            os.close(before)  # the lock of a folder that was removed
        with contextlib.suppress(OSError):
            fcntl.flock(folder, fcntl.LOCK_SH | fcntl.LOCK_NB)

    def _leave(self) -> None:
        """Remove the folder at the end of a worker, if it is the last one of a server that stops."""
        if self.presence.name != str(os.getpid()):
            return  # a forked child inherits its parent's atexit functions
        self._has_left = True
        self.presence.unlink(missing_ok=True)
        if os.getppid() == self._master and self._goes_on():
            return  # this worker alone ends
        if not any(other.name.isdigit() and _is_alive(int(other.name)) for other in _entries(self._path)):
            shutil.rmtree(self._path, ignore_errors=True)

    def _goes_on(self) -> bool:
        """
        Say whether the server goes on: a master that stops closes its sockets before it stops its workers.
        """
        try:
            os.scandir(f"/proc/{self._master}/fd").close()
        except PermissionError:
            # The master is another user's, often root's: nobody but its workers listens then. A worker that
            # was stopped by SIGQUIT still does, and leaves the folder to the next server.
            return _are_listened_on(self._sockets)
        except OSError:
            pass  # the master is gone, or this is not Linux: master_listens() knows both
        return master_listens(self._master, self._sockets)

    def _remove_dead(self) -> None:
        """Remove what killed servers of this user left, where processes can be told apart."""
        for folder in _entries(self._path.parent):
            name = _NAME.fullmatch(folder.name)
            if (
                name is None
                or not folder.name.startswith(f"{self._prefix}-")
                or name[2] == "0"
                or str(_started_at(int(name[3]))) == name[4]
            ):
                continue
            with contextlib.suppress(OSError):
                if is_private_folder(folder.lstat()):
                    shutil.rmtree(folder, ignore_errors=True)


def _temporary_folder() -> str:
    try:
        return tempfile.gettempdir()
    except FileNotFoundError as error:
        raise UnusablePathError(
            f"there is no folder for temporary files ({error.strerror}). {_CURE}"
        ) from None


def _are_listened_on(sockets: frozenset[str]) -> bool:
    """Say whether any process listens on these sockets; where nothing shows that, one does."""
    numbers = {name.removeprefix("socket:[").removesuffix("]") for name in sockets}
    if not numbers:
        return True
    try:
        for kind in ("tcp", "tcp6"):
            for line in Path(f"/proc/net/{kind}").read_text(encoding="ascii").splitlines()[1:]:
                fields = line.split()
                if fields[3] == _LISTENING and fields[9] in numbers:
                    return True
        for line in Path("/proc/net/unix").read_text(encoding="utf-8", errors="replace").splitlines()[1:]:
            fields = line.split()
            if int(fields[3], 16) & _ACCEPTS and fields[6] in numbers:
                return True
    except (OSError, IndexError, ValueError):
        return True  # the next server removes what is left then
    return False


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def _namespace() -> int:
    try:
        return Path("/proc/self/ns/pid").stat().st_ino
    except OSError:
        return 0


def _started_at(pid: int) -> int:
    """Return when a process began, in ticks since the machine did; 0 where nothing tells."""
    try:
        return int(
            Path(f"/proc/{pid}/stat")
            .read_text(encoding="ascii", errors="replace")
            .rpartition(")")[2]
            .split()[19]
        )
    except (OSError, ValueError, IndexError):
        return 0


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
