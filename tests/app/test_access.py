"""Closed by default: who may read what."""

import contextlib
import functools
import gc
import traceback
import unittest.mock
import warnings

import pytest
from flask import Response, abort, jsonify, redirect, request, session
from werkzeug.datastructures import WWWAuthenticate
from werkzeug.exceptions import HTTPException, Unauthorized
from werkzeug.routing import RequestRedirect

from flask_sse_push import ConfigurationError, InvalidChannel, SSEPush
from flask_sse_push.testing import open_stream
from tests.needs import needs

from .helpers import make_app


@pytest.fixture
def sse():
    return SSEPush()


@pytest.fixture
def app(sse):
    return make_app(blueprint=sse, public_channels=["news", "room.*"])


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("", 200),
        ("?channel=sse", 200),
        ("?channel=news", 200),
        ("?channel=room.7", 200),
        ("?channel=news&channel=room.7&channel=sse", 200),
        ("?other=1", 200),
        ("?channel=orders", 403),
        ("?channel=newsx", 403),
        ("?channel=room", 403),
        ("?channel=SSE", 403),
        ("?channel=sse.x", 403),
        ("?channel=news&channel=orders", 403),
        ("?channel=orders&channel=news", 403),
        ("?channel=", 400),
        ("?channel=news&channel=", 400),
        ("?channel=*", 400),
        ("?channel=room.*", 400),
        ("?channel=news,orders", 400),
        ("?channel=a%20b", 400),
        ("?channel=a%0ab", 400),
        ("?channel=%ff", 400),
        ("?channel=%00", 400),
        ("?channel=" + "x" * 129, 400),
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_route_serves_what_is_public(client, query, status, method):
    """
    Without a grant the default channel and the configured ones are readable, everything else is refused for
    good; HEAD is told the same.
    """
    with client.open("/events" + query, method=method) as response:
        assert response.status_code == status
        assert (response.mimetype == "text/event-stream") == (status == 200)


def test_nothing_is_public_by_default():
    """An app that configures nothing serves the default channel alone."""
    client = make_app().test_client()
    assert client.get("/events?channel=news").status_code == 403
    with client.get("/events") as response:
        assert response.status_code == 200


def test_route_limits_the_channels_of_a_stream():
    """More channels than allowed are a bad request."""
    client = make_app(public_channels=["*"], max_channels=2).test_client()
    with client.get("/events?channel=a&channel=b&channel=a") as response:
        assert response.status_code == 200
    assert client.get("/events?channel=a&channel=b&channel=c").status_code == 400


def test_refusal_is_json_and_is_not_cached(client):
    """A refusal says in JSON what and why, and no cache keeps it."""
    response = client.get("/events?channel=orders")
    assert response.json == {"error": "forbidden", "message": "You may not read this channel."}
    assert response.headers["Cache-Control"] == "no-store"
    response = client.get("/events?channel=a%20b")
    assert response.json["error"] == "bad request"
    assert "'a b'" in response.json["message"]


def test_refusal_does_not_tell_whether_a_channel_exists(client, sse):
    """
    The answer about a forbidden channel with events and rules, and about one that never was, is the same.
    """
    sse.authorize("secret")(lambda channel: False)
    sse.publish("x", channel="secret")
    existing, made_up = client.get("/events?channel=secret"), client.get("/events?channel=made-up")
    assert existing.status_code == made_up.status_code == 403
    assert existing.data == made_up.data
    assert sorted(existing.headers) == sorted(made_up.headers)


def test_rule_grants_with_the_session(app, client, sse):
    """A rule is asked inside the request: session and request are there, and it gets the channel's name."""
    asked = []

    @sse.authorize("user.*")
    def own_channel_only(channel):
        asked.append((channel, request.headers.get("X-Test"), session.get("user")))
        return channel == f"user.{session.get('user')}"

    assert own_channel_only.__name__ == "own_channel_only"
    assert client.get("/events?channel=user.ann", headers={"X-Test": "1"}).status_code == 403
    with client.session_transaction() as values:
        values["user"] = "ann"
    assert client.get("/events?channel=user.bob").status_code == 403
    assert client.get("/events?channel=user.ann&channel=user.bob").status_code == 403
    with open_stream(client, "/events?channel=user.ann") as stream:
        sse.publish("yours", channel="user.ann")
        assert stream.read(1)[0].data == "yours"
    assert asked[0] == ("user.ann", "1", None)
    assert asked[-1][2] == "ann"


