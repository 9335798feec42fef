"""A log of the channels that somebody listens to: pasts that a store tells, and a head that it proves."""

import itertools

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from flask_sse_push.core.cursor import Cursor
from flask_sse_push.core.entry import Entry
from flask_sse_push.core.log import ALL, Log
from flask_sse_push.core.log_cache import NOTHING
from flask_sse_push.core.past import Past
from flask_sse_push.core.retention import ChannelRetention, RetentionRules


def make_log(length=1000, max_bytes=1 << 30, head=0, **options):
    rules = RetentionRules(ChannelRetention(length, 1000.0), max_bytes)
    return Log("e", rules, head=head, follows_all=False, **options)


def entry(sequence, *channels, key=None, closes=False, text=True):
    wire = b"id: e-%d\ndata: %d\n\n" % (sequence, sequence) if text else b""
    return Entry(sequence, channels or ("a",), wire, 0.0, key, closes)


def past(*entries, channel="a", behind=0, lost_up_to=0, kept=(), closed=0):
    return Past(channel, behind, lost_up_to, entries, kept, closed, 0.0)


def data(wire):
    return [int(line[6:]) for line in wire.split(b"\n") if line.startswith(b"data: ")]


def read(log, *channels, after=0):
    """What a cursor reads, behind the names of the channels in which it has lost something."""
    batch = log.read(Cursor(channels or ("a",), after, "e"))
    return None if batch is None else [*batch.lost, *data(batch.wire)]


def test_channel_that_is_not_here_cannot_be_read():
    """Nobody knows what is missing of it."""
    log = make_log(head=9)
    assert not log.is_ready(("a",), 9)
    assert read(log, after=5) is None
    assert log.kept(("a",), 5) is None
    log.append(entry(10, "b"), 10)
    assert read(log, after=9) is None


def test_channel_that_is_not_here_can_be_left():
    """The bus may leave a channel before it has brought it, as behind the begin of another log."""
    log = make_log(head=9)
    log.merge(past(behind=9))
    log.leave(["b", "a"])
    assert log.count()["channels"] == 0
    assert not log.is_ready(("a",), 9)


def test_channel_is_here_as_far_back_as_it_was_asked_for():
    """A reader from further back has it brought as a whole."""
    log = make_log(head=9)
    log.merge(past(behind=9))
    assert (log.is_ready(("a",), 9), log.is_ready(("a",), 8), log.is_ready(("a", "b"), 9)) == (
        True,
        False,
        False,
    )
    log.append(entry(10), 10)
    assert (read(log, after=9), read(log, after=8)) == ([10], None)
    log.merge(past(entry(3), entry(8), entry(10)))
    assert log.is_ready(("a",), 0)
    assert read(log) == [3, 8, 10]


def test_nothing_is_read_past_the_head():
    """What came before it is proved that nothing before it is missing waits, and moves no cursor."""
    log = make_log(head=5)
    log.merge(past(entry(3), entry(5), entry(8), kept=[entry(4, key="x"), entry(9, key="y")]))
    cursor = Cursor(("a",), 0, "e")
    assert data(log.read(cursor).wire) == [3, 4, 5]
    assert (cursor.position, log.read(cursor)) == (5, NOTHING)
    assert data(log.kept(("a",), 5)) == [4]
    log.append(entry(10), 8)
    assert (data(log.read(cursor).wire), cursor.position) == ([8], 8)
    log.advance(10)
    assert (data(log.read(cursor).wire), cursor.position) == ([9, 10], 10)


def test_head_follows_the_entries_as_far_as_it_is_proved():
    """Also within what came together, so that streams read while the rest is added."""
    log = make_log()
    log.merge(past())
    heads = []
    for sequence in (1, 3, 6):
        log.append(entry(sequence), 4)
        heads.append(log.head)
    assert heads == [1, 3, 4]
    log.advance(2)
    assert log.head == 4


def test_entry_that_a_past_has_brought_is_not_added_again():
    """It may come again by another way."""
    log = make_log()
    log.merge(past(entry(1), entry(2)))
    for sequence in (1, 2, 3):
        log.append(entry(sequence), 3)
    assert read(log) == [1, 2, 3]
    assert log.count()["events"] == 3


def test_entry_of_two_channels_is_one_whatever_brought_it():
    """Pasts have an object each of the same entry: it is read once, and weighed once."""
    log = make_log(head=2)
    log.merge(past(entry(1, "a", "b"), entry(2), kept=[entry(3, "a", "b", key="x")]))
    single = log.size_bytes
    log.merge(past(entry(1, "a", "b"), channel="b", kept=[entry(3, "a", "b", key="x")]))
    log.advance(3)
    assert read(log, "a", "b") == [1, 2, 3]
    assert data(log.kept(("a", "b"), 3)) == [3]
    assert log.size_bytes < single + 1_200
    log.leave(["a"])
    assert read(log, "b") == [1, 3]
    log.leave(["b"])
    assert log.size_bytes == 0


