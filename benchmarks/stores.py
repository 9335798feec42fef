"""What the workers of a server share: nothing, a file, or a Redis that is started for it."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .run import cpu_seconds_of, free_port, wait_for_port

__all__ = ["BUSES", "Store", "lacks", "open_store"]

BUSES = ("memory", "auto", "sqlite", "redis")


class Store:
    """
    A bus that nobody has used yet.

    Args:
        url (str): Its ``SSE_PUSH_BUS_URL``.
        process (subprocess.Popen | None): The Redis server, where it is one.
    """

    def __init__(self, url: str, process: subprocess.Popen[bytes] | None = None) -> None:
        self.url = url
        self._process = process

    @property
    def is_redis(self) -> bool:
        """Whether a process of its own holds the events."""
        return self._process is not None

    def cpu_seconds(self) -> float:
        """Return what its own process has used, in user and in kernel mode; 0 where it has none."""
        return cpu_seconds_of(self._process.pid) if self._process is not None else 0.0

    def info(self) -> dict[str, Any]:
        """Return what Redis says of itself; nothing where there is none."""
        if self._process is None:
            return {}
        from redis import Redis

        with Redis.from_url(self.url.partition("?")[0]) as client:
            return dict(client.info())


def lacks(bus: str) -> str | None:
    """Return what this machine lacks for a bus; ``None`` when nothing."""
    return "redis-server was not found" if bus == "redis" and not shutil.which("redis-server") else None


@contextmanager
def open_store(bus: str) -> Iterator[Store]:
    """Have a fresh one of :data:`BUSES` for the length of a block."""
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        if bus == "redis":
            with _redis(Path(folder)) as store:
                yield store
        elif bus == "sqlite":
            yield Store(f"sqlite:///{folder}/events.db")
        else:
            yield Store("memory://" if bus == "memory" else "auto")


@contextmanager
def _redis(folder: Path) -> Iterator[Store]:
    program = shutil.which("redis-server")
    assert program is not None, "lacks() has looked"
    port = free_port()
    listen = ["--port", str(port), "--bind", "127.0.0.1"]
    forget = ["--save", "", "--appendonly", "no", "--dir", str(folder)]
    process = subprocess.Popen(
        [program, *listen, *forget], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        wait_for_port(port, process)
        yield Store(f"redis://127.0.0.1:{port}/0?prefix=benchmark", process)
    finally:
        process.terminate()
        process.wait()
