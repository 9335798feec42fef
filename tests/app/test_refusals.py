"""What is said of a refusal: to the client the same always, to the log and in debug backend why."""

import logging
import threading

import pytest

from flask_sse_push import SSEPush
from flask_sse_push.core.wire import come_back
from flask_sse_push.extension.refusals import MOST_KEYS

from .helpers import first_bytes, make_app


@pytest.fixture
def sse():
    return SSEPush()


@pytest.fixture
def app(sse):
    return make_app(blueprint=sse, public_channels=["news"])


def refuse_by_rule(sse):
    @sse.authorize("orders.*")
    def may_read(channel):
        return False


REFUSED = [
    (
        "/events?channel=orders.7",
        {},
        403,
        "rule refuse_by_rule.<locals>.may_read of 'orders.*' returned False",
        "This is what a rule does",
    ),
    (
        "/events?channel=made-up",
        {},
        403,
        "no rule covers channel 'made-up', and SSE_PUSH_PUBLIC_CHANNELS does not list it",
        "Add a rule",
    ),
    ("/events?channel=a%20b", {}, 400, "the request asks for the channels ['a b']", "Use 1 to 128 letters"),
    (
        "/events?channel=news",
        {"Origin": "https://evil.example"},
        403,
        "a page of the origin 'https://evil.example' asked the Host 'localhost'",
        "SSE_PUSH_CORS_ORIGINS",
    ),
    ("/own?name=a%20b", {}, 400, "the request asks for the channels ['a b']", "Use 1 to 128 letters"),
    (
        "/own?name=a",
        {"Origin": "https://evil.example"},
        403,
        "a page of the origin 'https://evil.example' asked the Host 'localhost'",
        "SSE_PUSH_CORS_ORIGINS",
    ),
]


@pytest.fixture
def client(app, sse):
    from flask import request

    refuse_by_rule(sse)
    app.add_url_rule("/own", view_func=lambda: sse.stream(request.args["name"]), endpoint="own")
    return app.test_client()


@pytest.mark.parametrize(("url", "headers", "status", "reason", "cure"), REFUSED)
def test_refusal_is_logged_once_with_its_reason(client, caplog, url, headers, status, reason, cure):
    """The log says the status, why, and what to do, the first time."""
    for _ in range(3):
        assert client.get(url, headers=headers).status_code == status
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage().startswith(f"A stream was refused ({status}): {reason}. ")
    assert cure in record.getMessage()


@pytest.mark.parametrize(("url", "headers", "status", "reason", "cure"), REFUSED)
def test_refusal_says_why_in_debug_mode(app, client, url, headers, status, reason, cure):
    """In debug backend the body has the reason and the cure; without it the body is constant."""
    plain = client.get(url, headers=headers).json
    assert set(plain) == {"error", "message"}
    app.debug = True
    told = client.get(url, headers=headers).json
    assert told == {**plain, "reason": reason, "cure": told["cure"]}
    assert cure in told["cure"]


def test_refusal_that_may_pass_says_why_in_debug_mode(app, client, sse):
    """
    An EventSource that is asked to come back is told why in a comment, on one line whatever the rule raised.
    """
    app.debug = True

    @sse.authorize("broken")
    def broken(channel):
        raise ValueError("a\n\ndata: forged\n\n")

    comment, retry = client.get("/events?channel=broken").get_data(as_text=True).splitlines()
    assert "broken of 'broken' raised ValueError" in comment
    assert retry.startswith("retry: ")


def test_come_back_is_a_comment_and_a_time():
    """Two lines, and no blank one."""
    assert come_back("Come back later.", 1004) == b": Come back later.\nretry: 1004\n"


