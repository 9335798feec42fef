"""Snapshots: what a stream gets before the events behind its place, made once for all that wait for it."""

import gc
import itertools
import json
import random
import threading
import time
import weakref

import pytest

from flask_sse_push.bus.base import BusOptions
from flask_sse_push.bus.memory import MemoryBus
from flask_sse_push.core.decoder import Decoder
from flask_sse_push.core.messages import Message
from flask_sse_push.core.retention import ChannelRetention, RetentionRules
from flask_sse_push.platform.backends import current_backend
from flask_sse_push.streams.hub import Hub
from flask_sse_push.streams.snapshots import MAX_RUNS, SLOW_SECONDS, Snapshots
from flask_sse_push.streams.subscription import Begin, Subscription
from tests.support import MS, eventually


def block(data, type=None):
    name = f"event: {type}\n" if type else ""
    return f"{name}data: {data}\n\n".encode()


class HandMaker:
    """
    Functions for the channels of ``numbers``; each run notes its channel, and ends when the test lets it.
    """

    def __init__(self, script, **numbers):
        self.script = script
        self.numbers = numbers or {"news": 0}
        self.calls = []
        self.held = None  # a list of wakeups, where runs are to wait
        self.error = None
        self.value = "shown"

    def find(self, channel):
        return self.numbers.get(channel)

    def make(self, number, channel):
        self.calls.append(channel)
        value = self.value
        if self.held is not None:
            gate = self.script.backend.wakeup()
            self.held.append(gate)
            gate.wait()
        if self.error is not None:
            raise self.error
        return block(f"{channel} {value}", "snapshot")

    def release(self):
        """Let the runs that wait end."""
        held, self.held = self.held, None
        for gate in held:
            gate.wake()


class Site:
    """A hub on a memory bus, and the snapshots of its channels."""

    def __init__(self, script, length=100, **numbers):
        rules = RetentionRules(ChannelRetention(length, 3_600.0), 1_000_000)
        self.script = script
        self.bus = MemoryBus(BusOptions(rules, 2.0))
        self.hub = Hub(self.bus, rules, dict)
        self.maker = HandMaker(script, **numbers)
        self.snapshots = Snapshots(self.hub, self.maker)
        self.streams = []

    def publish(self, data, *channels, key=None):
        return self.bus.publish(Message(channels or ("news",), block(data), key)).id

    def stream(self, *channels, id=None):
        stream = Subscription(self.hub, channels or ("news",), Begin(id), 0.0, self.snapshots)
        self.streams.append(stream)
        stream.open(self.script.backend.wakeup())
        return stream

    def read(self, stream):
        """What a stream sends, from its first byte on, when all that is ready has run."""
        chunk = stream.prelude() + stream.read()
        self.script.settle()
        return chunk + read_on(stream)

    def begin_again(self, epoch="e2"):
        """Begin another log, as a bus does that has lost its own."""
        self.hub.log_begun(epoch, 0)

    def close(self):
        for stream in self.streams:
            stream.close()
        self.script.advance(1)  # the fan-out may rest


@pytest.fixture
def site(script):
    made = []

    def make(**options):
        made.append(Site(script, **options))
        return made[-1]

    yield make
    for each in made:
        each.close()


def read_on(stream):
    chunks = []
    while chunk := stream.read():
        chunks.append(chunk)
    return b"".join(chunks)


def decoded(chunk):
    """The events of a chunk, as their types and data, and the id that it leaves."""
    decoder = Decoder()
    return [(event.type, event.data) for event in decoder.feed(chunk)], decoder.last_event_id


def test_new_client_gets_the_snapshot_before_its_place_and_the_events_behind_it(site):
    """The snapshot has no id; the id of the place follows it, and then what was published meanwhile."""
    site = site()
    place = site.publish("before")
    stream = site.stream()
    assert stream.prelude() + stream.read() == b""
    site.publish("behind")
    site.script.settle()
    chunk = read_on(stream)
    assert chunk.startswith(b"event: snapshot\ndata: news shown\n\nid: %b\n\nid: " % place.encode())
    assert decoded(chunk)[0] == [("snapshot", "news shown"), ("message", "behind")]
    site.publish("later")
    assert decoded(stream.read())[0] == [("message", "later")]
    assert site.maker.calls == ["news"]


def test_client_that_resumes_gets_no_snapshot(site):
    """It has what it needs."""
    site = site()
    place = site.publish("one")
    site.publish("two")
    assert decoded(site.read(site.stream(id=place)))[0] == [("message", "two")]
    assert site.maker.calls == []


def test_snapshot_follows_the_kept_values(site):
    """What a channel keeps by its keys comes first, then the snapshot, then the place."""
    site = site()
    place = site.publish("kept", key="a")
    events, id = decoded(site.read(site.stream()))
    assert (events, id) == ([("message", "kept"), ("snapshot", "news shown")], place)


