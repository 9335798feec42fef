"""What a server, a middleware and an after_request function may do with the response."""

import gc
import io
import itertools
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import pytest
from werkzeug.test import run_wsgi_app

from flask_sse_push import SSEPush
from flask_sse_push.testing import open_stream

from .helpers import first_bytes, make_app

THERE = "https://app.example.com"


@pytest.fixture
def sse():
    return SSEPush()


@pytest.fixture
def app(sse):
    app = make_app(blueprint=sse, cors_origins=[THERE])
    app.add_url_rule(
        "/answer", endpoint="answer", methods=["GET", "POST"], view_func=lambda: sse.response(["a", {"b": 1}])
    )
    app.add_url_rule("/mine", endpoint="mine", view_func=lambda: sse.stream("mine"))
    return app


def environ(method="GET", path="/events", **more):
    path, _, query = path.partition("?")
    values = {
        "REQUEST_METHOD": method,
        "SCRIPT_NAME": "",
        "PATH_INFO": path,
        "QUERY_STRING": query,
        "wsgi.input": io.BytesIO(),
        "wsgi.errors": io.StringIO(),
    }
    setup_testing_defaults(values)
    return {**values, **more}


def call(app, **request):
    """Call the app as a strict server would, and return status, headers and iterable."""
    started = []

    def start_response(status, headers, exc_info=None):
        started.append((status, headers))
        return lambda data: None

    body = validator(app.wsgi_app)(environ(**request), start_response)
    return started, body


@pytest.mark.parametrize(
    ("request_", "status", "chunks"),
    [
        ({}, "200", 1),
        ({"path": "/mine"}, "200", 1),
        ({"path": "/answer"}, "200", 99),
        ({"path": "/answer", "method": "POST", "CONTENT_LENGTH": "0"}, "200", 99),
        ({"method": "HEAD"}, "200", 1),
        ({"method": "HEAD", "path": "/answer"}, "200", 1),
        ({"path": "/events?channel=closed"}, "403", 99),
        ({"path": "/events?channel=closed", "method": "HEAD"}, "403", 99),
        ({"path": "/events?channel="}, "400", 99),
        (
            {"method": "OPTIONS", "HTTP_ORIGIN": THERE, "HTTP_ACCESS_CONTROL_REQUEST_METHOD": "GET"},
            "204",
            99,
        ),
        ({"path": "/answer", "HTTP_LAST_EVENT_ID": "end"}, "204", 99),
    ],
    ids=lambda value: " ".join(map(str, value.values())) if isinstance(value, dict) else "",
)
def test_answers_obey_wsgi(app, sse, request_, status, chunks):
    """
    Every kind of answer passes the validator of the standard library: types, headers, order of calls and
    close().
    """
    started, body = call(app, **request_)
    sent = list(itertools.islice(body, chunks))
    assert bool(sent) == (request_.get("method") != "HEAD" and status != "204")
    assert started[0][0].startswith(status)
    body.close()
    gc.collect()
    assert sse.stats()["streams"] == 0


def test_soft_refusal_obeys_wsgi():
    """A full server's answer is proper too."""
    sse = SSEPush()
    app = make_app(blueprint=sse, max_streams=1)
    with open_stream(app.test_client(), "/events"):
        started, body = call(app)
        assert b"retry: " in b"".join(body)
        body.close()
        assert started[0][0] == "200 OK"


@pytest.mark.parametrize("path", ["/events", "/mine", "/answer"])
def test_head_holds_nothing(app, sse, path):
    """HEAD gets the headers of the stream and no byte, and opens nothing."""
    with app.test_client().head(path) as response:
        assert response.mimetype == "text/event-stream"
        assert next(iter(response.response), None) is None
    assert sse.stats()["streams"] == sse.stats()["opened"] == 0


@pytest.mark.parametrize("path", ["/events", "/mine", "/answer"])
@pytest.mark.parametrize("closes", [True, False], ids=["closed", "dropped"])
def test_stream_that_is_never_iterated_holds_nothing(app, sse, path, closes):
    """
    A server that never asks for the first chunk leaves no stream, no listener and no thread behind, even if
    it forgets to close.
    """
    body = app.wsgi_app(environ(path=path), lambda *_: None)
    assert sse.stats()["streams"] == 0
    assert sse.stats()["channels"] == {}
    if closes:
        body.close()
        body.close()
    del body
    gc.collect()
    assert sse.stats()["streams"] == sse.stats()["opened"] == 0
    assert sse.stats()["channels"] == {}


