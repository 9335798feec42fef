"""The judge finds each kind of fault in a record that has it, and nothing in one that has none."""

import json
from pathlib import Path

import pytest

from tests.soak.check import FAULTS, check, main
from tests.soak.record import Recorder, load, shorten


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

    def publish(self, id, channel="a", publisher="p", seconds=0.01, n=None, tried=0, **outcome):
        """
        Publish the next event of a publisher, and return its data. Without an id: ``stored`` and ``error``
        say how it went, or nothing does.
        """
        if n is None:
            n = self._numbers[publisher] = self._numbers.get(publisher, -1) + 1
        data = f"{publisher}:{n}:"
        begin = self.at = self.at + 0.01
        self.at += seconds
        self.lines.append(
            {
                "kind": "attempt",
                "publisher": publisher,
                "n": n,
                "try": tried,
                "channel": channel,
                "data": data,
                "key": None,
                "begin": begin,
            }
        )
        outcome = {"id": id, "stored": "yes"} if id else outcome
        if outcome:
            self.lines.append(
                {"kind": "outcome", "publisher": publisher, "n": n, "try": tried, **outcome, "end": self.at}
            )
        return data

    def join(self, client, channels):
        self.tell("join", client=client, channels=channels)

    def open(self, client):
        self._connections[client] = self._connections.get(client, -1) + 1
        self.tell("open", client=client, connection=self._connections[client], last_event_id="")

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


@pytest.mark.parametrize("id", [None, "e-2"], ids=["events-follow", "with-a-place"])
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


def test_publish_beyond_its_time_out_is_slow():
    """Whatever came of it."""
    story = Story(publish_timeout_seconds=2.0, margin_seconds=0.5)
    story.publish(None, seconds=2.4, error="The event was not stored", stored="no")
    story.publish(None, seconds=2.6, error="The event was not stored", stored="no")
    report = story.end("e-1")
    assert report.faults == {"slow": 1}
    assert report.figures["longest_publish"] == pytest.approx(2.6)


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
