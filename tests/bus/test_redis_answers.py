"""The answers of a Redis: what is one is taken, and everything else is refused."""

import pytest

redis = pytest.importorskip("redis")

from flask_sse_push.bus.redis import answers  # noqa: E402

TAIL = [b"7", 3, 7, 1700, [b"x"], [], 1, [5]]

GOOD = [
    (answers.published, [b"abc", 7, b""], ("abc", 7, "", [])),
    (answers.published, [b"abc", 0, b"repeated"], ("abc", 0, "repeated", [])),
    (answers.published, [b"abc", 0, b"closed", b"a"], ("abc", 0, "closed", [b"a"])),
    (answers.published, [b"abc", 0, b"rules", b"d", b""], ("abc", 0, "rules", [b"d", b""])),
    (answers.touched, [b"abc", 7, 1700, b""], ("abc", 7, 1700, b"")),
    (answers.touched, [b"", 0, 1700, b"shop"], ("", 0, 0, b"shop")),
    (answers.tails, [b"abc", 7, 1700, TAIL], ("abc", 7, 1700, [(7, 3, 7, 1700, [b"x"], [], True, [5])])),
    (answers.tails, [b"abc", 7, 1700, [b"~9", *TAIL[1:]]], ("abc", 7, 1700, [(~9, *TAIL[1:6], True, [5])])),
    (answers.leases, [b"a", b"x", b"b", b"\xff"], {"a": "x", "b": "\ufffd"}),
    (answers.before, b"~0", ~0),
    (answers.before, b"12", 12),
    (answers.count, 0, 0),
    (answers.count, b"99999999999999", 10**14 - 1),
    (answers.epoch, b"a.b_c~1", "a.b_c~1"),
    (answers.strings, [b"x", None], [b"x", None]),
    (answers.master_address, None, None),
    (answers.master_address, [b"host", b"6379"], ("host", 6379)),
    (answers.cluster_slots, [[0, 9, [b"h", 1, b"id", []], [b"replica", 2]]], [(0, 9, "h", 1)]),
    (answers.cluster_slots, [[0, 9, [b"", 1]], [10, 20, [None, 2]]], [(0, 9, "", 1), (10, 20, "", 2)]),
]


@pytest.mark.parametrize(("read", "answer", "value"), GOOD)
def test_answer_is_read(read, answer, value):
    """What a Redis says is read."""
    assert (read(answer, 1) if read is answers.tails else read(answer)) == value


ODD = [None, 7, b"x", [], {}, "text", [[]], [None], [[[]]], [b"x", b"y"], 1.5, True]
"""What may be the answer to nothing here, or to one command only."""

BAD_HOSTS = [b"\xff", b"", b"a b", b"a\nb", b"h" * 256, 7]
BAD_PORTS = [None, b"x", b"0", b"-1", b"65536", b"9" * 400]
BAD_SLOTS = [[0, 9], [0, 9, b"x"], [0, 9, [b"h"]], [b"a", 9, [b"h", 1]], [0, -1, [b"h", 1]], [0, 9, [7, 7]]]

BAD = [
    *[(answers.published, odd) for odd in [*ODD, [b"abc", 0, b""], [b"a-b", 1, b""], [b"abc", 1, b"x"]]],
    *[(answers.published, [b"abc", 0, *odd]) for odd in ([b"closed"], [b"rules", b"x"], [b"closed", 7], [7])],
    *[(answers.touched, odd) for odd in [*ODD, [b"abc", 7, 1, None], [b"abc", -1, 1, b""], [b"", 1, 1, b""]]],
    *[(answers.tails, odd) for odd in [*ODD, [b"abc", 7, 1], [b"abc", 7, 1, TAIL, TAIL], [b"abc", 7, 1, 7]]],
    *[
        (answers.tails, [b"abc", 7, 1, [*TAIL[:at], odd, *TAIL[at + 1 :]]])
        for at in range(8)
        for odd in (None, b"x", [7, b"x"])
    ],
    *[(answers.leases, odd) for odd in ODD if odd not in ([], [b"x", b"y"])],
    *[(answers.before, odd) for odd in (*ODD, b"~", b"~-1", b"~~1", -1) if odd != 7],
    *[(answers.count, odd) for odd in [*ODD, -1, b"-1", b"", b"1 ", 10**14, b"9" * 17] if odd != 7],
    *[(answers.epoch, odd) for odd in [*ODD, b"", b"a-b", b"x" * 41, b"\xff", b"x\nid: e"] if odd != b"x"],
    *[(answers.strings, odd) for odd in ODD if odd not in ([], [None], [b"x", b"y"])],
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
        read(answer, 1) if read is answers.tails else read(answer)


def test_refused_answer_is_shown_in_part():
    """A message has at most the first 80 characters of what was said."""
    with pytest.raises(redis.InvalidResponse) as caught:
        answers.count(b"x" * 10_000)
    assert len(str(caught.value)) < 150
