"""The judge finds each kind of fault in a record that has it, and nothing in one that has none."""

import json
from pathlib import Path

import pytest

from tests.soak import scenarios
from tests.soak.check import check, main
from tests.soak.record import Recorder, load, shorten
from tests.soak.report import FAULTS
from tests.soak.resets import EXPECTED_FALSE_RESETS


class Story:
    """
    A record that is made up, a line a tick. Client 0 listens to ``a`` and ``b`` and stands at the beginning
    of epoch ``e``.
    """

    def __init__(self, **rules):
        self.lines, self.at = [], 0.0
        self._numbers = {}
        self._connections = {}
        self.tell("run", scenario="made up", seed=0, rules=rules)
        self.join(0, ["a", "b"])
        self.open(0)
        self.place(0, "e-0")

    def tell(self, kind, **fields):
        self.at += 0.01
        self.lines.append({"kind": kind, "at": self.at, **fields})

    def publish(
        self, id, channel="a", publisher="p", seconds=0.01, n=None, tried=0, key=None, close=False, **outcome
    ):
        """
        Publish the next event of a publisher, and return its data. Without an id: ``stored`` and ``error``
        say how it went, or nothing does.
        """
        if n is None:
            n = self._next(publisher)
        data = f"{publisher}:{n}:"
        attempt = {"do": "publish", "data": data, "key": key, "close": close}
        self._try(attempt, id, channel, publisher, seconds, n, tried, outcome)
        return data

    def close(self, id, channel="a"):
        """Close a channel."""
        self._try({"do": "close"}, id, channel, "closer", 0.01, self._next("closer"), 0, {})

    def forget(self, key, channel="a"):
        """Forget a value: there is no id."""
        done = {"id": None, "stored": "yes"}
        self._try({"do": "forget", "key": key}, None, channel, "p", 0.01, self._next("p"), 0, done)

    def _next(self, publisher):
        n = self._numbers[publisher] = self._numbers.get(publisher, -1) + 1
        return n

    def _try(self, attempt, id, channel, publisher, seconds, n, tried, outcome):
        begin = self.at = self.at + 0.01
        self.at += seconds
        self.lines.append(
            {
                "kind": "attempt",
                "publisher": publisher,
                "n": n,
                "try": tried,
                "channels": [channel] if isinstance(channel, str) else channel,
                **attempt,
                "begin": begin,
            }
        )
        outcome = {"id": id, "stored": "yes"} if id else outcome
        if outcome:
            self.lines.append(
                {"kind": "outcome", "publisher": publisher, "n": n, "try": tried, **outcome, "end": self.at}
            )

    def join(self, client, channels):
        self.tell("join", client=client, channels=channels)

    def open(self, client, last_event_id="", rewind=None):
        connection = self._connections[client] = self._connections.get(client, -1) + 1
        self.tell("open", client=client, connection=connection, last_event_id=last_event_id, rewind=rewind)

    def value(self, client, data):
        self.tell("value", client=client, connection=self._connections[client], data=data)

    def finish(self, client):
        self.tell("finished", client=client, connection=self._connections[client])

    def place(self, client, id):
        self.tell("place", client=client, connection=self._connections[client], id=id)

    def got(self, client, id, data, type="message"):
        self.tell("got", client=client, connection=self._connections[client], id=id, type=type, data=data)

    def reset(self, client, id, channels=("a", "b"), reason="epoch"):
        self.got(client, id, json.dumps({"reason": reason, "channels": channels}), "sse.reset")

    def both(self, id, channel="a", client=0):
        """Publish an event that arrives."""
        self.got(client, id, self.publish(id, channel))

    def end(self, id, client=0):
        """Publish the last event; who is alive gets it."""
        data = self.publish(id, publisher="marker")
        if client is not None:
            self.got(client, id, data)
        return check(self.lines)


