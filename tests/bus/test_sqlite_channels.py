"""What the database keeps of each channel, what it gives back of it, and that its files stay small."""

import gzip
import sqlite3
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from flask_sse_push.bus.sqlite import pages, trimming
from flask_sse_push.bus.sqlite.schema import END
from flask_sse_push.bus.store import LogChanged, Wanted
from flask_sse_push.core.channels import CONTROL_CHANNEL, Pattern
from flask_sse_push.core.messages import Message
from flask_sse_push.core.retention import ChannelRetention
from flask_sse_push.errors import ChannelClosed, TooManyKept
from tests.bus.stores import Follower, block, keep
from tests.support import FACTOR

ROOT = Path(__file__).parents[2]


@pytest.fixture
def read(make):
    """Return readers, each as the follower of a process has it."""
    opened = []

    def read(bus):
        reader = bus._open_reader()
        opened.append(reader)
        reader.begin()
        return reader

    yield read
    for reader in opened:
        reader.close()


def publish(bus, channels, text="x", **options):
    channels = (channels,) if isinstance(channels, str) else channels
    return bus.publish(Message(channels, block(text), **options)).sequence


def past(reader, channel, behind=0):
    [tail] = reader.tail([Wanted(channel, behind)], 0).tails
    return tail.past


def numbers(entries):
    return [entry.sequence for entry in entries]


def sql(path, statement, *arguments):
    connection = sqlite3.connect(path, isolation_level=None, timeout=5)
    try:
        return connection.execute(statement, arguments).fetchall()
    finally:
        connection.close()


# Retention


def test_busy_channel_pushes_out_no_quiet_one(make, read):
    """The length is that of a channel, and what is gone from one is a loss in that one alone."""
    bus = make(retention=keep(length=10))
    reader = read(bus)  # publishers obey what is written beside the log
    publish(bus, "quiet")
    for _ in range(50):
        publish(bus, "busy")
    assert numbers(past(reader, "quiet").entries) == [1]
    assert past(reader, "quiet").lost_up_to == 0
    busy = past(reader, "busy")
    assert numbers(busy.entries) == list(range(42, 52))
    assert busy.lost_up_to == 41
    assert past(reader, "busy", 41).lost_up_to == 0
    assert past(reader, "busy", 40).lost_up_to == 41


def test_long_history_is_trimmed_by_some_publishes(make, read):
    """It is longer than it must be by a few events at most, and never shorter."""
    bus = make(retention=keep(length=1000))
    reader = read(bus)
    lengths = set()
    for number in range(1100):
        publish(bus, "a")
        if number > 1000:
            lengths.add(bus.inspect().events)
    assert min(lengths) >= 1000
    assert max(lengths) < 1000 + trimming.TRIM_EVERY
    assert len(past(reader, "a").entries) >= 1000


def test_bytes_bound_all_channels_together(make, read):
    """The oldest of all go first, also those of an event of several channels, whose block is stored once."""
    bus = make(retention=keep(max_bytes=100_000))
    reader = read(bus)
    for number in range(60):
        publish(bus, ("a", "b") if number % 2 else "c", "x" * 5000)
    assert 90_000 < bus.inspect().size_bytes <= 102_000
    kept = {number for channel in "abc" for number in numbers(past(reader, channel).entries)}
    assert kept == set(range(min(kept), 61))
    assert past(reader, "c").lost_up_to == max(n for n in range(1, min(kept)) if n % 2)
    assert past(reader, "a").lost_up_to == max(n for n in range(1, min(kept)) if not n % 2)


def test_pattern_gives_channels_a_time_of_their_own(make, read, path):
    """What is older is neither given back nor kept, and what lives longer is not in the way."""
    patterns = [(Pattern("long.*"), ChannelRetention(10, 3600.0))]
    bus = make(retention=keep(seconds=10, patterns=patterns))
    reader = read(bus)
    for name in ("long.1", "short", "long.2", "short", CONTROL_CHANNEL):
        publish(bus, name)
    sql(path, "UPDATE entries SET appended_at = appended_at - 100 WHERE id < ?", END)
    assert past(reader, "short")[2:4] == (4, [])
    assert numbers(past(reader, "long.1").entries) == [1]
    assert numbers(past(reader, CONTROL_CHANNEL).entries) == [5]
    bus.close()
    for _ in range(3):
        publish(make(), "new")
    assert sql(path, "SELECT DISTINCT channel FROM entries WHERE id < ? ORDER BY id", END) == [
        ("long.1",),
        ("long.2",),
        (CONTROL_CHANNEL,),
        ("new",),
    ]
    assert past(reader, "short")[2:4] == (4, [])


