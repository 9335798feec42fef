"""What a Redis keeps of each channel, and what a reader gets of it."""

import contextlib
import threading
import time

import pytest

from flask_sse_push.bus.store import LogChanged, Wanted
from flask_sse_push.core.channels import Pattern
from flask_sse_push.core.messages import Message
from flask_sse_push.core.retention import ChannelRetention
from flask_sse_push.errors import ChannelClosed, ConfigurationError, TooManyKept
from tests.bus.redis_server import EVENTS, META, OPTIONS, publish
from tests.bus.stores import Follower, block, keep
from tests.support import FACTOR, MS, eventually


@contextlib.contextmanager
def reading(bus):
    """Return a reader, and the head where it begins."""
    with contextlib.closing(bus._open_reader()) as reader:
        yield reader, reader.begin().head


def past_of(bus, channel="a", behind=0):
    """Return what there is of one channel now."""
    with reading(bus) as (reader, head):
        return reader.tail([Wanted(channel, behind)], head).tails[0].past


def numbers(entries):
    return [entry.sequence for entry in entries]


def with_rules(**rules):
    return OPTIONS._replace(retention=keep(**rules))


def test_each_channel_keeps_its_own_newest_events(server, open_redis):
    """A busy channel pushes out its own events, and none of a quiet one; what is gone is told by number."""
    bus = open_redis(options=with_rules(length=3))
    publish(bus, channel="quiet")
    for _ in range(10):
        publish(bus)
    past = past_of(bus)
    assert (numbers(past.entries), past.lost_up_to) == ([9, 10, 11], 8)
    assert (numbers(past_of(bus, "quiet").entries), past_of(bus, behind=9).lost_up_to) == ([1], 0)
    assert bus.inspect().events == 4


def test_bytes_are_bounded_over_all_channels_oldest_first(server, open_redis):
    """Over the bound in bytes the oldest events go, of whatever channel; what is left is what is counted."""
    bus = open_redis(options=with_rules(max_bytes=20_000))
    for number in range(100):
        publish(bus, "x" * 100, channel=f"c{number % 10}")
    snapshot = bus.inspect()
    kept = sorted(number for index in range(10) for number in numbers(past_of(bus, f"c{index}").entries))
    assert kept == list(range(101 - len(kept), 101))
    assert len(kept) == snapshot.events > 20
    assert 20_000 - 600 < snapshot.size_bytes <= 20_000


def test_seconds_are_those_of_the_channel(server, open_redis):
    """An event is gone after the seconds of its channel, for who reads, and soon from the server too."""
    rules = keep(patterns=[(Pattern("short.*"), ChannelRetention(100, 1.0))])
    bus = open_redis(options=OPTIONS._replace(retention=rules))
    publish(bus, channel="long")
    short = publish(bus, channel="short.1")
    eventually(lambda: not past_of(bus, "short.1").entries, 5000 * MS)
    assert past_of(bus, "short.1").lost_up_to == short.sequence
    eventually(
        lambda: publish(bus, channel="long") and not server.client().exists("{sse_push}:events:short.1")
    )
    assert numbers(past_of(bus, "long").entries)[0] == 1


def test_publisher_obeys_the_rules_of_who_follows(server, open_redis):
    """
    How much is kept is written by who begins to follow; a publisher with other wishes obeys, also patterns,
    also when they change, and keeps to its own where nobody ever followed.
    """
    other = open_redis(options=with_rules(length=7))
    for _ in range(9):
        publish(other)
    assert server.client().llen(EVENTS) == 7
    for length in (2, 4):
        rules = keep(length=100, patterns=[(Pattern("a*"), ChannelRetention(length, 300.0))])
        with reading(open_redis(options=OPTIONS._replace(retention=rules))):
            for _ in range(9):
                publish(other)
        assert server.client().llen(EVENTS) == length


