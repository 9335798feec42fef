"""
What happened in a run, as JSON lines: each process writes a file of its own, and all times are of the
machine's one monotonic clock.

    run      scenario, seed, rules                     what is allowed, see ``report.Rules``
    history  of                                        how much is kept, see ``report.Rules.history``
    attempt  publisher, n, try, do, channels, data, key, close, once, begin    ``do``: publish, close, forget
    outcome  publisher, n, try, id | error, stored, end, seconds    ``stored`` is "yes", "no" or "unknown": it
                                                       may be; ``seconds`` is what the server says it took
    killed   publisher, at                             an attempt of it without an outcome is its last
    join     client, channels, at
    open     client, connection, last_event_id, rewind, at
    place    client, connection, id, at                an ``id:`` alone: a position, and nothing to see
    got      client, connection, id, type, data, at    an event, ``sse.reset`` included (which may have no id)
    value    client, connection, data, at              an event without an id: a kept value
    finished client, connection, at                    status 204: a browser would not come back
    end      client, connection, reason, final, at     ``final``: a browser would never come back
    leave    client, at
    memory   phase, rss, at                            bytes of each worker, by pid
    fault    what, at                                  and perhaps more, for people
"""

import hashlib
import json
import os
import time
from pathlib import Path

__all__ = ["MARKER", "Recorder", "load", "shorten"]

MARKER = "marker"
"""The publisher whose events come at the very end, when all faults are over."""

_LONG = 160


class Recorder:
    """Appends lines, each with one write: who is killed leaves whole lines, and all of them."""

    def __init__(self, path):
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def write(self, kind, **fields):
        """Append one line."""
        os.write(self._file, json.dumps({"kind": kind, **fields}, separators=(",", ":")).encode() + b"\n")

    def write_now(self, kind, **fields):
        """Append one line with the time."""
        self.write(kind, **fields, at=time.monotonic())

    def close(self):
        os.close(self._file)


def load(path):
    """
    Return the lines of a file, or of all files of a folder. What a killed process wrote by halves is passed
    over.
    """
    path = Path(path)
    lines = []
    for file in sorted(path.glob("*.jsonl")) if path.is_dir() else [path]:
        texts = file.read_text().split("\n")
        lines += [json.loads(text) for text in texts[:-1]]
    return lines


def shorten(data):
    """Return what stands for a text in the record: itself, or its first words and a digest of it all."""
    return data if len(data) <= _LONG else f"{data[:60]}#{hashlib.sha256(data.encode()).hexdigest()[:24]}"
