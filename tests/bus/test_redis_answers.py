"""The answers of a Redis: what is one is taken, and everything else is refused."""

import pytest

redis = pytest.importorskip("redis")

from flask_sse_push.bus.redis import answers  # noqa: E402

FIELDS = [b"v", b"1"]

GOOD = [
    (answers.publish_result, [b"abc", 7, 0], ("abc-7", 7, False)),
    (answers.publish_result, [b"abc", 7, 1], ("abc-7", 7, True)),
    (answers.touched, [b"abc", b"5-", 7, 1700, b""], ("abc", b"5-", 7, 1700, b"")),
    (answers.touched, [b"", b"", 0, 1700, b"shop"], ("", b"", 0, 0, b"shop")),
    (answers.xrange, [], []),
    (
        answers.xrange,
        [[b"5-1", FIELDS], [b"6-0", None]],
        [(b"5-1", (5, 1), 1, FIELDS), (b"6-0", (6, 0), 0, None)],
    ),
    (answers.xread, None, []),
    (answers.xread, [[b"log", [[b"5-1", FIELDS]]]], [(b"5-1", (5, 1), 1, FIELDS)]),
    (answers.count, 0, 0),
    (answers.count, b"9007199254740991", (1 << 53) - 1),
    (answers.epoch, b"a.b_c~1", "a.b_c~1"),
    (answers.strings, [b"x", None], [b"x", None]),
    (answers.server_time, [b"1700", b"1999"], 1_700_001),
    (answers.milliseconds, b"1700", 1700),
    (answers.master_address, None, None),
    (answers.master_address, [b"host", b"6379"], ("host", 6379)),
    (answers.cluster_slots, [[0, 9, [b"h", 1, b"id", []], [b"replica", 2]]], [(0, 9, "h", 1)]),
    (answers.cluster_slots, [[0, 9, [b"", 1]], [10, 20, [None, 2]]], [(0, 9, "", 1), (10, 20, "", 2)]),
]


@pytest.mark.parametrize(("read", "answer", "value"), GOOD)
def test_answer_is_read(read, answer, value):
    """What a Redis says is read."""
    assert read(answer) == value


ODD = [None, 7, b"x", [], {}, "text", [[]], [None], [[[]]], [b"x", b"y"], 1.5, True]
"""What may be the answer to nothing here, or to one command only."""

BAD_IDS = [
    *(b"", b"5", b"-1", b"5-", b"5--1", b"x-1", b"0-0", b"5-9007199254740992", b"5-" + b"9" * 40),
    *("5-1", 5),
]
BAD_HOSTS = [b"\xff", b"", b"a b", b"a\nb", b"h" * 256, 7]
BAD_PORTS = [None, b"x", b"0", b"-1", b"65536", b"9" * 400]
BAD_SLOTS = [[0, 9], [0, 9, b"x"], [0, 9, [b"h"]], [b"a", 9, [b"h", 1]], [0, -1, [b"h", 1]], [0, 9, [7, 7]]]

BAD = [
    *[(answers.publish_result, odd) for odd in [*ODD, [b"abc", 0, 0], [b"a-b", 1, 0], [b"abc", 1, b"x"]]],
    *[(answers.touched, odd) for odd in [*ODD, [b"abc", b"5-", 7, 1, None], [b"abc", b"x-", 7, 1, b""]]],
    *[(answers.touched, [b"abc", odd, 7, 1, b""]) for odd in (7, b"", b"5", b"-", "5-")],
    *[(answers.xrange, odd) for odd in ODD if odd != []],
    *[(answers.xrange, [[id, FIELDS]]) for id in BAD_IDS],
    *[(answers.xrange, [[b"5-4", FIELDS], [id, FIELDS]]) for id in (b"5-4", b"5-3", b"4-9")],
    *[(answers.xread, odd) for odd in [*ODD, [[b"log", 7]], [[b"log", []], [b"log", []]]] if odd is not None],
    *[(answers.count, odd) for odd in [*ODD, -1, b"-1", b"", b"1 ", 1 << 53, b"9" * 17] if odd != 7],
    *[(answers.epoch, odd) for odd in [*ODD, b"", b"a-b", b"x" * 41, b"\xff", b"x\nid: e"] if odd != b"x"],
    *[(answers.strings, odd) for odd in ODD if odd not in ([], [None], [b"x", b"y"])],
    *[(answers.server_time, odd) for odd in [*ODD, [b"1", None], [b"-1", b"1"]]],
    *[(answers.master_address, odd) for odd in ODD if odd is not None],
    *[(answers.master_address, [host, b"1"]) for host in BAD_HOSTS],
    *[(answers.master_address, [b"h", port]) for port in BAD_PORTS],
    *[(answers.cluster_slots, odd) for odd in ODD if odd != []],
    *[(answers.cluster_slots, [slot]) for slot in BAD_SLOTS],
]


@pytest.mark.parametrize(("read", "answer"), BAD)
def test_answer_that_is_none_is_refused(read, answer):
    """What no Redis would say is an invalid response, and nothing else is raised."""
    with pytest.raises(redis.InvalidResponse):
        read(answer)


def test_refused_answer_is_shown_in_part():
    """A message has at most the first 80 characters of what was said."""
    with pytest.raises(redis.InvalidResponse) as caught:
        answers.count(b"x" * 10_000)
    assert len(str(caught.value)) < 150


@pytest.mark.parametrize("text", [b"", b"nan", b"-1", b"1.5", b"9" * 16])
def test_time_that_is_none_is_refused(text):
    """A time in an entry or a report is a whole number that a clock could give."""
    with pytest.raises(ValueError, match="its time is no number"):
        answers.milliseconds(text)
