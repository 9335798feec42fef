"""One stream by way of its server's response: what it sends, when it ends and why, and what it gives back."""

import errno
import re
import socket

import pytest

from flask_sse_push.core.session import ABANDONED_SECONDS, LAST_WORDS_SECONDS, Cause
from flask_sse_push.platform.server import Connection, Server
from flask_sse_push.streams.registry import MAX_LOOK_SECONDS, process_registry
from flask_sse_push.streams.stream import Stream, StreamInfo

from .parts import HandSource, Observed, stream_options

RETRY = re.compile(rb"retry: (\d+)\n")
INFO = StreamInfo(("news",), None, "127.0.0.1")


class Worker:
    """What a stream asks of gunicorn's worker."""

    def __init__(self, *, alive=True):
        self.alive = alive


class Place:
    """A place among a client's streams."""

    def __init__(self, refusal=None):
        self.refusal, self.taken = refusal, 0

    def take(self):
        self.taken += self.refusal is None
        return self.refusal

    def give_back(self):
        self.taken -= 1


class Case:
    """A stream, its source, and everybody who is told of it."""

    def __init__(
        self,
        script,
        *chunks,
        limit=100,
        place=None,
        sock=None,
        worker=None,
        source=None,
        stream_seconds=None,
        **options,
    ):
        self.script = script
        self.source = source or HandSource(*chunks)
        self.observed = Observed()
        self.closes = []
        self.stream = Stream(self.source, stream_options(**options), INFO, self.observed, limit, place)
        server = Server("a test", worker, stream_seconds=stream_seconds)
        self.stream.connection = Connection(server, sock, None, lambda: self.closes.append(True))
        self.reader = None

    def begin(self):
        """Let a server send it; the first bytes are sent when this returns."""
        self.reader = self.script.reader(self.stream)
        self.script.settle()
        return self

    @property
    def body(self):
        return self.reader.body

    @property
    def has_ended(self):
        return self.script.named("reader") == []


@pytest.fixture
def case(script):
    """Make streams, and end what is left of them with the test."""
    cases = []

    def make(*chunks, **options):
        cases.append(Case(script, *chunks, **options))
        return cases[-1]

    yield make
    for task in script.named("reader"):
        script.interrupt(task)
    script.advance(5)
    assert len(process_registry.get()) == 0
    assert all(case.source.calls.count("open") <= 1 for case in cases)


def test_first_bytes_are_retry_prelude_and_what_is_ready(script, case):
    """Everything that is ready goes out in one chunk, as soon as the server asks."""
    case = case(b"data: one\n\n")
    assert case.source.calls == []
    case.begin()
    assert re.fullmatch(rb"retry: \d+\n\ndata: one\n\n", case.body)
    assert case.observed == [("opened", False)]


def test_stream_sends_when_it_is_woken(script, case):
    """It waits for its source without a turn of the clock, and sends one chunk for each read."""
    case = case().begin()
    case.source.give(b"data: one\n\n", b"data: two\n\n")
    script.settle()
    assert case.reader.chunks[1:] == [b"data: one\n\n", b"data: two\n\n"]


def test_stream_ends_with_its_source(script, case):
    """What a source gives last is sent, then the response ends, and the source says why."""
    case = case().begin()
    case.source.outcome = "finished"
    case.source.give(b"data: last\n\n")
    script.settle()
    assert case.body.endswith(b"data: last\n\n")
    assert case.has_ended
    assert case.observed == [("opened", False), ("finished", False)]
    assert case.source.calls == ["open", "close"]


def test_stream_that_is_told_to_stop_asks_its_client_to_come_back(script, case):
    """What is ready goes out first, then what the source says last, then when to come back."""
    case = case(retry_milliseconds=2_000).begin()
    case.source.chunks += [b"data: one\n\n"]
    case.stream.end(Cause.STOP)
    script.settle()
    assert case.reader.chunks[-2] == b"data: one\n\n"
    assert re.fullmatch(rb"farewell\nretry: \d+\n", case.reader.chunks[-1])
    assert case.has_ended
    assert case.observed[-1] == ("draining", False)


def test_busy_stream_has_a_second_for_its_last_words(script, case):
    """A source that gives without end keeps nobody from stopping."""

    class Endless(HandSource):
        def read(self):
            script.spend(0.01)
            return b"data: more\n\n"

    case = case(source=Endless())
    chunks = iter(case.stream)
    assert b"data: more" in [next(chunks) for _ in range(10)][-1]
    case.stream.end(Cause.STOP)
    told = script.now
    while b"farewell" not in next(chunks):
        assert script.now < told + LAST_WORDS_SECONDS + 0.1
    assert script.now >= told + LAST_WORDS_SECONDS
    assert next(chunks, None) is None
    case.stream.close()