def test_clean_record_passes():
    """Events that come in order, on two connections, are no fault; the figures count them."""
    story = Story()
    story.both("e-1")
    story.both("e-2", "b")
    story.publish("e-3", "elsewhere")
    story.open(0)
    story.both("e-4")
    report = story.end("e-5")
    assert report.passed, report
    assert (
        report.figures["published"],
        report.figures["delivered"],
        report.figures["reconnects"],
        report.figures["epochs"],
    ) == (5, 4, 1, 1)


def test_event_that_did_not_come_is_lost():
    """An acknowledged event that a later one passes is lost, and named."""
    story = Story()
    story.both("e-1")
    story.publish("e-2", "b")
    story.both("e-3")
    report = story.end("e-4")
    assert report.faults == {"lost": 1}
    assert "p:1" in report.examples["lost"][0]


def test_event_that_a_bare_place_passes_is_lost():
    """A heartbeat that tells of a later position says that everything before was delivered."""
    story = Story()
    story.publish("e-1")
    story.place(0, "e-1")
    assert story.end("e-2").faults == {"lost": 1}


def test_event_between_two_connections_is_lost():
    """What was published while a client was away has to come when it is back."""
    story = Story()
    story.both("e-1")
    story.publish("e-2")
    story.open(0)
    story.place(0, "e-2")
    assert story.end("e-3").faults == {"lost": 1}


def test_event_before_the_first_place_is_not_expected():
    """Who joins later gets what comes later."""
    story = Story()
    story.both("e-1")
    story.join(1, ["a"])
    story.open(1)
    story.place(1, "e-1")
    for id, publisher in (("e-2", "p"), ("e-3", "marker")):
        data = story.publish(id, publisher=publisher)
        story.got(0, id, data)
        story.got(1, id, data)
    assert check(story.lines).passed


def test_event_behind_the_last_place_of_who_left_is_not_expected():
    """Who leaves gets nothing more."""
    story = Story()
    story.join(1, ["a"])
    story.open(1)
    story.place(1, "e-0")
    story.tell("leave", client=1)
    story.both("e-1")
    assert story.end("e-2").passed


@pytest.mark.parametrize("id", [None, "e-1", "e-2"], ids=["events-follow", "where-it-was", "with-a-place"])
def test_reset_covers_what_is_gone(id):
    """An event before the place that a reset gives, or before the next event behind it, is told of."""
    story = Story()
    story.both("e-1")
    story.publish("e-2")
    story.reset(0, id, reason="evicted")
    story.both("e-3")
    report = story.end("e-4")
    assert report.passed, report
    assert report.figures["reset evicted"] == 1


def test_reset_covers_no_other_channel():
    """A reset of one channel says nothing of another."""
    story = Story()
    story.publish("e-1", "b")
    story.reset(0, None, channels=["a"], reason="evicted")
    assert story.end("e-2").faults == {"lost": 1}


def test_reset_covers_nothing_later():
    """What is published after a reset has to come."""
    story = Story()
    story.reset(0, None, reason="evicted")
    story.publish("e-1")
    assert story.end("e-2").faults == {"lost": 1}


def test_reset_covers_what_is_gone_between_events_of_other_channels():
    """An event of two channels is there for one of them, while the other has lost it and what follows."""
    story = Story(history=[["*", 1, 100.0]])
    story.publish("e-1")
    both, _, last = story.publish("e-2", ["a", "b"]), story.publish("e-3"), story.publish("e-4")
    story.reset(0, "e-0", reason="evicted", channels=["a"])
    story.got(0, "e-2", both)
    story.got(0, "e-4", last)
    report = story.end("e-5")
    assert report.passed, report


def test_reset_covers_nothing_behind_its_place():
    """A reset with a place covers what is before the place."""
    story = Story()
    story.publish("e-1")
    story.publish("e-2")
    story.reset(0, "e-1", reason="evicted")
    assert story.end("e-3").faults == {"lost": 1}


