"""
The app of this package, each process of which counts what its bus brings.

In the folder ``BENCHMARK_COUNTS`` each process has a file that is called by its process id: two numbers of 64
bits, the entries that its bus handed on, and the streams that are open. The file is there when the process
has loaded the app.
"""

from __future__ import annotations

import mmap
import os
import struct
from pathlib import Path
from typing import Any

from flask_sse_push import stream_closed, stream_opened
from flask_sse_push.streams.hub import Hub

from .flask_sse_push import app

__all__ = ["app"]

_file = Path(os.environ["BENCHMARK_COUNTS"], str(os.getpid()))
_file.write_bytes(bytes(16))
with _file.open("r+b") as _opened:
    _counts = mmap.mmap(_opened.fileno(), 16)


def _add(entries: int, streams: int) -> None:
    had = struct.unpack("qq", _counts)
    struct.pack_into("qq", _counts, 0, had[0] + entries, had[1] + streams)


def _opened_one(sender: object, **arguments: Any) -> None:
    _add(0, 1)


def _closed_one(sender: object, **arguments: Any) -> None:
    _add(0, -1)


stream_opened.connect(_opened_one)
stream_closed.connect(_closed_one)

_entries_came = Hub.entries_came


def _counted(hub: Hub, entries: Any, *rest: Any) -> None:
    # The parameters behind the entries differ between the versions that are compared.
    _add(len(entries), 0)
    _entries_came(hub, entries, *rest)


Hub.entries_came = _counted  # type: ignore[method-assign, assignment]
