"""The app's database: what every worker must show alike, and what a worker asks of the others."""

from __future__ import annotations

import os
import sqlite3
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

__all__ = ["FOLDER_VARIABLE", "Store"]

FOLDER_VARIABLE = "EXAMPLE_APP_FOLDER"
"""The environment variable by which gunicorn's master tells its workers where the database is."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS samples (number INTEGER PRIMARY KEY, time REAL, body TEXT);
CREATE TABLE IF NOT EXISTS notes (id INTEGER PRIMARY KEY CHECK (id = 1), text TEXT, tag TEXT);
CREATE TABLE IF NOT EXISTS streams (visitor TEXT, pid INTEGER, open INTEGER, PRIMARY KEY (visitor, pid));
CREATE TABLE IF NOT EXISTS cuts (visitor TEXT PRIMARY KEY, until REAL, loses_history INTEGER);
"""


class Store:
    """
    A SQLite database that lives as long as the server. Thread-safe.

    Events tell pages what changes. What stands now is in a database, as in any app of several workers, so
    that a page gets the same from whichever answers.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._setup_lock = threading.Lock()
        self._path: Path | None = None
        self._own_folder: tempfile.TemporaryDirectory[str] | None = None

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """Lend a connection for reading."""
        with closing(self._connect()) as database:
            yield database

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """
        Lend a connection for reading and writing, while no other process and thread writes.

        What is published inside is published in the order of the transactions. An error undoes what was
        written.
        """
        # SQLite waits without letting other greenlets run, and one of them may be the one to wait for. This
        # lock lets them run.
        with self._lock, closing(self._connect()) as database:
            database.execute("BEGIN IMMEDIATE")
            yield database
            database.execute("COMMIT")

    def _connect(self) -> sqlite3.Connection:
        with self._setup_lock:
            path = self._path = self._path or self._set_up()
        database = sqlite3.connect(path, isolation_level=None)
        database.execute("PRAGMA synchronous=OFF")  # after a power cut there is no server to read it
        return database

    def _set_up(self) -> Path:
        folder = os.environ.get(FOLDER_VARIABLE)
        if folder is None:  # a server of one process; the folder goes with it
            self._own_folder = tempfile.TemporaryDirectory(prefix="example-app-")
            folder = self._own_folder.name
        path = Path(folder, "example.db")
        with closing(sqlite3.connect(path)) as database:
            database.executescript(_SCHEMA)
        return path
