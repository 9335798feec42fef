"""
Who listens to which channel, and who wakes them: what is gathered, when it rests, what it is told twice.
"""

import pytest

from flask_sse_push.streams.fanout import MAX_PAUSE_SECONDS

from .parts import attached, make_fanout, note


class Slow:
    """A listener whose waking takes a time, in which something more may be published."""

    def __init__(self, script, seconds, meanwhile=None):
        self.script, self.seconds, self.meanwhile = script, seconds, meanwhile
        self.times = []
        self.is_pending = False

    def wake(self):
        self.script.spend(self.seconds)
        self.times.append(self.script.now)
        if self.meanwhile is not None:
            meanwhile, self.meanwhile = self.meanwhile, None
            meanwhile()


def test_news_wakes_the_listeners_of_its_channel_alone(script):
    """An event wakes who listens to its channel, once, and nobody else."""
    fanout, lock = make_fanout()
    with (
        attached(fanout, lock, "news", wakeup=script.backend.wakeup()) as news,
        attached(fanout, lock, "orders", wakeup=script.backend.wakeup()) as orders,
    ):
        script.settle()
        note(fanout, "news")
        assert not news.is_rung
        script.settle()
        assert (news.count, orders.count) == (1, 0)
    script.settle()


def test_event_of_two_channels_wakes_once(script):
    """Who listens to several channels of an event is woken once."""
    fanout, lock = make_fanout()
    with attached(fanout, lock, "news", "orders", wakeup=script.backend.wakeup()) as wakeup:
        note(fanout, "news", "orders")
        script.settle()
        assert wakeup.count == 1
    script.settle()


def test_event_that_nobody_hears_is_not_kept(script):
    """A channel without listeners is not noted; one whose last listener leaves is forgotten."""
    fanout, lock = make_fanout()
    with attached(fanout, lock, "orders", wakeup=script.backend.wakeup()):
        note(fanout, "news")
        assert fanout.pending == {}
        with attached(fanout, lock, "news", wakeup=script.backend.wakeup()):
            note(fanout, "news")
            assert fanout.pending == {"news": 1}
        assert fanout.pending == {}
    script.settle()


def test_listener_who_leaves_is_not_woken(script):
    """Behind detach() nothing comes any more."""
    fanout, lock = make_fanout()
    with attached(fanout, lock, "news", wakeup=script.backend.wakeup()) as stays:
        with attached(fanout, lock, "news", wakeup=script.backend.wakeup()) as leaves:
            note(fanout, "news")
        script.settle()
        assert (stays.count, leaves.count) == (1, 0)
    script.settle()


def test_fanout_ends_with_the_last_listener_and_begins_with_the_next(script):
    """Nothing runs while nobody listens."""
    fanout, lock = make_fanout()
    for _ in range(2):
        with attached(fanout, lock, "news", wakeup=script.backend.wakeup()) as wakeup:
            script.settle()
            assert len(script.named("fanout")) == 1
            note(fanout, "news")
            script.settle()
            assert wakeup.count == 1
        script.settle()
        assert script.tasks == []
        assert not fanout.give_way()


def test_fanout_that_is_about_to_end_goes_on_for_a_new_listener(script):
    """Who comes before the fan-out has seen that nobody is left keeps it."""
    fanout, lock = make_fanout()
    first = attached(fanout, lock, "news", wakeup=script.backend.wakeup())
    first.__enter__()
    script.settle()
    first.__exit__()
    with attached(fanout, lock, "news", wakeup=script.backend.wakeup()) as second:
        script.settle()
        note(fanout, "news")
        script.settle()
        assert second.count == 1
        assert len(script.tasks) == 1
    script.settle()


def test_fanout_gathers_while_others_publish(script):
    """News that others publish turn by turn becomes one fan-out."""
    fanout, lock = make_fanout(max_events=1_000)
    with attached(fanout, lock, "news", wakeup=script.backend.wakeup()) as wakeup:
        script.settle()

        def publish():
            for _ in range(5):
                note(fanout, "news")
                script.backend.give_way()

        script.backend.spawn(publish, "publisher")
        script.settle()
        assert wakeup.count == 0
        script.advance(MAX_PAUSE_SECONDS)
        assert wakeup.count == 1
    script.settle()


