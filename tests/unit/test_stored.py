"""Following a store by interest, over a store that a test breaks and steps by hand."""

import logging

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flask_sse_push.bus import follower
from flask_sse_push.bus import stored as stored_module
from flask_sse_push.bus.follower import LINGER_SECONDS, FollowerRun
from flask_sse_push.bus.store import MAX_READ_SECONDS
from flask_sse_push.core.channels import CONTROL_CHANNEL
from tests.log_listener import LogListener

from .hand_store import HandStore, HandStoredBus, StoreFault, stored


@pytest.fixture
def store(script):
    return HandStore()


@pytest.fixture
def listener():
    return LogListener()


@pytest.fixture
def bus(script, store, listener):
    """A bus that is up, and follows nothing yet but the commands."""
    bus = HandStoredBus(store)
    bus.start(listener)
    script.settle()
    yield bus
    run = bus._run_now
    if run is not None:
        run.stop()
        script.settle()


@pytest.fixture
def listen(script, bus, listener):
    """Return a stream of channels that are followed by then: at the end of the log, or behind a number."""

    def listen(*channels, position=None):
        bus.follow(channels, whole=position is not None)
        script.settle()
        return listener.cursor(*channels, position=position)

    return listen


def pages(store):
    return [count for name, count in store.calls if name == "tail"]


def test_process_reads_what_is_listened_to_and_no_more(store, script, listener, listen):
    """Entries of other channels do not come, and the head moves over them."""
    stream = listen("a")
    store.publish("b")
    store.publish("a")
    store.publish("b")
    script.advance(MAX_READ_SECONDS)
    assert listener.read(stream) == ([2], [])
    assert listener.log.head == 3
    assert listener.log.count()["events"] == 1


def test_follow_brings_what_comes_from_now_on(store, script, listener, listen):
    """Who begins now gets nothing from before, and can resume no further back than that."""
    store.publish("a")
    stream = listen("a")
    assert not listener.log.is_ready(("a",), 0)
    store.publish("a")
    script.settle()
    assert listener.read(stream) == ([2], [])


def test_follow_as_a_whole_brings_the_past(store, script, listener, listen):
    """Who resumes gets what is kept, merged with what came meanwhile by number."""
    first, second = store.publish("a"), store.publish("a")
    live = listen("a")
    third = store.publish("a")
    script.settle()
    whole = listen("a", position=first)
    assert listener.read(whole) == ([second, third], [])
    assert listener.read(live) == ([third], [])


def test_crowd_is_one_question(bus, store, script):
    """What a thousand streams ask for in one moment is four pages of at most 256 channels."""
    script.settle()
    store.calls.clear()
    for number in range(1_000):
        bus.follow((f"user.{number}",), whole=number % 2 == 0)
    script.settle()
    assert pages(store) == [256, 256, 256, 232]
    bus.follow([f"user.{number}" for number in range(1_000)], whole=False)
    script.settle()
    assert len(pages(store)) == 4


def test_channel_that_is_wanted_as_a_whole_meanwhile(bus, store, script, listener):
    """Who asks for the past while the channel is just brought without it gets it."""
    first = store.publish("a")

    def ask(name):
        if name == "tail":
            store.on_call = None
            bus.follow(("a",), whole=True)

    store.on_call = ask
    bus.follow(("a",), whole=False)
    script.settle()
    assert listener.is_ready("a", position=0)
    assert listener.read(listener.cursor("a", position=0)) == ([first], [])


def test_wake_before_a_read_is_not_lost(bus, store, script, listener):
    """What is asked for just before the follower reads is asked of the store at once."""
    is_asked = []

    def ask(name):
        if name == "read" and not is_asked:
            is_asked.append(True)
            bus.follow(("a",), whole=False)

    script.advance(MAX_READ_SECONDS / 2)
    store.on_call = ask
    bus.follow(("b",), whole=False)  # ends the read that waits
    script.settle()  # the clock stands still
    assert listener.log.is_ready(("a", "b"), listener.log.head)


def test_lost_push_is_asked_for(store, script, listener, listen):
    """A push that never came is seen from the next of its channel, and what it carried is read."""
    stream = listen("a")
    store.is_deaf = True
    store.publish("a")
    store.is_deaf = False
    store.publish("a")
    script.settle()
    assert listener.read(stream) == ([1, 2], [])


def test_what_came_before_a_lost_push_in_one_read_comes_too(store, script, listener, listen):
    """What is right in a read is not lost because something later of the same channel is asked for."""
    stream = listen("a")
    store.publish("a")
    store.is_deaf = True
    store.publish("a")
    store.is_deaf = False
    store.publish("a")
    script.settle()
    assert listener.read(stream) == ([1, 2, 3], [])


