"""Servers of this tree of the package and of another one, with workers that count."""

from __future__ import annotations

import struct
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from .errors import BrokenRun
from .peers import PACKAGE, Peer, gunicorn_gevent
from .run import START_SECONDS, Run, start
from .stores import Store

__all__ = ["Checkout", "Workers", "checkout", "counted_server", "peer_of"]


@dataclass(frozen=True)
class Checkout:
    """A tree of the package that is measured."""

    title: str
    """How tables call it."""
    folder: Path
    """Where ``flask_sse_push`` and ``benchmarks`` are found: the former of that tree, the latter of this."""


@contextmanager
def checkout(title: str, root: Path) -> Iterator[Checkout]:
    """
    Have the package of a tree for the length of a block.

    Args:
        title (str): How tables call it.
        root (Path): Of the tree.
    """
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        Path(folder, "flask_sse_push").symlink_to(root.resolve() / "flask_sse_push")
        Path(folder, "benchmarks").symlink_to(Path(__file__).parent.resolve())
        yield Checkout(title, Path(folder))


class Workers:
    """
    What the processes of a server have counted; see ``servers/counted.py``.

    Args:
        folder (Path): Where their files are.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def wait_for(self, count: int) -> None:
        """
        Wait until so many have loaded the app: what they use for that is not part of a measurement.

        Raises:
            BrokenRun: They have not in time.
        """
        give_up_at = time.monotonic() + START_SECONDS
        while len(list(self._folder.iterdir())) < count:
            if time.monotonic() > give_up_at:
                raise BrokenRun(f"Fewer than {count} workers have started.")
            time.sleep(0.02)

    def counts(self) -> dict[str, tuple[int, int]]:
        """Return by process how many entries its bus has handed on, and how many streams it has."""
        return {path.name: struct.unpack("qq", path.read_bytes()) for path in self._folder.iterdir()}


def peer_of(of: Checkout, store: Store, workers: int, **settings: str) -> Peer:
    return Peer(
        PACKAGE,
        f"{store.url}, {workers} workers",
        gunicorn_gevent("flask_sse_push", workers),
        environment={"FLASK_SSE_PUSH_BUS_URL": store.url, **settings},
        folder=of.folder,
    )


@contextmanager
def counted_server(of: Checkout, store: Store, workers: int) -> Iterator[tuple[Run, Workers]]:
    """Run a server whose processes count, from when all of them are up."""
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        peer = peer_of(of, store, workers, BENCHMARK_COUNTS=folder)
        peer = replace(peer, command=gunicorn_gevent("counted", workers))
        # Streams of a warm-up would be gone, but their channel is followed for another half minute.
        with start(peer, warms_up=False) as run:
            counted = Workers(Path(folder))
            counted.wait_for(workers)
            yield run, counted
