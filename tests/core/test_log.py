"""The log: what it keeps, what it tells of what it lost, and what it weighs."""

import itertools
import sys
import tracemalloc

import pytest

import flask_sse_push.core.log as log_module
from flask_sse_push.core import watermarks
from flask_sse_push.core.channels import Pattern
from flask_sse_push.core.cursor import Cursor
from flask_sse_push.core.entry import (
    CHANNEL_OVERHEAD_BYTES,
    ENTRY_OVERHEAD_BYTES,
    PLACE_OVERHEAD_BYTES,
    Entry,
)
from flask_sse_push.core.log import MAX_BATCH_BYTES, Log
from flask_sse_push.core.log_cache import NOTHING, Batch
from flask_sse_push.core.retention import ChannelRetention, RetentionRules

FOREVER = float("inf")


def make_log(length=1000, seconds=1000.0, max_bytes=1 << 30, patterns=(), epoch="e", **options):
    patterns = [(Pattern(pattern), ChannelRetention(*retention)) for pattern, retention in patterns]
    rules = RetentionRules(ChannelRetention(length, seconds), max_bytes, patterns=patterns)
    return Log(epoch, rules, **options)


def events(log):
    return log.count()["events"]


def channels(log):
    return log.count()["channels"]


def append(log, *channels, at=0.0, wire=None, skip=0):
    """Append an entry whose bytes are its number, behind ``skip`` numbers that never came."""
    sequence = log.head + 1 + skip
    log.append(Entry(sequence, channels or ("a",), b"%d;" % sequence if wire is None else wire, at))
    return sequence


def weight(wire_bytes, *channels):
    """What an entry on these channels is accounted for, beside the channels themselves."""
    return (
        wire_bytes + ENTRY_OVERHEAD_BYTES + sum(PLACE_OVERHEAD_BYTES + len(channel) for channel in channels)
    )


def numbers(batch):
    return [int(number) for number in batch.wire.split(b";")[:-1]]


def read_all(log, cursor):
    """Read to the end; return the numbers and, before them, the names of lost channels."""
    told = []
    while (batch := log.read(cursor)) != NOTHING or cursor.position < log.head:
        told += [*batch.lost, *numbers(batch)]
    return told


def test_cursor_reads_its_channels_in_order():
    """A cursor reads what was appended to its channels after its position, in the order of the numbers."""
    log = make_log()
    for channel in ("a", "b", "a", "c", "b"):
        append(log, channel)
    assert log.read(Cursor(("a", "b"), 0, "e")) == Batch(b"1;2;3;5;", 5, (), None)
    assert log.read(Cursor(("b", "a"), 1, "e")) == Batch(b"2;3;5;", 5, (), None)
    assert log.read(Cursor(("c",), 0, "e")) == Batch(b"4;", 4, (), None)


def test_cursor_at_the_end_reads_nothing():
    """A cursor that has read everything reads nothing, until there is more."""
    log = make_log()
    append(log)
    cursor = Cursor(("a",), 0, "e")
    assert numbers(log.read(cursor)) == [1]
    assert log.read(cursor) is NOTHING
    append(log)
    assert numbers(log.read(cursor)) == [2]


def test_cursor_past_the_end_is_left_alone():
    """A position past the head reads nothing and does not move."""
    log = make_log()
    append(log)
    cursor = Cursor(("a",), 7, "e")
    assert log.read(cursor) is NOTHING
    assert cursor.position == 7


def test_cursor_moves_past_entries_of_other_channels():
    """Reading moves a cursor to the head, also when nothing was for it."""
    log = make_log()
    append(log, "busy")
    append(log, "busy")
    cursor = Cursor(("quiet",), 0, "e")
    assert log.read(cursor) == Batch(b"", 0, (), None)
    assert cursor.position == 2


def test_entry_on_several_channels_is_read_once():
    """Who reads several channels of an entry reads it once; who reads one of them reads it too."""
    log = make_log()
    append(log, "a", "b", "c")
    append(log, "b")
    assert numbers(log.read(Cursor(("a", "b", "c"), 0, "e"))) == [1, 2]
    assert numbers(log.read(Cursor(("c",), 0, "e"))) == [1]
    assert events(log) == 2
    assert channels(log) == 3