def test_last_number_of_a_channel_outlives_its_entries(make, read, path):
    """The next event of a channel that was empty says which was before it, though that is long gone."""
    bus = make(retention=keep(max_bytes=2000))
    reader = read(bus)
    publish(bus, "quiet")
    for _ in range(20):
        publish(bus, "busy")
    assert sql(path, "SELECT count(*) FROM entries WHERE channel = 'quiet'") == [(0,)]
    [tail] = reader.tail([Wanted("quiet", 1)], 0).tails
    assert (tail.last, tail.past.lost_up_to) == (1, 0)
    publish(bus, "quiet")
    news = reader.read(1, 0)
    assert [stored.before for stored in news.entries if stored.entry.channels == ("quiet",)] == [(1,)]


def test_forgotten_names_have_one_floor(make, read, monkeypatch):
    """What is known of a channel that was forgotten is that its last number is at most so high."""
    monkeypatch.setattr(trimming, "MAX_NAMES", 5)
    bus = make(retention=keep(max_bytes=1000))
    reader = read(bus)
    for number in range(1, 41):
        publish(bus, f"c{number}")
    [tail, new] = reader.tail([Wanted("c3", 3), Wanted("never", 0)], 0).tails
    assert tail.last < 0
    assert 3 < ~tail.last < 40
    assert tail.past.lost_up_to == ~tail.last == ~new.last
    known = reader.tail([Wanted("c36", 36)], 0).tails[0]
    assert (known.last, known.past.lost_up_to) == (36, 0)
    number = publish(make(), "c3")  # this process may know it still
    [stored] = reader.read(number - 1, 0).entries
    assert stored.before[0] < 0


# Kept values


def test_newest_of_each_key_is_kept_beyond_the_history(make, read):
    """Values are replaced without a loss, and do not age with the history."""
    bus = make(retention=keep(length=3))
    reader = read(bus)
    for number in range(1, 10):
        publish(bus, "a", number, key=f"k{number % 2}")
    for _ in range(10):
        publish(bus, "a")
    found = past(reader, "a", 2)
    assert numbers(found.kept) == [8, 9]
    assert [entry.key for entry in found.kept] == ["k0", "k1"]
    assert found.lost_up_to == 16
    assert past(reader, "a", 16).lost_up_to == 0
    assert bus.inspect().kept == 2


def test_reader_that_is_behind_gets_the_newest_of_each_key_without_a_loss(make, read):
    """The chain of numbers goes past values that were replaced, and only past those."""
    bus = make()
    reader = read(bus)
    reader.tail([Wanted("a", 0), Wanted("b", 0)], 0)
    for number in range(1, 10):
        publish(bus, "a", number, key="k")
    publish(bus, ("a", "b"), "10", key="other")
    publish(bus, "a", "11")
    news = reader.read(0, 0)
    assert [(stored.entry.sequence, stored.before) for stored in news.entries] == [
        (9, (~0,)),
        (10, (9, 0)),
        (11, (10,)),
    ]
    assert news.head == 11


def test_event_that_is_gone_is_not_mended_by_a_value(make, read, path):
    """Where an event of the history misses between two values, the numbers do not fit."""
    bus = make()
    reader = read(bus)
    reader.tail([Wanted("a", 0)], 0)
    publish(bus, "a", "1", key="k")
    publish(bus, "a", "2")
    publish(bus, "a", "3", key="k")
    sql(path, "DELETE FROM entries WHERE id >> 10 = 2")
    [stored] = reader.read(0, 0).entries
    assert (stored.entry.sequence, stored.before) == (3, (2,))
    assert past(reader, "a").lost_up_to == 2


