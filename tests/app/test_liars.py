"""Values whose methods lie: what is published is one event with the true fields, or is refused."""

import pytest
from markupsafe import Markup
from werkzeug.local import LocalProxy

from flask_sse_push import Event, InvalidChannel, InvalidEvent, Publisher, SSEPush
from flask_sse_push.bus.memory import MemoryBus
from flask_sse_push.core.decoder import decode
from flask_sse_push.core.wire import encode
from flask_sse_push.testing import capture, open_stream
from tests.liars import Imposter, Liar, LyingNumber

from .helpers import make_app, read_whole

FORGED = "x\nevent: evil\rdata: forged\r\n\r\ndata: again\n\n"
"""What would make more than one event, if it came out anywhere but in data."""

LIARS = [
    Liar(FORGED, "fine"),
    Liar("fine", FORGED),
    Liar("fine", "fine", FORGED),
    Liar(FORGED, "fine", FORGED),
    Liar("", "fine"),
    Liar("open", "fine"),
    Liar("sse.reset", "fine"),
]
IDS = [str.__repr__(str.__str__(liar))[:20] + f" {number}" for number, liar in enumerate(LIARS)]


@pytest.fixture(scope="module")
def sse():
    return SSEPush()


@pytest.fixture(scope="module")
def app(sse):
    return make_app(blueprint=sse, public_channels=["fine", "orders"])


@pytest.fixture(scope="module")
def client(app):
    return app.test_client()


def normalised(text):
    return text.replace("\r\n", "\n").replace("\r", "\n")


def check_published(app, sse, client, honest, channel="sse", **options):
    """Publish before a plain event: a stream sees the honest one first, or nothing where it is refused."""
    refused = False
    with open_stream(client, f"/events?channel={channel}") as stream, capture(app) as published:
        try:
            sse.publish(**{"data": "plain", "channel": channel, **options})
        except (InvalidEvent, InvalidChannel) as error:
            refused = True
            assert str(error).isprintable()
        sse.publish("end", channel=channel)
        events = [(event.type, event.data) for event in stream.read(1 if refused else 2)]
    assert events[-1] == ("message", "end")
    assert events[:-1] == ([] if refused else [honest])
    if not refused:
        told = published[0]
        assert (
            type(told.data),
            type(told.type) in (str, type(None)),
            {type(name) for name in told.channels},
        ) == (str, True, {str})
    return refused


@pytest.mark.parametrize("liar", LIARS, ids=IDS)
def test_data_of_a_liar_is_its_characters(app, sse, client, liar):
    """Data is sent as the characters that it has, line by line."""
    assert not check_published(app, sse, client, ("message", normalised(str.__str__(liar))), data=liar)


@pytest.mark.parametrize("liar", LIARS, ids=IDS)
def test_type_of_a_liar_is_checked_and_sent_as_its_characters(app, sse, client, liar):
    """A type is taken or refused for its characters, and these are sent."""
    assert check_published(app, sse, client, (str.__str__(liar), "plain"), type=liar) == (
        str.__str__(liar) != "fine"
    )


@pytest.mark.parametrize("liar", LIARS, ids=IDS)
def test_channel_of_a_liar_is_checked_and_used_as_its_characters(app, sse, client, liar):
    """A channel is taken or refused for its characters, alone and among others."""
    truth = str.__str__(liar)
    is_name = truth in ("fine", "open", "sse.reset")
    for channel in (liar, [liar], ["orders", liar], iter([liar])):
        with capture(app) as published:
            if is_name:
                sse.publish("x", channel=channel)
                assert [(type(name), name) for name in published[0].channels][-1] == (str, truth)
            else:
                with pytest.raises(InvalidChannel) as caught:
                    sse.publish("x", channel=channel)
                assert str(caught.value).isprintable()


def test_channels_are_read_once(app, sse):
    """A collection that gives other names the second time is used as it was checked."""

    class Changing(list):
        def __iter__(self):
            names, self.names = self.names, ["a\nb"]
            return iter(names)

    names = Changing(["wrong name"])
    names.names = ["orders", "fine"]
    with capture(app) as published:
        sse.publish("x", channel=names)
        with pytest.raises(InvalidChannel):
            sse.publish("x", channel=names)
    assert [event.channels for event in published] == [("orders", "fine")]


@pytest.mark.parametrize(
    "value", [Imposter("orders"), LocalProxy(lambda: "orders")], ids=["imposter", "proxy"]
)
@pytest.mark.parametrize("field", ["channel", "type", "idempotency_key"])
def test_what_only_says_that_it_is_a_text_is_refused(app, sse, value, field):
    """A proxy of a text, or an object whose class says str, is refused; its letters become no channels."""
    with capture(app) as published, pytest.raises((InvalidChannel, InvalidEvent)) as caught:
        sse.publish("x", **{field: value})
    assert str(caught.value).startswith(f'"{field}" ')
    assert published == []


@pytest.mark.parametrize(
    "data",
    [Imposter("x"), LocalProxy(lambda: "x"), bytearray(b"x"), memoryview(b"x")],
    ids=["imposter", "proxy", "bytearray", "memoryview"],
)
def test_data_that_is_no_text_and_no_json_is_refused(app, sse, data):
    """What is not a str itself goes through JSON, which refuses it."""
    with pytest.raises(
        InvalidEvent, match=r'^"data" must be a str or something that can be encoded as JSON, got '
    ):
        sse.publish(data)