def test_stream_of_several_channels_gets_their_snapshots_in_its_own_order(site):
    """Channels without one are passed over, and nothing is sent before all are there."""
    site = site(length=100, a=0, b=1, c=0)
    site.maker.held = []
    stream = site.stream("c", "none", "a", "b")
    assert stream.read() == b""
    site.script.settle()
    site.maker.held.pop().wake()
    site.script.settle()
    assert stream.read() == b""
    site.maker.release()
    site.script.settle()
    snapshots = [("snapshot", "c shown"), ("snapshot", "a shown"), ("snapshot", "b shown")]
    assert decoded(read_on(stream))[0] == snapshots
    assert sorted(site.maker.calls) == ["a", "b", "c"]


def test_stream_of_channels_without_snapshots_waits_for_nothing(site):
    """Its first bytes are its place."""
    site = site()
    stream = site.stream("other")
    assert decoded(stream.prelude() + stream.read()) == ([], f"{site.hub.log.epoch}-0")
    assert site.script.named("snapshot") == []


@pytest.mark.parametrize(
    ("id", "reason"), [("not ours", "malformed"), ("{epoch}-99999999", "future"), ("e0-1", "epoch")]
)
def test_snapshot_follows_a_reset_of_an_id(site, id, reason):
    """Its place comes last: a client that is cut off before it must not resume without the snapshot."""
    site = site()
    place = site.publish("one")
    chunk = site.read(site.stream(id=id.format(epoch=place.partition("-")[0])))
    events, last_event_id = decoded(chunk)
    assert [type for type, _ in events] == ["sse.reset", "snapshot"]
    assert json.loads(events[0][1])["reason"] == reason
    assert last_event_id == place
    assert chunk.count(place.encode()) == 1


def test_snapshot_follows_a_reset_of_the_history(site):
    """Then what is left of the history, behind the place that the client came with."""
    site = site(length=2)
    ids = [site.publish(str(number)) for number in range(5)]
    chunk = site.read(site.stream(id=ids[0]))
    events, _ = decoded(chunk)
    assert [type for type, _ in events] == ["sse.reset", "snapshot", "message", "message"]
    assert decoded(chunk[: chunk.index(b"data: 3")])[1] == ids[0]


def test_snapshot_follows_a_reset_of_an_open_stream(site):
    """Another log begins: reset, snapshot, place, and then its events."""
    site = site()
    stream = site.stream()
    site.read(stream)
    site.begin_again()
    assert stream.read() == b""
    site.script.settle()
    events, id = decoded(read_on(stream))
    assert [type for type, _ in events] == ["sse.reset", "snapshot"]
    assert id == "e2-0"
    assert site.maker.calls == ["news", "news"]


def test_thousand_resets_are_one_run(site):
    """All streams of a process that lose their log at once share one call of the function."""
    site = site()
    streams = [site.stream() for _ in range(1_000)]
    for stream in streams:
        stream.read()
    site.script.settle()
    assert all(read_on(stream) for stream in streams)
    site.begin_again()
    for number, stream in enumerate(streams):
        assert stream.read() == b""
        if number % 100 == 0:
            site.script.step()  # the fan-out gives way now and then
    site.script.settle()
    assert all(decoded(read_on(stream))[0][1] == ("snapshot", "news shown") for stream in streams)
    assert site.maker.calls == ["news", "news"]


def test_stream_shares_a_run_that_began_behind_its_place(site):
    """While nothing is published, who comes during a run needs no other one."""
    site = site()
    site.maker.held = []
    streams = [site.stream()]
    streams[0].read()
    site.script.settle()
    streams.append(site.stream())
    assert streams[1].read() == b""
    site.maker.release()
    site.script.settle()
    assert all(read_on(stream) for stream in streams)
    assert site.maker.calls == ["news"]


def test_stream_that_stands_behind_the_begin_of_a_run_waits_for_the_next(site):
    """That run may have missed what the stream will not get as an event; all that wait share the next one."""
    site = site()
    site.maker.held = []
    first = site.stream()
    first.read()
    site.script.settle()
    site.maker.value = "newer"
    site.publish("one")
    later = [site.stream() for _ in range(3)]
    assert [stream.read() for stream in later] == [b""] * 3
    site.maker.release()
    site.script.settle()
    assert decoded(read_on(first))[0] == [("snapshot", "news shown"), ("message", "one")]
    assert [decoded(read_on(stream))[0] for stream in later] == [[("snapshot", "news newer")]] * 3
    assert site.maker.calls == ["news", "news"]