def test_forgetting_a_value_is_an_entry_where_it_was_kept(make, read):
    """Every process hears of it; nothing is stored where the key is kept nowhere."""
    bus = make()
    reader = read(bus)
    publish(bus, ("a", "b"), key="k")
    publish(bus, "c")
    result = bus.publish(Message(("a", "c"), b"", "k"))
    assert (result.sequence, result.is_repeated) == (3, False)
    [entry] = past(reader, "a").entries
    assert (entry.channels, entry.wire, entry.key) == (("a",), b"", "k")
    assert past(reader, "a").kept == []
    assert numbers(past(reader, "b").kept) == [1]
    again = bus.publish(Message(("a", "c"), b"", "k"))
    assert (again.sequence, again.is_repeated) == (3, True)
    assert bus.inspect().kept == 1


def test_values_are_bounded_in_number_and_bytes(make, read):
    """One too many is refused and nothing of it is stored; a newer value of a key has room."""
    bus = make(retention=keep(max_kept=3, max_kept_bytes=3000))
    read(bus)
    for key in "abc":
        publish(bus, ("x", "y"), key=key)
    with pytest.raises(TooManyKept, match=r"\"key\" 'd' would be one value too many: channel 'x' keeps 3"):
        publish(bus, ("new", "x"), key="d")
    publish(bus, "x", "newer", key="a")
    with pytest.raises(TooManyKept, match="may have 3,000 bytes"):
        publish(bus, "z", "x" * 1500, key="a")
    assert bus.inspect().kept == 6
    assert bus.inspect().head == 4
    bus.publish(Message(("x",), b"", "a"))
    publish(bus, "x", key="d")


# Closing


def test_closed_channel_takes_nothing(make, read):
    """The mark is stored with the last event; closing once more gives its id, and nothing else is stored."""
    bus = make()
    reader = read(bus)
    publish(bus, "a")
    assert publish(bus, "a", "last", closes=True) == 2
    for message in (
        Message(("a",), block("x")),
        Message(("b", "a"), block("x")),
        Message(("a",), block("x"), "k"),
        Message(("a",), b"", "k"),
        Message(("a", "b"), block("x"), closes=True),
    ):
        with pytest.raises(ChannelClosed, match="'a' was closed"):
            bus.publish(message)
    again = bus.publish(Message(("a",), b"", closes=True))
    assert (again.sequence, again.is_repeated) == (2, True)
    both = bus.publish(Message(("a", "b"), b"", closes=True))
    assert (both.sequence, both.is_repeated) == (3, False)
    found = past(reader, "a")
    assert (found.closed, numbers(found.entries)) == (2, [1, 2])
    assert abs(found.closed_at - time.monotonic()) < 5 * FACTOR
    [mark] = past(reader, "b").entries
    assert (mark.channels, mark.wire, mark.closes) == (("b",), b"", True)
    assert past(reader, "b", None).closed == 3


@pytest.mark.parametrize("by", ["publish", "others"])
def test_closing_is_forgotten_with_the_channel(make, read, path, by):
    """After its time the channel begins anew, with a loss for who was there, and its chain goes on."""
    bus = make(retention=keep(seconds=10))
    reader = read(bus)
    publish(bus, "a", key="k")
    publish(bus, "a", closes=True)
    sql(path, "UPDATE entries SET appended_at = appended_at - 100 WHERE id < ?", END)
    sql(path, "UPDATE channels SET closed_at = closed_at - 100, forget_at = forget_at - 100")
    found = past(reader, "a")
    assert (found.closed, found.entries, found.kept, found.lost_up_to) == (0, [], [], 2)
    if by == "others":
        bus.close()
        publish(bus, "b")
        assert bus.inspect().kept == 0
    number = publish(bus, "a")
    found = past(reader, "a", 2)
    assert (found.closed, numbers(found.entries), found.lost_up_to) == (0, [number], 0)
    assert past(reader, "a", 1).lost_up_to == 2
    assert bus.inspect().kept == 0


