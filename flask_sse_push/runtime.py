"""
The private folder of one server: where its workers share events when nobody named a bus.

It lives and dies with gunicorn's master. A worker that is reloaded, recycled or killed finds its successor's events there, and
the last worker of a server that stops takes the folder away. What a killed server left, the next one removes.
"""

from __future__ import annotations

import atexit
import contextlib
import hashlib
import os
import re
import shutil
import stat
import tempfile
from pathlib import Path
from typing import Any

from .errors import ConfigurationError
from .worker import listening_sockets, master_listens

__all__ = ["private_folder", "shared_database"]

# The master's process: its PID namespace, number, and the moment it began, since numbers come back.
_NAME = re.compile(r"(\d+)-(\d+)-(\d+)")


def shared_database(worker: Any, app: str) -> str:
    """
    Return the path of the database that an app's workers share.

    Args:
        worker (Any): gunicorn's worker object of this process.
        app (str): What tells the apps of a server apart.

    Raises:
        ConfigurationError: There is no place that is ours alone.
    """
    folder = _server_folder(worker)
    presence = folder / str(os.getpid())
    if not presence.exists():
        presence.touch(mode=0o600)
        atexit.register(_leave, worker.ppid, listening_sockets(worker), presence)
    return str(folder / f"{hashlib.sha256(app.encode()).hexdigest()[:16]}.db")


def private_folder(parent: Path) -> Path:
    """
    Return this user's own folder, made if it is missing.

    Raises:
        ConfigurationError: Something of another user is in its place, or others could look into it.
    """
    folder = parent / f"flask_sse_push-{os.geteuid()}"
    while True:
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        try:
            found = folder.lstat()
            break
        except FileNotFoundError:
            continue  # another server was the last one there, and has stopped just now
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o077:
        raise ConfigurationError(
            f"{str(folder)!r} must be a folder of this user that nobody else can enter, got mode {stat.filemode(found.st_mode)} of user {found.st_uid}. "
            "Remove it, or set SSE_PUSH_BUS_URL to sqlite:// and a path of your own."
        )
    return folder


def _server_folder(worker: Any) -> Path:
    parent = Path(worker.cfg.worker_tmp_dir or tempfile.gettempdir())
    while True:
        base = private_folder(parent)
        _remove_dead(base)
        folder = base / f"{_namespace()}-{worker.ppid}-{_started_at(worker.ppid)}"
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
        except FileNotFoundError:
            continue  # another server was the last one there, and has stopped just now
        return folder


def _leave(master: int, sockets: frozenset[str], presence: Path) -> None:
    """A worker ends: with the last of a server that stops, the folder goes."""
    if presence.name != str(os.getpid()):
        return  # a fork inherits what is to be done at the end of its parent
    presence.unlink(missing_ok=True)
    if os.getppid() == master and master_listens(master, sockets):
        return  # this worker alone was told to go
    if not any(other.name.isdigit() and _is_alive(int(other.name)) for other in _entries(presence.parent)):
        shutil.rmtree(presence.parent, ignore_errors=True)
        with contextlib.suppress(OSError):
            presence.parent.parent.rmdir()


def _remove_dead(base: Path) -> None:
    """Remove what killed servers left; where processes can be told apart."""
    for folder in _entries(base):
        name = _NAME.fullmatch(folder.name)
        if name is not None and name[1] == str(_namespace()) != "0" and str(_started_at(int(name[2]))) != name[3]:
            shutil.rmtree(folder, ignore_errors=True)


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
    """When a process began, in ticks since the machine did; 0 when there is none, or nothing says."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()[19])
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
