"""What observers are told."""

import logging
from contextlib import suppress

import pytest

from flask_sse_push import SSEPush, StreamInfo, event_published, stream_closed, stream_opened
from flask_sse_push.testing import capture, open_stream
from tests.support import eventually

from .helpers import first_bytes, make_app, read_whole

HOSTILE = "hostile\x1b[2J\n\u202e"


@pytest.fixture
def sse():
    return SSEPush()


@pytest.fixture
def app(sse):
    return make_app(blueprint=sse, public_channels=["news"])


@pytest.fixture
def heard():
    """All that the signals of streams say, as (signal, sender, arguments)."""
    heard = []

    def opened(sender, **arguments):
        heard.append(("opened", sender, arguments))

    def closed(sender, **arguments):
        heard.append(("closed", sender, arguments))

    with stream_opened.connected_to(opened), stream_closed.connected_to(closed):
        yield heard


def test_event_published_is_sent_by_the_app(app, sse):
    """After an event is stored, the app sends it with its channels and id."""
    heard = []

    def receive(sender, **arguments):
        heard.append((sender, arguments))

    with event_published.connected_to(receive, sender=app):
        id = sse.publish({"a": 1}, "created", channel=["news", "sse"])
    ((sender, arguments),) = heard
    assert sender is app
    assert set(arguments) == {"event", "channels", "id"}
    assert (arguments["event"].data, arguments["event"].type) == ('{"a": 1}', "created")
    assert (arguments["channels"], arguments["id"]) == (("news", "sse"), id)


def test_streams_are_announced_from_their_first_byte_to_their_end(app, client, heard):
    """
    An opened stream is told with its channels, its client's id and address, and told again when it holds
    nothing any more.
    """
    with client.get(
        "/events?channel=news&channel=sse",
        headers={"Last-Event-ID": "x-1"},
        environ_overrides={"REMOTE_ADDR": "203.0.113.7"},
    ) as response:
        first_bytes(response)
        info = StreamInfo(("news", "sse"), "x-1", "203.0.113.7")
        assert heard == [("opened", app, {"stream": info})]
    assert [what for what, _, _ in heard] == ["opened", "closed"]
    assert heard[1][1] is app
    assert heard[1][2]["stream"] == info
    assert set(heard[1][2]) == {"stream", "reason"}


HOSTILE_IDS = [
    "x\x1b[2J-1",
    "\u202ex-1",
    "x-1\x9b",
    "x" * 5000,
    "x-1" * 30,
    "x 1",
    "<script>-1",
    "x,1",
    "%0d%0a-1",
    "caf\u00e9-1",
    "null",
    "",
]


@pytest.mark.parametrize("id", HOSTILE_IDS)
def test_streams_tell_only_ids_that_can_be_ones(app, sse, client, heard, caplog, id):
    """Whatever a client sends as its last id, observers and the log get a position in a log, or nothing."""
    app.add_url_rule("/own", endpoint="own", view_func=lambda: sse.response(["a"]))
    requests = [("/events", {"query_string": {"last_event_id": id}})]
    with suppress(UnicodeEncodeError):
        id.encode("latin-1")
        requests += [(path, {"headers": {"Last-Event-ID": id}}) for path in ("/events", "/own")]
    with caplog.at_level(logging.DEBUG):
        for path, options in requests:
            with client.get(path, **options) as response:
                first_bytes(response)
    told = [arguments["stream"].last_event_id for _, _, arguments in heard]
    assert len(told) == 2 * len(requests)
    assert set(told) <= ({None, "null"} if id == "null" else {None})
    assert [
        last
        for _, _, arguments in heard
        if (last := arguments["stream"].last_event_id) and arguments["stream"].channels
    ] == []
    assert id == "" or not any(id in record.getMessage() for record in caplog.records)


@pytest.mark.parametrize(
    ("channels", "id", "told"),
    [
        (("a",), "5916f355feae-41", "5916f355feae-41"),
        (("a",), "end", None),
        ((), "end", "end"),
        ((), "x" * 64, "x" * 64),
        ((), "x" * 65, None),
        ((), "a b", None),
        (("a",), None, None),
        ((), None, None),
    ],
)
def test_stream_info_keeps_what_is_an_id(channels, id, told):
    """
    A stream of channels has the positions of a log, and one of a response whatever an Event's id may be.
    """
    assert StreamInfo(channels, id, "203.0.113.7").last_event_id == told