def test_closed_channel_takes_nothing_until_it_is_forgotten(server, open_redis):
    """
    Closing is one step with the last event, is done once, and is an error for events behind it; after the
    seconds of the channel it is open, empty, and its numbers go on.
    """
    bus = open_redis(options=with_rules(seconds=1))
    first = publish(bus)
    publish(bus, "value", key="k")
    closed = bus.publish(Message(("a",), block("last"), closes=True))
    again = bus.publish(Message(("a",), b"", closes=True))
    assert (again.id, again.is_repeated) == (closed.id, True)
    for message in (
        Message(("b", "a"), block("x")),
        Message(("a",), b"", "k"),
        Message(("a",), block("x"), "k"),
    ):
        with pytest.raises(ChannelClosed, match="'a' was closed"):
            bus.publish(message)
    past = past_of(bus)
    assert (past.closed, numbers(past.entries), numbers(past.kept)) == (
        closed.sequence,
        [1, closed.sequence],
        [2],
    )
    assert time.monotonic() - 5 * FACTOR < past.closed_at <= time.monotonic()

    def reopened():
        with contextlib.suppress(ChannelClosed):
            return publish(bus, "new")

    new = eventually(reopened, 5000 * MS)
    assert new.epoch == first.epoch
    with reading(bus) as (reader, head):
        (tail,) = reader.tail([Wanted("a", 0)], head).tails
    assert (numbers(tail.past.entries), tail.past.kept, tail.past.closed) == ([new.sequence], [], 0)
    assert tail.past.lost_up_to == closed.sequence
    assert bus.inspect()[2:6:3] == (1, 0)


def test_close_of_several_channels_closes_those_that_are_open(server, open_redis):
    """Without an event only the channels that are open get the mark; kept values are still given."""
    bus = open_redis()
    one = bus.publish(Message(("a",), b"", closes=True))
    both = bus.publish(Message(("a", "b"), b"", closes=True))
    assert not both.is_repeated
    assert (past_of(bus, "a").closed, past_of(bus, "b").closed) == (one.sequence, both.sequence)
    assert bus.publish(Message(("b", "a"), b"", closes=True)) == both._replace(is_repeated=True)


def test_kept_values_are_the_newest_of_their_keys(server, open_redis):
    """
    A value stays beyond the history, a newer one with its key takes its place, which is no loss; forgetting
    removes it, and what nobody keeps is forgotten already.
    """
    bus = open_redis(options=with_rules(length=2))
    for number in range(5):
        publish(bus, number, key="k")
    other = publish(bus, "other", key="l")
    for _ in range(5):
        publish(bus)
    past = past_of(bus)
    assert [(entry.key, entry.sequence) for entry in past.kept] == [("k", 5), ("l", 6)]
    assert past_of(bus, behind=other.sequence - 1).lost_up_to == 9  # of the events, not of the values
    assert bus.inspect().kept == 2
    gone = bus.publish(Message(("a", "b"), b"", "k"))
    assert not gone.is_repeated
    assert bus.publish(Message(("a",), b"", "k")) == gone._replace(is_repeated=True)
    assert numbers(past_of(bus).kept) == [6]
    assert bus.inspect().kept == 1


def test_kept_values_are_bounded_by_errors(server, open_redis):
    """Past the number of a channel or the bytes of all nothing is stored; replacing is still possible."""
    bus = open_redis(options=with_rules(max_kept=2, max_kept_bytes=3_000))
    for key in "kl":
        publish(bus, key=key)
    before = bus.inspect()
    with pytest.raises(TooManyKept, match="SSE_PUSH_KEPT_VALUES"):
        publish(bus, key="m")
    with pytest.raises(TooManyKept, match="SSE_PUSH_KEPT_BYTES"):
        publish(bus, "x" * 3_000, key="k")
    assert bus.inspect() == before
    publish(bus, "y", key="k")
    publish(bus, None, key="l")
    publish(bus, key="m")


def test_idempotency_key_counts_as_long_as_its_event(server, open_redis):
    """
    While the seconds of the channel last, or a value is kept, nothing is stored again; also where the channel
    was closed meanwhile.
    """
    bus = open_redis(options=with_rules(seconds=1, length=1))
    first, value = publish(bus, once="o"), publish(bus, "v", once="p", key="k", channel="b")
    publish(bus)
    assert publish(bus, once="o") == first
    publish(bus, None, closes=True)
    assert publish(bus, once="o") == first
    eventually(lambda: publish(bus, once="o", channel="c") != first, 5000 * MS)
    for number in range(5):
        publish(bus, once=f"q{number}", channel="c")
    assert publish(bus, "v", once="p", key="k", channel="b") == value
    publish(bus, "w", key="k", channel="b")
    assert publish(bus, "v", once="p", key="k", channel="b") != value


def test_event_of_several_channels_is_stored_once(server, open_redis):
    """Its text is there once, each channel has its place, and the text goes with the last of them."""
    bus = open_redis(options=with_rules(length=1))
    id = publish(bus, "x" * 10_000, channel=("a", "b", "c"))
    client = server.client()
    assert client.hlen("{sse_push}:shared") == 2
    assert all(
        client.lindex(f"{{sse_push}}:events:{name}", 0) < b"2" and numbers(past_of(bus, name).entries) == [1]
        for name in "abc"
    )
    assert bus.inspect().size_bytes < 11_000
    for name in "abc":
        assert bus.inspect().events == 1 + "abc".index(name)
        publish(bus, channel=name)
    assert not client.exists("{sse_push}:shared")
    assert bus.inspect().events == 3
    assert id.sequence == 1