def test_entry_on_several_channels_stays_while_one_holds_it():
    """
    An entry that one channel has no room for is still read in the other, and is kept and counted until the
    last has dropped it.
    """
    log = make_log(length=1)
    append(log, "a", "b")
    append(log, "a")
    assert numbers(log.read(Cursor(("b",), 0, "e"))) == [1]
    assert events(log) == 2
    append(log, "b")
    assert events(log) == 2
    assert log.size_bytes == 2 * (
        2 + ENTRY_OVERHEAD_BYTES + PLACE_OVERHEAD_BYTES + 1 + CHANNEL_OVERHEAD_BYTES
    )
    assert read_all(log, Cursor(("b",), 0, "e")) == ["b", 3]


def test_oldest_entry_goes_from_the_rings_that_still_hold_it():
    """Age takes an entry also when one of its channels has dropped it for another reason before."""
    log = make_log(length=1, seconds=10)
    append(log, "a", "b", at=0.0)
    append(log, "a", at=5.0)
    log.sweep(11.0)
    assert events(log) == 1
    assert read_all(log, Cursor(("b",), 0, "e")) == ["b"]
    log.sweep(FOREVER)
    assert (events(log), channels(log), log.size_bytes) == (0, 0, 0)


def test_entry_with_a_number_that_was_given_is_refused():
    """Numbers rise; one that does not is an error that changes nothing."""
    log = make_log(head=5)
    for sequence in (5, 4, 0):
        with pytest.raises(ValueError, match=rf"entry {sequence} comes after 5: numbers must rise"):
            log.append(Entry(sequence, ("a",), b"x", 0.0))
    assert (log.head, events(log), log.size_bytes) == (5, 0, 0)


def test_retention_by_count_is_per_channel():
    """Each channel keeps its last entries, whatever the others do."""
    log = make_log(length=3)
    for _ in range(10):
        append(log, "busy")
    append(log, "quiet")
    assert read_all(log, Cursor(("busy",), 0, "e")) == ["busy", 8, 9, 10]
    assert read_all(log, Cursor(("quiet",), 0, "e")) == [11]
    assert events(log) == 4


@pytest.mark.parametrize(
    ("now", "kept"),
    [(10.0, [1, 2, 3]), (10.5, [2, 3]), (11.0, [2, 3]), (11.25, [3]), (11.5, [3]), (30.0, [])],
)
def test_retention_by_age_drops_what_is_older(now, kept):
    """An entry is kept for its seconds and not longer."""
    log = make_log(seconds=10)
    for at in (0.0, 1.0, 1.5):
        append(log, at=at)
    log.sweep(now)
    assert [number for number in read_all(log, Cursor(("a",), 0, "e")) if number != "a"] == kept


def test_retention_by_age_works_while_appending():
    """An append drops what is too old by then, in every channel."""
    log = make_log(seconds=10)
    append(log, "old", at=0.0)
    append(log, "new", at=11.0)
    assert channels(log) == 1
    assert log.watermark("old") == 1


def test_retention_by_bytes_drops_the_oldest_of_all():
    """Above the bytes the oldest entry of all channels goes first."""
    one = 100 + ENTRY_OVERHEAD_BYTES + PLACE_OVERHEAD_BYTES + 1 + CHANNEL_OVERHEAD_BYTES
    log = make_log(max_bytes=3 * one)
    for channel in ("a", "b", "c", "d"):
        append(log, channel, wire=b"." * 100)
    assert [log.watermark(channel) for channel in "abcd"] == [1, 0, 0, 0]
    assert log.size_bytes == 3 * one


def test_newest_entry_stays_whatever_it_weighs():
    """An entry larger than the log is kept, alone, so that live streams read it."""
    log = make_log(max_bytes=4096)
    append(log, "a")
    append(log, "b", wire=b"." * 10_000)
    assert events(log) == 1
    assert log.read(Cursor(("b",), 0, "e")).last == 2
    append(log, "a")
    assert (events(log), channels(log)) == (1, 1)


def test_quiet_channel_beside_a_busy_one_shows_no_gap():
    """A cursor on a quiet channel loses nothing when a busy channel is evicted around it."""
    log = make_log(length=2)
    append(log, "quiet")
    cursor = Cursor(("quiet",), 1, "e")
    for _ in range(50):
        append(log, "busy")
    assert log.read(cursor).lost == ()
    assert read_all(log, Cursor(("quiet",), 1, "e")) == []
    assert read_all(log, Cursor(("busy",), 40, "e")) == ["busy", 50, 51]
    assert read_all(log, Cursor(("quiet", "busy"), 0, "e")) == ["busy", 1, 50, 51]


