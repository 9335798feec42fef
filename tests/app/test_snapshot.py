"""Snapshots of an app: which functions may make them, in which context they run, and what they return."""

import contextlib
import contextvars
import functools
import logging
import threading

import pytest
from flask import current_app, g, has_app_context, has_request_context, request

from flask_sse_push import ConfigurationError, Event, InvalidChannel, InvalidEvent, stream_closed
from flask_sse_push.core.channels import Pattern
from flask_sse_push.extension.snapshot import SnapshotFunctions, SnapshotMaker
from flask_sse_push.testing import StreamedEvent, open_stream
from tests.support import MS, eventually

from .helpers import first_bytes, make_app, read_whole


@pytest.fixture
def app(sse):
    return make_app(blueprint=sse, public_channels=["*"], max_event_bytes=1_024)


def first_events(client, count=1, path="/events?channel=prices", **options):
    """What a new stream begins with."""
    with open_stream(client, path, **options) as stream:
        return [(event.type, event.data) for event in stream.read(count)]


@pytest.mark.parametrize(
    ("value", "events"),
    [
        ("as it is", [("snapshot", "as it is")]),
        ("", [("snapshot", "")]),
        ({"AAPL": 7}, [("snapshot", '{"AAPL": 7}')]),
        ([], [("snapshot", "[]")]),
        ([1, 2], [("snapshot", "[1, 2]")]),
        (0, [("snapshot", "0")]),
        (Event("one", "price"), [("price", "one")]),
        ([Event("one", "price"), Event("two")], [("price", "one"), ("message", "two")]),
        ((Event("one"),), [("message", "one")]),
    ],
    ids=str,
)
def test_snapshot_is_what_the_function_returns(sse, client, value, events):
    """Text as it is, values as JSON, each in one event; and events as they are. None has an id."""
    sse.snapshot("prices")(lambda channel: value)
    sse.publish("before", channel="prices")
    with open_stream(client, "/events?channel=prices") as stream:
        found = stream.read(len(events))
        id = sse.publish("behind", channel="prices")
        found += stream.read(1)
    behind = StreamedEvent("message", "behind", id)
    assert found == [*(StreamedEvent(type, data, "") for type, data in events), behind]


def test_snapshot_of_nothing_sends_nothing(sse, client):
    """A function that returns None leaves its stream as one without a snapshot."""
    sse.snapshot("prices")(lambda channel: None)
    with open_stream(client, "/events?channel=prices") as stream:
        sse.publish("behind", channel="prices")
        assert [event.data for event in stream.read(1)] == ["behind"]


@pytest.mark.parametrize(("type", "name"), [("price.all", "price.all"), (None, "message")])
def test_snapshot_has_the_type_of_its_decorator(sse, client, type, name):
    """Pages listen to it by that name; None is a plain message."""
    sse.snapshot("prices", type=type)(lambda channel: "shown")
    assert first_events(client) == [(name, "shown")]


def test_first_function_that_fits_a_channel_counts(sse, client):
    """It is given the name of the channel."""
    sse.snapshot("room.1")(lambda channel: f"one of {channel}")
    sse.snapshot("room.*")(lambda channel: f"any of {channel}")
    sse.snapshot("*")(lambda channel: "never")
    path = "/events?channel=room.2&channel=room.1"
    assert first_events(client, 2, path) == [("snapshot", "any of room.2"), ("snapshot", "one of room.1")]


def test_function_that_is_added_late_counts(sse, client):
    """Also behind the first request."""
    with client.get("/events?channel=prices") as response:
        assert first_bytes(response).endswith(b"-0\n\n")
    sse.snapshot("prices")(lambda channel: "shown")
    assert first_events(client) == [("snapshot", "shown")]


def test_snapshot_comes_to_streams_of_views(sse, app, client):
    """sse.stream() gives it too."""
    sse.snapshot("prices")(lambda channel: "shown")
    app.add_url_rule("/mine", view_func=lambda: sse.stream("prices"))
    assert first_events(client, path="/mine") == [("snapshot", "shown")]


def test_snapshot_comes_to_no_client_that_resumes(sse, client):
    """It has its id."""
    called = []
    sse.snapshot("prices")(called.append)
    id = sse.publish("seen", channel="prices")
    sse.publish("missed", channel="prices")
    options = {"headers": {"Last-Event-ID": id}}
    assert first_events(client, **options) == [("message", "missed")]
    assert called == []


