"""
What every bus promises: one suite over all of them. Each object of a bus stands for a process of its own.
"""

import multiprocessing
import threading
import time

import pytest

from flask_sse_push.bus import BusOptions, MemoryBus, open_bus
from flask_sse_push.bus.follower import LINGER_SECONDS
from flask_sse_push.core.channels import CONTROL_CHANNEL, Pattern
from flask_sse_push.core.messages import Message
from flask_sse_push.core.retention import ChannelRetention
from flask_sse_push.errors import ChannelClosed, TooManyKept
from tests.bus.stores import RETENTION, Follower, block, every_bus, keep, numbered, send, shared_bus
from tests.support import FACTOR, MS, eventually, own_threads


@every_bus
def test_bus_numbers_from_one_without_a_hole(store):
    """
    Events get the numbers 1, 2, 3 in one epoch, and the follower gets them so, as bytes with the id in front.
    """
    bus = store.bus()
    follower = Follower(bus).up()
    ids = [numbered(bus, ("a",), block(number)) for number in range(3)]
    assert [id.sequence for id in ids] == [1, 2, 3]
    (epoch,) = {id.epoch for id in ids}
    follower.wait(3)
    assert follower.begun == [(epoch, 0)]
    assert [entry.wire for entry in follower.entries] == [
        b"id: %s-%d\ndata: %d\n\n" % (epoch.encode(), number + 1, number) for number in range(3)
    ]
    assert {entry.channels for entry in follower.entries} == {("a",)}


@every_bus
def test_bus_says_that_a_log_begins_before_anything_else(store):
    """It first tells of the log, then of the pasts of what is listened to, and last that all is here."""
    follower = Follower(store.bus()).up()
    assert follower.said[0] == "begun"
    assert follower.said[-1] == "up"
    assert set(follower.said[1:-1]) <= {"past"}