def test_reset_covers_nothing_behind_the_next_event_of_the_channel():
    """Once a channel's events come again, they come without a hole."""
    story = Story()
    story.publish("e-1")
    second, _, fourth = story.publish("e-2"), story.publish("e-3"), story.publish("e-4")
    story.reset(0, None, reason="evicted")
    story.got(0, "e-2", second)
    story.got(0, "e-4", fourth)
    assert story.end("e-5").faults == {"lost": 1}


def test_reset_covers_the_rest_of_the_old_epoch():
    """What the old log had accepted and the client had not got is told of by the reset to the new one."""
    story = Story()
    story.both("e-1")
    story.publish("e-2")
    story.reset(0, None)
    story.both("f-1")
    assert story.end("f-2").passed


def test_event_of_an_epoch_that_was_left_before_is_lost():
    """What is acknowledged in a log that its clients were told to forget reaches nobody."""
    story = Story()
    story.reset(0, None)
    story.both("f-1")
    story.publish("e-1")
    assert story.end("f-2").faults == {"lost": 1}


def test_event_of_an_epoch_that_the_client_never_saw_needs_a_reset():
    """It is lost, unless a reset came later."""
    story = Story()
    story.publish("x-1")
    story.reset(0, "f-0")
    story.both("f-1")
    assert story.end("f-2").passed
    story.publish("y-1")
    assert check(story.lines).faults == {"lost": 1}


def test_same_id_twice_on_one_connection_is_duplicated():
    """On one connection no id comes twice."""
    story = Story()
    data = story.publish("e-1")
    story.got(0, "e-1", data)
    story.got(0, "e-1", data)
    assert story.end("e-2").faults == {"duplicated": 1}


def test_same_id_on_the_next_connection_is_a_repeat():
    """After a reconnect an event may come again: at least once is what is promised."""
    story = Story()
    data = story.publish("e-1")
    story.got(0, "e-1", data)
    story.open(0)
    story.got(0, "e-1", data)
    report = story.end("e-2")
    assert report.passed
    assert report.figures["repeats"] == 1


@pytest.mark.parametrize("reconnects", [False, True])
def test_lower_number_after_a_higher_is_reordered(reconnects):
    """Also across connections, where the lower one is new."""
    story = Story()
    first, second = story.publish("e-1"), story.publish("e-2")
    story.got(0, "e-2", second)
    if reconnects:
        story.open(0)
    story.got(0, "e-1", first)
    assert story.end("e-3").faults == {"reordered": 1}


def test_place_that_goes_back_is_reordered():
    """A client is never put back without a word."""
    story = Story()
    story.both("e-1")
    story.place(0, "e-0")
    assert story.end("e-2").faults == {"reordered": 1}


def test_numbers_of_a_publisher_that_fall_are_reordered():
    """Who publishes one event after the other gets rising numbers."""
    story = Story()
    second, first = story.publish("e-2"), story.publish("e-1")
    story.got(0, "e-1", first)
    story.got(0, "e-2", second)
    assert story.end("e-3").faults == {"reordered": 1}


@pytest.mark.parametrize("bare", [False, True])
def test_epoch_that_changes_without_a_reset_is_silent(bare):
    """An event or a place of another log, and nothing said."""
    story = Story()
    story.both("e-1")
    if bare:
        story.open(0)
        story.place(0, "f-0")
    story.both("f-1")
    assert story.end("f-2").faults == {"silent": 1}


def test_reset_allows_one_change_of_epoch():
    """The second needs a reset of its own."""
    story = Story()
    story.reset(0, None)
    story.both("f-1")
    story.both("g-1")
    assert story.end("g-2").faults == {"silent": 1}


def test_event_that_nobody_published_is_a_phantom():
    """Data that no publisher knows."""
    story = Story()
    story.got(0, "e-1", "made up")
    assert story.end("e-2").faults == {"phantom": 1}