def test_idempotency_key_is_known_as_long_as_its_event(make, read, path):
    """Nothing is stored again while the event is kept, or its time is not over; also on a closed channel."""
    bus = make(retention=keep(seconds=10, length=1))
    read(bus)
    assert publish(bus, "a", once="a k") == 1
    assert publish(bus, "a", closes=True) == 2
    assert publish(bus, "a", once="a k") == 1  # not kept any more, and its time is not over
    assert publish(bus, "b", once="b k") == 3
    sql(path, "UPDATE onces SET forget_at = forget_at - 100")
    assert publish(bus, "b", once="b k") == 3  # its time is over, and it is kept
    assert publish(bus, "b", once="b other") == 4
    sql(path, "UPDATE onces SET forget_at = forget_at - 100")
    assert publish(bus, "b", once="b k") == 5


# Reading


def test_event_of_several_channels_comes_once(make, read):
    """It has all of its channels, also those that nobody follows here, and the numbers before in each."""
    bus = make()
    reader = read(bus)
    reader.tail([Wanted("a", None), Wanted("b", None)], 0)
    publish(bus, "a")
    publish(bus, "c")
    publish(bus, ("c", "a", "b"), "all")
    publish(bus, "c")
    news = reader.read(0, 0)
    assert [(stored.entry.channels, stored.before) for stored in news.entries] == [
        (("a",), (0,)),
        (("c", "a", "b"), (2, 1, 0)),
    ]
    assert news.head == 4
    reader.ignore(["a", "b"])
    publish(bus, "a")
    assert reader.read(4, 0) == ([], 5, ())


@pytest.mark.parametrize("limit", ["_READ_AT_ONCE", "_LOOKED_AT_ONCE", "_BYTES_AT_ONCE"])
def test_long_news_come_in_pages(make, read, monkeypatch, limit):
    """No page loses anything, however its end falls among events of several channels and kept values."""
    monkeypatch.setattr(pages, limit, 7 if limit != "_BYTES_AT_ONCE" else 60)
    bus = make()
    reader = read(bus)
    reader.tail([Wanted(channel, None) for channel in "abc"], 0)
    for number in range(100):
        publish(bus, ("a", "b", "c"), number)
        publish(bus, "abcd"[number % 4], number, key=f"k{number}")
    head, found = 0, []
    while head < 200:
        news = reader.read(head, 0)
        assert news.head > head
        assert all(head < stored.entry.sequence <= news.head for stored in news.entries)
        head = news.head
        found += numbers(stored.entry for stored in news.entries)
    assert found == [number for number in range(1, 201) if number % 2 or (number // 2 - 1) % 4 != 3]


def test_reader_says_that_the_log_is_another_one(make, read, path):
    """Its owner begins again then."""
    bus = make()
    reader = read(bus)
    reader.tail([Wanted("a", 0)], 0)
    publish(bus, "a")
    sql(path, "UPDATE log SET epoch = 'other'")
    with pytest.raises(LogChanged):
        reader.read(0, 0)
    with pytest.raises(LogChanged):
        reader.tail([Wanted("a", 0)], 0)
    assert reader.begin() == ("other", 1)
    assert reader.read(0, 0).entries == []


def test_new_channel_is_followed_at_once(make, monkeypatch):
    """The follower does not wait for its next look when somebody begins to listen."""
    for module in ("sqlite.reader", "stored"):
        monkeypatch.setattr(f"flask_sse_push.bus.{module}.MAX_READ_SECONDS", 3600)
    bus = make()
    follower = Follower(bus, channels=["a"]).up()
    for number in range(20):
        name = f"new{number}"
        follower.heard.add(name)
        publish(bus, name)
        bus.follow([name], whole=True)
        follower.wait(number + 1)


# The file


def test_file_of_the_first_format_begins_a_new_log(make, path):
    """What an older version wrote is removed, and nobody takes the new log for the old one."""
    path.write_bytes(gzip.decompress(Path(__file__).with_name("format_1.db.gz").read_bytes()))
    path.chmod(0o600)
    boot = Path("/proc/sys/kernel/random/boot_id")
    if boot.exists():
        sql(path, "UPDATE log SET boot = ?", boot.read_text().strip())
    [(old, head)] = sql(path, "SELECT epoch, head FROM log")
    assert head == 5
    bus = make()
    follower = Follower(bus).up()
    assert publish(bus, "a") == 1
    follower.wait(1)
    assert follower.begun[0][0] != old
    assert bus.inspect()[1:6] == (1, 1, bus.inspect().size_bytes, 1, 0)
    assert sql(path, "SELECT name FROM sqlite_master WHERE name = 'reports'") == []


def test_file_of_the_first_format_with_tables_of_others_is_left_alone(make, path):
    """Nothing is removed where it is not known whose it is."""
    path.write_bytes(gzip.decompress(Path(__file__).with_name("format_1.db.gz").read_bytes()))
    path.chmod(0o600)
    sql(path, "CREATE TABLE mine (name)")
    with pytest.raises(Exception, match=r"another program's tables, views or triggers are in it \('mine'\)"):
        publish(make(), "a")
    assert sql(path, "SELECT count(*) FROM entries") == [(5,)]


WRITER = """
    bus = SqliteBus(path, BusOptions(keep(), 5), volatile=True)
    while time.monotonic() < end:
        bus.publish(Message(("a",), b"data: " + b"x" * 64_000 + b"\\n\\n"))
"""
READER = """
    bus = SqliteBus(path, BusOptions(keep(), 5, 1 << 17), volatile=True)
    reader = bus._open_reader()
    head = reader.begin().head
    reader.tail([Wanted("a", None)], head)
    while time.monotonic() < end:
        head = reader.read(head, 0.01).head
    reader.close()
"""


def run(code, *arguments):
    """Run Python code in a process of its own."""
    before = """
        import sys, time
        from flask_sse_push.bus import BusOptions
        from flask_sse_push.bus.sqlite import SqliteBus
        from flask_sse_push.bus.store import Wanted
        from flask_sse_push.core.messages import Message
        from tests.bus.stores import keep
        path = sys.argv[1]
        print("ready", flush=True)
        end = time.monotonic() + float(sys.stdin.readline())
    """
    code = textwrap.dedent(before) + textwrap.dedent(code)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, "-c", code, *map(str, arguments)], cwd=ROOT, **pipes)