def test_clients_that_stop_together_come_back_apart(script, case):
    """
    What a client is told to wait is drawn for each, at the beginning, at the end and where it is refused.
    """
    first, last, refused = [], [], []
    for _ in range(20):
        stopped = case(retry_milliseconds=2_000).begin()
        first.append(int(RETRY.search(stopped.reader.chunks[0])[1]))
        stopped.stream.end(Cause.STOP)
        script.settle()
        last.append(int(RETRY.search(stopped.reader.chunks[-1])[1]))
        refused.append(int(RETRY.search(case(limit=0).begin().body)[1]))
    for told, low, high in ((first, 1_000, 3_000), (last, 1_000, 3_000), (refused, 15_000, 60_000)):
        assert all(low <= retry <= high for retry in told)
        assert len(set(told)) > 10


def test_heartbeats_come_apart(script, case):
    """How long each client may hear nothing is drawn, within a quarter below the setting."""
    drawn = [case(heartbeat_seconds=8.0).stream.heartbeat_seconds for _ in range(20)]
    assert all(6 <= seconds <= 8 for seconds in drawn)
    assert len(set(drawn)) > 10


def test_silent_client_hears_a_sign_of_life(script, case):
    """A client never hears nothing for longer than the setting."""
    case = case(heartbeat_seconds=8.0).begin()
    for _ in range(4):
        count, heard = len(case.reader.chunks), script.now
        while len(case.reader.chunks) == count:
            script.advance(0.1)
            assert script.now - heard <= 8.0
        assert case.reader.chunks[-1] == b":\n\n"
    assert all(chunk == b":\n\n" for chunk in case.reader.chunks[1:])


def test_client_that_hears_events_gets_no_heartbeat(script, case):
    """An event is a sign of life."""
    case = case(heartbeat_seconds=8.0).begin()
    for _ in range(20):
        case.source.give(b"data: x\n\n")
        script.advance(2)
    assert b":\n\n" not in case.reader.chunks


def test_stream_ends_after_its_time(script, case):
    """
    Where the server may never end a stream, each ends by itself, apart from the others, with what is ready;
    what an iterable gives cannot be gone on with, and stays.
    """
    cases = [case(stream_seconds=60.0).begin() for _ in range(20)]
    answer = case(stream_seconds=60.0, source=HandSource(channels=())).begin()
    script.advance(44)
    assert not any(case.has_ended for case in cases)
    script.advance(8)
    assert 1 <= sum(case.observed[-1] == ("draining", False) for case in cases) <= 19
    script.advance(8 + MAX_LOOK_SECONDS)
    for case in cases:
        assert case.observed[-1] == ("draining", False)
        assert re.search(rb"retry: \d+\n$", case.body)
    assert answer.observed == [("opened", False)]