def test_stream_of_another_log_waits_for_the_next_run(site):
    """A run that began before the log did has not seen what was lost with the old one."""
    site = site()
    site.publish("one")
    site.maker.held = []
    stream = site.stream()
    stream.read()
    site.script.settle()
    site.maker.value = "newer"
    site.begin_again()
    assert stream.read() == b""
    site.maker.release()
    site.script.settle()
    assert [data for type, data in decoded(read_on(stream))[0] if type == "snapshot"] == ["news newer"]


def test_result_is_kept_for_nobody_who_did_not_wait(site):
    """Who comes behind a run gets a new one, though nothing was published."""
    site = site()
    site.read(site.stream())
    site.maker.value = "newer"
    assert decoded(site.read(site.stream()))[0] == [("snapshot", "news newer")]
    assert site.maker.calls == ["news", "news"]


def test_stream_that_is_closed_before_a_run_begins_needs_none(site):
    """Nobody waits, so nothing is run."""
    site = site()
    stream = site.stream()
    stream.read()
    stream.close()
    site.script.settle()
    assert site.maker.calls == []


def test_stream_that_is_closed_during_a_run_is_forgotten(site):
    """A function that hangs holds nothing of clients that have left."""
    site = site()
    site.maker.held = []
    stream, wakeup = (
        Subscription(site.hub, ("news",), Begin(None), 0.0, site.snapshots),
        (site.script.backend.wakeup()),
    )
    stream.open(wakeup)
    stream.read()
    site.script.settle()
    stream.close()
    site.script.settle()
    left = weakref.ref(wakeup)
    del wakeup
    gc.collect()
    assert left() is None
    site.maker.release()
    site.script.settle()
    assert site.script.named("snapshot") == []


def test_streams_whose_snapshot_fails_end_and_ask_their_clients_to_come_back(site, caplog):
    """In 5 to 15 seconds, each at its own time; there is no id, so that the client comes back as it was."""
    site = site()
    site.maker.error = ValueError("no database")
    streams = [site.stream() for _ in range(20)]
    chunks = [site.read(stream) for stream in streams[:1]]
    for stream in streams[1:]:
        stream.read()
    site.script.settle()
    chunks += [read_on(stream) for stream in streams[1:]]
    times = [int(chunk.rpartition(b"retry: ")[2]) for chunk in chunks]
    assert all(5_000 <= milliseconds <= 15_000 for milliseconds in times)
    assert len(set(times)) > 10
    assert all(decoded(chunk) == ([], "") and b"\n\n" not in chunk for chunk in chunks)
    assert {stream.outcome for stream in streams} == {"failed"}
    assert all(stream.read() == b"" for stream in streams)
    [record, _] = caplog.records
    assert "snapshot of channel 'news' failed" in record.getMessage()
    assert "no database" in record.exc_text
    site.maker.error = None
    assert decoded(site.read(site.stream()))[0] == [("snapshot", "news shown")]


def test_waiting_stream_shows_that_it_lives(site):
    """Its heartbeats are comments without a blank line, behind which a client would forget its id."""
    site = site()
    site.maker.held = []
    stream = site.stream()
    stream.read()
    site.script.settle()
    site.publish("one")
    assert stream.read() == b""
    assert stream.heartbeat() == b":\n"
    site.maker.release()
    site.script.settle()
    assert decoded(read_on(stream))[0] == [("snapshot", "news shown"), ("message", "one")]


def test_slow_snapshot_is_told_once(site, caplog):
    """A stream that asks again after 10 seconds lets it be logged, with the cure."""
    site = site()
    site.maker.held = []
    streams = [site.stream() for _ in range(2)]
    for stream in streams:
        stream.read()
    site.script.advance(SLOW_SECONDS / 2)
    assert streams[0].read() == b""
    assert caplog.records == []
    site.script.advance(SLOW_SECONDS / 2 + 0.1)
    for stream in (*streams, *streams):
        assert stream.read() == b""
    [record] = caplog.records
    assert "snapshot of channel 'news' takes longer than 10 seconds" in record.getMessage()
    site.maker.release()
    site.script.settle()


def test_function_runs_for_a_few_channels_at_once(site):
    """The others wait; another function is not held back by one that hangs."""
    numbers = {f"user.{number}": 0 for number in range(3 * MAX_RUNS)}
    site = site(length=100, **numbers, news=1)
    site.maker.held = []
    streams = [site.stream(channel) for channel in numbers]
    for stream in streams:
        stream.read()
    site.script.settle()
    assert len(site.maker.calls) == MAX_RUNS
    hanging, site.maker.held = site.maker.held, None
    assert decoded(site.read(site.stream()))[0] == [("snapshot", "news shown")]
    for gate in hanging:
        gate.wake()
    site.script.settle()
    assert all(read_on(stream) for stream in streams)
    assert sorted(site.maker.calls) == sorted([*numbers, "news"])


