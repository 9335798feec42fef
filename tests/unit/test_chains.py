"""The proof that nothing is missing in a channel."""

import pytest

from flask_sse_push.bus.chains import Chains
from flask_sse_push.bus.store import Tail
from flask_sse_push.core.past import Past

from .hand_store import stored


def chains(**ends):
    return Chains(ends)


def numbers(entries):
    return [entry.sequence for entry in entries]


def test_chain_goes_on_from_entry_to_entry():
    """Each entry that names the one before it is in place, whatever other channels got between."""
    new, broken = chains(a=3, b=0).add([stored(5, 3, "a"), stored(6, 0, "b"), stored(9, 5, "a")], 4)
    assert (numbers(new), broken) == ([5, 6, 9], [])


def test_chain_shows_what_is_missing_and_where():
    """An entry that names another one before it breaks its channel, which is known up to its last entry."""
    new, broken = chains(a=3, b=2).add([stored(9, 7, "a"), stored(10, 2, "b"), stored(11, 9, "a")], 4)
    assert (numbers(new), broken) == ([9, 10, 11], [("a", 3)])


def test_chain_leaves_out_what_came_with_a_tail():
    """What the past of a channel held comes again as an entry, and is not new."""
    new, broken = chains(a=5).add([stored(4, 3, "a"), stored(5, 4, "a"), stored(6, 5, "a")], 2)
    assert (numbers(new), broken) == ([6], [])


def test_chain_asks_each_followed_channel_of_an_entry():
    """
    An entry of several channels is new when it is in one that is followed, and is missed in each by itself.
    """
    followed = chains(a=3, b=4)
    assert followed.add([stored(6, (9, 3, 4), "x", "a", "b")], 4)[1] == []
    assert followed.add([stored(8, (6, 5), "a", "b")], 6)[1] == [("b", 6)]
    assert followed.add([stored(10, 9, "x")], 8) == ([], [("b", 6)])


def test_chain_takes_no_entry_below_what_was_read():
    """An entry at or below the head comes too late: streams have passed it."""
    assert chains(a=3).add([stored(5, 3, "a")], 5)[1] == [("a", 3)]


@pytest.mark.parametrize(
    ("end", "before", "head", "fits"),
    [
        (3, ~3, 3, True),
        (3, ~8, 9, True),  # what the store forgot lies below the head, and up to there all is known
        (3, ~9, 8, False),  # it may have forgotten an entry between 8 and 9 that never came
        (3, ~2, 8, False),  # the store had an entry 3, and says that there was none above 2
        (~5, 4, 8, True),
        (~5, 0, 8, True),
        (~5, 6, 8, False),
        (~5, ~5, 4, True),
        (~5, ~7, 8, True),
        (~5, ~7, 6, False),
    ],
)
def test_chain_without_a_number_is_one_that_may_be(end, before, head, fits):
    """Where a store forgot a number, the chain goes on unless that could hide an entry."""
    broken = chains(a=end).add([stored(10, before, "a")], head)[1]
    assert broken == ([] if fits else [("a", end if end >= 0 else ~end)])


def test_chains_say_how_far_each_channel_is_known():
    """The next reader reads on there, or behind the head, where that is less."""
    followed = chains(a=3, b=~5)
    followed.take(Tail(Past("c", 0, 0, (), ()), 7), 8)
    assert followed.wanted(6) == [("a", 3), ("b", 5), ("c", 6)]


def test_broken_chain_goes_on_behind_its_tail():
    """Until the store has said what there is, nothing more is taken for proved."""
    followed = chains(a=3)
    assert followed.add([stored(9, 7, "a"), stored(10, ~3, "a")], 4)[1] == [("a", 3)]
    assert followed.add([stored(12, 10, "a")], 4)[1] == [("a", 3)]
    assert followed.take(Tail(Past("a", 3, 0, [stored(7, 3, "a").entry], ()), 12), 4).lost_up_to == 0
    assert followed.add([stored(13, 12, "a")], 4)[1] == []


def test_loss_below_the_head_counts_where_the_chain_is_broken():
    """
    Where an entry says that another one was before it, what is gone is a loss. Else the mark below the head
    is that of a channel that was forgotten in between.
    """
    followed = chains(a=3, b=3)
    followed.add([stored(9, 5, "a")], 8)
    assert followed.take(Tail(Past("a", 3, 5, (), ()), 9), 8).lost_up_to == 9
    assert followed.take(Tail(Past("b", 3, 5, (), ()), 9), 8).lost_up_to == 5


def take(end, head, *, last, lost_up_to=0, entries=(), kept=()):
    past = Past("a", 0, lost_up_to, [item.entry for item in entries], [item.entry for item in kept])
    return chains(a=end).take(Tail(past, last), head).lost_up_to


def test_tail_of_a_known_channel_is_taken_as_it_is():
    """What lies below the end of the chain, or behind the head, is no loss of those who have read."""
    assert take(5, 8, last=12, entries=[stored(4, 0, "a"), stored(12, 5, "a")]) == 0
    assert take(5, 8, last=12, lost_up_to=3) == 3
    assert take(5, 8, last=12, lost_up_to=11) == 11


def test_tail_with_what_comes_too_late_tells_of_a_loss():
    """An entry between the end and the head was passed by streams, also by those at the head itself."""
    assert take(5, 8, last=7, entries=[stored(7, 5, "a")]) == 9
    assert take(5, 8, last=7, kept=[stored(7, 5, "a", key="k")]) == 9
    assert take(~5, 8, last=7, lost_up_to=11, entries=[stored(7, 5, "a")]) == 11


def test_tail_of_a_channel_that_the_store_forgot_is_no_loss_behind_its_end():
    """The mark of a forgotten channel is a guess, and what is known here is more than that."""
    assert take(5, 8, last=~7, lost_up_to=7) == 5
    assert take(5, 8, last=~12, lost_up_to=12) == 12


def test_dropped_channels_have_no_chain():
    """What comes in a channel that was left is not looked at, and it begins anew with its next tail."""
    followed = chains(a=3, b=3)
    followed.drop(["a", "never"])
    assert followed.add([stored(9, 7, "a")], 4) == ([], [])
    assert followed.take(Tail(Past("a", 0, 6, (), ()), 9), 8).lost_up_to == 6
