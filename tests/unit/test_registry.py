"""The open streams of a process, and the heartbeat that looks after them."""

import itertools
import socket

import pytest

from flask_sse_push.core.session import Cause
from flask_sse_push.platform.server import Connection, Server
from flask_sse_push.streams.drain import DRAIN_SECONDS, GRACE_SECONDS, TICK_SECONDS
from flask_sse_push.streams.registry import MAX_LOOK_SECONDS, StreamRegistry

from .parts import HandWorker


class Stream:
    """A stream that notes when it was looked at and told to end, and leaves when it is."""

    write_timeout_seconds = 10.0

    def __init__(self, registry, *, sock=None, heartbeat_seconds=100.0, worker=None, stays=False):
        self.registry, self.stays = registry, stays
        self.heartbeat_seconds = heartbeat_seconds
        self.connection = Connection(Server("a test", worker), sock, None, lambda: None)
        self.looks, self.ends, self.cuts = [], [], 0
        self.meanwhile = None

    def look(self, now, looked_at, margin_seconds):
        self.looks.append((looked_at, now, margin_seconds))
        if self.meanwhile is not None:
            self.meanwhile()

    def end(self, cause):
        self.ends.append(cause)
        if not self.stays and self in self.registry._streams:
            self.registry.remove(self)

    def cut_off(self):
        self.cuts += 1
        if self in self.registry._streams:
            self.registry.remove(self)


@pytest.fixture
def registry(script):
    registry = StreamRegistry()
    yield registry
    for stream in list(registry._streams):
        registry.remove(stream)
    script.advance(1)
    assert script.tasks == []


def test_heartbeat_runs_while_a_stream_is_open(script, registry):
    """One greenlet looks after all streams, from the first to the last."""
    for _ in range(2):
        streams = [Stream(registry) for _ in range(3)]
        assert all(registry.add(stream, 100) for stream in streams)
        script.settle()
        assert len(script.named("heartbeat")) == 1
        for stream in streams:
            registry.remove(stream)
        assert len(registry) == 0
        script.advance(TICK_SECONDS)
        assert script.tasks == []


def test_registry_has_a_limit(script, registry):
    """A process has as many streams as it may have, and not one more."""
    first, second = Stream(registry), Stream(registry)
    assert registry.add(first, 1)
    assert not registry.add(second, 1)
    registry.remove(first)
    assert registry.add(second, 1)


def test_each_stream_is_looked_at(script, registry):
    """Each is looked at once a second at least, and told when that was before."""
    streams = [Stream(registry) for _ in range(3)]
    for stream in streams:
        registry.add(stream, 100)
    script.advance(5.1)
    for stream in streams:
        assert len(stream.looks) == 5
        for (_, before, _), (looked_at, now, margin) in itertools.pairwise(stream.looks):
            assert looked_at == before
            assert margin == MAX_LOOK_SECONDS
            assert now - before == pytest.approx(MAX_LOOK_SECONDS, abs=0.01)


def test_streams_with_a_short_heartbeat_are_looked_at_more_often(script, registry):
    """No sign of life comes more than an eighth of its time early."""
    stream = Stream(registry, heartbeat_seconds=0.8)
    registry.add(stream, 100)
    script.advance(1.05)
    assert len(stream.looks) == 10
    assert stream.looks[0][2] == pytest.approx(0.1)


def test_look_is_told_of_the_look_before_where_hang_ups_come_in_between(script, registry):
    """
    A stream that is written to directly notes that it has sent something since the last look, and not when:
    so each look is told when the last one was, whatever came in between.
    """
    quiet = Stream(registry, heartbeat_seconds=4.0)
    registry.add(quiet, 100)
    for _ in range(20):
        ours, theirs = socket.socketpair()
        with ours:
            registry.add(Stream(registry, sock=ours), 100)
            script.advance(0.07)
            theirs.close()
            script.settle()
            assert len(registry) == 1
    before, now, _ = zip(*quiet.looks, strict=True)
    assert len(now) >= 2
    assert before[1:] == now[:-1]


def test_client_that_hangs_up_is_told_at_once(script, registry):
    """Without a turn of the clock; its neighbours go on."""
    pairs = [socket.socketpair() for _ in range(3)]
    streams = [Stream(registry, sock=ours) for ours, _ in pairs]
    for stream in streams:
        registry.add(stream, 100)
    script.settle()
    pairs[1][1].close()
    script.settle()
    assert [stream.ends for stream in streams] == [[], [Cause.HANG_UP], []]
    for stream in (streams[0], streams[2]):
        registry.remove(stream)
    script.advance(1)
    for pair in pairs:
        for sock in pair:
            sock.close()


def test_client_that_has_left_before_its_stream_begins_is_told(script, registry):
    """A connection that is closed already is noticed with the first wait."""
    ours, theirs = socket.socketpair()
    theirs.close()
    stream = Stream(registry, sock=ours)
    registry.add(stream, 100)
    script.settle()
    assert stream.ends == [Cause.HANG_UP]
    script.advance(1)
    ours.close()


def test_stream_that_has_ended_is_not_watched(script, registry):
    """The number of its socket may be another's."""
    ours, theirs = socket.socketpair()
    brief, quiet = Stream(registry, sock=ours), Stream(registry)
    registry.add(quiet, 100)
    registry.add(brief, 100)
    registry.remove(brief)
    theirs.close()
    script.advance(1)
    assert brief.ends == []
    ours.close()