def test_what_came_beside_a_lost_push_comes_too(store, script, listener, listen):
    """What one read brought before and behind a hole is handed on with what fills the hole."""
    stream, other = listen("a"), listen("b")
    store.is_deaf = True
    store.publish("a")
    store.is_deaf = False
    store.publish("b")
    store.publish("a")
    store.publish("b")
    script.settle()
    assert listener.read(stream) == ([1, 3], [])
    assert listener.read(other) == ([2, 4], [])


def test_lost_push_that_is_gone_is_a_told_loss(store, script, listener, listen):
    """Where the store has it no longer, streams are told before what comes later."""
    stream, other = listen("a"), listen("b")
    store.is_deaf = True
    store.publish("a")
    store.evict("a")
    store.is_deaf = False
    store.publish("a")
    script.settle()
    assert listener.read(stream) == ([2], ["a"])
    assert listener.read(other) == ([], [])


def test_lie_about_the_head_is_told(store, script, listener, listen):
    """
    A store that said too early that nothing else is there makes a told loss of what comes too late, and
    loses nothing silently.
    """
    stream = listen("a")
    store.publish("x")
    store.lies = 1
    script.advance(MAX_READ_SECONDS)
    assert listener.read(stream) == ([], [])
    assert stream.position == 2
    store.lies = 0
    store.publish("a")  # number 2, which was passed
    store.publish("a")
    script.advance(MAX_READ_SECONDS)
    assert listener.read(stream) == ([3], ["a"])


def test_lost_push_behind_a_head_is_told(bus, store, script, listener, listen):
    """A push that was lost while the head moved on is a told loss, also when another one wants the past."""
    stream = listen("a")
    store.is_deaf = True
    store.publish("a")
    store.is_deaf = False
    script.advance(MAX_READ_SECONDS)
    assert listener.read(stream) == ([], [])
    bus.follow(("a",), whole=True)
    store.publish("x")
    script.advance(MAX_READ_SECONDS)
    assert listener.read(stream) == ([], ["a"])


def test_break_is_made_up_for_by_the_next_reader(store, script, listener, listen):
    """After a cut a new reader reads on behind the head, and what came meanwhile comes once and in order."""
    stream, both = listen("a"), listen("a", "b")
    store.publish("a")
    script.settle()
    store.cut()
    store.publish("b")
    store.publish("a")
    script.advance(5)
    assert listener.read(stream) == ([1, 3], [])
    assert listener.read(both) == ([1, 2, 3], [])
    assert listener.said.count("begun") == 1


def test_head_moves_when_all_pages_are_read(store, script, listener, bus):
    """In the middle of catching up no stream gets what is newer than something that is still to come."""
    channels = [f"c.{number}" for number in range(300)]
    bus.follow(channels, whole=False)
    script.settle()
    first, last = listener.cursor(channels[0]), listener.cursor(channels[0], channels[-1])
    store.cut()
    store.publish(channels[-1])
    store.publish(channels[0])
    seen = []

    def look(name):
        if name == "tail":
            seen.append((listener.read(first), listener.read(last)))

    store.on_call = look
    script.advance(5)
    assert set(map(str, seen)) == {str((([], []), ([], [])))}
    assert listener.read(last) == ([1, 2], [])
    assert listener.read(first) == ([2], [])


@pytest.mark.parametrize("method", ["open", "begin", "tail", "read", "ignore", "report"])
def test_fault_in_any_call_is_made_up_for(bus, store, script, listener, listen, method):
    """Whatever fails, and a second time while that is mended, streams get all of it once and in order."""
    bus.follow([f"c.{number}" for number in range(300)], whole=False)
    stream = listen("a")
    listener.heard.add("c.1")
    store.cut()
    store.fails[method] = 1
    store.fails["begin"] += 1
    store.fails["tail"] += 2
    store.publish("a")
    bus.follow(("b",), whole=True)
    script.advance(2 * LINGER_SECONDS)
    store.publish("a")
    script.settle()
    assert listener.read(stream) == ([1, 2], [])
    assert bus.health().state == "up"
    assert listener.log.is_ready(("c.1",), listener.log.head)
    assert "c.2" in listener.left