def test_rule_goes_before_public_channels(client, sse):
    """
    Where a rule is about a channel, it decides, also about the default channel and one that the settings make
    public.
    """
    sse.authorize("news")(lambda channel: request.args.get("key") == "right")
    sse.authorize("sse")(lambda channel: request.args.get("key") == "right")
    for query in ("?channel=news", "", "?channel=sse"):
        assert client.get(f"/events{query}").status_code == 403
        with client.get(f"/events{query}{'&' if query else '?'}key=right") as response:
            assert response.status_code == 200
    with client.get("/events?channel=room.7") as response:
        assert response.status_code == 200


def _abort(code):
    return lambda channel: abort(code)


def _raise(error):
    def rule(channel):
        raise error

    return rule


class Found(HTTPException):
    code = 302


class Awaitable:
    def __await__(self):
        yield


async def _later(channel):
    return False


def _items(channel):
    yield True


async def _later_items(channel):
    yield True


@pytest.mark.parametrize(
    ("rule", "status"),
    [
        (lambda channel: True, 200),
        (lambda channel: False, 403),
        (lambda channel: None, 403),
        (lambda channel: 0, 403),
        (lambda channel: 1, 403),
        (lambda channel: "yes", 403),
        (lambda channel: [True], 403),
        (lambda channel: object(), 403),
        (lambda channel: _later(channel), 403),
        (lambda channel: _items(channel), 403),
        (lambda channel: _later_items(channel), 403),
        (lambda channel: Awaitable(), 403),
        (lambda channel: redirect("/login"), 401),
        (lambda channel: ("no", 403), 403),
        (lambda channel: ("no", 401), 401),
        (lambda channel: ("no", "401 Unauthorized", {"X": "1"}), 401),
        (lambda channel: (redirect("/login"), {"X": "1"}), 401),
        (lambda channel: ("yes", 200), 403),
        (lambda channel: ("yes", {"X": "1"}), 403),
        (lambda channel: (True, 200), 403),
        (lambda channel: (True, True, True, True), 403),
        (lambda channel: (None, "nonsense"), 403),
        (lambda channel: jsonify(granted=True), 403),
        (lambda channel: Response(status=204), 403),
        (lambda channel: Response(status=401), 401),
        (lambda channel: Response(status=404), 403),
        (lambda channel: Unauthorized(), 401),
        (_abort(400), 403),
        (_abort(401), 401),
        (_abort(403), 403),
        (_abort(404), 403),
        (_abort(418), 403),
        (_raise(RequestRedirect("/login")), 401),
        (_raise(Found()), 401),
        (lambda channel: abort(redirect("/login")), 401),
        (lambda channel: abort(jsonify(granted=True)), 403),
        (lambda channel: request.form["missing"], 403),
        (_raise(HTTPException()), 403),
    ],
)
def test_rule_grants_with_true_alone(client, sse, caplog, rule, status):
    """
    True grants. Anything else refuses, however true it is: what asks to log in with 401, all the rest with
    403.
    """
    sse.authorize("orders")(rule)
    with client.get("/events?channel=orders") as response:
        assert response.status_code == status
        assert "Location" not in response.headers
        if status != 200:
            assert response.json["error"] == {401: "unauthorized", 403: "forbidden"}[status]
    gc.collect()  # a coroutine that nobody closed would warn now
    assert len(caplog.records) == (status != 200)


def test_refusal_keeps_how_to_log_in(client, sse):
    """
    The WWW-Authenticate of what a rule returned or raised reaches the client; its cookies and body do not.
    """
    sse.authorize("a")(
        lambda channel: Response("x", 401, {"WWW-Authenticate": 'Basic realm="shop"', "Set-Cookie": "a=b"})
    )
    sse.authorize("b")(_raise(Unauthorized(www_authenticate=WWWAuthenticate("bearer"))))
    response = client.get("/events?channel=a")
    assert response.headers["WWW-Authenticate"] == 'Basic realm="shop"'
    assert "Set-Cookie" not in response.headers
    assert client.get("/events?channel=b").headers["WWW-Authenticate"].lower().startswith("bearer")


