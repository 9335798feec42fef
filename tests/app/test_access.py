"""Closed by default: who may read what."""

import pytest
from flask import abort, redirect, request, session

from flask_sse_push import InvalidChannel, SSEPush
from flask_sse_push.testing import open_stream

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
    """Without a grant the default channel and the configured ones are readable, everything else is refused for good; HEAD is told the same."""
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
    """The answer about a forbidden channel with events and rules, and about one that never was, is the same."""
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


def test_rule_is_not_asked_about_public_channels(client, sse):
    """A public channel stays public, whatever a rule would say."""
    asked = []
    sse.authorize("*")(asked.append)
    for channel in ("news", "sse"):
        with client.get(f"/events?channel={channel}") as response:
            assert response.status_code == 200
    assert asked == []


def _abort(code):
    return lambda channel: abort(code)


def _redirect(channel):
    abort(redirect("/login"))


@pytest.mark.parametrize(
    ("rule", "status"),
    [
        (lambda channel: True, 200),
        (lambda channel: "yes", 200),
        (lambda channel: False, 403),
        (lambda channel: None, 403),
        (lambda channel: 0, 403),
        (_abort(401), 401),
        (_abort(403), 403),
        (_abort(404), 403),
        (_abort(418), 403),
        (_abort(500), 403),
        (_redirect, 403),
    ],
    ids=["True", "truthy", "False", "None", "0", "401", "403", "404", "418", "500", "redirect"],
)
def test_rule_answers_with_yes_no_or_log_in(client, sse, rule, status):
    """True grants and anything false refuses; abort(401) asks to log in, and any other error, a redirect too, is a 403."""
    sse.authorize("orders")(rule)
    with client.get("/events?channel=orders") as response:
        assert response.status_code == status
        assert "Location" not in response.headers
        if status != 200:
            assert response.json["error"] == {401: "unauthorized", 403: "forbidden"}[status]


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


def test_rule_that_breaks_refuses(app, client, sse):
    """An exception in a rule is the app's own error: no stream is opened."""

    @sse.authorize("orders")
    def broken(channel):
        raise ZeroDivisionError

    app.config["PROPAGATE_EXCEPTIONS"] = False
    assert client.get("/events?channel=orders").status_code == 500
    assert sse.stats()["opened"] == 0


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