@pytest.mark.parametrize(
    ("truth", "lie", "is_good"),
    [(1000, 10**12, True), (10**12, 1000, False), (0, 1000, False), (1000, 0, True), (-1, 1000, False)],
)
def test_retry_of_a_liar_is_its_number(app, sse, client, truth, lie, is_good):
    """A reconnection time is taken or refused for its number, and this is sent."""
    number = LyingNumber(truth, lie)
    assert check_published(app, sse, client, ("message", "plain"), retry=number) != is_good
    if is_good:
        assert encode(Event("x", retry=number)) == b"retry: 1000\ndata: x\n\n"


@pytest.mark.parametrize("publish", ["app", "publisher"])
def test_key_of_a_liar_is_its_characters(app, sse, publish):
    """Two keys are one if their characters are the same; an unprintable key is refused."""

    class Heard(MemoryBus):
        shared = True

    with Publisher(Heard) as publisher:
        send = sse.publish if publish == "app" else publisher.publish
        first = send("x", idempotency_key="key")
        assert send("y", idempotency_key=Liar("key", "other")) == first
        assert send("y", idempotency_key=Liar("other", "key")) != first
        for key in (Liar("a\nb", "key"), Liar("", "key"), Liar("k" * 201, "key")):
            with pytest.raises(InvalidEvent):
                send("x", idempotency_key=key)


def test_pattern_of_a_liar_grants_what_is_written(client):
    """A rule is about the channels that the characters of its pattern fit."""
    sse = SSEPush()
    app = make_app(blueprint=sse)
    sse.authorize(Liar("mine.*", "*"))(lambda channel: True)
    with app.test_client() as client:
        for channel, status in (("mine.1", 200), ("yours.1", 403)):
            response = client.get(f"/events?channel={channel}")
            assert response.status_code == status
            response.close()
    with pytest.raises(InvalidChannel):
        sse.authorize(Liar("a b", "*"))


@pytest.mark.parametrize("liar", LIARS, ids=IDS)
@pytest.mark.parametrize("field", ["data", "type", "id"])
def test_event_keeps_what_was_checked(liar, field):
    """An Event of a liar's fields has the characters themselves, or is refused."""
    try:
        event = Event(**{"data": "x", field: liar})
    except InvalidEvent as error:
        assert str(error).isprintable()
        assert field != "data"
        return
    assert type(getattr(event, field)) is str
    (decoded,) = decode(encode(event))
    assert {"data": decoded.data, "type": decoded.type, "id": decoded.last_event_id}[field] == normalised(
        str.__str__(liar)
    )


def items_as_events(items):
    """What a stream of these items brings to a strict reader."""
    sse = SSEPush()
    app = make_app(blueprint=sse)
    app.add_url_rule("/items", endpoint="items", view_func=lambda: sse.response(items))
    with app.test_client().get("/items") as response:
        return [(event.type, event.data) for event in read_whole(response)[0]]


class Fickle(Event):
    """An Event whose type is another each time that it is asked for."""

    asked = 0  # where it is odd, the next answer is the forged one

    def __getattribute__(self, name):
        if name == "type":
            Fickle.asked += 1
            return "fine" if Fickle.asked % 2 else FORGED
        return super().__getattribute__(name)


def changed(**fields):
    """An Event that was changed behind its back."""
    event = Event("x")
    for name, value in fields.items():
        object.__setattr__(event, name, value)
    return event


@pytest.mark.parametrize("liar", LIARS, ids=IDS)
def test_item_of_a_liar_is_its_characters(liar):
    """An item of a response is one event of its characters."""
    assert items_as_events([liar, Markup("<b>")]) == [
        ("message", normalised(str.__str__(liar))),
        ("message", "<b>"),
        ("done", "null"),
    ]


@pytest.mark.parametrize(
    "make",
    [
        lambda: changed(type=FORGED),
        lambda: changed(id=FORGED),
        lambda: changed(id=Liar("end", "fine")),
        lambda: changed(type=Liar("done", "fine")),
        lambda: changed(type="failed"),
        lambda: changed(retry=FORGED),
        lambda: changed(data=b"x"),
        lambda: changed(data=Imposter("x")),
        lambda: Imposter("x"),
    ],
    ids=["type", "id", "final id", "done", "failed", "retry", "bytes", "imposter", "imposter alone"],
)
def test_item_that_was_changed_behind_its_back_is_refused(make, caplog):
    """What was checked when it was made is checked when it is sent."""
    assert items_as_events([make()]) == [("failed", '{"reason": "error"}')]


def test_item_that_answers_otherwise_is_read_once():
    """An item is read once: what was checked is sent."""
    item = Fickle("x")

    def items():
        for _ in range(2):
            Fickle.asked = 0
            yield item

    assert items_as_events(items()) == [("fine", "x"), ("fine", "x"), ("done", "null")]
    Fickle.asked = 1
    assert items_as_events([item]) == [("failed", '{"reason": "error"}')]


@pytest.mark.parametrize("given", [b"{}", None, Imposter("{}")], ids=["bytes", "nothing", "imposter"])
def test_encoder_that_gives_no_text_is_told(given):
    """An app's JSON provider must return a str: what else it returns is refused, with the cure."""
    sse = SSEPush()
    app = make_app(blueprint=sse)
    app.json.dumps = lambda value, **options: given
    with (
        app.app_context(),
        pytest.raises(
            InvalidEvent, match=r'^"data" must be encoded as JSON in a str, .* Let it return a str\.$'
        ),
    ):
        sse.publish({"a": 1})
