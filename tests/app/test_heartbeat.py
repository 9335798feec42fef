"""Who looks after all streams: what one of them is told, and when."""

import itertools
import socket
import time

from flask_sse_push.heartbeat import Heartbeat
from flask_sse_push.server import Server
from tests.support import FACTOR, MS, eventually, own_threads


class Recorder:
    """A stream that notes when it is told to beat, and knows as little of when it sent as the express lane."""

    writing_since = None
    write_timeout_seconds = 100
    server = Server("a test")

    def __init__(self, heartbeat, sock, seconds):
        self.heartbeat, self.sock, self.heartbeat_seconds = heartbeat, sock, seconds
        self.silent_since = time.monotonic()
        self.beats = [self.silent_since]
        self.ended = self.has_sent = False

    def silent_for(self, now, looked_at):
        if self.has_sent:
            self.has_sent, self.silent_since = False, looked_at
        return now - self.silent_since

    def beat(self):
        self.beats.append(time.monotonic())
        self.has_sent = True

    def end(self, reason):
        self.heartbeat.remove(self)
        self.ended = True


def test_beat_is_not_late_where_clients_hang_up():
    """Each hang-up ends a wait, and the looks in between are no rarer for it."""
    heartbeat, seconds = Heartbeat(), 0.8 * FACTOR
    quiet = Recorder(heartbeat, None, seconds)
    heartbeat.add(quiet, 1000)
    leaving = []
    for turn in itertools.count(1):
        if len(quiet.beats) == 6:
            break
        ours, theirs = socket.socketpair()
        leaving.append((Recorder(heartbeat, ours, 100), ours))
        heartbeat.add(leaving[-1][0], 1000)
        # Each wait would end by itself after an eighth of the time; this often before that, the looks that follow fall where it matters.
        eventually(lambda turn=turn: time.monotonic() > quiet.beats[0] + turn * seconds * 0.106)
        theirs.close()
    eventually(lambda: all(stream.ended for stream, _ in leaving))
    for _, ours in leaving:
        ours.close()
    heartbeat.remove(quiet)
    gaps = [after - before for before, after in zip(quiet.beats, quiet.beats[1:], strict=False)]
    assert max(gaps) < seconds + 20 * MS, gaps
    assert min(gaps[1:]) > seconds / 2, gaps
    eventually(lambda: not own_threads())
