"""Publishing: from where, what, and to which channels."""

import gc
import inspect
import json
import threading
import uuid
from datetime import date, datetime, timezone
from decimal import Decimal

import pytest
from flask import Flask
from flask.json.provider import DefaultJSONProvider, JSONProvider

import flask_sse_push
from flask_sse_push import (
    BusUnavailable,
    ConfigurationError,
    InvalidChannel,
    InvalidEvent,
    NotRegistered,
    SSEPush,
    SSEPushError,
)
from flask_sse_push.testing import capture, open_stream

from .helpers import make_app


def test_publish_in_a_view_reaches_a_stream(app, client, sse):
    """What a view publishes is what an open stream shows, with the id that publish returned."""
    ids = []

    @app.post("/orders")
    def create_order():
        ids.append(sse.publish({"id": 7}, type="created", channel="orders"))
        return "", 201

    with open_stream(client, "/events?channel=orders") as stream:
        assert client.post("/orders").status_code == 201
        (event,) = stream.read(1)
    assert (event.type, event.json, event.last_event_id) == ("created", {"id": 7}, ids[0])


def test_publish_outside_a_context_uses_the_one_app(app, client, sse):
    """With one registered app, publish needs no app context."""
    with open_stream(client, "/events") as stream:
        sse.publish("hello")
        (event,) = stream.read(1)
    assert (event.type, event.data) == ("message", "hello")


