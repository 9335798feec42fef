"""sse.response: one request, one stream."""

import logging
import threading

import pytest
from flask import Flask, request

from flask_sse_push import Event, NotRegistered, SSEPush, UnsupportedServer
from flask_sse_push.core.decoder import Decoder
from flask_sse_push.testing import open_stream
from tests.support import MS, eventually

from .helpers import first_bytes, make_app, read_whole


@pytest.fixture
def sse():
    return SSEPush()


@pytest.fixture
def app(sse):
    return make_app(blueprint=sse)


class Items:
    """An iterable that remembers how it was treated."""

    def __init__(self, *items):
        self.items = iter(items)
        self.begun = False
        self.closed = 0

    def __iter__(self):
        return self

    def __next__(self):
        self.begun = True
        return next(self.items)

    def close(self):
        self.closed += 1


def serve(app, sse, make, methods=("GET", "POST"), path="/answer"):
    app.add_url_rule(path, endpoint=path, view_func=lambda: sse.response(make()), methods=methods)
    return app.test_client()


def whole(app, sse, make, **options):
    with serve(app, sse, make).open("/answer", **options) as response:
        assert response.status_code == 200
        assert response.mimetype == "text/event-stream"
        return read_whole(response)


def test_response_sends_each_kind_of_item(app, sse):
    """A str goes out as it is, an Event with its fields, anything else as JSON; then done."""

    def items():
        yield "plain"
        yield Event("with fields", type="token", id="t-1", retry=700)
        yield {"a": [1, None]}
        yield None
        yield 7

    events, decoder = whole(app, sse, items)
    assert [(event.type, event.data, event.last_event_id) for event in events] == [
        ("message", "plain", ""),
        ("token", "with fields", "t-1"),
        ("message", '{"a": [1, null]}', "t-1"),
        ("message", "null", "t-1"),
        ("message", "7", "t-1"),
        ("done", "null", "end"),
    ]
    assert decoder.retry == 700


@pytest.mark.parametrize(
    ("value", "data"),
    [(None, "null"), ("text", '"text"'), ({"total": 3}, '{"total": 3}'), (0, "0"), ([], "[]")],
)
def test_response_done_carries_the_return_value(app, sse, value, data):
    """The last event is done, and its data is what the generator returned, as JSON."""

    def items():
        yield "x"
        return value

    events, _ = whole(app, sse, items)
    assert [(event.type, event.data) for event in events] == [("message", "x"), ("done", data)]


@pytest.mark.parametrize("make", [list, tuple, lambda: iter(()), dict, lambda: (item for item in ())])
def test_response_of_nothing_is_done(app, sse, make):
    """An empty iterable of any kind is done at once."""
    events, _ = whole(app, sse, make)
    assert [(event.type, event.data) for event in events] == [("done", "null")]


def test_response_takes_any_iterable(app, sse):
    """Lists and iterators serve as generators do."""
    events, _ = whole(app, sse, lambda: ["a", "b"])
    assert [event.data for event in events] == ["a", "b", "null"]


def test_response_of_many_items_is_complete_and_in_order(app, sse):
    """More than one batch arrives whole."""
    events, _ = whole(app, sse, lambda: (f"{number:05} " + "x" * 500 for number in range(1000)))
    assert [int(event.data[:5]) for event in events[:-1]] == list(range(1000))


def fails_at_once():
    raise LookupError("the secret of the database")
    yield


def fails_later():
    yield "a"
    raise LookupError("the secret of the database")


def returns_no_json():
    yield "a"
    return object()


@pytest.mark.parametrize(
    ("make", "before"),
    [
        (fails_at_once, []),
        (fails_later, ["a"]),
        (returns_no_json, ["a"]),
        (lambda: iter(["a", b"bytes"]), ["a"]),
        (lambda: iter(["a", float("nan")]), ["a"]),
        (lambda: iter(["a", "\ud800"]), ["a"]),
        (lambda: iter(["a", "x" * 100_000]), ["a"]),
        (lambda: iter(["a", Event("x", type="done")]), ["a"]),
        (lambda: iter(["a", Event("x", type="failed")]), ["a"]),
        (lambda: iter(["a", Event("x", id="end")]), ["a"]),
        (lambda: (Event("x", type=type) for type in ["ok", "sse.reset"]), ["x"]),
        (lambda: (Event("x", type=type) for type in ["ok", "error"]), ["x"]),
    ],
    ids=[
        "at once",
        "later",
        "return",
        "bytes",
        "nan",
        "surrogate",
        "large",
        "done",
        "failed",
        "end",
        "reserved prefix",
        "reserved",
    ],
)
def test_response_failed_is_told_and_logged(app, sse, caplog, make, before):
    """
    When the iterable raises, or gives what cannot be sent, failed follows what came before; the log has the
    error and the client has not.
    """
    with caplog.at_level(logging.ERROR, "flask_sse_push"):
        events, _ = whole(app, sse, make)
    assert [event.data for event in events[:-1]] == before
    last = events[-1]
    assert (last.type, last.data, last.last_event_id) == ("failed", '{"reason": "error"}', "end")
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert caplog.records[0].exc_info is not None
    assert not any("secret" in event.data for event in events)