def test_client_that_takes_nothing_is_cut_off(script, case):
    """A write that waits for too long ends: the socket is shut, and the reason is "stalled"."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        case = case(sock=ours, write_timeout_seconds=3.0).begin()
        case.reader.is_writing = False
        case.source.give(b"data: x\n\n")
        script.advance(2.5)
        assert not case.has_ended
        script.advance(0.5 + MAX_LOOK_SECONDS)
        with pytest.raises(BrokenPipeError):
            ours.send(b"x")
        case.reader.go_on()  # as a server whose write has failed
        script.settle()
        assert case.has_ended
        assert case.observed[-1] == ("stalled", False)


def test_client_that_hangs_up_ends_its_stream(script, case):
    """It is noticed without a write, and nothing more is sent."""
    ours, theirs = socket.socketpair()
    with ours:
        case = case(sock=ours).begin()
        theirs.close()
        script.settle()
        assert case.has_ended
        assert len(case.reader.chunks) == 1
        assert case.observed[-1] == ("gone", False)


def test_write_that_failed_is_a_client_that_has_gone(script, case):
    """A server that closes a stream whose bytes it still has could not send them."""
    case = case()
    iterator = iter(case.stream)
    next(iterator)
    case.stream.close()
    assert case.observed[-1] == ("gone", False)
    assert next(iterator, None) is None


@pytest.mark.parametrize("begun", [False, True])
def test_close_is_harmless_at_any_time_and_twice(script, case, begun):
    """A server may close what it never began, and may close again."""
    case = case()
    if begun:
        next(iter(case.stream))
    for _ in range(3):
        case.stream.close()
    assert case.source.calls == (["open", "close"] if begun else ["close"])
    assert list(case.stream) == []
    assert len(process_registry.get()) == 0


@pytest.mark.parametrize(
    ("options", "reason", "words"),
    [
        ({"limit": 0}, "full", b"as many streams as it may have"),
        ({"worker": Worker(alive=False)}, "draining", b"This server is stopping"),
        ({"place": Place("client")}, "client", b"This client has as many streams"),
        ({"place": Place("bus")}, "bus", b"cannot read the events"),
    ],
    ids=["full", "draining", "client", "bus"],
)
def test_stream_without_room_asks_its_client_to_come_later(script, case, options, reason, words):
    """It is refused in words, opens nothing, and lets its connection end."""
    case = case(retry_milliseconds=2_000, **options).begin()
    assert words in case.body
    assert case.has_ended
    assert case.closes == [True]
    assert case.observed == [("refused", reason)]
    assert set(case.source.calls) == {"close"}
    retry = int(RETRY.search(case.body)[1])
    assert 1_000 <= retry <= 3_000 if reason == "draining" else 15_000 <= retry <= 60_000


def test_place_is_given_back(script, case):
    """
    A stream takes its client's place with its first byte and gives it back at its end, also where the server
    is full.
    """
    place = Place()
    case(place=place, limit=0).begin()
    assert place.taken == 0
    last = case(place=place)
    assert place.taken == 0
    last.begin()
    assert place.taken == 1
    last.stream.end(Cause.HANG_UP)
    script.settle()
    assert place.taken == 0


def test_machine_without_threads_holds_nothing(script, case):
    """
    Where the heartbeat cannot be started, the stream fails before its first byte, and gives everything back.
    """
    place, case = Place(), case
    case = case(place=place)
    script.cannot_spawn = True
    with pytest.raises(RuntimeError):
        next(iter(case.stream))
    script.cannot_spawn = False
    assert place.taken == 0
    assert case.source.calls == ["close"]
    assert case.observed == []


def test_source_that_cannot_be_opened_leaves_nothing(script, case):
    """Nobody hears of a stream that failed before it began."""

    class Broken(HandSource):
        def open(self, wakeup):
            raise RuntimeError("can't start new thread")

    case = case(source=Broken())
    with pytest.raises(RuntimeError):
        next(iter(case.stream))
    assert case.observed == []
    assert len(process_registry.get()) == 0


def test_stream_whose_server_forgot_it_is_taken_back(script, case):
    """
    Middleware that forgets close() costs no place for ever: long after it was cut off a stream is given up.
    """
    place = Place()
    case = case(place=place, write_timeout_seconds=3.0)
    next(iter(case.stream))  # and nobody comes again
    script.advance(3 + ABANDONED_SECONDS - 0.5)
    assert place.taken == 1
    script.advance(0.5 + 2 * MAX_LOOK_SECONDS)
    assert place.taken == 0
    assert case.source.calls == ["open", "close"]
    assert case.observed[-1] == ("stalled", False)
    assert list(case.stream) == []
    case.stream.close()


def test_stream_that_runs_at_this_moment_is_not_abandoned(script, case):
    """What is taken back is never a stream that its server is just asking."""

    class Looks(HandSource):
        def read(self):
            if self.calls == ["open"]:
                stream.session.silent_since = stream.session.writing_since = 0.0
                stream.look(1_000.0, 999.0, 1.0)
            return super().read()

    case = case(source=Looks())
    stream = case.stream
    case.begin()
    assert case.has_ended
    assert case.observed[-1] == ("stalled", False)


@pytest.mark.parametrize("channels", [("news",), ()])
@pytest.mark.parametrize("shown", [True, False])
def test_planned_end_can_look_like_a_fault(script, case, channels, shown):
    """
    Where that was chosen, a stream of channels breaks off behind its last words; one of an iterable ends
    properly.
    """
    ours, theirs = socket.socketpair()
    with ours, theirs:
        source = HandSource(channels=channels)
        case = case(source=source, sock=ours if shown else None, abrupt_end=True)
        chunks = iter(case.stream)
        next(chunks)
        case.stream.end(Cause.STOP)
        assert b"farewell" in next(chunks)
        if channels:
            with pytest.raises(BrokenPipeError, match="SSE_PUSH_ABRUPT_END"):
                next(chunks)
            if shown:
                assert theirs.recv(1) == b""
        else:
            assert next(chunks, None) is None
        case.stream.close()


def test_kernels_timeout_is_hushed_where_the_stream_stands_alone(script, case):
    """A client that the kernel gave up is, for the server's log, a client that left."""
    alone, within = case(), case()
    alone.stream.is_bare = True
    for one, raised in ((alone, BrokenPipeError), (within, TimeoutError)):
        next(iter(one.stream))
        with pytest.raises(raised):
            try:
                raise TimeoutError(errno.ETIMEDOUT, "Connection timed out")
            finally:
                one.stream.close()


@pytest.mark.parametrize(
    ("channels", "id", "kept"),
    [
        (("news",), "e1-7", "e1-7"),
        (("news",), "anything", None),
        ((), "anything", "anything"),
        ((), "two\nlines", None),
        ((), None, None),
    ],
)
def test_observers_learn_no_id_that_cannot_be_ours(channels, id, kept):
    """A client can send anything, and observers write this into logs."""
    assert StreamInfo(channels, id, None).last_event_id == kept