def test_fanout_gathers_for_twenty_milliseconds_at_most(script):
    """Who publishes without end is heard all the same, 20 ms late."""
    fanout, lock = make_fanout(max_events=1_000_000)
    wakeup = script.backend.wakeup()
    heard = []
    with attached(fanout, lock, "news", wakeup=wakeup):
        script.settle()
        begun = script.now

        def publish():
            while script.now < begun + 0.1:
                note(fanout, "news")
                script.spend(0.0005)
                script.backend.give_way()
                if wakeup.count > len(heard):
                    heard.append(script.now)

        script.backend.spawn(publish, "publisher")
        script.settle()
        assert heard[0] - begun <= MAX_PAUSE_SECONDS + 0.001
        assert 4 <= len(heard) <= 6  # gathered, and not one by one
    script.advance(0.1)


@pytest.mark.parametrize(("took", "rest"), [(0.004, 0.004), (5.0, MAX_PAUSE_SECONDS)])
def test_fanout_rests_as_long_as_it_took(threads_script, took, rest):
    """When news came while it woke everybody, it rests for as long as that took, 20 ms at most."""
    script = threads_script
    fanout, lock = make_fanout()
    slow = Slow(script, took, lambda: note(fanout, "news"))
    with attached(fanout, lock, "news", wakeup=slow):
        note(fanout, "news")
        script.settle()
        assert len(slow.times) == 1
        script.advance(rest - 0.001)
        assert len(slow.times) == 1
        script.advance(0.002)
        assert len(slow.times) == 2
    script.advance(1)


def test_fanout_that_keeps_up_does_not_rest(threads_script):
    """News that comes when everybody was woken is handed on at once."""
    script = threads_script
    fanout, lock = make_fanout()
    slow = Slow(script, 0.01)
    with attached(fanout, lock, "news", wakeup=slow):
        for count in (1, 2, 3):
            note(fanout, "news")
            script.settle()
            assert len(slow.times) == count
    script.settle()


@pytest.mark.parametrize("size", [100, 5_000])
def test_burst_does_not_wait_for_the_rest(threads_script, size):
    """When half of a history fills up, in events or in bytes, the fan-out begins at once."""
    script = threads_script
    fanout, lock = make_fanout(max_events=3, max_bytes=10_000)

    def burst():
        assert [note(fanout, "news", size=size) for _ in range(3)][-1]

    slow = Slow(script, 0.015, burst)
    with attached(fanout, lock, "news", wakeup=slow):
        note(fanout, "news")
        script.settle()
        assert len(slow.times) == 2
    script.settle()


def test_burst_that_comes_while_the_fanout_rests_ends_the_rest(threads_script):
    """News that fills up the history wakes the fan-out where it rests."""
    script = threads_script
    fanout, lock = make_fanout(max_events=3)
    slow = Slow(script, 0.015, lambda: note(fanout, "news"))
    with attached(fanout, lock, "news", wakeup=slow):
        note(fanout, "news")
        script.settle()
        note(fanout, "news")
        script.settle()
        assert len(slow.times) == 1
        note(fanout, "news")
        script.settle()
        assert len(slow.times) == 2
        assert not fanout.is_urgent
    script.settle()


def test_bytes_that_nobody_hears_count_too(script):
    """
    They push out of the history what somebody has not heard yet; where nobody listens at all, nothing is
    urgent.
    """
    fanout, lock = make_fanout(max_bytes=1_000)
    with attached(fanout, lock, "news", wakeup=script.backend.wakeup()):
        assert not fanout.add(("orders",), 2_000)
        assert fanout.add(("news",), 1)
    script.settle()
    assert not fanout.add(("news",), 2_000)


def test_what_is_woken_for_is_known_until_they_have_read(script):
    """While listeners are woken, what they have not read counts as current, and behind that not at all."""
    fanout, lock = make_fanout()
    seen = []
    slow = Slow(
        script, 0, lambda: seen.append((dict(fanout.pending), dict(fanout.current), fanout.current_bytes))
    )
    with attached(fanout, lock, "news", wakeup=slow):
        fanout.add(("news",), 100)
        fanout.add(("news",), 100)
        assert (fanout.pending, fanout.pending_bytes) == ({"news": 2}, 200)
        fanout.notify()
        script.settle()
        assert seen == [({}, {"news": 2}, 200)]
        assert (fanout.pending, fanout.pending_bytes, fanout.current, fanout.current_bytes) == ({}, 0, {}, 0)
    script.settle()