def test_fault_while_a_loss_is_mended_loses_nothing(bus, store, script, listener, listen):
    """What a reader brought before it failed, and was not handed on, is brought by the next one."""
    stream, other = listen("a"), listen("b")
    store.is_deaf = True
    store.publish("a")
    store.is_deaf = False
    store.fails["tail"] = 1
    store.publish("b")
    store.publish("a")
    script.advance(5)
    assert listener.read(stream) == ([1, 3], [])
    assert listener.read(other) == ([2], [])


def test_another_epoch_is_read_as_a_whole(store, script, listener, listen, bus):
    """Where another log is in the place, all that is listened to is read from its beginning, and is told."""
    stream = listen("a")
    bus.follow(("unheard",), whole=False)
    script.settle()
    store.begin_anew("e2")
    store.publish("a")
    store.publish("a")
    script.settle()
    assert listener.log.epoch == "e2"
    assert listener.read(stream) == ([1, 2], ["a"])
    store.publish("a")
    script.settle()
    assert listener.read(stream) == ([3], [])


def test_another_epoch_in_the_middle_of_a_tail(store, script, listener, listen):
    """A log that changes while it is read is begun again, as often as that happens."""
    stream = listen("a")
    epochs = iter(["e2", "e3", "e4"])

    def change(name):
        if name == "tail" and (epoch := next(epochs, None)):
            store.begin_anew(epoch)
            store.publish("a")

    store.cut()
    store.on_call = change
    script.advance(5)
    assert listener.log.epoch == "e4"
    assert listener.read(stream) == ([1], ["a"])


def test_log_that_never_stands_still_is_a_fault(store, script, listener, listen, bus, caplog):
    """A store whose log changes again and again is away, and read again when it stands."""
    stream = listen("a")

    def change(name):
        if name == "tail":
            store.begin_anew(f"e{len(store.calls)}")

    store.cut()
    store.on_call = change
    with caplog.at_level(logging.WARNING):
        script.advance(5)
    assert bus.health().state == "down"
    assert "the log changed 10 times" in bus.health().error
    assert len(store.calls) < 2_000
    assert not [record for record in caplog.records if record.exc_info]
    store.on_call = None
    store.publish("a")
    script.advance(LINGER_SECONDS)
    assert bus.health().state == "up"
    assert listener.read(stream)[1] == ["a"]


def test_chain_that_breaks_for_ever_is_a_fault(store, script, listener, listen, bus, caplog):
    """A store that breaks a chain with each answer is asked ten times, and then opened anew."""
    listen("a")

    def break_it(name):
        if name == "tail":
            for reader in store.readers:
                reader.came.append(stored(store.head + 100, 77, "a"))

    store.on_call = break_it
    with caplog.at_level(logging.WARNING):
        store.is_deaf = True
        store.publish("a")
        store.is_deaf = False
        store.publish("a")
        script.advance(5)
    assert bus.health().state == "down"
    assert "entries are missing in it again and again" in bus.health().error
    assert len(store.calls) < 2_000
    assert not [record for record in caplog.records if record.exc_info]


def test_channel_that_nobody_hears_is_left_after_a_while(bus, store, script, listener, listen):
    """
    30 seconds after its last listener a channel is let go, not earlier, and is brought again with its past.
    """
    first = store.publish("a")
    listen("a", position=0)
    listen("b")
    listener.heard.discard("a")
    script.advance(LINGER_SECONDS - 1)
    assert listener.left == []
    script.advance(5)
    assert listener.left == ["a"]
    assert store.readers[0].listened == {"b", CONTROL_CHANNEL}
    second = store.publish("a")
    script.settle()
    assert listener.log.count()["events"] == 0
    stream = listen("a", position=0)
    assert listener.read(stream) == ([first, second], [])


def test_channel_that_is_asked_for_again_is_left_no_earlier(bus, script, listener, listen):
    """A channel that was left and is asked for at once waits for its listener as long as a new one."""
    listen("a")
    listener.heard.clear()
    while not listener.left:
        script.advance(0.5)
    bus.follow(("a",), whole=False)
    script.advance(LINGER_SECONDS - 5)
    assert listener.left == ["a"]
    script.advance(10)
    assert listener.left == ["a", "a"]


def test_time_without_listeners_begins_anew_with_each_that_leaves(bus, script, listener, listen):
    """A listener that comes back in time keeps the channel, for as long as the first."""
    listen("a", "b")
    for _ in range(3):
        listener.heard.discard("a")
        script.advance(LINGER_SECONDS - 5)
        listener.heard.add("a")
        script.advance(5)
    assert listener.left == []