def test_loss_that_a_store_tells_is_told():
    """Only readers before it hear of it, once."""
    log = make_log(head=4)
    log.merge(past(entry(1), entry(4)))
    log.merge(past(entry(9), behind=4, lost_up_to=7))
    log.advance(9)
    assert (read(log, after=4), read(log, after=7)) == (["a", 9], [9])
    cursor = Cursor(("a",), 4, "e")
    assert [log.read(cursor).lost, log.read(cursor)] == [("a",), NOTHING]


def test_next_entry_comes_behind_a_loss_that_names_its_number():
    """A bus that cannot say what is missing up to its head names the next number, which may still come."""
    log = make_log(head=4)
    log.merge(past(entry(4)))
    log.merge(past(behind=4, lost_up_to=5))
    log.append(entry(5), 5)
    assert (read(log, after=4), read(log, after=5)) == (["a", 5], [])


def test_loss_in_the_store_of_what_is_here_is_none():
    """What this process has kept longer than the store was not lost."""
    log = make_log(head=4)
    log.merge(past(entry(3), entry(6), entry(8), behind=2))
    log.merge(past(entry(8), behind=4, lost_up_to=6))
    log.advance(8)
    assert read(log, after=4) == [6, 8]
    log.merge(past(entry(8), lost_up_to=6))
    assert read(log) == ["a", 3, 6, 8]
    assert read(log, after=2) == [3, 6, 8]


def test_watermark_never_falls_where_more_comes_than_fits():
    """A past may be longer than the history here, and older than the loss that was told."""
    log = make_log(length=2, head=9)
    log.merge(past(entry(8), behind=5, lost_up_to=7))
    log.merge(past(entry(1), entry(2), entry(3)))
    assert log.watermark("a") == 7
    assert read(log) == ["a", 3, 8]


def test_past_that_is_older_than_what_came_takes_nothing_back():
    """A newer value, a newer event and a closing that came later stay."""
    log = make_log()
    log.merge(past(behind=0))
    for new in (entry(1, key="x"), entry(2, key="x"), entry(3), entry(4, key="y", closes=True)):
        log.append(new, 4)
    log.merge(past(kept=[entry(1, key="x")]))
    assert data(log.kept(("a",), 4)) == [2, 4]
    assert log.closed_behind(("a",)) == 4
    assert read(log) == [2, 3, 4]


def test_past_takes_away_what_was_forgotten_meanwhile():
    """A value that a store keeps no longer is gone, and so is a closing."""
    log = make_log()
    log.merge(past(entry(3, closes=True), kept=[entry(1, key="x"), entry(2, key="y")], closed=3))
    log.advance(3)
    log.merge(past(entry(9), behind=3, kept=[entry(8, key="y")]))
    log.advance(9)
    assert log.closed_behind(("a",)) is None
    assert data(log.kept(("a",), 9)) == [8]
    assert read(log, after=3) == [8, 9]


def test_older_closing_does_not_close_what_takes_events_again():
    """A past from before that is late."""
    log = make_log()
    log.merge(past())
    log.append(entry(3, closes=True), 3)
    log.append(entry(5), 5)
    log.merge(past(entry(3, closes=True), closed=3))
    assert log.closed_behind(("a",)) is None


def test_closing_event_with_a_key_is_a_value():
    """It is kept, and stands in no history."""
    log = make_log()
    closing = entry(2, key="x", closes=True)
    log.merge(past(closing, kept=[closing], closed=2))
    log.advance(2)
    assert (read(log), log.count()["events"], log.closed_behind(("a",))) == ([2], 0, 2)


def test_new_log_is_read_when_all_channels_are_here_as_a_whole():
    """A cursor of another log waits for that, and hears of the change then."""
    log = make_log(head=3)
    log.merge(past(entry(1), entry(3)))
    cursor = Cursor(("a", "b"), 70, "before")
    assert log.read(cursor) is None
    log.merge(past(channel="b", behind=2))
    assert log.read(cursor) is None
    assert cursor.epoch == "before"
    log.merge(past(entry(2, "b"), channel="b"))
    batch = log.read(cursor)
    assert (batch.reason, batch.lost, data(batch.wire)) == ("epoch", ("a", "b"), [1, 2, 3])


def test_channels_come_and_go_without_a_trace():
    """However often one is followed and left, nothing grows."""
    log = make_log()
    for number in range(2_000):
        log.merge(past(entry(number + 1), entry(number + 2)))
        log.merge(past(entry(number + 3), behind=number + 2))
        log.leave(["a"])
    assert (log.size_bytes, log.count()["channels"]) == (0, 0)
    assert len(log._channels._oldest) < 200
    for _ in range(2_000):
        log.merge(past(entry(5), entry(6)))
        log.append(entry(log.newest("a") + 1), ALL)
    assert len(log._channels._oldest) < 200