def test_everybody_can_be_woken(script):
    """Where something was lost, nobody knows by whom: all listeners are woken, each once."""
    fanout, lock = make_fanout()
    with (
        attached(fanout, lock, "news", "orders", wakeup=script.backend.wakeup()) as two,
        attached(fanout, lock, "other", wakeup=script.backend.wakeup()) as one,
    ):
        fanout.notify_everybody()
        script.settle()
        assert (two.count, one.count) == (1, 1)
        note(fanout, "other")
        script.settle()
        assert (two.count, one.count) == (1, 2)
    script.settle()


def test_fanout_makes_way_between_its_listeners(script):
    """While many are woken, whoever else is ready runs in between."""
    fanout, lock = make_fanout()
    slows = [Slow(script, 0.0001) for _ in range(100)]
    seen = []

    def others():
        while len(seen) < 3:
            seen.append(sum(bool(slow.times) for slow in slows))
            script.backend.give_way()

    listening = [attached(fanout, lock, "news", wakeup=slow) for slow in slows]
    for listener in listening:
        listener.__enter__()
    script.settle()
    note(fanout, "news")
    script.backend.spawn(others, "others")
    script.settle()
    for listener in listening:
        listener.__exit__()
    script.settle()
    assert any(0 < count < 100 for count in seen), seen


def test_writing_counts_as_the_time_that_a_fanout_takes(script):
    """
    In greenlets who was woken writes before the next fan-out begins, and it rests for as long as that took.
    """
    fanout, lock = make_fanout()
    wakeup = script.backend.wakeup()

    def stream():
        wakeup.wait()
        script.spend(0.005)  # as a write takes
        note(fanout, "news")
        wakeup.wait()

    with attached(fanout, lock, "news", wakeup=wakeup):
        script.backend.spawn(stream, "stream")
        script.settle()
        note(fanout, "news")
        script.settle()
        assert wakeup.count == 1
        script.advance(0.004)
        assert wakeup.count == 1
        script.advance(0.004)
        assert wakeup.count == 2
    script.settle()


def test_listener_that_cannot_be_woken_keeps_nobody_else_from_it(script, caplog):
    """An exception of one wakeup is logged, and the others are woken."""

    class Broken:
        is_pending = False

        def wake(self):
            raise ValueError("no socket")

    fanout, lock = make_fanout()
    with (
        attached(fanout, lock, "news", wakeup=Broken()),
        attached(fanout, lock, "news", wakeup=script.backend.wakeup()) as wakeup,
    ):
        note(fanout, "news")
        script.settle()
        assert wakeup.count == 1
    script.settle()
    assert [record.getMessage() for record in caplog.records] == [
        "A stream could not be woken; it reads at its next heartbeat."
    ]
    assert "no socket" in caplog.text


def test_fanout_goes_on_behind_a_failure(script, caplog):
    """
    When it cannot be told whom to wake (a signal handler may raise anywhere), that is logged, and what is
    noted next wakes its listeners.
    """
    fanout, lock = make_fanout()
    with attached(fanout, lock, "news", wakeup=script.backend.wakeup()) as wakeup:
        script.settle()
        listeners, fanout.listeners["news"] = fanout.listeners["news"], None
        note(fanout, "news")
        script.settle()
        assert wakeup.count == 0
        assert (fanout.current, fanout.current_bytes) == ({}, 0)
        fanout.listeners["news"] = listeners
        note(fanout, "news")
        script.advance(MAX_PAUSE_SECONDS)
        assert wakeup.count == 1
    script.settle()
    assert [record.getMessage() for record in caplog.records] == ["The fan-out failed and goes on."]


def test_machine_without_threads_gets_a_fanout_with_the_next_listener(script):
    """Where none can be started, the listener is told, and the next one tries again."""
    fanout, lock = make_fanout()
    script.cannot_spawn = True
    listener = attached(fanout, lock, "news", wakeup=script.backend.wakeup())
    with pytest.raises(RuntimeError):
        listener.__enter__()
    listener.__exit__()
    script.cannot_spawn = False
    note(fanout, "news")
    with attached(fanout, lock, "news", wakeup=script.backend.wakeup()) as wakeup:
        note(fanout, "news")
        script.settle()
        assert wakeup.count == 1
    script.settle()