def test_channel_that_is_asked_for_while_it_is_left_stays(bus, store, script, listener, listen):
    """A listener that comes in the very moment keeps the channel, or has it brought again."""
    listen("a", "b")
    listener.heard.discard("a")
    asked = []

    class Coming(set):
        def __contains__(self, channel):
            if channel == "a" and script.now - bus._unheard_since.get("a", script.now) > LINGER_SECONDS:
                if asked:
                    return True
                asked.append(channel)
                self.add("a")  # it attaches just behind this look, and then asks
                bus.follow(("a",), whole=False)
                return False
            return super().__contains__(channel)

    listener.heard = Coming(listener.heard)
    script.advance(LINGER_SECONDS + 5)
    assert asked
    stream = listener.cursor("a")
    number = store.publish("a")
    script.settle()
    assert listener.read(stream) == ([number], [])


def test_follower_that_was_idle_reads_on(bus, store, script, listener, listen):
    """It ends when nobody has listened for a while, and the next listener gets its channel as it is then."""
    listen("a")
    listener.heard.clear()
    listener.is_wanted = False
    script.advance(LINGER_SECONDS + 5)
    assert bus.health().state == "idle"
    assert store.readers == []
    store.publish("a")
    listener.is_wanted = True
    bus.start(listener)
    script.settle()
    stream = listen("a")
    number = store.publish("a")
    script.settle()
    assert listener.read(stream) == ([number], [])
    assert listener.said.count("begun") == 1


def test_stream_that_stays_while_the_follower_is_started_again(bus, store, script, listener, listen):
    """A bus that was closed and is started again brings what came between."""
    stream = listen("a")
    bus._stop_following()
    script.settle()
    store.publish("a")
    bus.start(listener)
    script.settle()
    assert listener.read(stream) == ([1], [])


def test_quiet_channel_that_the_store_forgot_is_no_loss(store, script, listener, listen):
    """A channel that the store has no number of any more goes on without a reset."""
    store.publish("a")
    stream = listen("a", position=0)
    assert listener.read(stream) == ([1], [])
    store.publish("b")
    script.advance(MAX_READ_SECONDS)
    store.forget("a")
    store.forget("b")
    store.publish("a")
    script.settle()
    assert listener.read(stream) == ([3], [])


def test_newest_value_of_each_key_is_no_loss(store, script, listener, listen):
    """Values that were replaced while the follower was away are skipped, and events without a key are not."""
    stream = listen("a")
    store.cut()
    store.publish("a", key="x")
    store.publish("a")
    store.publish("a", key="x")
    script.advance(5)
    assert listener.read(stream) == ([2, 3], [])


def test_commands_come_in_the_order_of_the_log(bus, store, script, listener):
    """Every process gets the commands behind the beginning of the log, whatever it listens to, also anew."""
    store.publish("x")
    store.publish(CONTROL_CHANNEL)
    store.cut()
    store.publish(CONTROL_CHANNEL)
    script.advance(5)
    assert list(dict.fromkeys(entry.sequence for entry in listener.commands)) == [2, 3]

    def publish(name):
        if name == "tail" and store.head == 0:
            store.publish(CONTROL_CHANNEL)  # between the beginning of the log and that of the channel

    listener.commands.clear()
    store.on_call = publish
    store.begin_anew("e2")
    script.advance(5)
    assert [entry.sequence for entry in listener.commands] == [1]


class Clock:
    """The time of a model test."""

    def __init__(self):
        self.now = 1_000.0

    def monotonic(self):
        self.now += 1e-6
        return self.now


STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.just("publish"), st.sets(st.sampled_from("abc"), min_size=1), st.sampled_from(["", "k"])
        ),
        st.tuples(st.just("deafen"), st.booleans()),
        st.tuples(st.just("cut")),
        st.tuples(st.just("fail"), st.sampled_from(["begin", "tail", "read", "ignore", "open"])),
        st.tuples(st.just("open"), st.sampled_from(["a", "b", "c", "ab", "bc"]), st.booleans()),
        st.tuples(st.just("close")),
        st.tuples(st.just("wait"), st.sampled_from([1.0, 29.0, 31.0])),
        st.tuples(st.just("evict"), st.sampled_from("abc")),
        st.tuples(st.just("anew")),
        st.tuples(st.just("read")),
    ),
    max_size=40,
)


