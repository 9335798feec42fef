"""An iterable that runs beside its stream: how far ahead, how it ends, and who closes it."""

import json

import pytest

from flask_sse_push import Event
from flask_sse_push.core.decoder import Decoder
from flask_sse_push.core.log import MAX_BATCH_BYTES
from flask_sse_push.errors import InvalidEvent
from flask_sse_push.streams.iterable import IterableSource, abandoned, close_iterable


def source(iterable, *, last_event_id=None, max_event_bytes=200_000):
    return IterableSource(iterable, json.dumps, max_event_bytes, last_event_id)


def opened(script, iterable, **options):
    """A source that runs, and the wakeup of its stream."""
    made, wakeup = source(iterable, **options), script.backend.wakeup()
    made.open(wakeup)
    return made, wakeup


def events(chunk):
    return [(event.type, event.data) for event in Decoder().feed(chunk)]


def test_items_are_events_and_the_last_one_says_done(script):
    """
    Text goes out as it is, other values as JSON, an Event with its fields; what the generator returns is the
    last data.
    """

    def items():
        yield "text"
        yield {"a": 1}
        yield Event("named", type="token", id="7")
        return [1, 2]

    made, wakeup = opened(script, items())
    assert made.read() == b""
    assert made.outcome is None
    script.settle()
    assert wakeup.is_rung
    chunk = made.read()
    assert events(chunk) == [
        ("message", "text"),
        ("message", '{"a": 1}'),
        ("token", "named"),
        ("done", "[1, 2]"),
    ]
    assert b"id: 7\n" in chunk
    assert b"id: end\n" in chunk
    assert made.outcome == "finished"
    made.close()


def test_list_is_an_iterable_too(script):
    """Whatever can be iterated can be sent; what has no close() needs none."""
    made, _ = opened(script, ["a", "b"])
    script.settle()
    assert events(made.read()) == [("message", "a"), ("message", "b"), ("done", "null")]
    made.close()


def test_iterable_runs_no_further_ahead_than_the_client_reads(script):
    """It waits while 64 KB are not read, and goes on when they are."""
    given = []

    def items():
        for number in range(100):
            given.append(number)
            yield "x" * 10_000

    made, _ = opened(script, items())
    script.settle()
    assert len(given) == MAX_BATCH_BYTES // 10_000 + 1
    script.advance(100)
    assert len(given) == MAX_BATCH_BYTES // 10_000 + 1
    sent = [made.read()]
    script.settle()
    assert len(given) == 2 * (MAX_BATCH_BYTES // 10_000 + 1)
    while made.outcome is None:
        sent.append(made.read())
        script.settle()
    assert b"".join(sent).count(b"data: x") == 100
    made.close()


def test_stream_is_woken_for_each_item(script):
    """Each item is sent while the iterable works on the next."""

    def items():
        for number in range(3):
            yield number
            script.sleep(1)

    made, wakeup = opened(script, items())
    script.settle()
    assert events(made.read()) == [("message", "0")]
    wakeup.wait(0)
    script.advance(1)
    assert wakeup.is_rung
    assert events(made.read()) == [("message", "1")]
    script.advance(10)
    assert events(made.read())[-1] == ("done", "null")
    made.close()


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt(), GeneratorExit()], ids=repr)
def test_iterable_that_fails_says_failed(script, caplog, error):
    """The client gets everything until then, and hears that this was not all."""

    def items():
        yield "one"
        raise error

    made, _ = opened(script, items())
    script.settle()
    assert events(made.read()) == [("message", "one"), ("failed", '{"reason": "error"}')]
    assert made.outcome == "failed"
    made.close()
    assert "The iterable of a stream failed" in caplog.text


@pytest.mark.parametrize(
    "item",
    [
        Event("x", type="done"),
        Event("x", type="failed"),
        Event("x", id="end"),
        "x" * 300_000,
        {1, 2},
    ],
    ids=["done", "failed", "end", "large", "no JSON"],
)
def test_item_that_cannot_be_sent_fails_the_stream(script, caplog, item):
    """What would be taken for the end, breaks the format or is too large is refused, and the log says why."""
    made, _ = opened(script, [item])
    script.settle()
    assert events(made.read()) == [("failed", '{"reason": "error"}')]
    assert caplog.records[0].exc_info[0] in (InvalidEvent, TypeError)
    made.close()


def test_item_is_checked_as_it_is_sent(script, caplog):
    """An Event that was changed behind its back does not slip past the check that its making was."""
    event = Event("x", type="fine")
    object.__setattr__(event, "type", "two\nlines")
    made, _ = opened(script, [event])
    script.settle()
    assert events(made.read()) == [("failed", '{"reason": "error"}')]
    assert caplog.records[0].exc_info[0] is InvalidEvent
    made.close()


class Closes:
    """An iterable that notes when it was closed."""

    def __init__(self, items=(), error=None):
        self.items, self.error, self.closed = iter(items), error, 0

    def __iter__(self):
        return self

    def __next__(self):
        return next(self.items)

    def close(self):
        self.closed += 1
        if self.error is not None:
            raise self.error