def test_event_with_the_data_of_another_is_a_phantom():
    """What comes under an id is what was published under it."""
    story = Story()
    story.publish("e-1")
    other = story.publish("e-2")
    story.got(0, "e-1", other)
    assert story.end("e-3").faults["phantom"] == 1


def test_event_of_another_channel_is_a_phantom():
    """A client gets what it listens to."""
    story = Story()
    story.both("e-1", "elsewhere")
    assert story.end("e-2").faults == {"phantom": 1}


def test_event_that_was_refused_is_a_phantom():
    """Where publishing said that nothing was stored, nothing comes."""
    story = Story()
    data = story.publish(None, error="The event was not stored", stored="no")
    story.got(0, "e-1", data)
    report = story.end("e-2")
    assert report.faults == {"phantom": 1}
    assert report.figures["refused"] == 1


@pytest.mark.parametrize("arrives", [False, True])
def test_event_that_may_have_been_stored_may_come(arrives):
    """Or not come."""
    story = Story()
    data = story.publish(None, error="The event may have been stored", stored="unknown")
    if arrives:
        story.got(0, "e-1", data)
    report = story.end("e-2")
    assert report.passed
    assert report.figures["unknown"] == 1


def test_event_under_two_ids_is_stored_twice():
    """A repeated try finds what the first one stored."""
    story = Story()
    data = story.publish(None, n=0, error="The event may have been stored", stored="unknown")
    story.got(0, "e-1", data)
    story.publish("e-2", n=0, tried=1)
    story.got(0, "e-2", data)
    assert story.end("e-3").faults == {"twice": 1}


def test_repeated_try_that_finds_the_first_passes():
    """The id of the first try is the answer to the second."""
    story = Story()
    data = story.publish(None, n=0, error="The event may have been stored", stored="unknown")
    story.got(0, "e-1", data)
    story.publish("e-1", n=0, tried=1)
    assert story.end("e-2").passed


def test_one_id_for_two_events_is_given_twice():
    """A number names one event."""
    story = Story()
    story.both("e-1")
    story.publish("e-1")
    assert story.end("e-2").faults["twice"] == 1


def test_event_of_several_channels_comes_once():
    """Whoever listens to one of them gets it."""
    story = Story()
    story.got(0, "e-1", story.publish("e-1", ["c", "b", "a"]))
    assert story.end("e-2").passed


def test_event_of_several_channels_is_missed_once():
    """By who listens to one of them or to all."""
    story = Story()
    story.publish("e-1", ["a", "b", "c"])
    assert story.end("e-2").faults == {"lost": 1}


def test_new_client_gets_the_newest_value_of_each_key():
    """Without ids, before it is told where it is."""
    story = Story()
    story.join(1, ["a"])
    story.open(1)
    older, newer = story.publish("e-1", key="k"), story.publish("e-2", key="k")
    story.got(0, "e-1", older)
    story.got(0, "e-2", newer)
    story.value(1, newer)
    story.place(1, "e-2")
    story.tell("leave", client=1)
    report = story.end("e-3")
    assert report.passed, report


def test_new_client_without_a_value_lost_it():
    """What is kept by a key is not the past."""
    story = Story()
    story.both("e-1")
    story.got(0, "e-2", story.publish("e-2", key="k"))
    story.join(1, ["a"])
    story.open(1)
    story.place(1, "e-2")
    story.tell("leave", client=1)
    assert story.end("e-3").faults == {"lost": 1}


@pytest.mark.parametrize("begins_there", [False, True])
def test_client_that_begins_at_the_place_of_its_page_gets_what_follows(begins_there):
    """And no more: the page shows what is before."""
    story = Story()
    story.got(0, "e-1", story.publish("e-1", key="k"))
    story.both("e-2")
    story.join(1, ["a"])
    story.open(1, last_event_id="e-1")
    story.place(1, "e-1" if begins_there else "e-2")
    story.tell("leave", client=1)
    assert story.end("e-3").faults == ({} if begins_there else {"lost": 1})