def test_snapshot_is_not_made_for_a_stream_that_is_refused(sse, app, client):
    """Neither for one that nobody may read, nor for HEAD."""
    called = []
    sse.snapshot("*")(called.append)
    sse.authorize("secret")(lambda channel: False)
    assert client.get("/events?channel=secret").status_code == 403
    assert client.head("/events?channel=prices").status_code == 200
    assert called == []


def test_response_says_that_it_begins_with_a_snapshot_or_the_past(sse, client):
    """Tabs that share a stream know by it that a new tab needs one of its own."""
    sse.snapshot("prices")(lambda channel: "shown")
    headers = [client.head(f"/events?channel={name}").headers for name in ("prices", "news&rewind=2", "news")]
    assert [named.get("SSE-Push-Sharing") for named in headers] == ["late", "late", None]


def test_stream_says_that_a_channel_keeps_values(sse, client):
    """A comment before kept values tells tabs that share a stream that a new tab needs them, also live."""
    with client.get("/events?channel=prices") as response:
        chunks = response.iter_encoded()
        assert b":kept" not in next(chunks)
        sse.publish("plain", channel="prices")
        sse.publish("1", channel="prices", key="a", keep=True)
        assert next(chunks).startswith(b":kept\nid: ")
        sse.publish("plain", channel="prices")
        assert b":kept" not in next(chunks)
    with client.get("/events?channel=prices") as response:
        assert b"\n:kept\ndata: 1\n\nid: " in next(response.iter_encoded())


def test_function_runs_in_an_app_context_and_in_no_request(sse, app, client):
    """Whatever the stream that asks first comes from; each call has a context of its own."""
    seen = []
    who = contextvars.ContextVar("who", default=None)

    @sse.snapshot("prices")
    def prices(channel):
        seen.append((current_app.name, has_request_context(), hasattr(g, "user"), who.get()))
        g.user = "left by the function"
        return "shown"

    @app.get("/mine")
    def mine():
        who.set(request.path)
        g.user = 7
        return sse.stream("prices")

    for _ in range(2):
        assert first_events(client, path="/mine") == [("snapshot", "shown")]
    assert seen == [("shop", False, False, None)] * 2


def test_function_sees_nothing_of_who_calls_it(app):
    """Neither a request nor a variable of the context that its greenlet was started from."""
    seen, who = [], contextvars.ContextVar("who", default=None)
    functions = SnapshotFunctions()
    functions.add(Pattern("prices"), lambda channel: seen.append((has_request_context(), who.get())), None)
    maker = SnapshotMaker(app, functions, app.json.dumps, 1_024)
    with app.test_request_context():
        who.set("somebody")
        assert maker.make(maker.find("prices"), "prices") == b""
    assert seen == [(False, None)]


def test_context_of_a_function_is_gone_before_its_bytes_leave(sse, app, client):
    """What the app does at the end of a context, such as closing a database, is done by then."""
    ended = []
    app.teardown_appcontext(lambda error: ended.append(has_request_context()))
    sse.snapshot("prices")(lambda channel: "shown")
    with client.get("/events?channel=prices") as response:
        chunks = iter(response.response)
        del ended[:]  # that of the request
        while b"shown" not in next(chunks):
            pass
        assert ended == [False]
        assert not has_app_context()


def test_function_runs_beside_the_stream(sse, client):
    """In a thread of its own, which ends with it; the stream begins at once, and waits with heartbeats."""
    go, threads = threading.Event(), []

    @sse.snapshot("prices")
    def prices(channel):
        threads.append(threading.current_thread())
        assert go.wait(10_000 * MS)
        return "shown"

    with client.get("/events?channel=prices") as response:
        chunks = iter(response.response)
        assert next(chunks).startswith(b"retry: ")
        eventually(lambda: threads)
        go.set()
        assert b"event: snapshot\ndata: shown\n\nid: " in next(chunks)
    assert threads[0] is not threading.current_thread()
    eventually(lambda: not threads[0].is_alive())


def test_streams_of_one_moment_share_one_call(sse, client):
    """A function is called once for all streams that ask while it runs."""
    go, calls = threading.Event(), []

    @sse.snapshot("prices")
    def prices(channel):
        calls.append(channel)
        assert go.wait(10_000 * MS)
        return "shown"

    with contextlib.ExitStack() as stack:
        bodies = []
        for _ in range(20):
            response = stack.enter_context(client.get("/events?channel=prices"))
            bodies.append(iter(response.response))
            next(bodies[-1])
        go.set()
        assert all(b"shown" in next(body) for body in bodies)
    assert calls == ["prices"]