def test_rule_that_became_asynchronous_is_closed_and_logged(client, sse, caplog):
    """
    A coroutine that a decorator hid is refused, never left to warn that nobody awaited it, and told of by
    name.
    """

    def hides(function):
        return lambda channel: function(channel)

    sse.authorize("orders")(hides(_later))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(3):
            assert client.get("/events?channel=orders").status_code == 403
        gc.collect()
    assert caught == []
    [record] = caplog.records
    assert "<lambda> of 'orders' returned <coroutine object _later" in record.getMessage()


def _wrapped(function):
    @functools.wraps(function)
    def around(channel):
        return function(channel)

    return around


class AsynchronousCall:
    async def __call__(self, channel):
        return True


class AsynchronousMethod:
    async def may_read(self, channel):
        return True


@pytest.mark.parametrize(
    "rule",
    [
        _later,
        _items,
        _later_items,
        _wrapped(_later),
        _wrapped(_wrapped(_items)),
        functools.partial(_later),
        functools.partial(_wrapped(_later_items)),
        _wrapped(functools.partial(_later)),
        AsynchronousCall(),
        functools.partial(AsynchronousCall()),
        AsynchronousMethod().may_read,
        contextlib.contextmanager(_items),
    ],
)
def test_asynchronous_rule_is_refused_when_it_is_decorated(sse, rule):
    """
    A coroutine function or a generator function, also inside of wrappers, cannot be a rule, and the error
    says what to write.
    """
    with pytest.raises(
        ConfigurationError,
        match=r"of 'orders' must be an ordinary function, got .*Write it with def and return",
    ):
        sse.authorize("orders")(rule)


@pytest.mark.parametrize(
    "rule", [None, "may_read", lambda: True, lambda channel, user: True, lambda *, channel: True]
)
def test_rule_takes_the_channel_and_nothing_else(sse, rule):
    """What cannot be called with a channel's name is refused when it is decorated."""
    with pytest.raises(ConfigurationError, match=r"Write: def may_read\(channel\)"):
        sse.authorize("orders")(rule)


@pytest.mark.parametrize(
    "rule",
    [
        lambda *names: True,
        lambda channel, key=None: True,
        functools.partial(lambda key, channel: True, 1),
        {"orders": True}.get,
    ],
)
def test_rule_may_be_any_callable_of_one_argument(client, sse, rule):
    """Defaults, variable arguments, partials and methods of built-in types are fine."""
    sse.authorize("orders")(rule)
    with client.get("/events?channel=orders") as response:
        assert response.status_code == 200


@pytest.mark.parametrize(
    "below",
    [
        lambda rule: rule,
        functools.cache,
        functools.lru_cache(3),
        functools.singledispatch,
        functools.partial,
        _wrapped,
    ],
)
def test_decorator_above_authorize_is_refused(sse, below):
    """
    A decorator above would wrap a rule that was taken already, and never be asked: the error names the rule
    and the order, whatever stands below.
    """
    with pytest.raises(
        ConfigurationError,
        match=r"above the @sse\.authorize of the rule .*may_read, .*Put @sse\.authorize on top",
    ):

        @_wrapped
        @sse.authorize("orders")
        @below
        def may_read(channel):
            return True


class Anything:
    """An attribute of every name, as xmlrpc.client's proxies and unittest.mock.call have it."""

    def __getattr__(self, name):
        return Anything()

    def __call__(self, channel):
        return Anything()


def test_rule_that_has_every_attribute_does_not_hold_up_the_start(client, sse):
    """What is looked for inside of a rule ends, and what such a rule returns is not True."""
    for rule in (Anything(), unittest.mock.call, unittest.mock.Mock()):
        sse.authorize("orders")(rule)
    assert client.get("/events?channel=orders").status_code == 403


def test_rule_may_be_for_several_patterns(client, sse):
    """
    @sse.authorize stands above itself, the rule stays the function that it was, and looking at it is no
    error.
    """

    @sse.authorize("orders")
    @sse.authorize("invoices")
    def may_read(channel):
        return True

    may_read.note = 1
    assert may_read("x") is True
    assert {"__call__", "note"} <= set(dir(may_read))
    assert list(may_read.__dict__.keys()) == list(may_read.__dict__) == ["note"]
    for channel in ("orders", "invoices"):
        with client.get(f"/events?channel={channel}") as response:
            assert response.status_code == 200