def test_reset_covers_no_kept_value():
    """It comes behind the reset."""
    story = Story()
    data = story.publish("e-1", key="k")
    story.reset(0, None, reason="evicted")
    story.place(0, "e-1")
    report = story.end("e-2")
    assert report.faults == {"lost": 1}
    story = Story()
    data = story.publish("e-1", key="k")
    story.reset(0, None, reason="evicted")
    story.value(0, data)
    story.place(0, "e-1")
    assert story.end("e-2").passed


def test_value_that_was_replaced_is_not_missed():
    """A client that is behind gets the newest of each key, and is not told of the others."""
    story = Story()
    story.publish("e-1", key="k")
    story.got(0, "e-2", story.publish("e-2", key="k"))
    assert story.end("e-3").passed


@pytest.mark.parametrize("other", [{"key": "l"}, {"key": "k", "channel": "b"}, {}])
def test_value_is_replaced_by_its_own_key_and_channel_alone(other):
    """An event with another key, of another channel or without a key replaces nothing."""
    story = Story()
    story.publish("e-1", key="k")
    story.got(0, "e-2", story.publish("e-2", **other))
    assert story.end("e-3").faults == {"lost": 1}


def test_value_that_was_replaced_too_late_is_lost():
    """Who passes the place of a value has it, or something newer was published by then."""
    story = Story()
    story.publish("e-1", key="k")
    story.place(0, "e-1")
    story.got(0, "e-2", story.publish("e-2", key="k"))
    assert story.end("e-3").faults == {"lost": 1}


def test_older_value_behind_a_newer_one_is_reordered():
    """Also behind a reset."""
    story = Story()
    older, newer = story.publish("e-1", key="k"), story.publish("e-2", key="k")
    story.got(0, "e-1", older)
    story.got(0, "e-2", newer)
    story.reset(0, None)
    story.value(0, older)
    story.place(0, "f-0")
    assert "reordered" in story.end("f-1").faults


@pytest.mark.parametrize("how", ["replaced", "forgotten", "another log"])
def test_value_that_is_not_kept_any_more_is_a_phantom(how):
    """At the place where its client is told to be."""
    story = Story()
    story.join(1, ["a"])
    data = story.publish("e-1", key="k")
    story.got(0, "e-1", data)
    if how == "forgotten":
        story.forget("k")
        story.both("e-2")
    else:
        story.got(0, "e-2", story.publish("e-2", key="k"))
    if how == "another log":
        story.reset(0, "f-1")
        story.publish("f-1")
    story.open(1)
    story.value(1, data)
    story.place(1, "f-1" if how == "another log" else "e-2")
    last = story.publish("f-2" if how == "another log" else "e-3", publisher="marker")
    for client in (0, 1):
        story.got(client, "f-2" if how == "another log" else "e-3", last)
    assert check(story.lines).faults["phantom"] == 1


def test_value_that_nobody_keeps_is_a_phantom():
    """An event without a key comes with its id."""
    story = Story()
    story.value(0, story.publish("e-1"))
    assert story.end("e-2").faults["phantom"] == 1


def test_forgotten_value_is_not_missed():
    """A client that comes later does not get it."""
    story = Story()
    story.got(0, "e-1", story.publish("e-1", key="k"))
    story.forget("k")
    story.both("e-2")
    story.join(1, ["a"])
    story.open(1)
    story.place(1, "e-2")
    story.tell("leave", client=1)
    assert story.end("e-3").passed


