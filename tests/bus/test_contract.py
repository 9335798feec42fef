"""
What every bus promises: one suite over all of them. Each object of a bus stands for a process of its own.
"""

import multiprocessing
import threading
import time

import pytest

from flask_sse_push.bus import BusOptions, MemoryBus, Retention, open_bus
from flask_sse_push.bus.follower import LINGER_SECONDS
from tests.bus.stores import RETENTION, Follower, block, every_bus, numbered, shared_bus
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
    """The first signal tells of the log, the next that all is here, and only then entries follow."""
    bus = store.bus()
    follower = Follower(bus).up()
    bus.publish(("a",), block(1))
    follower.wait(1)
    assert follower.said == ["begun", "up", "entry"]


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
        texts = [entry.wire.split(b"data: ")[1].strip().decode() for entry in follower.entries]
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
        def entries_came(self, entries):
            calls.append(self)
            time.sleep(0.0005)  # others publish meanwhile
            overlaps.extend(calls[1:])
            calls.clear()
            super().entries_came(entries)

    bus = store.bus()
    follower = Slow(bus).up()
    threads = [
        threading.Thread(target=lambda: [bus.publish(("a",), block("x")) for _ in range(20)])
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    follower.wait(80)
    assert not overlaps


@shared_bus
def test_late_follower_gets_what_is_kept_at_once(store):
    """
    Who begins to follow later gets the whole history with the beginning of the log, and then what comes.
    """
    publisher = store.bus()
    epoch = numbered(publisher, ("a", "b"), block("first")).epoch
    for number in range(2, 1202):
        publisher.publish(("a",), block(number))
    follower = Follower(store.bus()).up()
    assert follower.begun == [(epoch, 0)]
    assert follower.numbers() == list(range(1, 1202))
    assert follower.entries[0].channels == ("a", "b")
    publisher.publish(("a",), block("then"))
    follower.wait(1202)
    assert follower.said == ["begun", "up", "entry"]


@shared_bus
def test_follower_hears_other_processes_both_ways(store):
    """What one process publishes comes to the other, and the other way round."""
    left, right = Follower(store.bus()).up(), Follower(store.bus()).up()
    left.bus.publish(("a",), block("from the left"))
    right.bus.publish(("a",), block("from the right"))
    for follower in (left, right):
        assert [entry.wire.split(b"data: ")[1] for entry in follower.wait(2)] == [
            b"from the left\n\n",
            b"from the right\n\n",
        ]


@shared_bus
def test_follower_that_is_started_again_reads_on(store):
    """After a stop it goes on where it was: nothing is lost, nothing comes twice, and no log begins anew."""
    bus, other = store.bus(), store.bus()
    follower = Follower(bus).up()
    other.publish(("a",), block(1))
    follower.wait(1)
    bus.close()
    other.publish(("a",), block(2))
    bus.start(follower)
    follower.wait(2)
    other.publish(("a",), block(3))
    follower.wait(3)
    assert follower.numbers() == [1, 2, 3]
    assert len(follower.begun) == 1


@shared_bus
def test_follower_ends_when_nobody_has_wanted_it_for_a_while(store, monkeypatch):
    """
    Its thread is gone a while after the last listener, and comes back with the next, which misses nothing.
    """
    monkeypatch.setattr("flask_sse_push.bus.follower.LINGER_SECONDS", 0.01)
    monkeypatch.setattr("flask_sse_push.bus.follower.MAX_READ_SECONDS", 0.1)
    assert LINGER_SECONDS > 1
    bus = store.bus()
    follower = Follower(bus).up()
    bus.publish(("a",), block(1))
    follower.wait(1)
    follower.is_wanted = False
    eventually(lambda: bus.health().state == "idle", 5000 * MS)
    eventually(lambda: not own_threads(), 5000 * MS)
    bus.publish(("a",), block(2))
    follower.is_wanted = True
    bus.start(follower)
    follower.wait(2)
    assert follower.numbers() == [1, 2]


@shared_bus
def test_follower_counts_anew_how_long_nobody_has_listened(store, monkeypatch):
    """The time without listeners begins anew with each listener that leaves."""
    monkeypatch.setattr(
        "flask_sse_push.bus.follower.MAX_READ_SECONDS", 0.1
    )  # so often it looks for listeners
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
    bus.publish(("a",), block(1))
    assert own_threads() == []
    assert bus.health().state == "idle"


@every_bus
def test_start_twice_follows_once(store):
    """Started again and again there is one follower, and each event comes once."""
    bus = store.bus()
    follower = Follower(bus).up()
    for _ in range(5):
        bus.start(follower)
    bus.publish(("a",), block(1))
    bus.publish(("a",), block(2))
    follower.wait(2)
    assert follower.numbers() == [1, 2]
    assert len(follower.begun) == 1
    assert len([thread for thread in own_threads() if "follower" in thread.name]) == int(bus.shared)


@every_bus
def test_repeated_key_is_the_first_event(store):
    """
    Publishing with a key that was used returns the first id and stores nothing; another key, or none, is
    another event.
    """
    bus = store.bus()
    follower = Follower(bus).up()
    first = bus.publish(("a",), block("first"), "key")
    again = bus.publish(("b",), block("again"), "key")
    assert not first.is_repeated
    assert again == first._replace(is_repeated=True)
    assert numbered(bus, ("a",), block("other"), "other key").sequence == 2
    assert numbered(bus, ("a",), block("none")).sequence == 3
    assert numbered(bus, ("a",), block("none")).sequence == 4
    assert len(follower.wait(4)) == 4


@shared_bus
def test_repeated_key_is_known_to_all_processes(store):
    """A key that one process used is known to the others."""
    first = store.bus().publish(("a",), block("first"), "key")
    again = store.bus().publish(("a",), block("again"), "key")
    assert again == first._replace(is_repeated=True)


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
    """Behind the history window the same key is a new event."""
    bus = store.bus(Retention(0.05, 1 << 24))
    first = bus.publish(("a",), block("first"), "key")

    def published():
        bus.publish(("a",), block("other"))
        again = bus.publish(("a",), block("again"), "key")
        return again if not again.is_repeated else None

    assert eventually(published, 5000 * MS).sequence > first.sequence


@shared_bus
@pytest.mark.parametrize(
    "retention", [Retention(300, 1 << 24, 10), Retention(300, 6000, 1000)], ids=["count", "bytes"]
)
def test_history_is_bounded(store, retention):
    """No more is kept than was said, the newest stays, and who begins later sees where the history begins."""
    following = Follower(store.bus(retention)).up()
    publisher = store.bus(retention)
    for number in range(200):
        publisher.publish(("a",), block(number))
    eventually(
        lambda: following.numbers()[-1:] == [200],
        10_000 * MS,
        "the newest event comes, whatever was trimmed before it was read",
    )
    late = Follower(store.bus(retention)).up()
    numbers = late.numbers()
    assert numbers == list(range(201 - len(numbers), 201))
    assert late.begun[0][1] == numbers[0] - 1
    assert 1 <= len(numbers) <= 12
    snapshot = publisher.inspect()
    assert snapshot.events == len(numbers)
    assert snapshot.head == 200
    assert snapshot.size_bytes <= 6000 or retention.max_bytes > 6000


@shared_bus
def test_serving_processes_say_how_much_is_kept(store):
    """A publisher of another opinion does not shorten the history that those who serve have asked for."""
    Follower(store.bus(Retention(300, 1 << 24, 1000))).up()
    stranger = store.bus(Retention(300, 1 << 24, 3))
    for number in range(50):
        stranger.publish(("a",), block(number))
    assert stranger.inspect().events == 50


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
    assert (snapshot.head, snapshot.events, snapshot.size_bytes, snapshot.reports) == (0, 0, 0, [])


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