def test_iterable_that_was_never_begun_is_closed(script):
    """A stream that was refused, or never iterated, closes what it would have sent."""
    items = Closes(["a"])
    made = source(items)
    made.close()
    made.close()
    assert items.closed == 1


def test_iterable_that_is_spawned_and_has_not_begun_is_closed(script):
    """It is not forgotten: it begins, sees that it is over, takes no item and closes."""
    items = Closes(["a"])
    made, _ = opened(script, items)
    made.close()
    script.settle()
    assert items.closed == 1
    assert next(items) == "a"


def test_iterable_that_has_ended_is_closed(script):
    """Behind its last item, and once."""
    items = Closes(["a"])
    made, _ = opened(script, items)
    script.settle()
    made.close()
    script.settle()
    assert items.closed == 1


def test_greenlet_is_interrupted_where_it_waits(script, caplog):
    """
    When the client has gone, an iterable that waits for something runs its finally at once, and nothing is
    logged.
    """
    left = []

    def items():
        try:
            yield "one"
            script.sleep(1_000)
        finally:
            left.append(script.now)

    made, _ = opened(script, items())
    script.settle()
    made.close()
    script.settle()
    assert left == [pytest.approx(script.now)]
    assert caplog.records == []


def test_thread_ends_with_the_item_that_it_works_on(threads_script):
    """A thread cannot be interrupted: the iterable is closed when it gives its next item."""
    script, left = threads_script, []

    def items():
        try:
            while True:
                yield "one"
                script.sleep(10)
        finally:
            left.append(script.now)

    made, _ = opened(script, items())
    script.settle()
    made.close()
    script.settle()
    assert left == []
    script.advance(10)
    assert left == [pytest.approx(script.now)]


def test_thread_that_waits_is_counted_until_it_ends(threads_script):
    """What its client has left is counted from then on, until it has also closed its iterable."""
    script = threads_script

    def items():
        try:
            yield "one"
            script.sleep(10)
            yield "two"
        finally:
            script.sleep(10)

    made, _ = opened(script, items())
    script.settle()
    assert made not in abandoned.get()
    made.close()
    assert made in abandoned.get()
    script.advance(15)
    assert made in abandoned.get()
    script.advance(10)
    assert made not in abandoned.get()


@pytest.mark.parametrize("kind", ["script", "threads_script"])
@pytest.mark.parametrize("when", ["has not begun", "waits", "has ended"])
def test_iterable_that_ends_with_its_stream_is_not_counted(request, kind, when):
    """Nothing is left of one that was not begun, that waits for its reader, or that has ended before."""
    script = request.getfixturevalue(kind)
    made, _ = opened(script, ["x" * MAX_BATCH_BYTES] * 3 if when == "waits" else ["x"])
    if when != "has not begun":
        script.settle()
    made.close()
    script.settle()
    assert made not in abandoned.get()


@pytest.mark.parametrize("kind", ["script", "threads_script"])
def test_iterable_that_waits_for_its_reader_ends_with_the_stream(request, kind):
    """Closing wakes an iterable that waits until there is room."""
    script, left = request.getfixturevalue(kind), []

    def items():
        try:
            while True:
                yield "x" * MAX_BATCH_BYTES
        finally:
            left.append(True)

    made, _ = opened(script, items())
    script.settle()
    made.close()
    script.settle()
    assert left == [True]


def test_close_that_fails_is_logged(script, caplog):
    """What an iterable's close() raises ends nobody else."""
    made, _ = opened(script, Closes(["a"], ValueError("no")))
    script.settle()
    assert made.outcome is None
    made.read()
    assert made.outcome == "finished"
    made.close()
    close_iterable(Closes(error=SystemExit()))
    assert [record.getMessage() for record in caplog.records] == [
        "Closing the iterable of a stream failed."
    ] * 2


def test_machine_without_threads_closes_the_iterable(script):
    """Where nothing can run it, the stream is told, and the iterable is closed with it."""
    items = Closes(["a"])
    made = source(items)
    script.cannot_spawn = True
    with pytest.raises(RuntimeError):
        made.open(script.backend.wakeup())
    made.close()
    assert items.closed == 1


@pytest.mark.parametrize(
    ("id", "prelude"), [(None, b"\n"), ("7", b"id: 7\n\n"), ("end", b"\n"), ("no\nid", b"\n")], ids=str
)
def test_id_of_the_client_is_said_again(id, prelude):
    """A client keeps the id that it came with, where an item of ours can have had it."""
    assert source([], last_event_id=id).prelude() == prelude


def test_farewell_says_that_this_was_not_all():
    """
    A response that the server cuts short ends in "failed", with the id that asks the client not to come back.
    """
    made = source([])
    assert events(made.farewell()) == [("failed", '{"reason": "draining"}')]
    assert b"id: end\n" in made.farewell()
    assert made.heartbeat() == b":\n\n"