@pytest.mark.parametrize(
    ("rules", "status"),
    [
        ([lambda c: False, lambda c: True], 200),
        ([lambda c: True, lambda c: False], 200),
        ([_abort(401), lambda c: True], 200),
        ([lambda c: False, _abort(401)], 401),
        ([_abort(401), lambda c: False], 401),
        ([_abort(403), _abort(401)], 401),
    ],
)
def test_one_rule_that_grants_is_enough(client, sse, rules, status):
    """Where several rules fit, one grant is enough; without any, a 401 goes before a 403."""
    for rule in rules:
        sse.authorize("orders")(rule)
    with client.get("/events?channel=orders") as response:
        assert response.status_code == status


def test_rules_fit_by_pattern(client, sse):
    """A rule is asked about the channels that fit its pattern and about no other."""
    sse.authorize("orders.*")(lambda channel: True)
    with client.get("/events?channel=orders.7") as response:
        assert response.status_code == 200
    assert client.get("/events?channel=orders").status_code == 403


@pytest.mark.parametrize(
    "rule",
    [_raise(ZeroDivisionError("away")), _abort(503), _abort(500), _abort(429), lambda channel: ("away", 503)],
)
def test_rule_that_cannot_answer_asks_to_come_back(client, sse, rule):
    """
    An error in a rule, or a 5xx or 429, is no answer for ever: an EventSource gets 200 and a time, others the
    status.
    """
    sse.authorize("orders")(rule)
    for accept in (None, "text/event-stream", "*/*", "text/html, text/event-stream"):
        response = client.get("/events?channel=orders", headers={"Accept": accept} if accept else {})
        assert response.status_code == 200
        assert response.content_type == "text/event-stream; charset=utf-8"
        assert response.headers["Cache-Control"] == "no-store"
        comment, retry = response.get_data(as_text=True).splitlines()
        assert comment == ": Whether you may read this channel cannot be told now. Come back later."
        assert 5_000 <= int(retry.removeprefix("retry: ")) <= 30_000
        assert response.data.endswith(b"\n")
        assert not response.data.endswith(b"\n\n")
    for options in ({"method": "HEAD"}, {"headers": {"Accept": "application/json"}}):
        response = client.open("/events?channel=orders", **options)
        assert (response.status_code, response.headers["Retry-After"]) == (503, "15")
    assert (
        client.get("/events?channel=orders", headers={"Accept": "text/html"}).json["error"] == "unavailable"
    )
    assert sse.stats()["opened"] == 0


def test_timeout_of_gevent_in_a_rule_asks_to_come_back(client, sse):
    """
    gevent.Timeout is no Exception, and still no reason to stop a browser for ever; what ends the process is
    not caught.
    """
    needs(modules=["gevent"])
    import gevent

    sse.authorize("orders")(_raise(gevent.Timeout(1)))
    assert client.get("/events?channel=orders", headers={"Accept": "application/json"}).status_code == 503
    for error in (KeyboardInterrupt, SystemExit, gevent.GreenletExit):
        sse.authorize(error.__name__)(_raise(error()))
        with pytest.raises(error):
            client.get(f"/events?channel={error.__name__}")


def test_clients_of_a_rule_that_breaks_come_back_apart(client, sse):
    """The time is another one for each."""
    sse.authorize("orders")(_abort(503))
    assert len({client.get("/events?channel=orders").data for _ in range(8)}) > 4


def test_rule_that_breaks_is_logged_once_with_its_traceback(client, sse, caplog):
    """The log has the rule's name and the way to the error, and then counts."""

    @sse.authorize("orders")
    def broken(channel):
        raise ZeroDivisionError

    for _ in range(9):
        assert client.get("/events?channel=orders").status_code == 200
    [first] = caplog.records
    for _ in range(5):
        assert client.get("/events?channel=orders").status_code == 200
    first, tenth = caplog.records
    assert "broken of 'orders' raised ZeroDivisionError" in first.getMessage()
    assert first.exc_info[0] is ZeroDivisionError
    assert [frame.name for frame in traceback.extract_tb(first.exc_info[2])] == ["ask", "broken"]
    assert "Streams were refused (503) 10 times" in tenth.getMessage()


