"""Channels of a log: their own retention, values that they keep by a key, and their closing."""

import pytest

from flask_sse_push.core.channels import CONTROL_CHANNEL, Pattern
from flask_sse_push.core.cursor import Cursor
from flask_sse_push.core.entry import Entry
from flask_sse_push.core.log import Log
from flask_sse_push.core.log_cache import NOTHING, Batch
from flask_sse_push.core.retention import ChannelRetention, RetentionRules
from flask_sse_push.core.wire import KEPT


def make_log(length=1000, seconds=1000.0, max_bytes=1 << 30, patterns=(), **options):
    patterns = [(Pattern(pattern), ChannelRetention(*retention)) for pattern, retention in patterns]
    return Log(
        "e", RetentionRules(ChannelRetention(length, seconds), max_bytes, patterns=patterns), **options
    )


def append(log, *channels, at=0.0, key=None, closes=False, text=None, wire=None):
    """Append an entry whose data is its number, or one of another wire."""
    sequence = log.head + 1
    if wire is None:
        wire = b"id: e-%d\ndata: %b\n\n" % (sequence, text or b"%d" % sequence)
    log.append(Entry(sequence, channels or ("a",), wire, at, key, closes))
    return sequence


def forget(log, key, *channels):
    return append(log, *channels, key=key, wire=b"")


def close(log, *channels, at=0.0):
    return append(log, *channels, at=at, closes=True, wire=b"")


def data(wire):
    """What a chunk shows, in order."""
    return [int(line[6:]) for line in wire.split(b"\n") if line.startswith(b"data: ")]


def read(log, *channels, after=0):
    """What a cursor reads, behind the names of the channels in which it has lost something."""
    batch = log.read(Cursor(channels or ("a",), after, "e"))
    return [*batch.lost, *data(batch.wire)]


def kept(log, *channels, at=None):
    return data(log.kept(channels or ("a",), log.head if at is None else at))


# Retention of one channel


def test_channel_is_kept_as_the_first_pattern_that_fits_says():
    """A length of its own for a channel, and the default for what fits no pattern."""
    log = make_log(length=2, patterns=[("run.7", (4, 1000.0)), ("run.*", (3, 1000.0)), ("*.7", (1, 1000.0))])
    for _ in range(6):
        append(log, "run.7")
        append(log, "run.8")
        append(log, "news")
        append(log, "news.7")
    assert len(read(log, "run.7")[1:]) == 4
    assert len(read(log, "run.8")[1:]) == 3
    assert len(read(log, "news")[1:]) == 2
    assert len(read(log, "news.7")[1:]) == 1


def test_channel_is_kept_for_the_seconds_of_its_pattern():
    """Age counts by channel: what is too old in one is not in another."""
    log = make_log(seconds=10.0, patterns=[("run.*", (1000, 100.0))])
    append(log, "run.7", "news")
    log.sweep(50.0)
    assert (read(log, "run.7"), read(log, "news")) == ([1], ["news"])
    log.sweep(101.0)
    assert read(log, "run.7") == ["run.7"]


def test_commands_have_a_retention_that_nobody_sets():
    """Ten minutes, whatever the default and the patterns say."""
    log = make_log(length=1, seconds=1.0, patterns=[("*", (1, 1.0))])
    for _ in range(3):
        append(log, CONTROL_CHANNEL)
    log.sweep(599.0)
    assert read(log, CONTROL_CHANNEL) == [1, 2, 3]
    log.sweep(601.0)
    assert read(log, CONTROL_CHANNEL) == [CONTROL_CHANNEL]


def test_busy_channel_pushes_out_nothing_of_a_quiet_one():
    """However much comes to one channel, the others keep what they have."""
    log = make_log(length=10)
    append(log, "quiet")
    for _ in range(1_000):
        append(log, "busy")
    assert read(log, "quiet") == [1]


def test_old_entries_go_while_their_channel_is_appended_to():
    """A busy channel does not wait for the next look at all channels."""
    log = make_log(seconds=1.0)
    for tenth in range(40):
        append(log, at=tenth / 10)
    assert log.count()["events"] == 11


def test_bytes_go_from_the_channel_with_the_oldest_entry():
    """The bound in bytes is over all channels, and takes the oldest entry of all, again and again."""
    log = make_log(max_bytes=20_000)
    for number in range(30):
        append(log, f"c{number % 3}", wire=b"id: e-0\ndata: 1\n\n" + b"." * 2_000)
    counted = log.count()
    assert counted["bytes"] <= 20_000
    first = 30 - counted["events"]
    assert sorted(log.watermark(f"c{number}") for number in range(3)) == [first - 2, first - 1, first]