@pytest.mark.parametrize(("rewind", "place", "faults"), [("all", "e-0", {}), (1, "e-1", {}), (2, "e-0", {})])
def test_client_that_asks_for_the_past_gets_it(rewind, place, faults):
    """The place that it is told first is the one before."""
    for begins_later in (False, True):
        story = Story(history=[["*", 100, 100]])
        events = story.publish("e-1"), story.publish("e-2")
        for number, data in enumerate(events, 1):
            story.got(0, f"e-{number}", data)
        story.join(1, ["a"])
        story.open(1, rewind=rewind)
        story.place(1, "e-2" if begins_later else place)
        for number, data in enumerate(events, 1):
            if not begins_later and number > int(place[2:]):
                story.got(1, f"e-{number}", data)
        story.tell("leave", client=1)
        wanted = 2 if rewind == "all" else rewind
        assert story.end("e-3").faults == ({"lost": wanted} if begins_later else faults)


def test_past_that_is_longer_than_the_history_is_not_missed():
    """The newest of a channel are there."""
    story = Story(history=[["*", 1, 100]])
    other = story.publish("e-1", "b")
    story.got(0, "e-1", other)
    story.both("e-2")
    last = story.publish("e-3")
    story.got(0, "e-3", last)
    story.join(1, ["a", "b"])
    story.open(1, rewind="all")
    story.place(1, "e-0")
    story.got(1, "e-1", other)
    story.got(1, "e-3", last)
    story.tell("leave", client=1)
    report = story.end("e-4")
    assert report.passed, report


def test_reset_without_a_place_covers_what_is_before_the_next_one():
    """What a new client gets comes between; a client that is cut off there is told again."""
    story = Story()
    story.publish("e-1")
    story.reset(0, None, reason="evicted")
    story.open(0)
    story.reset(0, None, reason="evicted")
    story.place(0, "e-1")
    report = story.end("e-2")
    assert report.passed, report
    assert report.figures["resets"] == 1


@pytest.mark.parametrize("id", ["0-0", "e-1"])
def test_reset_before_values_puts_its_client_behind_them(id):
    """Until then its id is one from which the client is told again."""
    story = Story()
    value, _ = story.publish("e-1", key="k"), story.publish("e-2", "b")
    for cut in (True, False):
        story.reset(0, id, reason="evicted")
        story.value(0, value)
        if cut:
            story.open(0)
    story.place(0, "e-2")
    report = story.end("e-3")
    assert report.passed, report
    assert (report.figures["resets"], report.false_resets.total()) == (1, 0)


@pytest.mark.parametrize("id", ["0-0", None])
def test_reset_that_was_cut_off_covers_nothing(id):
    """Its client comes back as one that is to be told again."""
    story = Story()
    story.publish("e-1")
    story.reset(0, id, reason="evicted")
    story.open(0)
    story.place(0, "e-1")
    assert story.end("e-2").faults == {"lost": 1}


@pytest.mark.parametrize("is_lost", [False, True])
@pytest.mark.parametrize("is_expected", [False, True])
def test_reset_where_nothing_was_lost_is_false(is_lost, is_expected):
    """It is counted by its reason and by what was done before, and is a fault where nobody explains it."""
    story = Story(false_resets=[["epoch", "FLUSHALL"]] if is_expected else [])
    story.tell("fault", what="FLUSHALL")
    story.both("e-1")
    if is_lost:
        story.publish("e-2")
    story.publish("e-3", "elsewhere")
    story.reset(0, "f-0")
    report = story.end("f-1")
    assert report.false_resets == ({} if is_lost else {("epoch", "FLUSHALL"): 1})
    assert report.faults == ({} if is_lost or is_expected else {"false": 1})


def test_false_reset_is_explained_by_what_was_done_since_the_last_one():
    """Once: the next reset needs a reason of its own."""
    story = Story(false_resets=[["epoch", "FLUSHALL"]])
    story.tell("fault", what="FLUSHALL")
    story.tell("fault", what="a worker is killed")
    story.reset(0, "f-0")
    story.reset(0, "g-0")
    report = story.end("g-1")
    assert report.false_resets == {("epoch", "FLUSHALL"): 1, ("epoch", "a worker is killed"): 1}
    assert report.faults == {"false": 1}