@pytest.mark.parametrize(
    ("rules", "status"),
    [
        ([_abort(503), lambda c: True], 200),
        ([_raise(OSError()), lambda c: True], 200),
        ([lambda c: redirect("/"), lambda c: True], 200),
        ([_raise(OSError()), _abort(401), lambda c: False], 503),
        ([lambda c: False, _abort(503)], 503),
    ],
)
def test_rule_that_breaks_goes_before_refusals_and_behind_grants(client, sse, caplog, rules, status):
    """
    One grant is enough, even beside a rule that broke; without one, who might have granted is asked again
    later. What broke is logged.
    """
    for rule in rules:
        sse.authorize("orders")(rule)
    with client.get(
        "/events?channel=orders", headers={"Accept": "text/event-stream" if status == 200 else "text/html"}
    ) as response:
        assert response.status_code == status
    if rules[0].__name__ == "rule":
        assert "of 'orders' raised" in caplog.text


def test_channel_that_is_refused_for_good_goes_before_one_that_is_not_known(client, sse):
    """To come back is of no use where another channel of the request stays refused."""
    sse.authorize("orders")(_abort(503))
    assert client.get("/events?channel=orders&channel=made-up").status_code == 403
    assert client.get("/events?channel=made-up&channel=orders").status_code == 403


def test_error_that_the_app_answers_counts_as_its_answer(app, client, sse):
    """
    A login library raises errors of its own, and the app has handlers for them: 401 and 403 of these refuse,
    a page of the app's does not.
    """

    class NotLoggedIn(Exception):
        pass

    class Away(Exception):
        pass

    app.register_error_handler(
        NotLoggedIn, lambda error: (jsonify(msg="no token"), 401, {"WWW-Authenticate": "Bearer"})
    )
    app.register_error_handler(Away, lambda error: "We are sorry.")
    sse.authorize("orders")(_raise(NotLoggedIn()))
    sse.authorize("invoices")(_raise(Away()))
    response = client.get("/events?channel=orders")
    assert (response.status_code, response.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert client.get("/events?channel=invoices", headers={"Accept": "text/html"}).status_code == 503


@pytest.mark.parametrize("pattern", ["", "a b", None, "é*"])
def test_rule_for_what_is_no_pattern_is_refused(sse, pattern):
    """A pattern is checked when the rule is written."""
    with pytest.raises(InvalidChannel):
        sse.authorize(pattern)


def test_own_view_is_the_access_control(app, client, sse):
    """sse.stream in a view grants what the view lets through, closed channels too."""

    @app.get("/mine/<user>")
    def mine(user):
        if user != "ann":
            abort(404)
        return sse.stream(f"user.{user}", "orders")

    assert client.get("/mine/bob").status_code == 404
    with open_stream(client, "/mine/ann") as stream:
        sse.publish("a", channel="user.ann")
        sse.publish("b", channel="orders")
        assert [event.data for event in stream.read(2)] == ["a", "b"]


def test_own_view_without_channels_streams_the_default(app, client, sse):
    """sse.stream() reads the default channel."""
    app.add_url_rule("/all", view_func=lambda: sse.stream(), endpoint="all")
    with open_stream(client, "/all") as stream:
        sse.publish("x")
        assert stream.read(1)[0].data == "x"


def test_own_view_with_a_wrong_name_answers_400(app, client, sse):
    """A name from outside that cannot be a channel's is a bad request, not an error of the server."""
    app.add_url_rule("/room/<path:room>", view_func=lambda room: sse.stream(f"room.{room}"), endpoint="room")
    assert client.get("/room/a b").status_code == 400
    assert client.get("/room/" + "x" * 200).json["error"] == "bad request"


def _answering(sse, how):
    closed = []
    answer = Response("no", 500 if how == "handled as a fault" else 403)
    answer.call_on_close(lambda: closed.append(how))

    def may_read(channel):
        if how.startswith("handled"):
            raise KeyError(channel)
        if how == "aborted":
            abort(answer)
        return answer if how == "returned" else (answer, 403)

    app = make_app(blueprint=sse)
    app.register_error_handler(KeyError, lambda error: answer)
    sse.authorize("orders")(may_read)
    return app.test_client(), closed


@pytest.mark.parametrize(
    "how", ["returned", "returned in a tuple", "aborted", "handled", "handled as a fault"]
)
def test_answer_of_a_rule_is_closed(sse, how):
    """
    An answer that is read and not sent may hold a file: it is given back, wherever the answer came from.
    """
    client, closed = _answering(sse, how)
    assert client.get("/events?channel=orders").status_code == (200 if how == "handled as a fault" else 403)
    assert closed == [how]
