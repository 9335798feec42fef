"""The plug that a visitor pulls: it cuts the visitor's own streams, and keeps them away for a while."""

from __future__ import annotations

import logging
import math
import os
import socket
import threading
import time
import weakref
from contextlib import suppress
from typing import Any

import psutil

from .store import Store

__all__ = ["CUT_SECONDS", "Plug"]

CUT_SECONDS = 10
"""How long a visitor's streams are refused."""

LOSS_SECONDS = 3
"""The same, when what counts is that the history is lost."""

_LOOK_SECONDS = 0.2

# No log of the package gives such an id: nobody can say what came after it.
_UNKNOWN_PLACE = "unknown"

logger = logging.getLogger(__name__)


class Plug:
    """
    Cuts the streams of a visitor, in whichever worker they are. Thread-safe.

    The connection is shut down under the response, so the browser sees what it would see of a cable or a
    proxy that broke. All workers look into the database for visitors to cut, because any of them may be asked
    to, and another one may have the stream.

    Args:
        store (Store): Says which visitors are cut, and which process serves them.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._visitors: weakref.WeakKeyDictionary[socket.socket, str] = weakref.WeakKeyDictionary()

    def start(self) -> None:
        """Look for visitors to cut; call it in the process that serves, any number of times."""
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="plug", daemon=True)
                self._thread.start()

    def pull(self, visitor: str, *, loses_history: bool) -> None:
        """Cut a visitor's streams, and refuse new ones for some seconds."""
        until = time.time() + (LOSS_SECONDS if loses_history else CUT_SECONDS)
        with self._store.transaction() as database:
            database.execute("INSERT OR REPLACE INTO cuts VALUES (?, ?, ?)", (visitor, until, loses_history))
            database.execute("DELETE FROM cuts WHERE until < ?", (time.time() - 300,))

    def admit(self, visitor: str | None, environ: dict[str, Any]) -> int:
        """
        Return in how many seconds a visitor may have a stream, 0 for now. Call it with every request.

        Args:
            visitor (str | None): Whose stream this request asks for; ``None`` when it asks for no stream.
            environ (dict): Of the request. The place that the browser sends is replaced in it, when the
                visitor's history was lost.
        """
        connection: Any = environ.get("gunicorn.socket") or environ.get("werkzeug.socket")
        if connection is not None:
            with self._lock:
                # One connection carries several requests, behind a proxy those of several visitors.
                self._visitors.pop(connection, None)
        if visitor is None:
            return 0
        until, loses_history = self._find_cut(visitor)
        if until > time.time():
            return math.ceil(until - time.time())
        if loses_history and "HTTP_LAST_EVENT_ID" in environ:
            environ["HTTP_LAST_EVENT_ID"] = _UNKNOWN_PLACE
        if connection is not None:
            with self._lock:
                self._visitors[connection] = visitor
        return 0

    def _find_cut(self, visitor: str) -> tuple[float, bool]:
        """
        Return until when a visitor is cut, and whether the history is lost. A cut that is over counts once.
        """
        with self._store.read() as database:
            row = database.execute("SELECT until, loses_history FROM cuts WHERE visitor = ?", (visitor,))
            until, loses_history = row.fetchone() or (0, False)
        if 0 < until <= time.time():
            with self._store.transaction() as database:
                database.execute("DELETE FROM cuts WHERE visitor = ? AND until = ?", (visitor, until))
        return until, bool(loses_history)

    def note_opened(self, visitor: str) -> None:
        """Note that this process has opened a stream of a visitor."""
        with self._store.transaction() as database:
            database.execute(
                "INSERT INTO streams VALUES (?, ?, 1)"
                " ON CONFLICT (visitor, pid) DO UPDATE SET open = open + 1",
                (visitor, os.getpid()),
            )

    def note_closed(self, visitor: str) -> None:
        """Note that a stream of a visitor is over."""
        with self._store.transaction() as database:
            database.execute(
                "UPDATE streams SET open = open - 1 WHERE visitor = ? AND pid = ?", (visitor, os.getpid())
            )
            database.execute("DELETE FROM streams WHERE open <= 0")

    def forget_process(self, pid: int) -> None:
        """Note that a process is gone, and its streams with it."""
        with self._store.transaction() as database:
            database.execute("DELETE FROM streams WHERE pid = ?", (pid,))

    def count_streams(self) -> int:
        """Return how many streams all processes have open."""
        with self._store.read() as database:
            return int(database.execute("SELECT coalesce(sum(open), 0) FROM streams").fetchone()[0])

    def find_process(self, visitor: str) -> int | None:
        """Return the id of the process that serves a visitor's stream, if there is one."""
        with self._store.read() as database:
            row = database.execute(
                "SELECT pid FROM streams WHERE visitor = ? ORDER BY rowid DESC", (visitor,)
            ).fetchone()
        return None if row is None else row[0]

    def restart_worker(self, visitor: str) -> bool:
        """
        Ask the worker that serves a visitor to end, and gunicorn starts another; ``False`` if there is none.
        """
        pid = self.find_process(visitor)
        with suppress(psutil.NoSuchProcess):
            # The number of a worker that has just crashed may belong to another program by now.
            if pid is not None and (worker := psutil.Process(pid)).ppid() == os.getppid():
                worker.terminate()
                return True
        return False

    def _run(self) -> None:
        while True:
            time.sleep(_LOOK_SECONDS)
            try:
                self._cut()
            except Exception:
                logger.exception("A plug could not be pulled.")

    def _cut(self) -> None:
        with self._store.read() as database:
            rows = database.execute("SELECT visitor FROM cuts WHERE until > ?", (time.time(),)).fetchall()
        cut = {visitor for (visitor,) in rows}
        with self._lock:
            connections = [connection for connection, visitor in self._visitors.items() if visitor in cut]
            for connection in connections:
                del self._visitors[connection]
        for connection in connections:
            with suppress(OSError):  # it is closed already
                connection.shutdown(socket.SHUT_RDWR)
