"""Where a stream begins, and what it is told first."""

import pytest

from flask_sse_push.core.cursor import Cursor, Start
from flask_sse_push.core.entry import Entry
from flask_sse_push.core.log import ALL, Log
from flask_sse_push.core.past import Past
from flask_sse_push.core.retention import ChannelRetention, RetentionRules

RULES = RetentionRules(ChannelRetention(10, 100.0), 1 << 20)


@pytest.fixture
def log():
    log = Log("now", RULES)
    for sequence in range(1, 6):
        log.append(Entry(sequence, ("a",), b"x", 0.0))
    return log


@pytest.mark.parametrize(
    ("last_event_id", "expected"),
    [
        (None, Start("now", 5, is_new=True)),
        ("", Start("now", 5, is_new=True)),
        ("now-0", Start("now", 0, None)),
        ("now-3", Start("now", 3, None)),
        ("now-5", Start("now", 5, None)),
        ("now-6", Start("now", 5, "future", is_new=True)),
        ("now-9999999999999999999", Start("now", 5, "future", is_new=True)),
        ("then-3", Start("now", 5, "epoch", is_new=True)),
        ("then-0", Start("now", 5, "epoch", is_new=True)),
        ("then-99", Start("now", 5, "epoch", is_new=True)),
        ("now-03", Start("now", 5, "malformed", is_new=True)),
        ("now-3\n", Start("now", 5, "malformed", is_new=True)),
        ("nonsense", Start("now", 5, "malformed", is_new=True)),
        ("end", Start("now", 5, "malformed", is_new=True)),
        (" ", Start("now", 5, "malformed", is_new=True)),
    ],
)
def test_place_proves_continuity_or_says_why_not(log, last_event_id, expected):
    """
    A new client begins at the end, a known id behind it; any other id names why continuity cannot be proved.
    """
    assert log.place(("a",), last_event_id) == expected


def test_place_in_an_empty_log_is_its_beginning():
    """Before the first event a new client stands at 0, and may come back with that."""
    log = Log("now", RULES)
    assert log.place(("a",), None) == Start("now", 0, is_new=True)
    assert log.place(("a",), "now-0") == Start("now", 0, None)
    assert log.place(("a",), "now-1") == Start("now", 0, "future", is_new=True)


def test_place_ahead_of_a_copy_that_may_lag_waits():
    """A position that another process can have given is taken as it is; one further ahead is none."""
    log = Log("now", RULES, head=5)
    assert log.place(("a",), "now-8", lag=3) == Start("now", 8, None)
    assert log.place(("a",), "now-9", lag=3) == Start("now", 5, "future", is_new=True)


def rewound(*published, rewind, of=("a", "b"), length=10):
    """Where a new client of some channels begins in a log of these events."""
    log = Log("now", RetentionRules(ChannelRetention(length, 100.0), 1 << 20))
    for sequence, channel in enumerate(published, 1):
        log.append(Entry(sequence, (channel,), b"x", 0.0))
    return log.place(of, None, rewind=rewind)


@pytest.mark.parametrize(
    ("rewind", "position"),
    [(1, 5), (2, 3), (3, 2), (4, 0), (5, 0), (ALL, 0)],
)
def test_rewound_client_begins_before_the_newest_events_of_its_channels(rewind, position):
    """
    The newest events of all its channels together are counted, and it begins before the first of them.
    """
    assert rewound("a", "c", "b", "a", "c", "b", rewind=rewind) == Start("now", position, is_new=True)


def test_rewound_client_of_empty_channels_begins_at_the_end():
    """Where there is no past, there is nothing to begin before."""
    assert rewound("c", "c", rewind=ALL) == Start("now", 2, is_new=True)


def test_rewind_counts_no_kept_values():
    """A new client gets those anyway."""
    log = Log("now", RULES)
    log.append(Entry(1, ("a",), b"x", 0.0))
    for sequence in range(2, 6):
        log.append(Entry(sequence, ("a",), b"x", 0.0, key=str(sequence)))
    assert log.place(("a",), None, rewind=1).position == 0


def test_rewound_client_is_told_of_no_gap_that_was_before_it():
    """
    What a busy channel has lost beside a quiet one is none of a new client's business, and what it loses
    later is.
    """
    log = Log("now", RetentionRules(ChannelRetention(2, 100.0), 1 << 20))
    for sequence, channel in enumerate("abbbb", 1):
        log.append(Entry(sequence, (channel,), b"%d;" % sequence, 0.0))
    start = log.place(("a", "b"), None, rewind=ALL)
    assert start.position == 0
    cursor = Cursor(("a", "b"), start.position, start.epoch)
    cursor.reported = start.reported
    batch = log.read(cursor)
    assert (batch.wire, batch.lost) == (b"1;4;5;", ())
    cursor.position, cursor.reported = 0, start.reported
    for sequence in range(6, 9):
        log.append(Entry(sequence, ("b",), b"%d;" % sequence, 0.0))
    assert log.read(cursor).lost == ("b",)


def test_id_beats_rewind():
    """A client that says where it stopped goes on there."""
    log = Log("now", RULES)
    for sequence in range(1, 6):
        log.append(Entry(sequence, ("a",), b"x", 0.0))
    assert log.place(("a",), "now-4", rewind=ALL) == Start("now", 4)


def test_rewound_client_begins_before_nothing_that_is_not_proved():
    """What lies beyond the head of the log is not counted: it comes when the head has come."""
    log = Log("now", RULES, follows_all=False)
    log.merge(Past("a", 0, 0, [Entry(sequence, ("a",), b"x", 0.0) for sequence in range(1, 10)], []))
    log.advance(5)
    assert log.place(("a",), None, rewind=2).position == 3