@pytest.mark.parametrize(
    ("history", "faults"),
    [
        ([["*", 3, 100.0]], {"early": 1}),
        ([["*", 2, 100.0]], {}),
        ([["a", 2, 100.0], ["*", 3, 100.0]], {}),
        ([["*", 3, 1.01]], {}),
        (None, {}),
    ],
)
def test_event_that_is_gone_too_early(history, faults):
    """A channel has the newest of its events, for some time: what it had still to have is not lost."""
    story = Story(history=history)
    _, second, third = story.publish("e-1"), story.publish("e-2"), story.publish("e-3")
    story.publish("e-4", "b")
    story.reset(0, "e-1", reason="evicted")
    story.got(0, "e-2", second)
    story.got(0, "e-3", third)
    story.got(0, "e-4", "p:3:")
    assert story.end("e-5").faults == faults


def test_event_behind_the_end_of_its_channel_reopened_it():
    """Publishing to a channel that is closed is an error."""
    story = Story(history=[["*", 100, 100.0]])
    story.close("e-1", "z")
    story.publish("e-2", "z")
    assert story.end("e-3").faults == {"reopened": 1}


@pytest.mark.parametrize("by_event", [False, True])
def test_client_ends_with_its_channels(by_event):
    """With the last event, or behind it."""
    story = Story()
    story.join(1, ["z"])
    story.open(1)
    story.place(1, "e-0")
    if by_event:
        story.got(1, "e-1", story.publish("e-1", "z", close=True))
    else:
        story.got(1, "e-1", story.publish("e-1", "z"))
        story.close("e-2", "z")
        story.place(1, "e-2")
    story.finish(1)
    report = story.end("e-3")
    assert report.passed, report
    assert report.figures["finished"] == 1


def test_client_that_has_ended_gets_nothing_more():
    """A channel that was forgotten takes events again, for others."""
    story = Story()
    story.join(1, ["z"])
    story.open(1)
    story.place(1, "e-0")
    story.close("e-1", "z")
    story.finish(1)
    story.publish("e-2", "z")
    assert story.end("e-3").passed


def test_client_that_ends_without_the_last_event_lost_it():
    """Nothing more comes, so it has everything."""
    story = Story()
    story.join(1, ["z"])
    story.open(1)
    story.place(1, "e-0")
    story.publish("e-1", "z", close=True)
    story.finish(1)
    assert story.end("e-2").faults == {"lost": 1}


def test_client_of_an_open_channel_is_not_ended():
    """It ends when all of its channels have."""
    story = Story()
    story.join(1, ["y", "z"])
    story.open(1)
    story.place(1, "e-0")
    story.close("e-1", "z")
    story.finish(1)
    assert story.end("e-2").faults == {"ended": 1}


@pytest.mark.parametrize(("seconds", "faults"), [(2.5, {}), (3.5, {"endless": 1})])
def test_client_whose_channels_have_ended_does_not_stay(seconds, faults):
    """It comes back once, and is told so."""
    story = Story(margin_seconds=1.0, history=[["*", 100, 100.0]])
    story.join(1, ["z"])
    story.open(1)
    story.place(1, "e-0")
    story.close("e-1", "z")
    story.at += seconds
    assert story.end("e-2").faults == faults
    story.tell("leave", client=1)
    assert check(story.lines).faults == faults


def test_every_explained_reset_has_a_cause_in_a_scenario():
    """Who takes a fault away takes its line away."""
    text = Path(scenarios.__file__).read_text()
    assert [cause for _, cause in EXPECTED_FALSE_RESETS if f'"{cause}"' not in text] == []


def test_publish_beyond_its_time_out_is_slow():
    """Whatever came of it."""
    story = Story(publish_timeout_seconds=2.0, margin_seconds=0.5)
    story.publish(None, seconds=2.4, error="The event was not stored", stored="no")
    story.publish(None, seconds=2.6, error="The event was not stored", stored="no")
    report = story.end("e-1")
    assert report.faults == {"slow": 1}
    assert report.figures["longest_publish"] == pytest.approx(2.6)