@pytest.mark.parametrize("kind", ["channel", "origin", "query", "name"])
def test_refusal_log_is_bounded(client, caplog, kind):
    """
    Names come from outside: 64 of a kind are logged, then that no more are; other kinds and rules are still
    told of.
    """
    for number in range(MOST_KEYS + 20):
        if kind == "origin":
            client.get("/events", headers={"Origin": f"https://evil{number}.example"})
        elif kind == "query":
            client.get(f"/events?channel{number}=x").close()
        else:
            client.get(f"/events?channel={'a%20' if kind == 'name' else ''}{number}")
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == MOST_KEYS + 1
    assert (
        f"Refusals for {MOST_KEYS} reasons of the kind {kind!r} were logged; further ones are not."
        in messages
    )
    client.get("/events?channel=orders.7")
    assert "returned False" in caplog.records[-1].getMessage()


def test_refusal_log_tells_of_a_rule_that_breaks_beside_many_that_refuse(client, sse, caplog):
    """What ordinary rules refuse does not use up the room for a rule that broke."""
    for number in range(MOST_KEYS + 1):
        sse.authorize(f"closed.{number}")(lambda channel: False)
        client.get(f"/events?channel=closed.{number}")
    sse.authorize("broken")(lambda channel: 1 / 0)
    client.get("/events?channel=broken")
    assert "raised ZeroDivisionError" in caplog.records[-1].getMessage()


@pytest.mark.parametrize(
    "text", ["a\nb", "a\r\nINFO forged", "\x1b[2J", "\x9b2J", "\u202eb", "\u2028", "\x00", "x" * 5000]
)
def test_refusal_log_shows_nothing_from_outside_as_it_is(app, client, sse, caplog, text):
    """
    Line breaks, controls and what turns text around are escaped, and long texts shortened, whoever sent or
    returned them.
    """
    sse.authorize("wrong")(lambda channel: text)
    client.get("/events?channel=wrong")
    client.get("/events", query_string={"channel": text})
    client.get("/events", query_string={"channels": "x", f"channel{text[:20]}": "x"}).close()
    client.get(
        "/events", headers={"Origin": f"https://{text.encode('ascii', 'replace').decode().splitlines()[0]}"}
    )
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) >= 4
    for message in messages:
        assert message.isprintable()
        assert len(message) < 1000


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("chanel", "channel"),
        ("channels", "channel"),
        ("Channel", "channel"),
        ("channel[]", "channel"),
        ("chanell", "channel"),
        ("last-event-id", "last_event_id"),
        ("Last-Event-ID", "last_event_id"),
        ("lastEventId", "last_event_id"),
        ("last_event", "last_event_id"),
    ],
)
def test_name_in_the_query_that_is_nearly_ours_is_told(app, client, caplog, name, meant):
    """
    In debug backend it is a 400 with the right name; elsewhere the stream opens, and the log says it once.
    """
    for _ in range(2):
        with client.get("/events", query_string={name: "news"}) as response:
            assert response.status_code == 200
    [record] = caplog.records
    assert record.getMessage().startswith(
        f"A stream was asked for wrongly: the query has {name!r}, which nothing reads. Write {meant}="
    )
    app.debug = True
    response = client.get("/events", query_string={name: "news", "channel": "news"})
    assert response.status_code == 400
    assert response.json["cure"].startswith(f"Write {meant}=")


@pytest.mark.parametrize(
    "name", ["datastar", "_", "t", "token", "cb", "event", "id", "x" * 500, "é", "user_channel_of_the_page"]
)
def test_name_in_the_query_of_others_is_left_alone(app, client, caplog, name):
    """Datastar, cache busters and tokens put names of their own into the query."""
    app.debug = True
    with client.get("/events", query_string={name: "x", "channel": "news", "last_event_id": "1"}) as response:
        assert response.status_code == 200
    assert caplog.records == []


# The default channel


def closed(sse, **settings):
    return make_app(blueprint=sse, default_channel_public=False, **settings)