@every_bus
def test_order_of_numbers_is_the_order_of_arrival_under_many_threads(store):
    """
    Eight threads publish at once: every follower gets all events once, in the order of the numbers; each
    thread's own stay in its order.
    """
    buses = [store.bus(), store.bus()] if store.kind != "memory" else [store.bus()] * 2
    followers = [Follower(bus).up() for bus in dict.fromkeys(buses)]
    given = {}

    def publish(thread):
        for number in range(25):
            given[thread, number] = numbered(buses[thread % 2], ("a",), block(f"{thread}.{number}")).sequence

    threads = [threading.Thread(target=publish, args=(thread,)) for thread in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for follower in followers:
        follower.wait(200)
        assert follower.numbers() == list(range(1, 201))
        texts = follower.texts()
        assert {text: number for number, text in enumerate(texts, 1)} == {
            f"{thread}.{number}": sequence for (thread, number), sequence in given.items()
        }
        for thread in range(8):
            assert [text for text in texts if text.startswith(f"{thread}.")] == [
                f"{thread}.{number}" for number in range(25)
            ]


@every_bus
def test_listener_is_called_by_one_thread_at_a_time(store):
    """However many publish at once, the listener is never called in the middle of a call."""
    calls, overlaps = [], []

    class Slow(Follower):
        def entries_came(self, entries, head):
            calls.append(self)
            time.sleep(0.0005)  # others publish meanwhile
            overlaps.extend(calls[1:])
            calls.clear()
            super().entries_came(entries, head)

    bus = store.bus()
    follower = Slow(bus).up()
    threads = [threading.Thread(target=lambda: [send(bus, "a", "x") for _ in range(20)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    follower.wait(80)
    assert not overlaps


@shared_bus
def test_late_follower_gets_what_is_kept(store):
    """
    Who begins to follow a channel later gets its whole history, also more than fits into one answer, and then
    what comes.
    """
    publisher = store.bus()
    epoch = numbered(publisher, ("a", "b"), block("first")).epoch
    for number in range(2, 1202):
        send(publisher, "a", number)
    follower = Follower(store.bus()).up()
    assert [begun for begun, _ in follower.begun] == [epoch]
    assert follower.numbers() == list(range(1, 1202))
    assert follower.entries[0].channels == ("a", "b")
    send(publisher, "a", "then")
    follower.wait(1202)
    assert follower.numbers() == list(range(1, 1203))


@shared_bus
def test_follower_hears_other_processes_both_ways(store):
    """What one process publishes comes to the other, and the other way round."""
    left, right = Follower(store.bus()).up(), Follower(store.bus()).up()
    send(left.bus, "a", "from the left")
    send(right.bus, "a", "from the right")
    for follower in (left, right):
        follower.wait(2)
        assert follower.texts() == ["from the left", "from the right"]


@shared_bus
def test_process_reads_what_is_listened_to_there(store):
    """
    Events of other channels do not come to a process, and its streams know nevertheless that nothing of their
    own is missing.
    """
    publisher, follower = store.bus(), Follower(store.bus(), whole=False).up()
    stream = follower.cursor("a")
    send(publisher, "b", "not here")
    send(publisher, "a", "here")
    last = send(publisher, "b", "not here")
    eventually(lambda: follower.head == last.sequence, 5000 * MS)
    assert [entry.sequence for entry in follower.came] == [2]
    assert follower.read(stream) == ([2], [])
    assert stream.position == last.sequence
    assert follower.log.count()["channels"] == 1


@shared_bus
def test_first_listener_brings_the_past_of_a_channel(store):
    """
    A channel that is listened to later comes with its past, merged by number with what comes meanwhile; a
    stream over it and an earlier one gets both in one order.
    """
    publisher, follower = store.bus(), Follower(store.bus(), channels=("a",)).up()
    for number in range(6):
        send(publisher, "ab"[number % 2], number)
    follower.hear("b")
    stream = follower.cursor("a", "b", position=0)
    send(publisher, "b a", "both")
    send(publisher, "b", "last")
    got = []

    def has_all():
        numbers, lost = follower.read(stream)
        assert lost == []
        got.extend(numbers)
        return len(got) == 8

    eventually(has_all, 5000 * MS)
    assert got == list(range(1, 9))


@shared_bus
def test_follower_without_a_past_gets_what_comes_from_now_on(store):
    """Who needs no past gets none, and is told of no loss."""
    publisher = store.bus()
    send(publisher, "a", "before")
    follower = Follower(store.bus(), whole=False).up()
    stream = follower.cursor("a")
    send(publisher, "a", "after")
    follower.wait(1)
    assert follower.texts() == ["after"]
    eventually(lambda: follower.read(stream) == ([2], []), 5000 * MS)
    assert not follower.is_ready("a", position=0)
    follower.hear("a")
    assert follower.read(follower.cursor("a", position=0)) == ([1, 2], [])


@shared_bus
def test_event_of_several_channels_comes_once(store):
    """However many of its channels a process listens to, an event comes once, and is in each of them."""
    publisher = store.bus()
    follower = Follower(store.bus(), channels=("a", "b")).up()
    send(publisher, "a b c", "all")
    send(publisher, "c", "not here")
    send(publisher, "b c", "more")
    follower.wait(2)
    assert follower.numbers() == [1, 3]
    eventually(lambda: follower.read(follower.cursor("a", position=0)) == ([1], []), 5000 * MS)
    eventually(lambda: follower.read(follower.cursor("b", position=0)) == ([1, 3], []), 5000 * MS)
    both = follower.cursor("a", "b", position=0)
    assert follower.read(both) == ([1, 3], [])


@shared_bus
def test_channel_that_nobody_hears_is_left(store, monkeypatch):
    """
    A while after its last listener a channel is read no longer, and the next listener gets it with its past.
    """
    monkeypatch.setattr("flask_sse_push.bus.stored.LINGER_SECONDS", 0.05)
    monkeypatch.setattr("flask_sse_push.bus.stored._LOOK_SECONDS", 0.01)
    monkeypatch.setattr("flask_sse_push.bus.stored.MAX_READ_SECONDS", 0.05)
    publisher, follower = store.bus(), Follower(store.bus(), channels=("a", "b")).up()
    send(publisher, "b", 1)
    follower.wait(1)
    follower.heard.discard("b")
    eventually(lambda: follower.left == ["b"], 5000 * MS)
    send(publisher, "b", 2)
    send(publisher, "a", 3)
    follower.wait(2)
    assert follower.texts() == ["1", "3"]
    stream = follower.hear("b")
    assert follower.read(stream) == ([1, 2], [])


@shared_bus
def test_follower_that_is_started_again_reads_on(store):
    """After a stop it goes on where it was: nothing is lost, nothing comes twice, and no log begins anew."""
    bus, other = store.bus(), store.bus()
    follower = Follower(bus).up()
    stream = follower.cursor("a")
    send(other, "a", 1)
    follower.wait(1)
    bus.close()
    send(other, "a", 2)
    bus.start(follower)
    follower.wait(2)
    send(other, "a", 3)
    follower.wait(3)
    assert follower.numbers() == [1, 2, 3]
    eventually(lambda: follower.head == 3, 5000 * MS)
    assert follower.read(stream) == ([1, 2, 3], [])
    assert len(follower.begun) == 1


@shared_bus
def test_follower_ends_when_nobody_has_wanted_it_for_a_while(store, monkeypatch):
    """
    Its thread is gone a while after the last listener, and comes back with the next, which misses nothing.
    """
    monkeypatch.setattr("flask_sse_push.bus.follower.LINGER_SECONDS", 0.01)
    monkeypatch.setattr("flask_sse_push.bus.stored.MAX_READ_SECONDS", 0.1)
    assert LINGER_SECONDS > 1
    bus = store.bus()
    follower = Follower(bus).up()
    send(bus, "a", 1)
    follower.wait(1)
    follower.is_wanted = False
    eventually(lambda: bus.health().state == "idle", 5000 * MS)
    eventually(lambda: not own_threads(), 5000 * MS)
    send(bus, "a", 2)
    follower.is_wanted = True
    bus.start(follower)
    follower.wait(2)
    assert follower.numbers() == [1, 2]


@shared_bus
def test_follower_counts_anew_how_long_nobody_has_listened(store, monkeypatch):
    """The time without listeners begins anew with each listener that leaves."""
    # So often it looks for listeners.
    monkeypatch.setattr("flask_sse_push.bus.stored.MAX_READ_SECONDS", 0.1)
    bus = store.bus()
    follower = Follower(bus).up()
    for _ in range(2):
        follower.is_wanted = False
        eventually(lambda: bus._idle_since is not None, 5000 * MS)
        follower.is_wanted = True
        eventually(lambda: bus._idle_since is None, 5000 * MS)
    assert bus.health().state == "up"


@shared_bus
def test_publishing_alone_starts_nothing(store):
    """A process that only publishes has no thread of the package, and is idle."""
    bus = store.bus()
    send(bus, "a", 1)
    assert own_threads() == []
    assert bus.health().state == "idle"


@every_bus
def test_start_twice_follows_once(store):
    """Started again and again there is one follower, and each event comes once."""
    bus = store.bus()
    follower = Follower(bus).up()
    for _ in range(5):
        bus.start(follower)
    send(bus, "a", 1)
    send(bus, "a", 2)
    follower.wait(2)
    assert follower.numbers() == [1, 2]
    assert len(follower.begun) == 1
    assert len([thread for thread in own_threads() if "follower" in thread.name]) == int(bus.shared)


@every_bus
def test_head_is_where_the_log_ends(store):
    """It is the id of the last event, whatever its channel; of an empty log it is the place before all."""
    bus = store.bus()
    assert bus.head().sequence == 0
    sent = [send(bus, channel, "x") for channel in ("a", "b")][-1]
    assert str(bus.head()) == sent.id
    if bus.shared:
        assert store.bus().head() == bus.head()


@every_bus
def test_repeated_key_is_the_first_event(store):
    """
    Publishing with an idempotency key that was used returns the first id and stores nothing; another one, or
    none, is another event.
    """
    bus = store.bus()
    follower = Follower(bus).up()
    first = send(bus, "a", "first", once="key")
    again = send(bus, "b", "again", once="key")
    assert not first.is_repeated
    assert again == first._replace(is_repeated=True)
    assert numbered(bus, ("a",), block("other"), "other key").sequence == 2
    assert numbered(bus, ("a",), block("none")).sequence == 3
    assert numbered(bus, ("a",), block("none")).sequence == 4
    assert len(follower.wait(4)) == 4


@shared_bus
def test_repeated_key_is_known_to_all_processes(store):
    """A key that one process used is known to the others."""
    first = send(store.bus(), "a", "first", once="key")
    assert send(store.bus(), "a", "again", once="key") == first._replace(is_repeated=True)


@every_bus
def test_same_key_in_many_threads_is_one_event(store):
    """However many repeat it at once, there is one event."""
    bus = store.bus()
    barrier, ids = threading.Barrier(8), []

    def publish():
        barrier.wait()
        ids.append(numbered(bus, ("a",), block("x"), "key"))

    threads = [threading.Thread(target=publish) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(ids)) == 1
    assert numbered(bus, ("a",), block("y")).sequence == 2


@every_bus
def test_key_is_forgotten_with_the_history(store):
    """Behind the history of its channel the same key is a new event."""
    bus = store.bus(keep(1))
    first = send(bus, "a", "first", once="key")

    def published():
        send(bus, "a", "other")
        again = send(bus, "a", "again", once="key")
        return again if not again.is_repeated else None

    assert eventually(published, 5000 * MS).sequence > first.sequence


@every_bus
def test_closed_channel_takes_no_event(store):
    """
    A closed channel refuses events, alone or with others, and nothing is stored; other channels go on.
    """
    bus = store.bus()
    follower = Follower(bus, channels=("a", "b")).up()
    send(bus, "a", "last")
    closed = send(bus, "a", closes=True)
    assert (closed.sequence, closed.is_repeated) == (2, False)
    for channels in ("a", "b a"):
        with pytest.raises(ChannelClosed, match="'a' was closed"):
            send(bus, channels, "late")
    with pytest.raises(ChannelClosed):
        send(bus, "a", "late", key="k")
    with pytest.raises(ChannelClosed):
        send(bus, "a", "late", closes=True)
    assert send(bus, "b", "on").sequence == 3
    follower.wait(3)
    assert follower.numbers() == [1, 2, 3]
    assert [entry.closes for entry in follower.entries] == [False, True, False]
    assert follower.entries[1].wire == b""
    assert follower.closed_behind("a") == 2
    assert follower.closed_behind("a", "b") is None


@every_bus
def test_closing_can_be_repeated(store):
    """Closing what is closed stores nothing, and gives the id of the newest closing."""
    bus = store.bus()
    first = send(bus, "a", closes=True)
    assert send(bus, "a", closes=True) == first._replace(is_repeated=True)
    second = send(bus, "a b", closes=True)
    assert (second.sequence, second.is_repeated) == (2, False)
    assert send(bus, "b a", closes=True) == second._replace(is_repeated=True)
    assert send(bus, "a", closes=True) == first._replace(is_repeated=True)
    assert bus.head().sequence == 2


@every_bus
def test_last_event_closes_in_one_step(store):
    """An event that closes its channels is the last of each of them."""
    bus = store.bus()
    follower = Follower(bus, channels=("a", "b")).up()
    done = send(bus, "a b", "done", closes=True)
    follower.wait(1)
    assert follower.texts() == ["done"]
    assert follower.closed_behind("a", "b") == done.sequence
    with pytest.raises(ChannelClosed):
        send(bus, "b", "late")


@every_bus
def test_repeated_key_of_the_last_event_is_no_error(store):
    """Who repeats the event that closed a channel gets its id, and is not told that the channel is closed."""
    bus = store.bus()
    first = send(bus, "a", "done", closes=True, once="k")
    assert send(bus, "a", "done", closes=True, once="k") == first._replace(is_repeated=True)


@shared_bus
def test_closing_counts_in_all_processes(store):
    """What one process closed is closed for others, also for one that begins to follow later."""
    send(store.bus(), "a", "done", closes=True)
    other = store.bus()
    with pytest.raises(ChannelClosed):
        send(other, "a", "late")
    follower = Follower(other).up()
    assert follower.texts() == ["done"]
    assert follower.closed_behind("a") == 1
    stream = follower.cursor("a", position=0)
    assert follower.read(stream) == ([1], [])


@every_bus
def test_many_close_at_once(store):
    """However many threads close a channel at once, one does, and an event is before it or an error."""
    bus = store.bus()
    follower = Follower(bus).up()
    barrier, results, refused = threading.Barrier(8), [], []

    def work(number):
        barrier.wait()
        try:
            result = send(bus, "a", *([] if number % 2 else [number]), closes=bool(number % 2))
        except ChannelClosed:
            refused.append(number)
        else:
            results.append((number % 2, result))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    closings = [result for closes, result in results if closes]
    assert len({result.id for result in closings}) == 1
    assert [result.is_repeated for result in closings].count(False) == 1
    events = [result.sequence for closes, result in results if not closes]
    assert sorted(events) == list(range(1, closings[0].sequence))
    follower.wait(closings[0].sequence)
    assert len(events) + len(refused) == 4


@every_bus
def test_closed_channel_begins_anew(store):
    """
    A while after its closing a channel is forgotten, with all that it had; it takes events again, and their
    numbers go on.
    """
    bus = store.bus(keep(1))
    follower = Follower(bus).up()
    send(bus, "a", "value", key="k")
    closed = send(bus, "a", "done", closes=True)

    def is_open():
        try:
            return send(bus, "a", "again")
        except ChannelClosed:
            return None

    again = eventually(is_open, 5000 * MS)
    assert again.sequence == closed.sequence + 1
    follower.wait(3)
    assert follower.texts()[-1] == "again"
    eventually(lambda: follower.head == again.sequence, 5000 * MS)
    assert follower.closed_behind("a") is None
    assert follower.kept("a") == b""
    if bus.shared:
        late = Follower(store.bus(keep(1))).up()
        assert late.texts() == ["again"]
        assert late.kept("a") == b""
        assert late.lost() == closed.sequence


@every_bus
def test_newest_value_of_each_key_is_kept(store):
    """
    Values stay beyond the history, the newest of each key, in the order in which they came; those who follow
    get each one as it comes.
    """
    bus = store.bus(keep(length=2))
    follower = Follower(bus).up()
    for number, key in enumerate(["x", "y", "x", None, None, None, None, None], 1):
        send(bus, "a", number, key=key)
        follower.wait(number)
    eventually(lambda: follower.head == 8, 5000 * MS)
    assert follower.kept("a") == b"data: 2\n\ndata: 3\n\n"
    assert [entry.key for entry in follower.entries[:3]] == ["x", "y", "x"]
    if bus.shared:
        late = Follower(store.bus(keep(length=2))).up()
        assert late.kept("a") == b"data: 2\n\ndata: 3\n\n"
        assert late.numbers() == [2, 3, 7, 8]
        assert late.lost() == 6, "the values that were replaced are no loss"
        snapshot = bus.inspect()
        assert (snapshot.kept, snapshot.events) == (2, 2)


@every_bus
def test_value_is_kept_in_each_of_its_channels(store):
    """A value of several channels is replaced in each by itself."""
    bus = store.bus()
    follower = Follower(bus, channels=("a", "b")).up()
    send(bus, "a b", "both", key="k")
    send(bus, "a", "one", key="k")
    follower.wait(2)
    eventually(lambda: follower.head == 2, 5000 * MS)
    assert follower.kept("a") == b"data: one\n\n"
    assert follower.kept("b") == b"data: both\n\n"
    if bus.shared:
        late = Follower(store.bus(), channels=("a", "b")).up()
        assert (late.kept("a"), late.kept("b")) == (b"data: one\n\n", b"data: both\n\n")


@every_bus
def test_value_can_be_forgotten(store):
    """
    Forgetting a key removes its value for all who follow now or later; forgetting what is not kept stores
    nothing.
    """
    bus = store.bus()
    follower = Follower(bus).up()
    for number, (text, key) in enumerate([("gone", "x"), ("stays", "y")], 1):
        send(bus, "a", text, key=key)
        follower.wait(number)
    forgotten = send(bus, "a", key="x")
    assert (forgotten.sequence, forgotten.is_repeated) == (3, False)
    follower.wait(3)
    eventually(lambda: follower.head == 3, 5000 * MS)
    assert follower.kept("a") == b"data: stays\n\n"
    for channel, key in [("a", "x"), ("b", "y")]:
        again = send(bus, channel, key=key)
        assert (again.id, again.is_repeated) == (str(bus.head()), True)
    assert bus.head().sequence == 3
    if bus.shared:
        assert Follower(store.bus()).up().kept("a") == b"data: stays\n\n"


@every_bus
def test_kept_values_of_a_channel_are_bounded(store):
    """One value too many is an error with its cure, and a new value of a known key is not one too many."""
    bus = store.bus(keep(max_kept=2))
    if bus.shared:
        Follower(bus).up()
    send(bus, "a", 1, key="x")
    send(bus, "a", 2, key="y")
    with pytest.raises(TooManyKept, match="SSE_PUSH_KEPT_VALUES"):
        send(bus, "a", 3, key="z")
    with pytest.raises(TooManyKept):
        send(bus, "b a", 3, key="z")
    assert send(bus, "a", 4, key="x").sequence == 3
    assert send(bus, "b", 5, key="z").sequence == 4
    send(bus, "a", key="y")
    assert send(bus, "a", 6, key="z").sequence == 6


@every_bus
def test_bytes_of_kept_values_are_bounded_over_all(store):
    """Values of all channels share a bound in bytes; a smaller value fits, and forgetting makes room."""
    bus = store.bus(keep(max_kept_bytes=10_000))
    if bus.shared:
        Follower(bus).up()
    send(bus, "a", "x" * 4_000, key="k")
    send(bus, "b", "x" * 3_000, key="k")
    with pytest.raises(TooManyKept, match="SSE_PUSH_KEPT_BYTES"):
        send(bus, "c", "x" * 4_000, key="k")
    assert bus.head().sequence == 2
    send(bus, "a", "x" * 100, key="k")
    send(bus, "c", "x" * 4_000, key="k")
    send(bus, "c", key="k")
    send(bus, "c", "x" * 4_000, key="k")


@every_bus
def test_kept_values_are_not_counted_as_history(store):
    """However many values are kept, the events of the history stay."""
    bus = store.bus(keep(max_bytes=5_000, max_kept_bytes=1 << 24))
    follower = Follower(bus).up()
    send(bus, "a", "event")
    for number in range(20):
        send(bus, "a", "x" * 1_000, key=f"k{number}")
    if bus.shared:
        follower = Follower(store.bus()).up()
        assert bus.inspect().events == 1
    else:
        follower.wait(21)
    assert follower.texts()[0] == "event"


@shared_bus
@pytest.mark.parametrize("retention", [keep(length=10), keep(max_bytes=6_000)], ids=["count", "bytes"])
def test_history_is_bounded(store, retention):
    """No more is kept than was said, the newest stays, and who begins later sees where the history begins."""
    following = Follower(store.bus(retention)).up()
    publisher = store.bus(retention)
    for number in range(200):
        send(publisher, "a", number)
    eventually(
        lambda: following.numbers()[-1:] == [200],
        10_000 * MS,
        "the newest event comes, whatever was trimmed before it was read",
    )
    late = Follower(store.bus(retention)).up()
    numbers = late.numbers()
    assert numbers == list(range(201 - len(numbers), 201))
    assert late.lost() == numbers[0] - 1
    assert 1 <= len(numbers) <= 30
    snapshot = publisher.inspect()
    assert (snapshot.events, snapshot.channels) == (len(numbers), 1)
    assert snapshot.head == 200
    assert snapshot.size_bytes <= 6000 or retention.max_bytes > 6000


@shared_bus
def test_busy_channel_pushes_out_no_quiet_one(store):
    """The number of events counts for each channel by itself."""
    retention = keep(length=10)
    Follower(store.bus(retention)).up()
    publisher = store.bus(retention)
    send(publisher, "quiet", "still here")
    for number in range(50):
        send(publisher, "busy", number)
    late = Follower(store.bus(retention), channels=("quiet", "busy")).up()
    assert late.numbers()[0] == 1
    assert (late.lost("quiet"), late.lost("busy")) == (0, 41)
    assert publisher.inspect().channels == 2


@shared_bus
def test_bytes_count_over_all_channels_oldest_first(store):
    """Too many bytes push out the oldest event of all, in whatever channel it is."""
    retention = keep(max_bytes=20_000)
    Follower(store.bus(retention)).up()
    publisher = store.bus(retention)
    send(publisher, "old", "goes first")
    for number in range(40):
        send(publisher, f"c{number}", "x" * 1_000)
    late = Follower(store.bus(retention), channels=("old", "c0", "c39")).up()
    assert late.numbers() == [41]
    assert (late.lost("old"), late.lost("c0"), late.lost("c39")) == (1, 2, 0)


@shared_bus
def test_events_of_many_channels_stay_within_the_bytes(store):
    """An event that takes hundreds of places lets go of as many, however many such events come."""
    retention = keep(max_bytes=200_000)
    Follower(store.bus(retention)).up()
    publisher = store.bus(retention)
    channels = " ".join(f"c{number}" for number in range(300))
    for _ in range(40):
        send(publisher, channels, "x")
    assert 150_000 < publisher.inspect().size_bytes < 204_000


@shared_bus
def test_mark_of_a_channel_outlives_its_events(store):
    """
    What a quiet channel has lost is known when all of its events are gone, and counts for nobody who has read
    them.
    """
    retention = keep(1)
    follower = Follower(store.bus(retention)).up()
    publisher = store.bus(retention)
    send(publisher, "a", 1)
    send(publisher, "a", 2)
    follower.wait(2)
    stream = follower.cursor("a")

    def is_gone():
        send(publisher, "b", "x")
        return publisher.inspect().channels == 1

    eventually(is_gone, 10_000 * MS)
    late = Follower(store.bus(retention)).up()
    assert late.entries == []
    assert late.lost() == 2
    assert late.read(late.cursor("a", position=1)) == ([], ["a"])
    assert late.read(late.cursor("a", position=2)) == ([], [])
    third = send(publisher, "a", 3)
    eventually(lambda: follower.head >= third.sequence, 5000 * MS)
    assert follower.read(stream) == ([third.sequence], [])


@pytest.fixture
def few_names(store, monkeypatch):
    """Stores that remember ten channels without events."""
    if store.kind == "redis":
        from flask_sse_push.bus.redis import log
        from flask_sse_push.bus.redis.script import script

        text = log.PUBLISH.text.replace("'ended') > 100000", "'ended') > 10")
        assert text != log.PUBLISH.text
        monkeypatch.setattr(log, "PUBLISH", script(text))
    else:
        from flask_sse_push.bus.sqlite import trimming

        monkeypatch.setattr(trimming, "MAX_NAMES", 10)


@shared_bus
def test_channel_that_the_store_forgot_goes_on(store, few_names):
    """
    Of too many channels without events the store forgets the oldest. Who has read such a channel misses
    nothing when it goes on; who has not is told that something may be gone.
    """
    retention = keep(1)
    follower = Follower(store.bus(retention), channels=("quiet",), whole=False).up()
    stream = follower.cursor("quiet")
    publisher = store.bus(retention)
    first = send(publisher, "quiet", "first")
    for number in range(40):
        send(publisher, f"c{number}", "x")

    def is_forgotten():
        send(publisher, "busy", "x")
        with_past = Follower(store.bus(retention), channels=("quiet", "never")).up()
        return with_past.lost("quiet") == with_past.lost("never") > first.sequence

    eventually(is_forgotten, 10_000 * MS)
    again = send(publisher, "quiet", "again")
    follower.wait(2)
    eventually(lambda: follower.head >= again.sequence, 5000 * MS)
    assert follower.read(stream) == ([first.sequence, again.sequence], [])
    late = Follower(store.bus(retention), channels=("quiet",)).up()
    assert late.read(late.cursor("quiet", position=0)) == ([again.sequence], ["quiet"])
    assert late.read(late.cursor("quiet", position=again.sequence - 1)) == ([again.sequence], [])


PATTERNS = [(Pattern("run.*"), ChannelRetention(20, 300.0)), (Pattern("*"), ChannelRetention(3, 300.0))]


@shared_bus
def test_publisher_obeys_the_patterns_of_those_who_serve(store):
    """A publisher of other opinions keeps what those who serve have said, by the first pattern that fits."""
    serving = Follower(store.bus(keep(patterns=PATTERNS))).up()
    stranger = store.bus(keep(length=1))
    for number in range(30):
        send(stranger, "run.7", number)
        send(stranger, "a", number)
    late = Follower(store.bus(keep(patterns=PATTERNS)), channels=("run.7", "a")).up()
    assert len([entry for entry in late.entries if entry.channels == ("run.7",)]) == 20
    assert len([entry for entry in late.entries if entry.channels == ("a",)]) == 3
    assert serving.bus.inspect().events == 23


@shared_bus
def test_new_rules_count_from_then_on(store):
    """A process that begins to serve with other rules changes them for a publisher that knew the old ones."""
    Follower(store.bus(keep(length=50))).up()
    publisher = store.bus()
    for number in range(40):
        send(publisher, "a", number)
    assert publisher.inspect().events == 40
    Follower(store.bus(keep(length=5))).up()
    for number in range(40):
        send(publisher, "a", number)
    assert publisher.inspect().events == 5


@every_bus
def test_control_channel_carries_commands_between_events(store):
    """
    A command comes to every process that follows, in its place in the order of the log, whatever is listened
    to there.
    """
    bus = store.bus()
    followers = [Follower(bus, channels=("a",)).up()]
    if bus.shared:
        followers.append(Follower(store.bus(), channels=("b",)).up())
    order = {id(follower): [] for follower in followers}
    for follower in followers:
        came = follower.entries_came

        def write_down(entries, head, came=came, follower=follower):
            order[id(follower)] += [(entry.channels, entry.sequence) for entry in entries]
            came(entries, head)

        follower.entries_came = write_down
    send(bus, "a b", "before")
    bus.publish(Message((CONTROL_CHANNEL,), block("command")))
    send(bus, "a b", "after")
    for follower in followers:
        follower.wait(2)
        eventually(lambda follower=follower: follower.commands, 5000 * MS)
        (command,) = follower.commands
        assert command.wire.endswith(b"-2\ndata: command\n\n")
        assert [number for _, number in order[id(follower)]] == [1, 2, 3]
        assert follower.numbers() == [1, 3]


@every_bus
def test_lease_lives_until_its_time_is_over(store):
    """A lease is seen by all processes, renewed by another call, and gone by itself or when it is dropped."""
    bus = store.bus()
    other = store.bus() if bus.shared else bus
    bus.put_lease("run/1", "first", 60)
    bus.put_lease("run/1", "renewed", 60)
    bus.put_lease("run/2", "snöw ☃", 60)
    bus.put_lease("else/1", "x", 60)
    assert other.leases("run/") == {"run/1": "renewed", "run/2": "snöw ☃"}
    assert other.leases("nothing") == {}
    other.drop_lease("run/2")
    other.drop_lease("run/2")
    bus.put_lease("run/3", "short", 0.05)
    eventually(lambda: bus.leases("run/") == {"run/1": "renewed"}, 5000 * MS)
    bus.put_lease("run/3", "again", 60)
    assert set(other.leases("")) >= {"run/1", "run/3", "else/1"}


@every_bus
def test_lease_prefix_is_taken_literally(store):
    """No character of a prefix means anything but itself."""
    bus = store.bus()
    for name in ("a_b", "axb", "a%b", "a*b", "a?b", "a[x]b", "A_b"):
        bus.put_lease(name, name, 60)
    for prefix in ("a_", "a%", "a*", "a?", "a[x]"):
        assert set(bus.leases(prefix)) == {prefix + "b"}


def _hold_lease(url, ready):
    bus = open_bus(url, BusOptions(RETENTION, 5))
    bus.put_lease("held", "by a child", 1.0)
    ready.put(True)
    time.sleep(60)


@shared_bus
def test_lease_of_a_killed_process_ends(store):
    """Nothing but its time keeps a lease, so that of a process that was killed ends."""
    bus = store.bus()
    context = multiprocessing.get_context("fork")
    ready = context.SimpleQueue()
    child = context.Process(target=_hold_lease, args=(store.url, ready))
    child.start()
    assert ready.get()
    assert bus.leases("held") == {"held": "by a child"}
    child.kill()
    child.join()
    eventually(lambda: not bus.leases("held"), 5000 * MS)


@shared_bus
def test_reports_are_seen_by_all_and_taken_back(store):
    """What a following process says of itself is seen by others, and gone when it ends."""
    speaking, asking = store.bus(), store.bus()
    Follower(speaking, lambda: {"process": "one", "streams": 3}).up()
    eventually(lambda: asking.inspect().reports, 5000 * MS)
    (report,) = asking.inspect().reports
    assert report == {"process": "one", "streams": 3}
    speaking.close()
    assert asking.inspect().reports == []


@every_bus
def test_inspect_of_what_is_empty(store):
    """A bus in which nothing was published has nothing, and looking does not change that."""
    snapshot = store.bus().inspect()
    assert snapshot[1:] == (0, 0, 0, 0, 0, [])


@shared_bus
def test_inspect_counts_what_is_kept(store):
    """It counts events, channels with events, values and bytes, each event of several channels once."""
    bus = store.bus()
    send(bus, "a b", "x" * 1_000)
    send(bus, "a", "y")
    send(bus, "c", "z", key="k")
    snapshot = bus.inspect()
    assert (snapshot.head, snapshot.events, snapshot.channels, snapshot.kept) == (3, 2, 2, 1)
    assert 1_000 < snapshot.size_bytes < 4_000
    assert snapshot.epoch == bus.head().epoch


@every_bus
def test_health_tells_of_following(store):
    """A bus that is followed is up."""
    bus = store.bus()
    assert bus.health().state == ("idle" if bus.shared else "up")
    Follower(bus).up()
    assert bus.health().state == "up"
    assert bus.health().error is None
    bus.close()
    assert bus.health().state == ("idle" if bus.shared else "up")


@every_bus
def test_close_can_be_repeated_and_publishing_opens_anew(store):
    """Closing lets go, twice is harmless, and a later publish goes on with the numbers."""
    bus = store.bus()
    bus.close()
    first = numbered(bus, ("a",), block(1))
    bus.close()
    bus.close()
    second = numbered(bus, ("a",), block(2))
    assert (second.epoch, second.sequence) == (first.epoch, 2)


def _publish_in_child(url, results):
    results.put(numbered(open_bus(url, BusOptions(RETENTION, 5)), ("a",), block("child")))


@shared_bus
def test_forked_child_publishes_with_a_bus_of_its_own(store):
    """
    A process that was forked off while its parent follows publishes into the same order, and the parent hears
    it.
    """
    bus = store.bus()
    follower = Follower(bus).up()
    first = numbered(bus, ("a",), block("parent"))
    context = multiprocessing.get_context("fork")
    results = context.SimpleQueue()
    child = context.Process(target=_publish_in_child, args=(store.url, results))
    child.start()
    child.join(20 * FACTOR)
    assert child.exitcode == 0
    assert results.get() == (first.epoch, 2)
    assert numbered(bus, ("a",), block("parent")).sequence == 3
    follower.wait(3)
    assert follower.numbers() == [1, 2, 3]


def test_bus_of_a_third_party_is_made_by_a_function():
    """A function in place of a URL makes the bus, and is told how much to keep and how long to try."""
    told = []

    def make(options):
        told.append(options)
        return MemoryBus(options)

    options = BusOptions(RETENTION, 1.5)
    assert isinstance(open_bus(make, options), MemoryBus)
    assert told == [options]