def test_older_past_is_dropped_first():
    """What a deep past brings is the oldest, though its channel was listed with newer events."""
    log = make_log(max_bytes=5_500)
    big = b"data: 0\n\n" + b"." * 700
    log.merge(Past("a", 10, 0, [Entry(11, ("a",), big, 0.0)], []))
    log.merge(Past("b", 0, 0, [Entry(5, ("b",), big, 0.0)], []))
    log.merge(Past("a", 0, 0, [Entry(1, ("a",), big, 0.0)], []))
    log.append(Entry(12, ("b",), big, 0.0), 12)
    assert [log.watermark(channel) for channel in "ab"] == [1, 0]


def test_past_that_is_too_large_drops_the_oldest():
    """The bound in bytes holds for what a store brings, too."""
    log = make_log(max_bytes=6_000)
    log.merge(past(*[Entry(number, ("a",), b"." * 1_000, 0.0) for number in range(1, 20)]))
    assert log.size_bytes <= 6_000
    assert log.watermark("a") == 16


CHANNELS = "abc"
KEYS = "xy"
channel_sets = st.lists(st.sampled_from(CHANNELS), min_size=1, max_size=3, unique=True).map(tuple)


class Reader:
    def __init__(self, channels, position):
        self.cursor = Cursor(channels, position, "e")
        self.told = dict.fromkeys(channels, -1)


