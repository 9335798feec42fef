"""The helps for users' own tests."""

import threading
import time

import pytest
from flask import request

from flask_sse_push import SSEPush
from flask_sse_push.testing import DecodedEvent, StreamTimeout, capture, open_stream
from tests.support import MS

from .helpers import make_app


@pytest.fixture
def sse():
    return SSEPush()


@pytest.fixture
def app(sse):
    return make_app(blueprint=sse, public_channels=["*"])


def test_capture_collects_what_is_published(app, sse):
    """Within the block every event is collected with what publish was given and gave, and none behind it."""
    sse.publish("before")
    with capture() as published:
        id = sse.publish({"id": 7}, type="created", channel="orders")
        assert len(published) == 1
        sse.publish("text")
    sse.publish("behind")
    assert [(event.type, event.channels, event.data) for event in published] == [
        ("created", ("orders",), '{"id": 7}'),
        (None, ("sse",), "text"),
    ]
    assert published[0].json == {"id": 7}
    assert published[0].id == id


def test_capture_collects_from_threads(app, sse):
    """What other threads publish is collected too."""
    with capture() as published:
        thread = threading.Thread(target=sse.publish, args=("x",))
        thread.start()
        thread.join()
    assert [event.data for event in published] == ["x"]


def test_capture_may_be_of_one_app(sse, app):
    """Asked for one app, it collects that app's events; asked for none, everybody's."""
    other = make_app("other", sse)
    with capture(app) as of_one, capture() as of_all:
        for each in (app, other):
            with each.app_context():
                sse.publish(each.name)
    assert [event.data for event in of_one] == ["shop"]
    assert [event.data for event in of_all] == ["shop", "other"]


def test_capture_ends_with_an_error_too(app, sse):
    """A block that raises stops collecting."""
    with pytest.raises(LookupError), capture() as published:
        raise LookupError
    sse.publish("x")
    assert published == []


def test_capture_lets_events_through(app, sse, client):
    """Clients get the events all the same."""
    with open_stream(client, "/events") as stream, capture():
        sse.publish("x")
        assert stream.read(1)[0].data == "x"


def test_open_stream_reads_what_was_published_after_it(app, sse, client):
    """Once the block has begun nothing is missed; events are read one by one or many at a time."""
    with open_stream(client, "/events?channel=a") as stream:
        ids = [sse.publish({"n": number}, type="count", channel="a") for number in range(5)]
        first = stream.read(1)
        rest = stream.read(4)
        assert [event.json["n"] for event in first + rest] == list(range(5))
        assert [event.last_event_id for event in first + rest] == ids
        assert stream.last_event_id == ids[-1]
        assert isinstance(first[0], DecodedEvent)
        assert first[0].type == "count"
    assert sse.stats()["streams"] == 0


def test_open_stream_resumes_with_headers(app, sse, client):
    """Options go to the client as they are: headers, a method, JSON."""
    app.add_url_rule(
        "/echo", endpoint="echo", methods=["POST"], view_func=lambda: sse.response([request.json])
    )
    ids = [sse.publish(str(number)) for number in range(3)]
    with open_stream(client, "/events", headers={"Last-Event-ID": ids[0]}) as stream:
        assert [event.data for event in stream.read(2)] == ["1", "2"]
    with open_stream(
        client, "/echo", method="POST", json={"a": 1}, environ_overrides={"REMOTE_ADDR": "1.2.3.4"}
    ) as stream:
        assert [event.json for event in stream.read(2)] == [{"a": 1}, None]


def test_open_stream_does_not_wait_for_ever(app, sse, client):
    """When too little comes, reading fails in time and shows what came."""
    with open_stream(client, "/events") as stream:
        sse.publish("the only one")
        started = time.monotonic()
        with pytest.raises(StreamTimeout, match=r"brought 1 of 2 events: \[.*the only one"):
            stream.read(2, timeout=100 * MS)
        assert time.monotonic() - started < 2000 * MS
    assert issubclass(StreamTimeout, AssertionError)


def test_open_stream_shows_what_came_shortly(app, sse, client):
    """What came instead is shown printable, and its beginning only."""
    with open_stream(client, "/events") as stream:
        sse.publish("\x1b[2J\u202e\x9b")
        for _ in range(10):
            sse.publish("x" * 5000)
        with pytest.raises(StreamTimeout, match=r"brought 11 of 12 events: ") as caught:
            stream.read(12, timeout=200 * MS)
    assert len(str(caught.value)) < 2100
    assert str(caught.value).isprintable()


def test_open_stream_that_ends_early_fails_at_once(app, sse, client):
    """When the stream ends before, reading does not wait for its time."""
    app.add_url_rule("/short", endpoint="short", view_func=lambda: sse.response([]))
    with open_stream(client, "/short") as stream:
        started = time.monotonic()
        with pytest.raises(StreamTimeout, match="brought 1 of 2 events"):
            stream.read(2, timeout=60)
        assert time.monotonic() - started < 5000 * MS


@pytest.mark.parametrize("path", ["/events?channel=a b", "/page", "/nowhere"])
def test_open_stream_of_no_stream_shows_the_answer(app, client, path):
    """A refusal or a page can be looked at, and reading it says what came instead."""
    app.add_url_rule("/page", endpoint="page", view_func=lambda: "hello")
    with open_stream(client, path) as stream:
        assert stream.response.status_code in (200, 400, 404)
        with pytest.raises(
            TypeError, match=rf'^"response" must be an event stream, got {stream.response.status_code} '
        ):
            stream.read(1)


def test_open_stream_is_closed_behind_the_block(app, sse, client):
    """Also when the block raises, the stream is gone and counted."""
    with pytest.raises(LookupError), open_stream(client, "/events"):
        assert sse.stats()["streams"] == 1
        raise LookupError
    assert sse.stats()["streams"] == 0


def test_open_streams_may_be_many(app, sse, client):
    """Several streams are open at once, each with its own reading."""
    with open_stream(client, "/events?channel=a") as a, open_stream(client, "/events?channel=b") as b:
        sse.publish("both", channel=["a", "b"])
        sse.publish("b", channel="b")
        assert [event.data for event in b.read(2)] == ["both", "b"]
        assert [event.data for event in a.read(1)] == ["both"]
