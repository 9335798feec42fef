"""Where a stream begins, and what it is told first."""

import pytest

from flask_sse_push.core.cursor import Start
from flask_sse_push.core.entry import Entry
from flask_sse_push.core.log import Log


@pytest.fixture
def log():
    log = Log("now", length=10, seconds=100, max_bytes=1 << 20)
    for sequence in range(1, 6):
        log.append(Entry(sequence, ("a",), b"x", 0.0))
    return log


@pytest.mark.parametrize(
    ("last_event_id", "expected"),
    [
        (None, Start("now", 5, None)),
        ("", Start("now", 5, None)),
        ("now-0", Start("now", 0, None)),
        ("now-3", Start("now", 3, None)),
        ("now-5", Start("now", 5, None)),
        ("now-6", Start("now", 5, "future")),
        ("now-9999999999999999999", Start("now", 5, "future")),
        ("then-3", Start("now", 0, "epoch")),
        ("then-0", Start("now", 0, "epoch")),
        ("then-99", Start("now", 0, "epoch")),
        ("now-03", Start("now", 5, "malformed")),
        ("now-3\n", Start("now", 5, "malformed")),
        ("nonsense", Start("now", 5, "malformed")),
        ("end", Start("now", 5, "malformed")),
        (" ", Start("now", 5, "malformed")),
    ],
)
def test_place_proves_continuity_or_says_why_not(log, last_event_id, expected):
    """
    A new client begins at the end, a known id behind it; any other id names why continuity cannot be proved.
    """
    assert log.place(last_event_id) == expected


def test_place_in_an_empty_log_is_its_beginning():
    """Before the first event a new client stands at 0, and may come back with that."""
    log = Log("now", length=10, seconds=100, max_bytes=1 << 20)
    assert log.place(None) == Start("now", 0, None)
    assert log.place("now-0") == Start("now", 0, None)
    assert log.place("now-1") == Start("now", 0, "future")


def test_place_ahead_of_a_copy_that_may_lag_waits():
    """A position that another process can have given is taken as it is; one further ahead is none."""
    log = Log("now", length=10, seconds=100, max_bytes=1 << 20, head=5)
    assert log.place("now-8", lag=3) == Start("now", 8, None)
    assert log.place("now-9", lag=3) == Start("now", 5, "future")