class OutOfTime(BaseException):
    """Like gevent.Timeout: no Exception, so that no except clause takes it by accident."""


@pytest.mark.parametrize("error", [OutOfTime, SystemExit])
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_response_failed_is_told_for_any_error(app, sse, error):
    """
    An error that is no Exception ends the stream with failed too: a client must not wait for ever behind
    heartbeats.
    """

    def items():
        yield "a"
        raise error

    with open_stream(serve(app, sse, items), "/answer") as stream:
        assert [event.data for event in stream.read(2, timeout=1000 * MS)] == ["a", '{"reason": "error"}']


def test_response_runs_without_a_context(app, sse):
    """While the iterable runs there is no request; what was taken from it before is there."""
    seen = []

    def items(name):
        from flask import has_app_context, has_request_context

        seen.append((has_app_context(), has_request_context()))
        yield name

    app.add_url_rule("/name", endpoint="name", view_func=lambda: sse.response(items(request.args["name"])))
    with app.test_client().get("/name?name=ann") as response:
        events, _ = read_whole(response)
    assert events[0].data == "ann"
    assert seen == [(False, False)]


def test_response_last_event_id_end_is_told_not_to_come_back(app, sse):
    """
    An EventSource that comes back after the last event gets 204, and the iterable is closed without being
    asked for anything.
    """
    items = Items("a")
    response = serve(app, sse, lambda: items).get("/answer", headers={"Last-Event-ID": "end"})
    assert (response.status_code, response.data) == (204, b"")
    assert (items.begun, items.closed) == (False, 1)
    assert sse.stats()["opened"] == 0


def test_response_to_post_begins_anew_whatever_the_id(app, sse):
    """Only EventSource, which always uses GET, is told not to come back."""
    events, _ = whole(app, sse, lambda: ["a"], method="POST", headers={"Last-Event-ID": "end"})
    assert [event.type for event in events] == ["message", "done"]


def test_response_to_get_with_another_id_begins(app, sse):
    """An id of the view's own is the view's to read."""
    events, _ = whole(app, sse, lambda: ["a"], headers={"Last-Event-ID": "t-1"})
    assert [event.type for event in events] == ["message", "done"]


def test_response_204_can_be_read_by_a_configured_origin():
    """
    The answer "do not come back" carries the permission: without, a page of another origin would see a
    network error and try for ever.
    """
    sse = SSEPush()
    app = make_app(blueprint=sse, cors_origins=["https://app.example.com"])
    response = serve(app, sse, list).get(
        "/answer", headers={"Last-Event-ID": "end", "Origin": "https://app.example.com"}
    )
    assert response.headers["Access-Control-Allow-Origin"] == "https://app.example.com"


def test_response_that_is_finished_closes_its_iterable(app, sse):
    """Behind the last item the iterable is closed, once."""
    items = Items("a", "b")
    whole(app, sse, lambda: items)
    assert items.closed == 1
    assert sse.stats()["streams"] == 0


def test_response_that_is_left_closes_its_iterable(app, sse):
    """When the client leaves, a generator that waits for room runs its finally."""
    ended = threading.Event()

    def items():
        try:
            while True:
                yield "x" * 1000
        finally:
            ended.set()

    with serve(app, sse, items).get("/answer") as response:
        first_bytes(response)
        first_bytes(response)
    assert ended.wait(3000 * MS)
    eventually(lambda: sse.stats()["streams"] == 0)


def test_response_runs_no_further_ahead_than_its_reader(app, sse):
    """An endless iterable waits when a batch is ready and nobody reads."""
    given = []

    def items():
        for number in range(1_000_000):
            given.append(number)
            yield "x" * 1000

    with serve(app, sse, items).get("/answer") as response:
        first_bytes(response)
        eventually(lambda: len(given) >= 60)
        threading.Event().wait(50 * MS)
        assert len(given) < 300


def test_response_beats_while_its_iterable_thinks():
    """Heartbeats go out while the iterable has nothing to give."""
    sse = SSEPush()
    app = make_app(blueprint=sse, heartbeat_seconds=0.1)
    thought = threading.Event()

    def items():
        thought.wait(3000 * MS)
        yield "at last"

    with serve(app, sse, items).get("/answer") as response:
        assert first_bytes(response).startswith(b"retry: ")
        assert [first_bytes(response) for _ in range(2)] == [b":\n\n"] * 2
        thought.set()
        rest = b"".join(response.response)
    assert b"data: at last\n\n" in rest
    assert rest.endswith(b"id: end\nevent: done\ndata: null\n\n")