def test_channel_remembers_its_loss_when_it_is_empty():
    """
    A channel whose last entry is gone still tells of the loss, and knows its mark when it holds entries
    again.
    """
    log = make_log(seconds=10)
    append(log, "a", at=0.0)
    append(log, "b", at=20.0)
    assert log.watermark("a") == 1
    assert read_all(log, Cursor(("a",), 0, "e")) == ["a"]
    assert read_all(log, Cursor(("a",), 1, "e")) == []
    append(log, "a", at=20.0)
    assert log.watermark("a") == 1
    assert read_all(log, Cursor(("a",), 0, "e")) == ["a", 3]
    assert read_all(log, Cursor(("a",), 1, "e")) == [3]


def test_position_right_at_the_mark_has_lost_nothing():
    """A cursor that read the last entry before it was evicted is told nothing."""
    log = make_log(length=1)
    append(log)
    append(log)
    assert log.watermark("a") == 1
    assert read_all(log, Cursor(("a",), 1, "e")) == [2]
    assert read_all(log, Cursor(("a",), 0, "e")) == ["a", 2]


def test_floor_stands_for_the_marks_that_are_forgotten(monkeypatch):
    """
    Above MAX_WATERMARKS the oldest mark falls under a common floor: a gap too many may be told, never one too
    few.
    """
    monkeypatch.setattr(watermarks, "MAX_WATERMARKS", 3)
    log = make_log(seconds=10)
    for at, channel in enumerate("abcde"):
        append(log, channel, at=float(at))
    log.sweep(FOREVER)
    assert [log.watermark(channel) for channel in "abcde"] == [2, 2, 3, 4, 5]
    assert log.watermark("never used") == 2
    assert read_all(log, Cursor(("a",), 0, "e")) == ["a"]
    assert read_all(log, Cursor(("never used",), 1, "e")) == ["never used"]
    assert read_all(log, Cursor(("never used",), 2, "e")) == []
    append(log, "a")
    assert log.watermark("a") == 2


def test_floor_never_falls(monkeypatch):
    """A mark that is older than the floor does not lower it."""
    monkeypatch.setattr(watermarks, "MAX_WATERMARKS", 1)
    log = make_log(length=1, head=100)
    append(log, "a", at=0.0)
    append(log, "b", at=0.0)
    log.sweep(FOREVER)
    assert log.watermark("nobody") == 101
    assert log.watermark("b") == 102


def test_log_that_begins_late_knows_nothing_of_before():
    """What was numbered before the log began may have been in any channel."""
    log = make_log(head=7)
    append(log)
    assert read_all(log, Cursor(("a",), 6, "e")) == ["a", 8]
    assert read_all(log, Cursor(("a",), 7, "e")) == [8]
    assert log.watermark("other") == 7


def test_hole_in_the_numbers_is_a_loss_in_every_channel():
    """A number that never came may have been for any channel: all cursors before it are told."""
    log = make_log()
    append(log, "a")
    append(log, "b", skip=2)
    assert log.head == 4
    assert read_all(log, Cursor(("a", "c"), 1, "e")) == ["a", "c"]
    assert read_all(log, Cursor(("b",), 1, "e")) == ["b", 4]
    assert read_all(log, Cursor(("b",), 3, "e")) == [4]
    assert (events(log), channels(log)) == (1, 1)
    assert log.size_bytes == 2 + ENTRY_OVERHEAD_BYTES + PLACE_OVERHEAD_BYTES + 1 + CHANNEL_OVERHEAD_BYTES


def test_hole_reaches_a_shared_entry():
    """Behind a hole the counts of shared entries begin anew."""
    log = make_log(length=1)
    append(log, "a", "b")
    append(log, "a", "b", skip=1)
    append(log, "a", "b")
    assert events(log) == 1
    log.sweep(FOREVER)
    assert log.size_bytes == 0


def test_holes_leave_nothing_behind():
    """However many holes there were, the log holds what came behind the last."""
    log = make_log()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(5000):
            append(log, "a", "b", skip=1)
        kept = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert events(log) == 1
    assert kept < 50_000


def test_dropped_entries_leave_nothing_behind():
    """However many entries of several channels were dropped for their age, the log holds what came last."""
    log = make_log(seconds=1)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for second in range(0, 10_000, 2):
            append(log, "a", "b", at=float(second))
        kept = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert events(log) == 1
    assert kept < 50_000


