"""Who looks after all streams: what one of them is told."""

import socket
import subprocess
import sys
import time
from pathlib import Path

from flask_sse_push.streams.heartbeat import Heartbeat
from flask_sse_push.platform.server import Server
from tests.needs import needs
from tests.support import FACTOR, eventually, own_threads


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
    theirs.close()  # would be told together with the next one
    short, peer = socket.socketpair()
    heartbeat.add(Recorder(heartbeat, short, 100), 1000)
    peer.close()
    eventually(lambda: len(heartbeat) == 1)
    short.close()
    heartbeat.remove(quiet)
    eventually(lambda: not own_threads())
    assert watched == []
    ours.close()


def test_stream_whose_watch_was_interrupted_is_watched_with_the_next_tick(caplog):
    """A signal handler that raises while a watch begins costs a line in the log, and no stream its watch."""

    class Interrupted(Recorder):
        asked = 0

        @property
        def sock(self):
            self.asked += 1
            if self.asked == 1:
                raise InterruptedError("by a signal handler")
            return ours

        @sock.setter
        def sock(self, value):
            """There is one already."""

    heartbeat = Heartbeat()
    ours, theirs = socket.socketpair()
    heartbeat.add(Interrupted(heartbeat, None, 100), 1000)
    theirs.close()
    eventually(lambda: len(heartbeat) == 0)
    eventually(lambda: not own_threads())
    ours.close()
    assert [record.getMessage() for record in caplog.records] == ["The heartbeat stumbled and goes on."]


FORKS_IN_A_LOOK = """
from gevent import monkey; monkey.patch_all()
import gevent, os, socket, time
from flask_sse_push.streams.heartbeat import Heartbeat
from flask_sse_push.platform.server import Server

class Kept:
    writing_since, heartbeat_seconds, write_timeout_seconds, server = None, 8.0, 100, Server("a test")
    sock, seconds, looked = None, 0.0, False
    def silent_for(self, now, looked_at):
        self.looked, until = True, time.perf_counter() + self.seconds
        while time.perf_counter() < until:
            pass
        return 0
    def beat(self): pass
    def end(self, reason): print(reason, flush=True)

def main():
    heartbeat, slow = Heartbeat(), [Kept() for _ in range(200)]
    for kept in slow:
        kept.seconds = 0.0003
        heartbeat.add(kept, 1000)
    while not slow[20].looked or slow[-1].looked:  # until it makes way in the middle of its look
        gevent.sleep(0)
    ours, theirs = socket.socketpair()
    new = Kept()
    new.sock = ours
    heartbeat.add(new, 1000)
    done, tell = os.pipe()
    child = os.fork()
    if child == 0:
        theirs.close()
        gevent.sleep(0.5)  # runs the copy of the heartbeat
        os.write(tell, b".")
        time.sleep(60)
        os._exit(0)
    os.read(done, 1)  # the parent is busy meanwhile
    gevent.sleep(0.5)
    theirs.close()
    gevent.sleep(0.5)
    os.kill(child, 9)
    os.waitpid(child, 0)
    os._exit(0)

gevent.spawn(main).join()
"""


def test_child_forked_in_the_middle_of_a_look_takes_no_watch():
    """A child shares the kernel's watch with its parent: its copy of the heartbeat leaves new streams to the parent, which notices that their clients go."""
    needs(modules=["gevent"])
    ran = subprocess.run(
        [sys.executable, "-c", FORKS_IN_A_LOOK],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=30 * FACTOR,
    )
    assert (ran.stdout, ran.stderr) == ("gone\n", "")