def test_stream_asks_again_when_no_thread_could_be_started(site, caplog):
    """It is logged, and nothing is stuck."""
    site = site()
    site.script.cannot_spawn = False
    stream = site.stream()
    site.script.cannot_spawn = True
    assert stream.read() == b""
    assert "No thread can be started" in caplog.text
    site.script.cannot_spawn = False
    assert stream.read() == b""
    site.script.settle()
    assert decoded(read_on(stream))[0] == [("snapshot", "news shown")]


class CutClient:
    """A page that keeps what it has, and comes back with its id as a browser does."""

    def __init__(self, id=None):
        self.id, self.shown, self.events, self.is_reset = id, None, [], False

    def take(self, chunk):
        decoder = Decoder()
        for event in decoder.feed(chunk):
            if event.type == "snapshot":
                self.shown, self.events = event.data, []
            elif event.type == "sse.reset":
                self.is_reset, self.shown, self.events = True, None, []
            else:
                self.events.append(event.data)
        self.id = decoder.last_event_id or self.id


@pytest.mark.parametrize("id", [None, "e0-7", "evicted"])
def test_client_that_is_cut_off_anywhere_has_the_snapshot_and_all_behind_it(site, id):
    """Wherever its first bytes break off, it comes back with its last id, and ends with everything."""
    site = site(length=3)
    first = site.publish("first")
    for number in range(4):
        site.publish(str(number))
    id = first if id == "evicted" else id
    rest = ["1", "2", "3"] if id == first else []
    whole = site.read(site.stream(id=id))
    assert b"news shown" in whole
    for cut in range(len(whole) + 1):
        client = CutClient(id)
        client.take(whole[:cut])
        client.take(site.read(site.stream(id=client.id)))
        assert (client.shown, client.events) == ("news shown", rest), cut
        assert client.is_reset is (id is not None)


def test_snapshot_and_events_leave_no_gap(site):
    """
    A counter is stored and then published, and streams begin in between: each shows a value, and then every
    event from the next value on, in order, to the last one.
    """
    for seed in range(100):
        check_counter(site(length=1_000), random.Random(seed))


def test_threads_that_come_and_go_get_each_a_snapshot():
    """Real threads open, wait, leave early and publish at once: each is served, and nothing is left."""
    rules = RetentionRules(ChannelRetention(1_000, 3_600.0), 10_000_000)
    bus = MemoryBus(BusOptions(rules, 2.0))
    hub = Hub(bus, rules, dict)
    values = itertools.count(1)

    class Counter:
        def find(self, channel):
            return 0

        def make(self, number, channel):
            return block(next(values), "snapshot")

    snapshots, problems = Snapshots(hub, Counter()), []

    def visit(number):
        chance = random.Random(number)
        for _ in range(30):
            channels = tuple(chance.sample(["a", "b", "c"], 2))
            wakeup = current_backend().wakeup()
            stream = Subscription(hub, channels, Begin(None), 0.0, snapshots)
            stream.open(wakeup)
            try:
                chunk, until = stream.read(), time.monotonic() + 10_000 * MS
                while not chunk and chance.random() < 0.9 and time.monotonic() < until:
                    wakeup.wait(10_000 * MS)
                    chunk = stream.read()
                if chunk and chunk.count(b"event: snapshot") != 2:
                    problems.append(chunk)
                elif time.monotonic() >= until:
                    problems.append("never came")
            finally:
                stream.close()
            bus.publish(Message(channels, block("news")))

    threads = [threading.Thread(target=visit, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    eventually(lambda: not snapshots._workers)
    assert not (snapshots._waiting or snapshots._runs or snapshots._results or snapshots._queues)


def check_counter(site, chance):
    """One history of a counter, as chance wills it."""
    site.maker.value = stored = published = 0
    streams = {}
    for _ in range(300):
        step = chance.randrange(6)
        if step == 0 and stored == published:
            stored += 1
            site.maker.value = stored
        elif step == 1 and stored > published:
            published += 1
            site.publish(str(published))
        elif step == 2 and len(streams) < 12:
            stream = site.stream()
            streams[stream] = stream.prelude() + stream.read()
        elif step == 3:
            site.script.step()
        elif step == 4:
            for stream in chance.sample(list(streams), min(2, len(streams))):
                streams[stream] += read_on(stream)
        elif site.maker.held is None:
            site.maker.held = []
        else:
            site.maker.release()
    if site.maker.held is not None:
        site.maker.release()
    for stream in streams:
        site.script.settle()
        streams[stream] += read_on(stream)
        (type, shown), *events = decoded(streams[stream])[0]
        values = [int(data) for _, data in events]
        assert type == "snapshot"
        assert values == list(range(published - len(values) + 1, published + 1))
        assert int(shown.split()[1]) >= published - len(values)
    site.close()