def test_loss_is_told_once():
    """A gap is told with the first read and not again on the way through what is left of it."""
    log = make_log(length=4, batch_bytes=1)
    for _ in range(10):
        append(log)
    cursor = Cursor(("a",), 0, "e")
    assert [log.read(cursor) for _ in range(4)] == [
        Batch(b"7;", 7, ("a",), "evicted", True),
        Batch(b"8;", 8, (), None, True),
        Batch(b"9;", 9, (), None, True),
        Batch(b"10;", 10, (), None, False),
    ]
    assert log.read(cursor) is NOTHING
    append(log)
    assert log.read(cursor) == Batch(b"11;", 11, (), None)
    assert cursor.reported == {}


def test_loss_in_one_channel_is_forgiven_on_the_way_through_another():
    """
    While a cursor walks through old entries of one channel, the gap of the other is not told with each step.
    """
    log = make_log(length=5, batch_bytes=1)
    for _ in range(5):
        append(log, "slow")
    for _ in range(20):
        append(log, "busy")
    cursor = Cursor(("slow", "busy"), 0, "e")
    told = read_all(log, cursor)
    assert told == ["busy", 1, 2, 3, 4, 5, 21, 22, 23, 24, 25]


def test_cursors_at_one_place_share_nothing_when_one_was_told_of_a_loss():
    """
    Who was told gets the entries without the loss, and who was not gets them with it, in whatever order they
    read.
    """
    log = make_log(length=5, batch_bytes=1)
    for _ in range(5):
        append(log, "slow")
    for _ in range(20):
        append(log, "busy")
    told, told_too = (Cursor(("slow", "busy"), 0, "e") for _ in range(2))
    for cursor in (told, told_too):
        assert log.read(cursor) == Batch(b"1;", 1, ("busy",), "evicted", True)
    assert log.read(told) == Batch(b"2;", 2, (), None, True)
    assert log.read(Cursor(("slow", "busy"), 1, "e")) == Batch(b"2;", 2, ("busy",), "evicted", True)
    assert shared(log, told_too) is None
    assert log.read(told_too) == Batch(b"2;", 2, (), None, True)


def test_second_loss_is_told_again():
    """A cursor that falls behind a second time, while it still walks, is told again."""
    log = make_log(length=3, batch_bytes=1)
    for _ in range(6):
        append(log)
    cursor = Cursor(("a",), 0, "e")
    assert log.read(cursor) == Batch(b"4;", 4, ("a",), "evicted", True)
    for _ in range(6):
        append(log)
    assert log.read(cursor) == Batch(b"10;", 10, ("a",), "evicted", True)
    assert read_all(log, cursor) == [11, 12]


def test_loss_of_everything_is_told_without_an_entry():
    """When nothing is left to read, the loss is told alone, once."""
    log = make_log(seconds=10)
    append(log, at=0.0)
    log.sweep(FOREVER)
    cursor = Cursor(("a",), 0, "e")
    assert log.read(cursor) == Batch(b"", 0, ("a",), "evicted")
    assert log.read(cursor) is NOTHING
    append(log, at=0.0)
    assert log.read(cursor) == Batch(b"2;", 2, (), None)
    assert cursor.reported == {}


def test_batch_is_bounded_in_bytes():
    """A read returns as many entries as fit, at least one, and the next read goes on from there."""
    log = make_log(batch_bytes=10)
    for size in (4, 6, 1, 30, 9, 2):
        append(log, wire=b"." * size)
    cursor = Cursor(("a",), 0, "e")
    batches = list(iter(lambda: log.read(cursor), NOTHING))
    assert [(len(batch.wire), batch.last) for batch in batches] == [(10, 2), (1, 3), (30, 4), (9, 5), (2, 6)]


def test_batch_is_bounded_by_default():
    """Without saying anything, a read of many entries stays within MAX_BATCH_BYTES."""
    log = make_log()
    for _ in range(100):
        append(log, wire=b"." * 1000)
    cursor = Cursor(("a",), 0, "e")
    assert len(log.read(cursor).wire) == MAX_BATCH_BYTES // 1000 * 1000


def test_batch_that_ends_early_leaves_the_cursor_at_its_last_entry():
    """A bounded read moves the cursor only to what it returned, so that nothing is skipped."""
    log = make_log(batch_bytes=2)
    append(log, "a")
    append(log, "b")
    append(log, "a")
    cursor = Cursor(("a",), 0, "e")
    assert log.read(cursor) == Batch(b"1;", 1, (), None, has_more=True)
    assert cursor.position == 1
    assert log.read(cursor) == Batch(b"3;", 3, (), None, has_more=False)