def test_bytes_spare_the_newest_entry_in_each_of_its_channels():
    """A large event is kept alone, in all channels that it was published to."""
    log = make_log(max_bytes=4_000)
    append(log, "a")
    append(log, "b", "a", "c", wire=b"id: e-2\ndata: 2\n\n" + b"." * 10_000)
    assert [read(log, channel, after=1) for channel in "abc"] == [[2], [2], [2]]
    assert read(log, "a") == ["a", 2]


def test_entry_of_many_channels_counts_once():
    """A thousand places are not a thousand times the bytes."""
    log = make_log()
    append(log, *[f"user.{user}" for user in range(1_000)], wire=b"." * 10_000)
    assert log.size_bytes < 10_000 + 1_000 * 1_100
    log.sweep(float("inf"))
    assert log.size_bytes == 0


def test_channels_that_are_emptied_by_bytes_are_forgotten_at_once():
    """A channel for each event leaves its mark behind, and nothing else."""
    log = make_log(max_bytes=20_000)
    for number in range(5_000):
        append(log, f"user.{number}")
    assert len(log._channels) < 50
    assert len(log._channels._oldest) < 200
    assert read(log, "user.7") == ["user.7"]


def test_all_channels_are_looked_at_in_turns():
    """Old entries of quiet channels go while others are appended to, some channels at a time."""
    log = make_log(seconds=5.0)
    for number in range(1_000):
        append(log, f"user.{number}", at=0.0)
    left = []
    for second in range(10):
        append(log, "busy", at=11.0 + second / 10)
        left.append(log.count()["channels"])
    assert left[0] > 500, "all at once"
    assert left[-1] == 1


# Kept values


def test_kept_values_are_the_newest_of_each_key_in_the_order_in_which_they_came():
    """A replaced value is gone, and the order is that of the numbers."""
    log = make_log()
    for key in ("x", "y", "z", "x"):
        append(log, key=key)
    assert kept(log) == [2, 3, 4]


def test_kept_values_have_no_ids():
    """A client that got some of them must not come back as if it had all."""
    log = make_log()
    append(log, key="x")
    assert log.kept(("a",), 1) == b"data: 1\n\n"


def test_kept_values_behind_the_place_of_a_stream_are_events():
    """Each value comes once: before the place without an id, or behind it with one."""
    log = make_log()
    append(log, key="x")
    append(log, key="y")
    assert kept(log, at=1) == [1]
    assert read(log, after=1) == [2]


def test_kept_value_of_several_channels_comes_once():
    """It is kept in each of them, and a reader of both gets it once."""
    log = make_log()
    append(log, "a", "b", key="x")
    assert kept(log, "a", "b") == [1]
    append(log, "a", key="x")
    assert kept(log, "a", "b") == [1, 2]
    assert kept(log, "b") == [1]


def test_kept_values_are_neither_counted_nor_aged_nor_dropped_for_their_bytes():
    """They are beside the history: what the history drops is something else."""
    log = make_log(length=2, seconds=10.0, max_bytes=5_000)
    append(log, key="x", wire=b"id: e-1\ndata: 1\n\n" + b"." * 10_000)
    for _ in range(5):
        append(log)
    assert log.size_bytes < 5_000
    log.sweep(1e9)
    assert kept(log) == [1]
    assert log.count() == {"events": 0, "channels": 0, "kept": 1, "bytes": 0}


def test_reader_that_is_behind_gets_the_newest_of_each_key():
    """Conflation: what was replaced is skipped, and nothing counts as lost."""
    log = make_log(length=3)
    for number in range(500):
        append(log, key="xyz"[number % 3])
    assert read(log) == [498, 499, 500]


def test_events_without_a_key_are_never_skipped():
    """They come in their order among the values, or a gap is told."""
    log = make_log(length=3)
    for key in ("x", None, "x", None, "y", None):
        append(log, key=key)
    assert read(log) == [2, 3, 4, 5, 6]
    append(log)
    assert read(log) == ["a", 3, 4, 5, 6, 7]


def test_forgotten_value_is_gone_without_a_loss():
    """Neither a newcomer nor a reader that is behind gets it, and nobody is told of a gap."""
    log = make_log()
    append(log, "a", "b", key="x")
    append(log, key="y")
    forget(log, "x", "a")
    assert (kept(log), read(log)) == ([2], [2])
    assert kept(log, "b") == [1]
    forget(log, "nothing", "a")
    forget(log, "x", "c")
    assert (kept(log), kept(log, "c"), read(log)) == ([2], [], [2])