def test_write_ahead_log_stays_small_with_readers_at_all_times(path, make):
    """Two processes publish large events, four read them, and the file beside the database has an end."""
    publish(make(), "a")
    processes = [run(code, path) for code in (WRITER, WRITER, READER, READER, READER, READER)]
    for process in processes:
        process.stdout.readline()
    for process in processes:
        process.stdin.write("3\n")
        process.stdin.flush()
    largest, log = 0, path.with_name(path.name + "-wal")
    while any(process.poll() is None for process in processes):
        largest = max(largest, log.stat().st_size)
        time.sleep(0.002)
    for process in processes:
        process.communicate()
    assert [process.returncode for process in processes] == [0] * 6
    assert make().inspect().head > 100
    assert largest < 20_000_000


def test_write_ahead_log_is_emptied_in_the_first_moment_without_readers(make, path):
    """While somebody reads at all times SQLite cannot begin it anew; the next publish gives its room back."""
    bus = make()
    log = path.with_name(path.name + "-wal")
    publish(bus, "a")
    before = sqlite3.connect(path, isolation_level=None)
    for _ in range(25):
        after = sqlite3.connect(path, isolation_level=None)
        after.execute("BEGIN")
        after.execute("SELECT count(*) FROM log").fetchall()
        before.close()
        before = after
        for _ in range(10):
            publish(bus, "a", "x" * 60_000)
    assert log.stat().st_size > 12_000_000
    before.close()
    publish(bus, "a", "x" * 60_000)
    assert log.stat().st_size < 1_000_000


def test_reader_gives_way_for_a_moment_only(make, read, path, monkeypatch):
    """A large write-ahead log that cannot be emptied holds up no reader for long."""
    bus = make()
    reader = read(bus)
    reader.tail([Wanted("a", None)], 0)
    publish(bus, "a")
    monkeypatch.setattr("flask_sse_push.bus.sqlite.checkpoints._TOO_MANY_BYTES", 0)
    begun = time.monotonic()
    for number in range(1, 9):
        publish(bus, "a")
        assert reader.read(number, 0).head == number + 1
    assert 0.05 < time.monotonic() - begun < 2 * FACTOR