def test_shutdown_leaves_nothing_of_a_function_that_runs(sse, client):
    """The streams that wait for it end, and it ends unheard."""
    go = threading.Event()
    sse.snapshot("prices")(lambda channel: go.wait(10_000 * MS) and "shown")
    with client.get("/events?channel=prices") as response:
        chunks = iter(response.response)
        next(chunks)
        sse.shutdown()
        assert b"shown" not in b"".join(chunks)
    go.set()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (object(), "can be encoded as JSON"),
        (b"bytes", "can be encoded as JSON"),
        ("x" * 2_000, "at most 1,024 bytes.*Return a list of Events.*SSE_PUSH_MAX_EVENT_BYTES"),
        ([Event("x" * 2_000)], "SSE_PUSH_MAX_EVENT_BYTES"),
        ([Event("one"), "two"], "Make each item an Event"),
        (Event("one", id="7"), '"id" of an Event in a snapshot'),
    ],
    ids=["object", "bytes", "large", "large event", "mixed", "id"],
)
def test_snapshot_that_cannot_be_sent_fails(sse, client, caplog, value, message):
    """It is logged with the cure, and the stream asks its client to come back."""
    sse.snapshot("prices")(lambda channel: value)
    caplog.set_level(logging.ERROR)
    with client.get("/events?channel=prices") as response:
        events, decoder = read_whole(response)
    assert events == []
    assert 5_000 <= decoder.retry <= 15_000
    [record] = caplog.records
    assert "The snapshot of channel 'prices' failed" in record.getMessage()
    with pytest.raises(InvalidEvent, match=message):
        raise record.exc_info[1]


def test_function_that_raises_ends_its_streams_alone(sse, app, client, caplog):
    """They end as failed; other channels go on, and the function is asked again by who comes next."""
    closed, errors = [], [ValueError("no database")]

    def note(sender, stream, reason):
        closed.append((stream.channels, reason))

    stream_closed.connect(note, app)

    @sse.snapshot("prices")
    def prices(channel):
        if errors:
            raise errors.pop()
        return "shown"

    with open_stream(client, "/events?channel=news") as other:
        with client.get("/events?channel=prices") as response:
            assert read_whole(response)[0] == []
        assert closed == [(("prices",), "failed")]
        sse.publish("on", channel="news")
        assert [event.data for event in other.read(1)] == ["on"]
    assert "no database" in caplog.text
    assert first_events(client) == [("snapshot", "shown")]


async def later(channel):
    return "shown"


def items(channel):
    yield "shown"


@pytest.mark.parametrize(
    "function", [later, items, functools.partial(later)], ids=["async", "items", "partial"]
)
def test_asynchronous_function_is_refused_when_it_is_decorated(sse, function):
    """The error says what to write."""
    with pytest.raises(
        ConfigurationError,
        match=r"The snapshot function .* of 'prices' must be an ordinary function, .*Write it with def",
    ):
        sse.snapshot("prices")(function)


@pytest.mark.parametrize("function", [None, "prices", lambda: "shown", lambda channel, user: "shown"])
def test_function_takes_the_channel_and_nothing_else(sse, function):
    """What cannot be called with a channel's name is refused when it is decorated."""
    with pytest.raises(ConfigurationError, match=r"Write: def snapshot\(channel\)"):
        sse.snapshot("prices")(function)


def test_decorator_above_is_refused(sse):
    """It would not be called."""

    @sse.snapshot("prices")
    def prices(channel):
        return "shown"

    with pytest.raises(
        ConfigurationError, match=r"Nothing may stand above the @sse\.snapshot of the snapshot"
    ):
        functools.wraps(prices)(lambda channel: "cached")


def test_function_stays_what_it_was(sse):
    """It can be called as before, and be a rule or another channel's snapshot too."""

    @sse.authorize("prices")
    @sse.snapshot("news")
    @sse.snapshot("prices")
    def prices(channel):
        return channel == "prices"

    assert prices("prices")


@pytest.mark.parametrize(
    ("pattern", "type", "error"),
    [
        ("", "snapshot", InvalidChannel),
        (lambda channel: 1, "snapshot", InvalidChannel),
        ("prices", "sse.x", InvalidEvent),
    ],
    ids=["empty", "bare", "reserved"],
)
def test_pattern_and_type_are_checked_when_a_function_is_decorated(sse, pattern, type, error):
    """A mistake is met at import."""
    with pytest.raises(error):
        sse.snapshot(pattern, type=type)(lambda channel: "shown")