def test_stream_may_be_closed_many_times(app, sse):
    """close() is idempotent, and behind it there are no more chunks."""
    body = app.wsgi_app(environ(), lambda *_: None)
    iterator = iter(body)
    next(iterator)
    assert sse.stats()["streams"] == 1
    for _ in range(3):
        body.close()
        assert sse.stats()["streams"] == 0
    assert list(iterator) == []


@pytest.mark.parametrize(
    "use",
    [
        lambda response: response.get_data(),
        lambda response: response.get_data(as_text=True),
        lambda response: response.data,
        lambda response: response.json,
        lambda response: response.get_json(),
        lambda response: response.freeze(),
        lambda response: response.make_sequence(),
        lambda response: response.add_etag(),
        lambda response: response.calculate_content_length() or response.get_data(),
    ],
    ids=["get_data", "text", "data", "json", "get_json", "freeze", "make_sequence", "add_etag", "length"],
)
def test_body_cannot_be_read_as_a_whole(app, sse, use):
    """What would wait for ever raises at once, with the reason."""
    with app.test_request_context("/events"):
        response = app.full_dispatch_request()
    response.mimetype = "application/json"  # so that json looks at the body at all
    with pytest.raises(
        RuntimeError,
        match=r"^An event stream has no end, so its body cannot be .* Leave responses with is_streamed alone",
    ):
        use(response)
    assert response.is_streamed
    response.close()


def test_after_request_that_respects_is_streamed_may_look(app, client):
    """Functions that look at headers, and at bodies only where they have an end, go on working."""

    @app.after_request
    def add(response):
        response.headers["X-Seen"] = "1"
        if not response.is_streamed:
            response.add_etag()
        return response

    with client.get("/events") as response:
        assert response.headers["X-Seen"] == "1"
        assert "ETag" not in response.headers


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("iterated", [True, False])
def test_call_on_close_runs(app, sse, method, iterated):
    """What is registered with call_on_close runs when the server closes the stream, once, begun or not."""
    called = []
    app.after_request(
        lambda response: (response.call_on_close(lambda: called.append(sse.stats()["streams"])), response)[1]
    )
    body = app.wsgi_app(environ(method=method), lambda *_: None)
    if iterated:
        next(iter(body), None)
    assert called == []
    body.close()
    assert called == [0]


def test_stream_is_what_the_server_iterates(app):
    """Nothing is wrapped around the stream where nothing wants to know of its end."""
    from flask_sse_push.streams.stream import Stream

    body = app.wsgi_app(environ(), lambda *_: None)
    assert type(body) is Stream
    body.close()


def test_middleware_that_wraps_the_body_is_fine(app, sse):
    """A middleware that puts an iterator of its own around the stream, and closes it, changes nothing."""

    class Wrapped:
        def __init__(self, body):
            self.body, self.iterator = body, iter(body)

        def __iter__(self):
            return self

        def __next__(self):
            return next(self.iterator)

        def close(self):
            self.body.close()

    inner = app.wsgi_app
    app.wsgi_app = lambda environ, start_response: Wrapped(inner(environ, start_response))
    with open_stream(app.test_client(), "/events") as stream:
        sse.publish("x")
        assert stream.read(1)[0].data == "x"
    assert sse.stats()["streams"] == 0


def test_stream_runs_under_an_unknown_server(app, sse):
    """Without a socket in the environ and without server's keys, streams work."""
    bare = {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": "/events",
        "SERVER_NAME": "x",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.0",
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(),
        "wsgi.errors": io.StringIO(),
    }
    body, status, headers = run_wsgi_app(app.wsgi_app, bare)
    assert status == "200 OK"
    assert next(iter(body)).startswith(b"retry: ")
    body.close()
    assert sse.stats()["streams"] == 0


def test_stream_yields_no_empty_chunk(app, client, sse):
    """Servers skip empty chunks, and a client's end would not be noticed by them."""
    with client.get("/events") as response:
        chunks = [first_bytes(response)]
        for _ in range(3):
            sse.publish("x", channel="sse")
            chunks.append(first_bytes(response))
    assert all(chunks)
    assert all(isinstance(chunk, bytes) for chunk in chunks)