@pytest.mark.parametrize("how", ["HEAD", "never asked", "full"])
def test_response_that_is_never_begun_closes_its_iterable(how):
    """
    HEAD, a client that left before the first byte, and a full server: the iterable is closed and was asked
    for nothing.
    """
    sse = SSEPush()
    app = make_app(blueprint=sse, max_streams=1)
    items = Items("a")
    client = serve(app, sse, lambda: items)
    if how == "HEAD":
        with client.head("/answer") as response:
            assert response.status_code == 200
    elif how == "never asked":
        with app.test_request_context("/answer"):
            response = app.full_dispatch_request()
        response(
            {"REQUEST_METHOD": "GET", "SERVER_NAME": "x", "SERVER_PORT": "80", "wsgi.url_scheme": "http"},
            lambda *_: None,
        ).close()
    else:
        with open_stream(client, "/events"), client.get("/answer") as response:
            b"".join(response.response)
    assert (items.begun, items.closed) == (False, 1)
    assert sse.stats()["streams"] == 0


@pytest.mark.parametrize("how", ["foreign origin", "unsupported server"])
def test_response_that_is_refused_closes_its_iterable(app, sse, how):
    """
    A page of a foreign origin, and a server that cannot stream: the iterable is closed and was asked for
    nothing.
    """
    items = Items("a")
    client = serve(app, sse, lambda: items)
    if how == "foreign origin":
        assert client.get("/answer", headers={"Origin": "https://evil.example"}).status_code == 403
    else:
        with pytest.raises(UnsupportedServer):
            client.get(
                "/answer",
                environ_overrides={
                    "wsgi.multithread": False,
                    "werkzeug.socket": object(),
                    "SERVER_SOFTWARE": "Werkzeug/3",
                },
            )
    assert (items.begun, items.closed) == (False, 1)


def test_response_whose_iterable_breaks_in_close_goes_on(app, sse, caplog):
    """An error in the iterable's close() is logged, and the client has its done."""

    class Breaks(Items):
        def close(self):
            raise RuntimeError("in close")

    with caplog.at_level(logging.ERROR, "flask_sse_push"):
        events, _ = whole(app, sse, lambda: Breaks("a"))
        assert [event.type for event in events] == ["message", "done"]
        eventually(lambda: "in close" in caplog.text)


@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_response_to_fetch_when_full_is_503(method):
    """
    fetch() can read a status: when the server is full, other methods than GET answer 503 with Retry-After,
    and the iterable is closed.
    """
    sse = SSEPush()
    app = make_app(blueprint=sse, max_streams=1)
    items = Items("a")
    client = serve(app, sse, lambda: items, methods=["GET", "POST", "PUT"])
    with open_stream(client, "/events"):
        response = client.open("/answer", method=method)
        assert response.status_code == 503
        assert response.json["error"] == "full"
        assert int(response.headers["Retry-After"]) > 0
        assert (items.begun, items.closed) == (False, 1)
    with client.open("/answer", method=method) as response:
        assert response.status_code == 200


def test_response_to_eventsource_when_full_is_a_soft_refusal():
    """
    Any status but 200 stops an EventSource for ever: when the server is full it gets 200, a long retry: and
    the end, on every route.
    """
    sse = SSEPush()
    app = make_app(blueprint=sse, max_streams=1)
    client = serve(app, sse, lambda: ["a"])
    with open_stream(client, "/events") as open_one:
        for path in ("/answer", "/events"):
            with client.get(path) as response:
                assert response.status_code == 200
                assert response.mimetype == "text/event-stream"
                decoder = Decoder()
                assert [event for chunk in response.response for event in decoder.feed(chunk)] == []
            assert 15_000 <= decoder.retry <= 60_000
            assert decoder.last_event_id == ""
        stats = sse.stats()
        assert (stats["streams"], stats["max_streams"], stats["refused"], stats["opened"]) == (1, 1, 2, 1)
        sse.publish("still here")
        assert open_one.read(1)[0].data == "still here"
    with client.get("/events") as response:
        first_bytes(response)
        assert sse.stats()["opened"] == 2


def test_full_is_logged_once(caplog):
    """The first refusal is a warning with the setting's name; the others are counted."""
    app = make_app(max_streams=1)
    client = app.test_client()
    with caplog.at_level(logging.WARNING, "flask_sse_push"), open_stream(client, "/events"):
        for _ in range(3):
            with client.get("/events") as response:
                assert list(response.response)
    assert [record.getMessage().count("SSE_PUSH_MAX_STREAMS") for record in caplog.records] == [1]


def test_response_needs_a_registered_app():
    """In an app without the blueprint it says what to do."""
    app = Flask("bare")
    with app.test_request_context(), pytest.raises(NotRegistered, match="not registered on app 'bare'"):
        SSEPush().response([])
    with app.test_request_context(), pytest.raises(NotRegistered):
        SSEPush().stream("a")