def test_event_that_is_too_much_for_messages_comes_all_the_same(server, open_redis):
    """
    An event of so many channels that its messages would fill a connection is announced by its number, and the
    reader asks for it; in its place, once, with all of its channels.
    """
    bus = open_redis()
    names = tuple(f"c{number}" for number in range(100))
    with reading(bus) as (reader, head):
        head = reader.tail([Wanted(name, None) for name in names[:5]], head).head
        publish(bus, channel="c1")
        large = publish(bus, "x" * 20_000, channel=names)
        last = publish(bus, channel="c2")
        came = []
        while head < last.sequence:
            news = reader.read(head, 1.0)
            came, head = [*came, *news.entries], news.head
    # The last one may come twice: it was there when the reader asked for the large one.
    assert list(dict.fromkeys(stored.entry.sequence for stored in came)) == [1, large.sequence, 3]
    assert came[1].entry.channels == names
    assert came[1].before == (0, 1, *[0] * 98)
    assert came[2].before[0] == large.sequence


@pytest.mark.parametrize("key", [None, "k"], ids=["events", "values"])
def test_tail_that_is_larger_than_an_answer_comes_in_pages(server, open_redis, key):
    """Events and values of several megabytes come whole and in order, in answers of about one megabyte."""
    bus = open_redis()
    for number in range(80):
        publish(bus, "x" * 60_000, key=key and f"{key}{number}", channel="ab"[number % 2])
    with reading(bus) as (reader, head):
        server.client().config_resetstat()
        tails = reader.tail([Wanted("a", 0), Wanted("b", 0), Wanted("c", 0)], head).tails
        calls = server.client().info("commandstats")
    found = [tail.past.kept if key else tail.past.entries for tail in tails]
    assert [numbers(entries) for entries in found] == [list(range(1, 80, 2)), list(range(2, 81, 2)), []]
    assert sum(calls.get(f"cmdstat_{name}", {}).get("calls", 0) for name in ("eval", "evalsha")) >= 5


def test_messages_come_before_the_answer_to_a_later_question(server, open_redis):
    """
    While three threads publish, each answer of a reader has a head, and every event up to it is there: in the
    pasts, or among what came.
    """
    buses, is_over = [open_redis() for _ in range(3)], threading.Event()

    def go(bus):
        number = 0
        while not is_over.is_set():
            number += 1
            publish(bus, number, channel=f"c{number % 5}")

    threads = [threading.Thread(target=go, args=(bus,)) for bus in buses]
    with reading(open_redis()) as (reader, head):
        for thread in threads:
            thread.start()
        try:
            seen, begun = set(), {}
            for step in range(200):
                if step % 20 == 0 and step < 100:
                    name = f"c{step // 20}"
                    news = reader.tail([Wanted(name, 0)], head)
                    seen.update(numbers(news.tails[0].past.entries))
                    begun[name] = True
                else:
                    news = reader.read(head, 0.01)
                head = news.head
                seen.update(stored.entry.sequence for stored in news.entries)
        finally:
            is_over.set()
            for thread in threads:
                thread.join()
    assert len(begun) == 5
    assert head > 100
    assert set(range(1, head + 1)) <= seen


def test_reader_leaves_channels_and_is_woken(server, open_redis):
    """What a reader ignores comes no more, and wake() ends its wait at once, also one that is to begin."""
    bus = open_redis()
    with reading(bus) as (reader, head):
        head = reader.tail([Wanted("a", None), Wanted("b", None)], head).head
        reader.ignore(["a"])
        publish(bus, channel="a")
        publish(bus, channel="b")
        news = reader.read(head, 1.0)
        assert [stored.entry.channels for stored in news.entries] == [("b",)]
        reader.wake()
        begun = time.monotonic()
        reader.read(news.head, 1.0)
        threading.Timer(0.05, reader.wake).start()
        reader.read(news.head, 1.0)
        assert time.monotonic() - begun < 0.5 * FACTOR


def test_head_moves_though_nobody_publishes_here(server, open_redis):
    """Within about a second a reader knows that nothing came in its channels up to what others publish."""
    bus = open_redis()
    with reading(bus) as (reader, head):
        head = reader.tail([Wanted("a", None)], head).head
        last = publish(bus, channel="b").sequence
        begun = time.monotonic()
        while head < last:
            head = reader.read(head, 1.0).head
        assert time.monotonic() - begun < 3 * FACTOR