def test_wait_for_a_worker_is_not_slow():
    """The server says how long publishing took."""
    story = Story(publish_timeout_seconds=2.0, margin_seconds=0.5)
    story.got(0, "e-1", story.publish("e-1", seconds=9.0))
    story.lines[-2]["seconds"] = 0.1
    report = story.end("e-2")
    assert report.passed
    assert report.figures["longest_publish"] == pytest.approx(0.1)


def test_publish_that_never_returned_is_slow():
    """Unless its process was killed."""
    story = Story()
    story.publish(None, publisher="killed")
    story.tell("killed", publisher="killed")
    story.publish(None, publisher="hangs")
    report = story.end("e-1")
    assert report.faults == {"slow": 1}
    assert "hangs" in report.examples["slow"][0]


def test_client_without_the_last_events_is_dead():
    """Who was there and got none of them."""
    assert Story().end("e-1", client=None).faults == {"dead": 1}


def test_run_without_an_acknowledged_last_event_fails():
    """Then nobody knows who was alive."""
    assert check(Story().lines).faults == {"dead": 1}


def test_client_of_other_channels_is_not_dead():
    """Who does not listen to the last events' channels is not asked."""
    story = Story()
    story.join(1, ["quiet"])
    story.open(1)
    story.place(1, "e-0")
    assert story.end("e-1").passed


@pytest.mark.parametrize(
    ("reasons", "faults"),
    [(None, {}), (["epoch"], {}), (["unavailable"], {"unwanted": 1}), ([], {"unwanted": 1})],
)
def test_reset_for_a_reason_that_is_not_allowed_is_unwanted(reasons, faults):
    """A run says for what its clients may be reset."""
    story = Story(reset_reasons=reasons)
    story.reset(0, "f-0")
    assert story.end("f-1").faults == faults


@pytest.mark.parametrize(("end", "faults"), [(120, {}), (200, {"grown": 1})])
def test_worker_whose_memory_grew(end, faults):
    """A factor and some more are allowed."""
    story = Story(growth_factor=1.2, growth_bytes=1 << 20)
    for phase, size in (("warm", 100), ("end", end)):
        story.tell("memory", phase=phase, rss={"1": size << 20, "2": 1})
    assert story.end("e-1").faults == faults


def test_record_is_read_back(tmp_path, capsys):
    """
    What processes wrote is one record, the line that a killed one began is left out, and the status says what
    was found.
    """
    story = Story()
    story.end("e-1")
    left, right = Recorder(tmp_path / "left.jsonl"), Recorder(tmp_path / "right.jsonl")
    for number, line in enumerate(story.lines):
        (left if number % 2 else right).write(**line)
    left.close()
    right.close()
    with (tmp_path / "left.jsonl").open("a") as file:
        file.write('{"kind":"att')
    assert len(load(tmp_path)) == len(story.lines)
    assert main([tmp_path]) == 0
    more = {
        "kind": "got",
        "client": 0,
        "connection": 0,
        "id": "e-9",
        "type": "message",
        "data": "?",
        "at": 9.0,
    }
    (tmp_path / "more.jsonl").write_text(json.dumps(more) + "\n")
    assert main([tmp_path]) == 1
    assert "phantom: 1" in capsys.readouterr().out


def test_long_texts_are_told_apart():
    """A long text is in the record as something short that no other text has."""
    long = "p:1:" + "x" * 1000
    assert len(shorten(long)) < 100
    assert shorten(long).startswith("p:1:")
    assert shorten(long) != shorten(long + "x")


def test_every_fault_can_be_found():
    """The tests above reach all of them."""
    text = Path(__file__).read_text()
    assert [
        fault for fault in FAULTS if f'"{fault}": 1' not in text and f'faults["{fault}"] == 1' not in text
    ] == []