def test_text_of_a_client_is_escaped_in_the_log(app, sse, client, heard, caplog):
    """
    What a request says is in no signal, and in the log only where a refusal names it, on one printable line.
    """
    with caplog.at_level(logging.DEBUG):
        for options in (
            {"query_string": {"channel": HOSTILE}},
            {"query_string": {"channel": ["news", HOSTILE]}},
            {"query_string": {"channel": "secret.hostile"}},
            {"headers": {"Origin": "http://hostile.example"}},
            {"headers": {"Last-Event-ID": "hostile-x"}, "query_string": {"last_event_id": HOSTILE}},
            {"headers": {"User-Agent": "hostile", "Cookie": "a=hostile", "X-Forwarded-For": "hostile"}},
            {
                "method": "OPTIONS",
                "headers": {
                    "Access-Control-Request-Method": "hostile",
                    "Access-Control-Request-Headers": "hostile",
                },
            },
        ):
            response = client.open("/events", **options)
            if response.mimetype == "text/event-stream":
                first_bytes(response)
            response.close()
    assert all(record.getMessage().isprintable() for record in caplog.records)
    named = [record for record in caplog.records if "hostile" in record.getMessage()]
    assert all(record.getMessage().startswith("A stream was refused") for record in named)
    assert not any("hostile" in repr(arguments) for _, _, arguments in heard)


def test_stream_closed_says_finished_or_failed(app, sse, client, heard):
    """The end of an iterable is finished, its error failed."""

    def fails():
        raise LookupError
        yield

    app.add_url_rule("/good", endpoint="good", view_func=lambda: sse.response(["a"]))
    app.add_url_rule("/bad", endpoint="bad", view_func=lambda: sse.response(fails()))
    for path in ("/good", "/bad"):
        with client.get(path) as response:
            read_whole(response)
    assert [arguments["reason"] for what, _, arguments in heard if what == "closed"] == ["finished", "failed"]
    assert heard[0][2]["stream"].channels == ()


def test_stream_closed_says_gone_when_the_server_comes_no_more(client, heard):
    """A server that closes the stream in the middle of writing has lost its client."""
    with client.get("/events") as response:
        first_bytes(response)
    assert heard[-1][2]["reason"] == "gone"


def test_streams_that_never_begin_are_not_announced(app, client, sse, heard):
    """HEAD, refusals and wrong names open nothing."""
    client.head("/events")
    client.get("/events?channel=closed")
    client.get("/events?channel=a b")
    client.options("/events")
    assert heard == []


@pytest.mark.parametrize(
    "signal", [event_published, stream_opened, stream_closed], ids=lambda signal: signal.name
)
def test_receiver_that_raises_harms_nobody(app, client, sse, caplog, signal):
    """
    What a receiver raises is logged, the other receivers are called, and the event and the stream go their
    way.
    """
    called = []

    def before(sender, **arguments):
        called.append("before")

    def raises(sender, **arguments):
        raise LookupError("in a receiver")

    def behind(sender, **arguments):
        called.append("behind")

    with caplog.at_level(logging.ERROR, "flask_sse_push"):
        with signal.connected_to(before), signal.connected_to(raises), signal.connected_to(behind):
            with open_stream(client, "/events") as stream:
                id = sse.publish("x")
                assert stream.read(1)[0].last_event_id == id
            eventually(lambda: sse.stats()["streams"] == 0)
    assert sorted(called) == ["before", "behind"]
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "in a receiver" in caplog.text
    assert sse.stats()["channels"] == {}


def test_receiver_may_publish(app, client, sse):
    """A receiver may publish in turn: no lock is held."""

    def echo(sender, event, channels, id):
        if event.type != "echo":
            sse.publish(event.data, type="echo")

    with event_published.connected_to(echo), open_stream(client, "/events") as stream:
        sse.publish("x")
        assert [event.type for event in stream.read(2)] == ["message", "echo"]


def test_publish_that_is_refused_is_not_announced(app, sse):
    """Only stored events are told."""
    with capture() as published:
        for options in (
            {"data": b"x"},
            {"data": "x", "type": "open"},
            {"data": "x", "channel": ""},
            {"data": "x", "id": 1},
        ):
            with pytest.raises(ValueError):
                sse.publish(**options)
    assert published == []