@pytest.mark.parametrize("key", ["events:a", "kept:a", "channels"])
def test_key_that_is_removed_is_a_told_loss(server, open_redis, key):
    """Where somebody, or a server without memory, removes one of our keys, readers are told of a loss."""
    bus = open_redis()
    publish(bus)
    publish(bus, "v", key="k")
    last = publish(bus).sequence
    server.client().delete(f"{{sse_push}}:{key}")
    for _ in range(2):
        past = past_of(bus)
        assert past.lost_up_to in ({last} if key != "kept:a" else {last, last - 1})
    new = publish(bus, "after").sequence
    past = past_of(bus, behind=last)
    assert (numbers(past.entries), past.lost_up_to) == ([new], 0)
    follower = Follower(bus).up()
    assert follower.numbers()[-1] == new


def test_many_names_end_in_one_floor(server, open_redis, monkeypatch):
    """
    The last numbers of channels without events are bounded: who is beyond it is known to be at most so far,
    which is said in its next event.
    """
    from flask_sse_push.bus.redis import log, places_script, publish_script, script

    few = publish_script.PUBLISH.text.replace(f"> {places_script.MAX_ENDED}", "> 3")
    monkeypatch.setattr(log, "PUBLISH", script.script(few))
    bus = open_redis()
    for name in "abcdef":
        publish(bus, "v", key="k", channel=name)
        publish(bus, None, key="k", channel=name)
    assert server.client().hlen("{sse_push}:channels") == 3
    with reading(bus) as (reader, head):
        tails = reader.tail([Wanted(name, 0) for name in "af"], head).tails
        assert [tail.last for tail in tails] == [~6, 12]
        head = reader.read(head, 0).head
        publish(bus, channel="a")
        (stored,) = reader.read(head, 1.0).entries
    assert stored.before == (~6,)


def test_new_log_of_the_server_is_seen_by_who_reads(server, open_redis):
    """A reader that is told of another epoch, or whose server has forgotten numbers, begins anew."""
    bus = open_redis()
    with reading(bus) as (reader, head):
        reader.tail([Wanted("a", 0)], head)
        server.client().delete(META)
        publish(bus)
        with pytest.raises(LogChanged):
            for _ in range(5):
                reader.read(0, 1.0)
        epoch, head = reader.begin()
        with pytest.raises(LogChanged):
            reader.tail([Wanted("a", 0)], head + 100)
        assert reader.begin().epoch != epoch


def test_log_of_a_later_version_is_refused_and_left_alone(server, open_redis):
    """Its format is told with the cure, to publishers and to the follower, and nothing of it is changed."""
    client = server.client()
    client.hset(META, mapping={"epoch": "later", "format": "3", "head": "9"})
    before = client.hgetall(META)
    bus = open_redis()
    for call in (lambda: publish(bus), bus.head):
        with pytest.raises(ConfigurationError, match=r"has the format 3, .* knows 2 at most\. Update it"):
            call()
    Follower(bus)
    eventually(lambda: bus.health().is_refused, 5000 * MS)
    assert client.hgetall(META) == before


def test_log_of_version_1_is_replaced(server, open_redis):
    """What the first version wrote goes, and a new epoch begins in its place."""
    client = server.client()
    client.hset(META, mapping={"epoch": "old", "generation": "5", "head": "7", "events": "1", "bytes": "500"})
    client.hset(META, mapping={"seconds": "300", "max_bytes": "1", "max_events": "9", "server": "x"})
    client.xadd("{sse_push}:log", {"v": "1"}, id="5-7")
    client.hset("{sse_push}:keys", "k", "7 1")
    client.hset("{sse_push}:reports", "p", "1 {}")
    bus = open_redis()
    id = publish(bus)
    assert (id.sequence, id.epoch == "old") == (1, False)
    assert numbers(past_of(bus).entries) == [1]
    assert not client.exists("{sse_push}:log", "{sse_push}:keys", "{sse_push}:reports")
    assert not {b"generation", b"seconds"} & set(client.hkeys(META))


def test_leases_end_by_the_clock_of_the_server(server, open_redis):
    """A lease is there until its time is over, for all who ask by its beginning, and goes by itself."""
    one, two = open_redis(), open_redis()
    one.put_lease("run/1", "é", 60)
    one.put_lease("run/2", "x", 0.05)
    eventually(lambda: two.leases("run/") == {"run/1": "é"}, 5000 * MS)
    one.put_lease("run/1", "again", 0.05)
    two.put_lease("other", "x", 60)
    two.drop_lease("other")
    eventually(lambda: two.leases("") == {}, 5000 * MS)
    assert one.head().sequence == 0