def test_publish_from_threads_reaches_a_stream_in_order(app, client, sse):
    """Threads may publish at once; each keeps its order, and every id is given once."""
    ids = []

    def publish(name):
        ids.extend(sse.publish(f"{name}{count}") for count in range(20))

    with open_stream(client, "/events") as stream:
        threads = [threading.Thread(target=publish, args=(name,)) for name in "abc"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        events = stream.read(60)
    for name in "abc":
        assert [event.data for event in events if event.data[0] == name] == [
            f"{name}{count}" for count in range(20)
        ]
    assert sorted(ids, key=lambda id: int(id.split("-")[1])) == [event.last_event_id for event in events]


def test_publish_takes_flask_sse_arguments_in_their_order(app):
    """Moving from Flask-SSE is a change of the import: data, type, id, retry, channel."""
    for publish in (SSEPush().publish, flask_sse_push.publish):
        assert list(inspect.signature(publish).parameters)[:5] == ["data", "type", "id", "retry", "channel"]


def test_publish_by_position(app, sse):
    """The arguments may be given by position, and reach observers as they are."""
    with capture(app) as published:
        id = sse.publish({"a": 1}, "created", None, 5000, "orders")
    assert [(event.json, event.type, event.channels, event.id) for event in published] == [
        ({"a": 1}, "created", ("orders",), id)
    ]


def test_publish_returns_contiguous_ids(app, sse):
    """Ids are the epoch and a number that counts from 1 without holes, refused events aside."""
    first = sse.publish("a")
    with pytest.raises(InvalidEvent):
        sse.publish("b", type="open")
    with pytest.raises(InvalidChannel):
        sse.publish("b", channel="b c")
    second = sse.publish("c")
    epoch, sequence = first.split("-")
    assert sequence == "1"
    assert second == f"{epoch}-2"


@pytest.mark.parametrize("id", ["7", 7, "", 0, False])
def test_publish_refuses_an_id(app, sse, id):
    """Ids belong to the bus: id= is refused with the value, the reason and the cure, whatever it is."""
    with pytest.raises(InvalidEvent) as caught:
        sse.publish("x", id=id)
    assert '"id" is given by the bus' in str(caught.value)
    assert repr(id) in str(caught.value)
    assert "Leave it out" in str(caught.value)


def test_publish_with_several_apps_says_what_to_do():
    """
    Outside a context and with several apps it is refused, with their names and the cure; in a context it goes
    to that app.
    """
    sse = SSEPush()
    shop, blog = make_app("shop", sse), make_app("blog", sse)
    with pytest.raises(
        NotRegistered, match=r"is registered on 2 apps \('blog', 'shop'\).*Use: with app\.app_context\(\)"
    ):
        sse.publish("x")
    with blog.app_context():
        sse.publish("to the blog")
        assert sse.stats()["published"] == 1
    with shop.app_context():
        assert sse.stats()["published"] == 0


def test_publish_forgets_an_app_that_is_gone():
    """An app that nobody holds any more does not make publish ambiguous."""
    sse = SSEPush()
    shop = make_app("shop", sse)
    make_app("gone", sse)
    gc.collect()
    sse.publish("x")
    with shop.app_context():
        assert sse.stats()["published"] == 1


def test_publish_before_registration_says_what_to_do():
    """On no app at all it is refused with the line that is missing."""
    with pytest.raises(
        NotRegistered,
        match=r"not registered on any app yet\. Call app\.register_blueprint\(sse, url_prefix='/events'\) "
        r"first\.",
    ):
        SSEPush().publish("x")


def test_publish_in_the_context_of_another_app_says_what_to_do(app, sse):
    """
    In the context of an app without the blueprint it is refused with that app's name, even though another has
    it.
    """
    with (
        Flask("other").app_context(),
        pytest.raises(
            NotRegistered, match=r"is not registered on app 'other'\. Call app\.register_blueprint"
        ),
    ):
        sse.publish("x")


@pytest.mark.parametrize("data", ["plain", "", "42", "null", '{"a":1}', "a\nb", "né \U0001f600", "\0"])
def test_publish_sends_text_as_it_is(app, client, sse, data):
    """A str is not encoded as JSON: the browser gets its characters."""
    with open_stream(client, "/events") as stream:
        sse.publish(data)
        assert stream.read(1)[0].data == data


@pytest.mark.parametrize(
    ("data", "json_text"),
    [
        (None, "null"),
        (True, "true"),
        (7, "7"),
        (1.5, "1.5"),
        ([1, "a"], '[1, "a"]'),
        ((1, 2), "[1, 2]"),
        ({"b": 1, "a": 2}, '{"a": 2, "b": 1}'),
        (["\u2028"], '["\\u2028"]'),
        (date(2026, 1, 2), '"Fri, 02 Jan 2026 00:00:00 GMT"'),
        (datetime(2026, 1, 2, tzinfo=timezone.utc), '"Fri, 02 Jan 2026 00:00:00 GMT"'),
        (Decimal("1.50"), '"1.50"'),
        (uuid.UUID(int=0), '"00000000-0000-0000-0000-000000000000"'),
        (["\ud800"], '["\\ud800"]'),
    ],
)
def test_publish_encodes_everything_else_as_the_app_does(app, sse, data, json_text):
    """What is no str is sent as JSON by app.json, with Flask's dates, decimals and UUIDs."""
    with capture(app) as published:
        sse.publish(data)
    assert published[0].data == json_text


def test_publish_uses_the_apps_own_provider():
    """
    An app's own JSON provider encodes events too, and no option of Flask's own is forced on one that is not
    derived from it.
    """

    class Shouting(JSONProvider):
        def dumps(self, obj):
            return json.dumps(obj).upper()

        def loads(self, s):
            return json.loads(s)

    sse = SSEPush()
    app = make_app(blueprint=sse)
    app.json = Shouting(app)
    with capture(app) as published:
        sse.publish({"a": "b"})
    assert published[0].data == '{"A": "B"}'


def test_publish_uses_a_provider_derived_from_flasks():
    """A provider that extends Flask's with a default of its own is used, and still refuses NaN."""

    class WithSets(DefaultJSONProvider):
        @staticmethod
        def default(value):
            return sorted(value) if isinstance(value, set) else DefaultJSONProvider.default(value)

    sse = SSEPush()
    app = make_app(blueprint=sse)
    app.json = WithSets(app)
    with capture(app) as published:
        sse.publish({2, 1})
        with pytest.raises(InvalidEvent):
            sse.publish({1.0, float("inf")})
    assert [event.data for event in published] == ["[1, 2]"]


def _circle():
    circle = []
    circle.append(circle)
    return circle


def _deep():
    deep = []
    for _ in range(100_000):
        deep = [deep]
    return deep


@pytest.mark.parametrize(
    "data",
    [
        float("nan"),
        float("inf"),
        {"price": float("-inf")},
        b"bytes",
        bytearray(b"x"),
        {1, 2},
        frozenset(),
        object(),
        {(1, 2): 3},
        {"a": b"b"},
        _circle(),
        _deep(),
        1j,
    ],
    ids=[
        "nan",
        "inf",
        "nested inf",
        "bytes",
        "bytearray",
        "set",
        "frozenset",
        "object",
        "tuple key",
        "nested bytes",
        "circle",
        "deep",
        "complex",
    ],
)
def test_publish_refuses_what_is_no_json(app, sse, data):
    """
    What a browser could not parse, or nobody can encode, is refused with a message of a bounded size, and
    nothing is stored.
    """
    with (
        capture(app) as published,
        pytest.raises(
            InvalidEvent,
            match=r'(?s)^"data" must be a str or something that can be encoded as JSON, got .*Convert it '
            r"first\.$",
        ) as caught,
    ):
        sse.publish(data)
    assert len(str(caught.value)) < 600
    assert published == []
    assert sse.stats()["published"] == 0


@pytest.mark.parametrize(
    "options",
    [
        {"data": "a\ud800"},
        {"type": "a\nb"},
        {"type": ""},
        {"type": "error"},
        {"type": "sse.reset"},
        {"type": "a\udcff"},
        {"retry": 0},
        {"retry": "1000"},
        {"retry": 10**9},
    ],
    ids=repr,
)
def test_publish_refuses_what_cannot_be_sent(app, sse, options):
    """A poison event is refused before it is stored: nobody's stream meets it."""
    with pytest.raises(InvalidEvent):
        sse.publish(**{"data": "x", **options})
    assert sse.stats()["history"] == {"events": 0, "channels": 0, "kept": 0, "bytes": 0}
    assert sse.stats()["last_event_id"].endswith("-0")


def test_publish_refuses_an_event_that_is_too_large():
    """
    Events are bounded by their bytes on the wire: the largest goes out, one byte more is refused with both
    numbers and the cure.
    """
    sse = SSEPush()
    app = make_app(blueprint=sse, max_event_bytes=2000)
    largest = 2000 - len("data: \n\n")
    with app.app_context():
        sse.publish("x" * largest)
        with pytest.raises(
            InvalidEvent,
            match=r"makes an event of 2,001 bytes, SSE_PUSH_MAX_EVENT_BYTES allows 2,000\. .*raise the limit",
        ):
            sse.publish("x" * (largest + 1))
        with pytest.raises(InvalidEvent):
            sse.publish("é" * (largest // 2 + 1))
        with pytest.raises(InvalidEvent):
            sse.publish("\n" * 400)
        assert sse.stats()["published"] == 1


def test_publish_to_several_channels_is_one_event(app, client, sse):
    """Who listens to several of an event's channels gets it once."""
    with (
        open_stream(client, "/events?channel=news&channel=orders") as both,
        open_stream(client, "/events?channel=orders") as one,
    ):
        id = sse.publish("x", channel=["news", "orders", "news"])
        sse.publish("end", channel=("orders",))
        assert [(event.data, event.last_event_id) for event in both.read(2)][0] == ("x", id)
        assert [event.data for event in one.read(2)] == ["x", "end"]


@pytest.mark.parametrize(
    "channel", ["", "a b", [], ["a", "b c"], 7, None, b"news", ["a", 7], [["a"]], "*", "orders.*"]
)
def test_publish_refuses_what_is_no_channel(app, sse, channel):
    """Only names of channels take events, and a pattern is none."""
    with pytest.raises(InvalidChannel):
        sse.publish("x", channel=channel)
    assert sse.stats()["published"] == 0


def test_publish_goes_to_a_thousand_channels_at_most(app, sse):
    """An event holds a place in each of its channels: 1,000 are allowed."""
    sse.publish("x", channel=[f"user.{number}" for number in range(1000)])
    with pytest.raises(InvalidChannel, match=r"names 1,001 channels, at most 1,000"):
        sse.publish("x", channel=[f"user.{number}" for number in range(1001)])


def test_publish_sends_retry(app, client, sse):
    """retry= reaches the client as its new reconnection time."""
    with open_stream(client, "/events") as stream:
        sse.publish("x", retry=60_000)
        stream.read(1)
        assert stream._decoder.retry == 60_000


def test_ready_helper_is_the_ready_blueprints():
    """The exported publish belongs to the exported blueprint."""
    assert flask_sse_push.publish == flask_sse_push.sse.publish


def test_ready_blueprint_serves_an_app():
    """The fifteen-line application works with what the package exports ready-made."""
    app = make_app(blueprint=flask_sse_push.sse)
    with app.app_context(), open_stream(app.test_client(), "/events") as stream:
        flask_sse_push.publish({"id": 7}, type="created")
        assert stream.read(1)[0].json == {"id": 7}


@pytest.mark.parametrize(
    ("error", "bases"),
    [
        (InvalidEvent, (SSEPushError, ValueError)),
        (InvalidChannel, (SSEPushError, ValueError)),
        (ConfigurationError, (SSEPushError, RuntimeError)),
        (NotRegistered, (ConfigurationError,)),
        (BusUnavailable, (SSEPushError, RuntimeError)),
    ],
)
def test_errors_are_named_for_who_can_mend_them(error, bases):
    """
    Callers' errors are ValueErrors, the developer's and the world's RuntimeErrors, and all have one base.
    """
    assert all(issubclass(error, base) for base in bases)
