"""Who looks after all streams: what one of them is told."""

import socket
import time

from flask_sse_push.heartbeat import Heartbeat
from flask_sse_push.server import Server
from tests.support import eventually, own_threads


class Recorder:
    """A stream that notes when it was looked at, and when that is said to have been before."""

    writing_since = None
    write_timeout_seconds = 100
    server = Server("a test")

    def __init__(self, heartbeat, sock, seconds):
        self.heartbeat, self.sock, self.heartbeat_seconds = heartbeat, sock, seconds
        self.looks = []

    def silent_for(self, now, looked_at):
        self.looks.append((looked_at, now))
        return 0

    def end(self, reason):
        self.heartbeat.remove(self)


def test_look_is_told_of_the_look_before():
    """
    The express lane notes that it has sent something since the last look, and not when: so each look is told when the last one was, also where hang-ups
    come in between, and no heartbeat comes too late.
    """
    heartbeat, began = Heartbeat(), time.monotonic()
    quiet = Recorder(heartbeat, None, 0.4)
    heartbeat.add(quiet, 1000)
    while len(quiet.looks) < 8:
        ours, theirs = socket.socketpair()
        leaving = Recorder(heartbeat, ours, 100)
        heartbeat.add(leaving, 1000)
        theirs.close()
        eventually(lambda: len(heartbeat) == 1)
        ours.close()
    heartbeat.remove(quiet)
    before, now = zip(*quiet.looks, strict=True)
    assert before[1:] == now[:-1]
    assert began <= before[0] <= now[0]
    eventually(lambda: not own_threads())


def test_streams_are_watched_from_the_next_tick():
    """A client is watched, and the kernel's waits for it are bounded, soon after its stream began; also when it has left by then."""
    heartbeat = Heartbeat()
    quiet = Recorder(heartbeat, None, 100)
    heartbeat.add(quiet, 1000)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        here, gone = (socket.create_connection(listening.getsockname()) for _ in range(2))
        with listening.accept()[0] as served, listening.accept()[0] as left, here:
            gone.close()
            staying, leaving = Recorder(heartbeat, served, 100), Recorder(heartbeat, left, 100)
            heartbeat.add(staying, 1000)
            heartbeat.add(leaving, 1000)
            eventually(lambda: len(heartbeat) == 2)
            eventually(lambda: served.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE))
            here.close()
            eventually(lambda: len(heartbeat) == 1)
    heartbeat.remove(quiet)
    eventually(lambda: not own_threads())


def test_stream_that_ended_before_the_next_tick_is_not_watched():
    """What has ended by then is left alone: its socket's number may be another's."""
    heartbeat = Heartbeat()
    quiet = Recorder(heartbeat, None, 100)
    heartbeat.add(quiet, 1000)
    ours, theirs = socket.socketpair()
    watched = []
    for _ in range(20):
        short, peer = socket.socketpair()
        brief = Recorder(heartbeat, ours, 100)
        brief.end = watched.append
        heartbeat.add(brief, 1000)
        heartbeat.remove(brief)
        after = Recorder(heartbeat, short, 100)
        heartbeat.add(after, 1000)
        peer.close()
        eventually(lambda: len(heartbeat) == 1)
        short.close()
    theirs.close()
    heartbeat.remove(quiet)
    eventually(lambda: not own_threads())
    assert watched == []
    ours.close()