@pytest.mark.parametrize("query", ["", "?channel=sse"])
def test_default_channel_can_be_closed(sse, caplog, query):
    """
    With SSE_PUSH_DEFAULT_CHANNEL_PUBLIC=False nobody reads it, whatever pattern is public, and the log says
    which channel was meant.
    """
    client = closed(sse, public_channels=["*"]).test_client()
    assert client.get(f"/events{query}").status_code == 403
    with client.get("/events?channel=other") as response:
        assert response.status_code == 200
    [record] = caplog.records
    assert (
        "SSE_PUSH_DEFAULT_CHANNEL_PUBLIC=False closes channel 'sse', which is read where a request "
        "names no channel" in record.getMessage()
    )
    assert '@sse.authorize("sse")' in record.getMessage()


@pytest.mark.parametrize("channel", ["sse", ["news", "sse"], None])
def test_publishing_to_the_closed_default_channel_is_told_once(sse, caplog, channel):
    """An event that nobody may read is accepted, and the log says once why it is not seen, and what to do."""
    app = closed(sse)
    for _ in range(3):
        assert sse.publish("x") if channel is None else sse.publish("x", channel=channel)
    records = [record for record in caplog.records if "which nobody may read" in record.getMessage()]
    assert len(records) == 1
    assert "Give publish() a channel" in records[0].getMessage()
    assert app.test_client().get("/events").status_code == 403


@pytest.mark.parametrize("how", ["public", "rule", "view", "other channel"])
def test_publishing_to_a_default_channel_that_is_read_is_not_told(sse, caplog, how):
    """Nothing is said where a rule grants it, a view of the app's own streams it, or nothing closes it."""
    app = make_app(blueprint=sse) if how == "public" else closed(sse)
    if how == "rule":
        sse.authorize("s*")(lambda channel: True)
    if how == "view":
        app.add_url_rule("/all", view_func=lambda: sse.stream(), endpoint="all")
        app.test_client().get("/all").close()
    sse.publish("x", channel="other" if how == "other channel" else "sse")
    assert [record for record in caplog.records if "nobody may read" in record.getMessage()] == []


def test_unknown_kind_of_heartbeat_is_refused_in_debug_mode():
    """?heartbeat=event is known; a developer hears that another kind is not, and clients get comments."""
    app = make_app()
    for value, status in (("event", 200), ("visible", 200)):
        with app.test_client().get(f"/events?heartbeat={value}") as response:
            assert response.status_code == status
    app.debug = True
    response = app.test_client().get("/events?heartbeat=visible")
    assert response.status_code == 400
    assert response.json["cure"] == "Write heartbeat=event, or leave it out for comments."


def test_full_server_says_when_to_come_back_in_a_header_too():
    """A client on fetch() reads Retry-After on the soft refusal; a native EventSource reads retry: in it."""
    app = make_app(max_streams=1)
    with app.test_client().get("/events") as first:
        assert "Retry-After" not in first.headers
        first_bytes(first)
        with app.test_client().get("/events") as second:
            assert (second.status_code, second.headers["Retry-After"]) == (200, "15")
            assert b"\nretry: " in first_bytes(second)
    with app.test_client().get("/events") as third:
        assert "Retry-After" not in third.headers


def test_streams_that_are_the_first_at_once_are_not_refused(monkeypatch):
    """A request that comes while the first one looks at the server waits for that, and gets its stream."""
    asked, answered = threading.Event(), threading.Event()

    def most(server):
        looks.append(server)
        asked.set()
        answered.wait(5)
        return 10

    monkeypatch.setattr("flask_sse_push.platform.server.Server.default_max_streams", most)
    app, bodies, looks = make_app(), [], []

    def open_stream():
        with app.test_client().get("/events") as response:
            bodies.append(first_bytes(response))

    threads = [threading.Thread(target=open_stream) for _ in range(2)]
    threads[0].start()
    assert asked.wait(5)
    threads[1].start()
    threads[1].join(0.2)  # a stream that does not wait is refused at once
    answered.set()
    for thread in threads:
        thread.join(5)
    assert [b"\nid: " in body for body in bodies] == [True, True], bodies
    assert len(looks) == 1