class FollowedLog(RuleBasedStateMachine):
    """
    A store that remembers everything that was ever published, and says that it has dropped some; a process
    that follows what its readers want.

    A reader gets what came to its channels, in order and once; of the values with a key the newest; or it is
    told first in which of its channels something is missing. Nobody is told of a loss where nothing is lost.
    """

    @initialize(length=st.integers(2, 8), batch=st.integers(1, 60))
    def begin(self, length, batch):
        self.log = make_log(length=length, batch_bytes=batch)
        self.head = 0
        self.published = []
        self.lost = dict.fromkeys(CHANNELS, 0)  # what the store has dropped, up to a number
        self.closed = dict.fromkeys(CHANNELS, 0)
        self.opened = dict.fromkeys(CHANNELS, 0)  # the end of what was closed and forgotten
        self.followed = set()
        self.brought = 0  # everything up to here came to the process, in the channels that it follows
        self.readers = []

    def of(self, channel):
        return [e for e in self.published if channel in e.channels]

    def kept_in(self, channel):
        """The values that the store keeps now."""
        values = {e.key: e for e in self.of(channel) if e.key and e.sequence > self.opened[channel]}
        return sorted((e for e in values.values() if e.wire), key=lambda e: e.sequence)

    @rule(
        channels=channel_sets,
        key=st.sampled_from([None, None, *KEYS]),
        text=st.booleans(),
        times=st.integers(1, 6),
    )
    def publish(self, channels, key, text, times):
        channels = tuple(channel for channel in channels if not self.closed[channel])
        for _ in range(times if channels else 0):
            self.head += 1
            self.published.append(entry(self.head, *channels, key=key, text=text or key is None))

    @rule(channel=st.sampled_from(CHANNELS), text=st.booleans(), key=st.sampled_from([None, "x"]))
    def close(self, channel, text, key):
        if not self.closed[channel]:
            self.head += 1
            self.published.append(
                entry(self.head, channel, key=key if text else None, closes=True, text=text)
            )
            self.closed[channel] = self.head

    @rule(channel=st.sampled_from(CHANNELS))
    def open_again(self, channel):
        if self.closed[channel]:
            self.opened[channel] = self.lost[channel] = self.closed[channel]
            self.closed[channel] = 0

    @rule(channel=st.sampled_from(CHANNELS), left=st.integers(0, 3))
    def store_drops(self, channel, left):
        history = [e.sequence for e in self.of(channel) if e.key is None and e.wire]
        gone = history[: len(history) - left]
        if gone:
            self.lost[channel] = max(self.lost[channel], gone[-1])

    @rule(count=st.integers(1, 10))
    def bring(self, count):
        """Entries come in order, with what proves them."""
        head = min(self.head, self.brought + count)
        for e in self.published[self.brought : head]:
            if self.followed & set(e.channels):
                self.log.append(e, head)
        self.brought = head
        self.log.advance(head)

    @rule(channel=st.sampled_from(CHANNELS), whole=st.booleans())
    def follow(self, channel, whole):
        if whole or channel not in self.followed:
            self.tail(channel, 0 if whole else self.head)

    @rule(channel=st.sampled_from(CHANNELS))
    def read_on_after_a_break(self, channel):
        if channel in self.followed:
            self.tail(channel, self.brought)

    def tail(self, channel, behind):
        lost = self.lost[channel] if self.lost[channel] > behind else 0
        self.followed.add(channel)
        entries = [
            entry(e.sequence, *e.channels, key=e.key, closes=e.closes, text=bool(e.wire))
            for e in self.of(channel)
            if e.sequence > behind and e.sequence > lost and (e.key is None or not e.wire)
        ]
        self.log.merge(Past(channel, behind, lost, entries, self.kept_in(channel), self.closed[channel], 0.0))

    @rule(channel=st.sampled_from(CHANNELS))
    def leave(self, channel):
        if channel in self.followed and not any(channel in r.cursor.channels for r in self.readers):
            self.followed.discard(channel)
            self.log.leave([channel])

    @rule(channels=channel_sets, back=st.integers(0, 20))
    def listen(self, channels, back):
        position = max(0, self.log.head - back)
        if self.log.is_ready(channels, position):
            self.readers.append(Reader(channels, position))

    @precondition(lambda self: self.readers)
    @rule(which=st.integers(0, 20), times=st.integers(1, 4))
    def read(self, which, times):
        for _ in range(times):
            self.read_once(self.readers[which % len(self.readers)])

    @rule(channels=channel_sets)
    def newcomer_gets_the_newest_of_each_key(self, channels):
        place = self.log.head
        values = self.log.kept(channels, place)
        if values is None or not self.log.is_ready(channels, place):
            return
        got = data(values)
        assert got == sorted(set(got))
        for channel, key in itertools.product(channels, KEYS):
            of_key = [e for e in self.of(channel) if e.key == key]
            known = [e for e in of_key if e.sequence <= place]
            is_kept = bool(known) and known[-1].wire and known[-1].sequence > self.opened[channel]
            if is_kept and known[-1] is of_key[-1]:
                assert known[-1].sequence in got, "a value that is kept is missing"
            for old in known[:-1]:
                elsewhere = any(old in self.kept_in(other) for other in old.channels if other in channels)
                assert old.sequence not in got or elsewhere or self.is_newest_here(old, channels, place), (
                    "an old value"
                )

    def is_newest_here(self, old, channels, place):
        """Whether it is the newest of its key, up to a place, in one of some channels."""
        return any(
            old is [e for e in self.of(channel) if e.key == old.key and e.sequence <= place][-1]
            for channel in channels
            if channel in old.channels
        )

    def read_once(self, reader):
        channels, before = reader.cursor.channels, reader.cursor.position
        batch = self.log.read(reader.cursor)
        assert batch is not None, "what was ready stays so while somebody reads it"
        after, got = reader.cursor.position, data(batch.wire)
        assert before <= after <= self.brought
        assert got == sorted(set(got))
        assert all(before < sequence <= after for sequence in got)
        between = [
            e for e in self.published if before < e.sequence <= after and set(e.channels) & set(channels)
        ]
        assert set(got) <= {e.sequence for e in between if e.wire}
        for channel in batch.lost:
            mark = self.log.watermark(channel)
            assert mark > reader.told[channel], "told once"
            reader.told[channel] = mark
            # Three resets are one too many, and the log cannot know: an event that one of its channels has
            # dropped comes by another one; what was closed and forgotten had been read; a store that has
            # dropped what is still here does not say what it had dropped before.
            gone = [
                e
                for e in self.of(channel)
                if before < e.sequence <= mark and (e.sequence not in got or len(e.channels) > 1)
            ]
            assert self.lost[channel] > mark or any(
                e.sequence <= self.opened[channel]
                or (e.wire and not self.is_replaced(e, channel, got, after))
                for e in gone
            ), "a reset where nothing is lost"
        for e in between:
            if e.wire and e.sequence not in got:
                for channel in set(e.channels) & set(channels):
                    is_told = reader.told[channel] >= e.sequence
                    assert is_told or self.is_replaced(e, channel, got, after), "missing without a word"

    def is_replaced(self, e, channel, got, after):
        """Whether a newer entry with its key is kept, was or will be read, or has forgotten the value."""
        return e.key is not None and any(
            other.key == e.key
            and other.sequence > e.sequence
            and (other.sequence > min(self.opened[channel], after) or other.sequence in got or not other.wire)
            for other in self.of(channel)
        )

    def teardown(self):
        if not hasattr(self, "log"):
            return
        self.bring(self.head)
        for reader in self.readers:
            while reader.cursor.position < self.log.head:
                before = reader.cursor.position
                self.read_once(reader)
                assert reader.cursor.position > before, "no progress"
        self.log.leave(CHANNELS)
        assert set(self.log.count().values()) == {0}


TestFollowedLog = FollowedLog.TestCase
TestFollowedLog.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)