def test_values_that_were_read_together_are_replaced_by_the_next():
    """A thousand streams at one place share the bytes; the next value makes new ones."""
    log = make_log()
    append(log, key="x")
    assert log.kept(("a",), 1) is log.kept(("a",), 1)
    forget(log, "x", "a")
    assert kept(log, at=1) == []


def test_thousand_values_come_at_once():
    """All kept values of a channel are one chunk, however large."""
    log = make_log(batch_bytes=10)
    for number in range(1_000):
        append(log, key=str(number))
    assert kept(log) == list(range(1, 1_001))


def test_hole_keeps_the_values_and_the_closing():
    """
    Of a number that never came nobody knows the channel: the histories begin anew, and what newcomers need
    stays.
    """
    log = make_log()
    append(log, "a", key="x")
    append(log, "a")
    close(log, "b")
    log.append(Entry(5, ("c",), b"", 0.0))
    assert kept(log, "a") == [1]
    assert read(log, "a", after=2) == ["a"]
    assert log.closed_behind(("b",)) == 3


# Closing


def test_channels_are_closed_behind_the_last_of_their_marks():
    """A stream on several channels ends when all are closed."""
    log = make_log()
    append(log, "a", closes=True)
    assert log.has_closed
    assert log.closed_behind(("a",)) == 1
    assert log.closed_behind(("a", "b")) is None
    append(log, "c")
    close(log, "b")
    assert log.closed_behind(("a", "b")) == 3
    assert (read(log, "a"), read(log, "b")) == ([1], [])


def test_closed_channel_keeps_its_values():
    """Who comes late still gets them."""
    log = make_log()
    append(log, key="x")
    close(log)
    assert kept(log) == [1]


@pytest.mark.parametrize("comes_again", [False, True])
def test_closed_channel_is_forgotten_after_its_retention(comes_again):
    """It is a new channel then, without history, values and mark; its end may come with its next event."""
    log = make_log(seconds=10.0)
    append(log, at=5.0)
    append(log, key="x", at=5.0)
    close(log, at=5.0)
    log.expire(["a"], 15.0)
    assert log.closed_behind(("a",)) == 3
    if comes_again:
        append(log, at=15.5)
        assert read(log, after=3) == [4]
    else:
        log.sweep(15.5)
    assert log.closed_behind(("a",)) is None
    assert kept(log) == []
    assert read(log)[0] == "a"
    assert "a" not in read(log, after=2)


def test_cursor_that_had_everything_of_a_closed_channel_reads_on_in_the_next():
    """To open it again loses nothing for a reader of the end."""
    log = make_log(seconds=10.0)
    append(log)
    close(log)
    cursor = Cursor(("a",), 0, "e")
    assert data(log.read(cursor).wire) == [1]
    append(log, at=20.0)
    assert log.read(cursor) == Batch(b"id: e-3\ndata: 3\n\n", 3, (), None)
    assert log.read(cursor) is NOTHING


def test_bytes_skip_a_channel_that_has_grown_old():
    """A channel whose history has expired, and which keeps a value, is no longer the oldest."""
    log = make_log(seconds=10.0, max_bytes=5_000)
    append(log, "a", key="x")
    append(log, "a")
    log.expire(["a", "nobody"], 11.0)
    for _ in range(3):
        append(log, "b", at=11.0, wire=b"." * 1_500)
    assert log.count() == {"events": 2, "channels": 1, "kept": 1, "bytes": log.size_bytes}
    append(log, "a", at=11.0)
    assert read(log, "a") == ["a", 1, 6]


def test_channel_that_ends_before_its_turn_is_not_looked_at():
    """Between two turns a channel may be dropped for its bytes, and begin again."""
    log = make_log(seconds=1_000.0, max_bytes=500_000)
    for number in range(300):
        append(log, f"user.{number}", at=1.0)
    append(log, "large", at=20.0, wire=b"." * 450_000)  # the first turn, which leaves 100 for the next
    left = log.count()["channels"]
    assert left < 100
    append(log, "user.7", at=20.0)
    append(log, "user.7", at=20.0)
    assert len(read(log, "user.7")[1:]) == 2


def test_batch_says_whether_a_value_is_among_its_entries():
    """Not one that comes behind the batch, or that came before it; and all streams share the bytes."""
    log = make_log(batch_bytes=30)
    append(log)
    value = append(log, key="k")
    append(log)
    found = [log.read(Cursor(("a",), after, "e")).wire.count(KEPT) for after in range(value + 1)]
    assert found == [0, 1, 0]
    last = append(log, key="k")
    first, second = (log.read(Cursor(("a",), last - 1, "e")).wire for _ in range(2))
    assert first.startswith(KEPT)
    assert first is second
