"""The bus of all processes of one machine. Importing it needs a Unix, and a Python with SQLite."""

import os
import socket
from importlib.util import find_spec

from ...errors import ConfigurationError

# Windows has SQLite alone; a Python can be built without SQLite, and some machines have no Unix sockets.
if missing := [
    *(name for name in ("_sqlite3", "fcntl") if find_spec(name) is None),
    *(f"socket.{name}" for name in ("AF_UNIX", "MSG_DONTWAIT") if not hasattr(socket, name)),
    *(f"os.{name}" for name in ("O_NOFOLLOW", "geteuid") if not hasattr(os, name)),
]:
    raise ConfigurationError(
        f"SSE_PUSH_BUS_URL names a SQLite database, and this Python has no {', no '.join(missing)}. "
        "Name a Redis, or leave the setting out and run one process."
    )

from .bus import SqliteBus

__all__ = ["SqliteBus"]