def test_streams_at_one_place_share_their_batch():
    """Cursors with the same channels and position get the very same bytes; the next entry makes new ones."""
    log = make_log()
    append(log)
    first, second = log.read(Cursor(("a",), 0, "e")), log.read(Cursor(("a",), 0, "e"))
    assert first is second
    append(log)
    assert numbers(log.read(Cursor(("a",), 0, "e"))) == [1, 2]


def test_clients_that_resume_from_all_over_the_history_share_their_bytes():
    """
    A whole history's worth of places is joined once each, however many clients come back to each of them.
    """
    log = make_log(length=256)
    for _ in range(256):
        append(log, wire=b"." * 100)
    first, second = ([log.read(Cursor(("a",), position, "e")) for position in range(256)] for _ in range(2))
    assert all(one is another for one, another in zip(first, second, strict=True))


def test_shared_batch_is_not_older_than_the_log():
    """What was joined for one cursor is not given to another after entries were dropped."""
    log = make_log(seconds=10)
    append(log, at=0.0)
    append(log, at=5.0)
    assert numbers(log.read(Cursor(("a",), 0, "e"))) == [1, 2]
    log.sweep(11.0)
    assert log.read(Cursor(("a",), 0, "e")) == Batch(b"2;", 2, ("a",), "evicted")


def shared(log, cursor):
    """
    The batch that another stream has read at the same place, if it is for all; as a subscription takes it.
    """
    batch, position = log.batches.get((cursor.channels, cursor.position), (None, None))
    assert batch is None or position > cursor.position
    return None if batch is None or batch.lost else batch


def test_shared_read_gives_what_another_has_just_read():
    """
    A batch is there for a second cursor at the same place, and not for one elsewhere.
    """
    log = make_log(length=2)
    append(log)
    first, second = Cursor(("a",), 0, "e"), Cursor(("a",), 0, "e")
    assert shared(log, first) is None
    batch = log.read(first)
    assert shared(log, second) is batch
    assert first.position == 1
    assert shared(log, first) is None
    assert shared(log, Cursor(("b",), 0, "e")) is None
    for _ in range(2):
        append(log)
    late = Cursor(("a",), 0, "e")
    assert log.read(late).lost == ("a",)
    assert shared(log, Cursor(("a",), 0, "e")) is None  # it has lost something, and must be told
    assert shared(log, late) is None


def test_joined_batches_are_bounded_in_number():
    """Reading from many places does not keep many copies."""
    log = make_log()
    for _ in range(300):
        append(log, wire=b"." * 1000)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for position in range(300):
            log.read(Cursor(("a",), position, "e"))
        kept = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert kept < 4 * 1024 * 1024 * 1.1


def test_accounts_return_to_zero():
    """When everything has expired, nothing is held and nothing is counted."""
    log = make_log(length=3, seconds=10)
    for sequence in range(50):
        append(log, *sorted({f"c{sequence % 3}", f"d{sequence % 7}", "e"}), at=float(sequence))
    assert log.size_bytes > 0
    log.sweep(FOREVER)
    assert (events(log), channels(log), log.size_bytes) == (0, 0, 0)
    log.sweep(FOREVER)


def _fresh(*names):
    """Names as they come from a request: equal, and each an object of its own."""
    return tuple("".join(list(name)) for name in names)


@pytest.mark.parametrize(
    ("entries", "channels", "wire_bytes"),
    [
        (10_000, lambda n: _fresh("news"), 0),
        (10_000, lambda n: _fresh("news"), 100),
        (2_000, lambda n: _fresh(f"user.{n}"), 0),
        (2_000, lambda n: _fresh(f"user.{n}"), 100),
        (5_000, lambda n: _fresh(f"room.{n % 50}", f"floor.{n % 7}"), 50),
        (500, lambda n: _fresh(*(f"user.{user}" for user in range(30))), 50),
        (200, lambda n: _fresh(*(f"user.{user}" for user in range(1000))), 50),
        (200, lambda n: _fresh(*("x" * 120 + f"{user:08}" for user in range(1000))), 50),
    ],
    ids=[
        "one channel, empty",
        "one channel",
        "own channels, empty",
        "own channels",
        "two channels each",
        "thirty each",
        "a thousand each",
        "a thousand with long names each",
    ],
)
def test_accounted_bytes_are_the_real_ones(entries, channels, wire_bytes):
    """What the log counts and what Python allocates stay within a factor of 1.4 of each other."""
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        log = make_log(length=1_000_000, seconds=FOREVER)
        for sequence in range(1, entries + 1):
            log.append(
                Entry(sequence, channels(sequence), b"." * wire_bytes + b"%d" % sequence, sequence + 0.5)
            )
        real = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert log.size_bytes / 1.4 < real < log.size_bytes * 1.4


