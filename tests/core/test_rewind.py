"""Where a stream that asks for the past begins when the copy of the log has a hole."""

import pytest

from flask_sse_push.core.cursor import Cursor
from flask_sse_push.core.entry import Entry
from flask_sse_push.core.log import ALL, Log
from flask_sse_push.core.past import Past
from flask_sse_push.core.retention import ChannelRetention, RetentionRules

RULES = RetentionRules(ChannelRetention(10, 100.0), 1 << 20)


def entry(sequence, *channels):
    return Entry(sequence, channels, b"%d " % sequence, 0.0)


@pytest.mark.parametrize("channels", [("a",), ("a", "b")])
@pytest.mark.parametrize("rewind", [1, 3, ALL])
def test_rewind_begins_behind_a_loss(channels, rewind):
    """
    What a store has told of as lost between two entries that are here is not skipped without a word: the
    stream begins behind it.
    """
    log = Log("now", RULES, follows_all=False)
    log.merge(Past("a", 0, 0, [], []))
    log.merge(Past("b", 0, 0, [], []))
    log.append(entry(1, "b"))
    log.append(entry(2, "a"))
    log.advance(2)
    log.merge(Past("a", 2, 7, [entry(8, "a"), entry(9, "a")], []))  # 3 to 7 came and went meanwhile
    log.advance(9)
    start = log.place(channels, None, rewind=rewind)
    cursor = Cursor(channels, start.position, start.epoch)
    cursor.reported = start.reported
    batch = log.read(cursor)
    assert (batch.wire, batch.lost) == (b"9 " if rewind == 1 else b"8 9 ", ())
