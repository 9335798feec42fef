"""What a Redis says of its channels, put together from answers that a test writes by hand."""

import pytest

redis = pytest.importorskip("redis")

from flask_sse_push.bus.redis import answers  # noqa: E402
from flask_sse_push.bus.redis.tails import Found, Tails  # noqa: E402
from flask_sse_push.bus.redis.texts import TextReader  # noqa: E402
from flask_sse_push.bus.store import Wanted  # noqa: E402

TEXTS = TextReader(b"id: e-", 1_000, 0.0)


def text(number, *, before=0, key="", data="x", channel="a"):
    """An event as a publisher writes it."""
    return f"{number} 1000 0 {before}\n{channel}\n{key}\ndata: {data}\n\n".encode()


def said(*events, values=(), last=9, is_cut=False, numbers=()):
    return answers.ChannelTail(last, 0, 0, 0, list(events), list(values), is_cut, list(numbers))


def page(*channels, head=9):
    return answers.Tails("e", head, 1_000, list(channels))


def read(found, warned=None):
    """The loss, the numbers and the kept keys of what was found."""
    noted = [] if warned is None else warned
    past = found.tail(TEXTS, lambda channel, number, error: noted.append(number)).past
    return past.lost_up_to, [entry.sequence for entry in past.entries], [entry.key for entry in past.kept]


def test_answers_are_put_together():
    """An answer that was cut is asked for again behind what it brought. A channel without a past is new."""
    tails = Tails([Wanted("a", 0), Wanted("b", None)])
    assert tails.asked == [("a", 0, 0), ("b", -1, 0)]
    tails.add(page(said(text(1), is_cut=True)))
    assert tails.asked == [("a", 1, 0), ("b", -1, 0)]
    tails.add(page(said(text(2, before=1), last=2), said(last=0)))
    assert tails.asked == []
    assert read(tails.found["a"]) == (0, [1, 2], [])
    assert tails.found["b"].behind == 9


def test_answer_that_brings_nothing_and_says_that_there_is_more_is_none():
    """Else it would be asked for ever."""
    with pytest.raises(redis.InvalidResponse, match="gives nothing"):
        Tails([Wanted("a", 0)]).add(page(said(is_cut=True)))


def test_value_that_was_replaced_while_values_were_read_is_not_kept():
    """The last answer says which values there are."""
    tails = Tails([Wanted("a", 0)])
    tails.add(page(said(values=[text(1, key="x"), text(2, key="y")], is_cut=True, numbers=[1, 2, 3])))
    tails.add(page(said(values=[text(3, key="x")], numbers=[2, 3])))
    assert read(tails.found["a"]) == (0, [], ["y", "x"])


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([b"3 ?", text(4, before=3)], (3, [4], [])),  # what cannot be read is lost
        ([text(4), text(2), text(6, before=4)], (5, [6], [])),  # a later one stood where 2 stands
        ([text(4), text(2)], (9, [], [])),
        ([text(4, key="x")], (4, [], [])),  # a value among the events
        ([b"4 1000 0 0\nb\n\ndata: x\n\n"], (4, [], [])),  # another channel's
    ],
)
def test_event_that_no_publisher_has_written_is_a_loss(events, expected):
    """It is left out, logged, and told."""
    warned = []
    assert read(Found("a", 0, 9, events=events), warned) == expected
    assert len(list(Found("a", 0, 9, events=events).stored(TEXTS))) <= len(events)


def test_value_that_no_publisher_has_written_is_a_loss():
    """As an event is."""
    warned = []
    values = [b"5 ?", text(6), text(7, key="x")]
    assert read(Found("a", 0, 9, values=values), warned) == (6, [], ["x"])
    assert warned == [5, 6]