def test_real_memory_is_given_back():
    """A log that ran full and expired holds next to nothing, apart from the marks of its channels."""
    tracemalloc.start()
    try:
        log = make_log(seconds=10)
        before = tracemalloc.get_traced_memory()[0]
        for sequence in range(10_000):
            append(log, f"c{sequence % 10}", wire=b"." * 1000)
        full = tracemalloc.get_traced_memory()[0] - before
        log.sweep(FOREVER)
        left = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert left < full / 5


def test_cursor_of_another_log_has_lost_something_everywhere():
    """
    A cursor that belongs to a log that is gone is told of all its channels once, and reads on before all that
    this log holds.
    """
    log = make_log()
    append(log, "a")
    cursor = Cursor(("a", "b"), 40, "gone")
    assert log.read(cursor) == Batch(b"1;", 1, ("a", "b"), "epoch")
    assert (cursor.epoch, cursor.position) == ("e", 1)
    assert log.read(cursor) is NOTHING
    append(log, "b")
    assert log.read(cursor) == Batch(b"2;", 2, (), None)


def test_cursor_of_another_log_is_not_told_twice_of_what_this_one_lost():
    """What this log had lost by then is told by the same words; what it loses later is told again."""
    log = make_log(length=2, batch_bytes=2)
    for _ in range(4):
        append(log, "a")
    cursor = Cursor(("a",), 7, "gone")
    assert log.read(cursor) == Batch(b"3;", 3, ("a",), "epoch", True)
    for _ in range(2):
        append(log, "a")
    assert log.read(cursor) == Batch(b"5;", 5, ("a",), "evicted", True)


def test_cursor_of_another_log_hears_of_all_that_this_one_loses():
    """What was reported of the other log, under higher numbers, hides no loss of this one."""
    other = make_log(length=2, batch_bytes=2, head=100, epoch="gone")
    for _ in range(5):
        append(other, "a")
    cursor = Cursor(("a",), 0, "gone")
    assert other.read(cursor).lost == ("a",)
    log = make_log(length=2)
    append(log, "a")
    assert log.read(cursor) == Batch(b"1;", 1, ("a",), "epoch")
    for _ in range(4):
        append(log, "a")
    assert log.read(cursor) == Batch(b"4;5;", 5, ("a",), "evicted")


def test_cursor_that_was_told_of_a_loss_shares_reads_again():
    """Behind the entries that were lost, it gets what other streams at its place have read."""
    log = make_log(length=2, batch_bytes=1)
    for _ in range(4):
        append(log, "a")
    late, early = Cursor(("a",), 0, "e"), Cursor(("a",), 3, "e")
    assert log.read(late) == Batch(b"3;", 3, ("a",), "evicted", True)
    batch = log.read(early)
    assert shared(log, late) is batch
    assert numbers(batch) == [4]


def test_cursor_of_another_log_reads_nothing_from_an_empty_one():
    """An empty log tells that something is lost, and has nothing to add."""
    assert make_log().read(Cursor(("a",), 3, "gone")) == Batch(b"", 0, ("a",), "epoch")


class Interrupted(Exception):
    """What a signal handler raises."""


def is_interrupted(call, lines):
    """
    Run a call, and raise out of it after so many lines of the log, as a signal handler does; say whether it
    did.
    """

    def trace(frame, event, argument):
        nonlocal lines
        if frame.f_code.co_filename != log_module.__file__:
            return None
        lines -= event == "line"
        if lines < 0:
            raise Interrupted
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    except Interrupted:
        return True
    finally:
        sys.settrace(before)
    return False


def test_append_that_was_cut_short_shows_as_a_hole():
    """Wherever an exception comes out of an append, the next one begins the log anew behind a gap."""
    for lines in itertools.count(1):
        log = make_log(length=2, max_bytes=6 * weight(2, "a", "b"))
        for _ in range(4):
            append(log, "a", "b")
        cursor = Cursor(("a", "b"), log.head, "e")
        if not is_interrupted(lambda log=log: append(log, "c", "b", "a", wire=b"5;"), lines):
            break
        log.sweep(FOREVER)
        log.append(Entry(6, ("a",), b"6;", 0.0))
        batch = log.read(cursor)
        assert (numbers(batch), batch.lost) == ([6], ("a", "b"))
        assert log.size_bytes == weight(2, "a") + CHANNEL_OVERHEAD_BYTES
    assert lines > 20