def test_kernel_is_told_how_long_it_may_wait(script, registry):
    """A client that vanishes is found out by the kernel."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        with socket.create_connection(listening.getsockname()), listening.accept()[0] as ours:
            stream = Stream(registry, sock=ours)
            registry.add(stream, 100)
            assert ours.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            registry.remove(stream)
            script.advance(1)


def test_heartbeat_goes_on_behind_a_failure(script, registry, caplog):
    """What fails (a signal handler may raise anywhere) is logged, and the heartbeat comes again."""
    ours, theirs = socket.socketpair()
    leaving, stream = Stream(registry, sock=ours), Stream(registry)
    leaving.end = lambda cause: 1 / 0
    registry.add(leaving, 100)
    registry.add(stream, 100)
    theirs.close()
    script.advance(3.1)
    ours.close()
    assert len(stream.looks) >= 2
    assert [record.getMessage() for record in caplog.records] == ["The heartbeat failed and goes on."]


def test_look_that_fails_keeps_the_others_from_nothing(script, registry, caplog):
    """What goes wrong with one stream is logged, and its neighbours get their signs of life."""

    def fail():
        raise ValueError("broken")

    broken, fine = Stream(registry), Stream(registry)
    broken.meanwhile = fail
    registry.add(broken, 100)
    registry.add(fine, 100)
    script.advance(3.1)
    assert len(fine.looks) == len(broken.looks) == 3
    assert {record.getMessage() for record in caplog.records} == {
        "A stream could not be looked after; the heartbeat comes to it again."
    }


def test_machine_without_threads_refuses(script, registry):
    """Where the heartbeat cannot be started nothing is added, and the next stream tries again."""
    script.cannot_spawn = True
    with pytest.raises(RuntimeError):
        registry.add(Stream(registry), 100)
    assert len(registry) == 0
    script.cannot_spawn = False
    assert registry.add(Stream(registry), 100)
    assert len(script.named("heartbeat")) == 1


def test_heartbeat_makes_way_between_streams(script, registry):
    """Looking at thousands of streams keeps nobody else from running."""
    streams = [Stream(registry) for _ in range(100)]
    seen = []
    for stream in streams:
        registry.add(stream, 1_000)

    def others():
        script.sleep(MAX_LOOK_SECONDS - 0.01)
        script.spend(0.02)
        for _ in range(8):
            seen.append(sum(bool(stream.looks) for stream in streams))
            script.backend.give_way()

    script.backend.spawn(others, "others")
    script.advance(MAX_LOOK_SECONDS + 0.1)
    assert any(0 < count < 100 for count in seen), seen


@pytest.fixture
def worker():
    with HandWorker() as worker:
        yield worker


def test_streams_end_when_the_server_stops(script, registry, worker):
    """All within the time of a drain, and not one before it was told."""
    streams = [Stream(registry, worker=worker) for _ in range(20)]
    for stream in streams:
        registry.add(stream, 100)
    script.advance(2)
    assert len(registry) == 20
    worker.alive = False
    script.advance(TICK_SECONDS)
    assert 0 < len(registry) < 20
    script.advance(DRAIN_SECONDS)
    assert len(registry) == 0
    assert all(stream.ends == [Cause.STOP] for stream in streams)


def test_stream_that_does_not_end_is_cut_off_when_the_server_stops(script, registry, worker):
    """Its client has a second for the last bytes."""
    stream = Stream(registry, worker=worker, stays=True)
    registry.add(stream, 100)
    script.settle()
    worker.alive = False
    script.advance(DRAIN_SECONDS + GRACE_SECONDS - TICK_SECONDS)
    assert stream.cuts == 0
    script.advance(3 * TICK_SECONDS)
    assert stream.cuts == 1


def test_worker_that_leaves_untold_ends_its_streams_at_exit(script, registry, worker):
    """
    An app may raise SystemExit from a handler of its own: the process waits until its streams have ended.
    """
    stream = Stream(registry, worker=worker)
    registry.add(stream, 100)
    script.settle()
    begun = script.now
    registry.drain_at_exit()
    assert stream.ends == [Cause.STOP]
    assert not worker.alive
    assert script.now - begun <= DRAIN_SECONDS + GRACE_SECONDS + 2 * TICK_SECONDS


def test_worker_that_was_told_does_not_wait_at_exit(script, registry, worker):
    """Its streams have ended, or were not to be waited for; and where there is no worker, nobody is."""
    registry.drain_at_exit()
    for ran in (worker, None):
        worker.alive = False
        stream = Stream(registry, worker=ran, stays=True)
        registry.add(stream, 100)
        begun = script.now
        registry.drain_at_exit()
        assert script.now - begun < 0.01
        registry.remove(stream)
        script.advance(1)


def test_exit_waits_for_a_bounded_time(script, registry, worker):
    """Streams that never end do not keep a process from ending."""
    stream = Stream(registry, worker=worker, stays=True)
    stream.cut_off = lambda: None
    registry.add(stream, 100)
    script.settle()
    begun = script.now
    registry.drain_at_exit()
    assert DRAIN_SECONDS < script.now - begun < DRAIN_SECONDS + GRACE_SECONDS + 3 * TICK_SECONDS