class Model:
    """Streams over one follower, and what each of them must get."""

    def __init__(self, clock):
        self.clock, self.store, self.listener = clock, HandStore(), LogListener()
        self.bus = HandStoredBus(self.store)
        self.opening, self.streams = [], []
        self.published = {}  # (epoch, number) -> channels and key
        self.newest = {}  # channel -> number of the newest value of its key
        self.may_lie = False  # it told a head over a lost push: that shows with the next of its channel
        self.is_last = self.is_over = False

    def run(self, steps):
        steps = iter(steps)
        run = self.bus._run_now = FollowerRun(None)
        self.store.on_idle = lambda: self.do(run, next(steps, None))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(stored_module, "time", self.clock)
            patch.setattr(follower, "time", self.clock)
            while not run.is_stopping:
                try:
                    reader = self.bus._open_reader()
                    try:
                        self.bus._follow(run, self.listener, reader)
                    finally:
                        reader.close()
                except StoreFault:
                    pass
                assert len(self.store.calls) < 5_000, "it goes on for ever"

    def do(self, run, step):
        store = self.store
        if step is None:
            self.finish(run)
        elif step[0] == "publish":
            number = store.publish(*sorted(step[1]), key=step[2] or None)
            self.published[store.epoch, number] = step[1], step[2]
            if step[2]:
                self.newest.update(dict.fromkeys(step[1], number))
        elif step[0] == "deafen":
            store.is_deaf = step[1]
            self.may_lie |= step[1]
        elif step[0] == "cut":
            store.cut()
        elif step[0] == "fail":
            store.fails[step[1]] += 1
        elif step[0] == "open":
            self.opening.append((tuple(step[1]), store.epoch, 0 if step[2] else None))
        elif step[0] == "close" and self.streams:
            gone = self.streams.pop(0)[0]
            if not any(set(cursor.channels) & set(gone.channels) for cursor, *_ in self.streams):
                self.listener.heard.difference_update(gone.channels)
        elif step[0] == "wait":
            self.clock.now += step[1]
        elif step[0] == "evict" and not self.may_lie:
            store.evict(step[1])
        elif step[0] == "anew":
            store.begin_anew(store.epoch + "x")
        self.attend()

    def finish(self, run):
        """Let everything come that is still to come, and look once more."""
        if self.is_last:
            run.is_stopping = self.is_over = True
            return
        self.is_last, self.store.is_deaf = True, False
        self.store.fails.clear()
        for channel in "abc":
            number = self.store.publish(channel)
            self.published[self.store.epoch, number] = {channel}, ""

    def attend(self):
        """Open what can be opened, and read everywhere."""
        log = self.listener.log
        for item in list(self.opening):
            channels, epoch, position = item
            after = log.head if position is None or epoch != log.epoch else position
            self.bus.follow(channels, whole=position is not None)
            if log.is_ready(channels, after):
                self.opening.remove(item)
                cursor = self.listener.cursor(*channels, position=after)
                self.streams.append((cursor, after, log.epoch, set(), set()))
        for number, stream in enumerate(self.streams):
            self.streams[number] = self.read(*stream)

    def read(self, cursor, begin, epoch, got, excused):
        log = self.listener.log
        if cursor.epoch != log.epoch:
            begin, epoch, got, excused = 0, log.epoch, set(), set()
            is_new = True
        else:
            is_new = False
        batch = self.listener.read(cursor)
        if batch is None:
            self.bus.follow(cursor.channels, whole=True)
            return cursor, begin, epoch, got, excused
        numbers, lost = batch
        assert numbers == sorted(set(numbers)), "in order, each once"
        assert not got.intersection(numbers), "nothing twice"
        assert not numbers or numbers[0] > max(got, default=0), "in order"
        got.update(numbers)
        missed = {
            number
            for (other, number), (channels, key) in self.published.items()
            if other == epoch and begin < number <= cursor.position and number not in got
            for channel in channels.intersection(cursor.channels)
            if not key or self.newest[channel] == number
        }
        if not self.may_lie or self.is_over:
            assert lost or not missed - excused, f"{missed - excused} were lost, and it was not told"
        # What one channel dropped is lost there, also where another channel of the stream still has it.
        dropped = {channel for other, channel, number in self.store.gone if other == epoch and number > begin}
        is_right = is_new or missed - excused or dropped.intersection(lost)
        assert not lost or self.may_lie or is_right, f"a false reset of {lost}"
        return cursor, begin, epoch, got, excused | missed if lost else excused


@settings(max_examples=100, deadline=None)
@given(STEPS)
def test_stream_gets_everything_once_in_order_or_is_told(steps):
    """
    However pushes are lost, connections break, logs begin anew and channels are left: what a stream does not
    get it is told of, before anything later, and it is told of nothing else.
    """
    Model(Clock()).run(steps)
