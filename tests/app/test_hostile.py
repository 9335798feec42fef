"""Requests and events that mean no good."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flask_sse_push import InvalidChannel, InvalidEvent, SSEPush
from flask_sse_push.core.decoder import Decoder, decode
from flask_sse_push.extension.query import _nearest
from flask_sse_push.testing import open_stream

from .helpers import first_bytes, make_app, read_events, reset_of

any_text = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=60)
header_text = st.text(alphabet=st.characters(max_codepoint=255, exclude_characters="\r\n\0"), max_size=60)


@pytest.fixture(scope="module")
def shop():
    """One app for all examples of a property, with four events in its log."""
    sse = SSEPush()
    app = make_app(blueprint=sse, public_channels=["news"])
    ids = [sse.publish(f"event {number}", channel="sse" if number % 2 else "news") for number in range(4)]
    return app, app.test_client(), sse, ids


def known(ids):
    """Texts near real positions: those, their pieces, and neighbours that never were."""
    epoch = ids[0].split("-")[0]
    return (
        st.sampled_from(ids)
        | st.integers(-5, 10**20).map(lambda number: f"{epoch}-{number}")
        | st.sampled_from([epoch, f"{epoch}-", f"-{epoch}", ids[0] + " ", ids[0].upper()])
    )


@settings(max_examples=150)
@given(data=st.data())
def test_any_last_event_id_opens_a_stream_that_tells_the_truth(shop, data):
    """
    Whatever a client sends as its position, in the header or the query, it gets 200, never an event that was
    not published, and a reset where nothing is proved.
    """
    _, client, sse, ids = shop
    in_header = data.draw(st.booleans())
    text = data.draw(known(ids) | (header_text if in_header else any_text))
    options = {"headers": {"Last-Event-ID": text}} if in_header else {"query_string": {"last_event_id": text}}
    with client.get("/events", **options) as response:
        assert response.status_code == 200
        events, decoder = read_events(response)
    resets = [event for event in events if event.type == "sse.reset"]
    rest = [event for event in events if event.type != "sse.reset"]
    assert events == resets + rest, "a reset comes before any event"
    assert len(resets) <= 1
    own = [ids[1], ids[3]]
    text = text.strip() if in_header else text
    if resets:
        reason, channels = reset_of(resets[0])
        assert channels == ["sse"]
        assert rest == [], f"{reason}: a made-up id fetches nothing"
    elif not text:
        assert rest == []
    else:
        epoch, sequence = text.split("-")
        assert epoch == ids[0].split("-")[0]
        assert [event.last_event_id for event in rest] == [
            id for id in own if int(id.split("-")[1]) > int(sequence)
        ]
    assert decoder.last_event_id.startswith(ids[0].split("-")[0])


@settings(max_examples=150)
@given(
    query=st.lists(
        st.tuples(
            st.sampled_from(["channel", "last_event_id", "x"]) | any_text,
            any_text | st.sampled_from(["sse", "news", "closed", "*"]),
        ),
        max_size=5,
    ),
    method=st.sampled_from(["GET", "HEAD", "OPTIONS"]),
)
def test_any_query_is_answered(shop, query, method):
    """No query is an error of the server, and no channel that is not public is ever read."""
    _, client, sse, _ = shop
    with client.open(
        "/events", method=method, query_string=[(key, value) for key, value in query]
    ) as response:
        assert response.status_code in ((200,) if method == "OPTIONS" else (200, 400, 403))
        if response.status_code == 200 and method == "GET":
            assert {value for key, value in query if key == "channel"} <= {"sse", "news"}
            assert not [
                event for event in read_events(response)[0] if event.type not in ("message", "sse.reset")
            ]


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("channel=", 400),
        ("channel=%00", 400),
        ("channel=%0d%0aSet-Cookie:x", 400),
        ("channel=%ff%fe", 400),
        ("channel=*", 400),
        ("channel=" + "x" * 5000, 400),
        ("&".join(f"channel=c{number}" for number in range(40)), 400),
        ("channel[]=news", 200),  # another field, so the default channel is asked for
        ("channel=news,sse", 400),
        ("%00=%00&" * 20, 200),
        ("rewind=%00", 200),
        ("rewind=-1&rewind=all", 200),
        ("rewind=" + "9" * 5000, 200),
        ("rewind=%d9%a1", 200),  # a digit, but none of ASCII
        ("channel=closed", 403),
        ("channel=closed&rewind=all", 403),
    ],
    ids=lambda value: str(value)[:24],
)
def test_hostile_query_is_refused(shop, query, status):
    """What is no list of channels is refused, and what is no channel that is asked for asks for nothing."""
    _, client, _, _ = shop
    with client.get("/events?" + query) as response:
        assert response.status_code == status
        if status == 200:
            assert read_events(response)[0] == []


@settings(max_examples=100)
@given(raw=st.text(alphabet="%0123456789abcdefABCDEF&=;+?#/\\channelst_vid-.~", max_size=60))
def test_any_raw_query_is_answered(shop, raw):
    """
    Broken percent signs, bytes that are no UTF-8 and odd separators are answered, never with an error of the
    server.
    """
    _, client, _, _ = shop
    with client.get("/events", query_string=raw) as response:
        assert response.status_code in (200, 400, 403)


@settings(max_examples=100)
@given(
    headers=st.dictionaries(
        st.sampled_from(
            [
                "Origin",
                "Sec-Fetch-Site",
                "Accept",
                "Cache-Control",
                "Last-Event-ID",
                "Cookie",
                "Authorization",
                "X-Forwarded-For",
                "Range",
                "If-None-Match",
            ]
        ),
        header_text,
        max_size=5,
    )
)
def test_any_header_is_answered(shop, headers):
    """No value of a header is an error of the server."""
    _, client, _, _ = shop
    with client.get("/events", headers=headers) as response:
        assert response.status_code in (200, 403)


@settings(max_examples=150)
@given(
    data=st.text(alphabet=st.characters(), max_size=30),
    type=st.none() | st.text(alphabet=st.characters(), max_size=10),
    channel=st.sampled_from(["sse", "news"]) | st.text(alphabet=st.characters(), max_size=5),
)
def test_any_event_arrives_whole_or_is_refused(data, type, channel):
    """
    Whatever is published from outside, a stream shows one event per publish that succeeded, and none for one
    that did not.
    """
    sse = SSEPush()
    app = make_app(blueprint=sse, public_channels=["*"])
    try:
        id = sse.publish(data, type=type, channel=channel)
    except (InvalidEvent, InvalidChannel):
        assert sse.stats()["history"]["events"] == 0
        return
    epoch = id.split("-")[0]
    with app.test_client().get(
        "/events", query_string={"channel": channel}, headers={"Last-Event-ID": f"{epoch}-0"}
    ) as response:
        (event,), _ = read_events(response)
    assert (event.type, event.data, event.last_event_id) == (
        type or "message",
        data.replace("\r\n", "\n").replace("\r", "\n"),
        id,
    )


@pytest.mark.parametrize(
    "payload",
    [
        "x\rdata: injected\revent: evil\r\r",
        "x\n\nevent: evil\ndata: y\n\n",
        "\r\n\r\nid: 1\r\n\r\n",
        "\u2028event: evil\u2029",
        "\x85\x85event: evil\x85",
    ],
)
def test_data_cannot_inject_fields(payload):
    """Line ends in data make data lines and nothing else."""
    sse = SSEPush()
    app = make_app(blueprint=sse)
    with open_stream(app.test_client(), "/events") as stream:
        id = sse.publish(payload)
        sse.publish("end")
        events = stream.read(2)
    assert [event.type for event in events] == ["message", "message"]
    assert events[0].last_event_id == id
    assert events[0].data == payload.replace("\r\n", "\n").replace("\r", "\n")


def test_malformed_id_is_not_echoed():
    """What a client sends as its id appears nowhere in what it gets."""
    client = make_app().test_client()
    for text in ("evil-marker", "<script>alert(1)</script>", "evil\u00e9"):
        with client.get("/events", headers={"Last-Event-ID": text}) as response:
            assert text.encode("latin-1") not in first_bytes(response)
            assert text not in str(response.headers)


def test_channel_name_in_a_refusal_is_shown_as_json():
    """A wrong name comes back as JSON text of a bounded size, never as HTML."""
    response = make_app().test_client().get("/events", query_string={"channel": "<script>" + "x" * 5000})
    assert response.mimetype == "application/json"
    assert len(response.data) < 1000


def test_made_up_position_does_not_fetch_the_history():
    """A guessed id of the right form, but of the future, brings nothing."""
    sse = SSEPush()
    client = make_app(blueprint=sse).test_client()
    epoch = sse.publish("secret of before").split("-")[0]
    for text in (f"{epoch}-99", f"{epoch}-1x", f"{epoch}", f"x{epoch}--1"):
        with client.get("/events", headers={"Last-Event-ID": text}) as response:
            assert b"secret" not in first_bytes(response)


@pytest.mark.parametrize("text", ["gone-17", "x" * 40 + "-1", "nonsense", "x" * 495])
def test_made_up_epoch_does_not_fetch_the_history(text):
    """
    An id of an epoch that never was, or none at all, brings a reset and no event: a request of 500 bytes must
    not make the server send megabytes.
    """
    sse = SSEPush()
    client = make_app(blueprint=sse).test_client()
    for _ in range(200):
        sse.publish("x" * 60_000)
    for path in ("/events", "/events?rewind=all"):
        with client.get(path, headers={"Last-Event-ID": text}) as response:
            chunk = first_bytes(response)
            assert len(chunk) < 300
            decoder = Decoder()
            (reset,) = decoder.feed(chunk)
            assert reset_of(reset)[1] == ["sse"]
            assert decoder.last_event_id == sse.cursor()
            sse.publish("live")
            assert [event.data for event in decoder.feed(first_bytes(response))] == ["live"]


def test_many_channels_in_a_query_cost_little():
    """Thousands of names are refused, once they are known to be too many."""
    client = make_app(public_channels=["*"]).test_client()
    response = client.get("/events?" + "&".join(f"channel=c{number}" for number in range(900)))
    assert response.status_code == 400
    assert "at most 32" in response.json["message"]


def test_everything_that_is_sent_can_be_decoded():
    """The strict decoder finds nothing wrong with resumes, resets, heartbeats and refusals."""
    sse = SSEPush()
    app = make_app(blueprint=sse, history_length=2, heartbeat_seconds=0.1)
    client = app.test_client()
    for number in range(5):
        sse.publish({"number": number}, type="count", retry=1000)
    for text in (None, "x", "gone-1", sse.stats()["last_event_id"].split("-")[0] + "-1"):
        with client.get("/events", headers={} if text is None else {"Last-Event-ID": text}) as response:
            decode(first_bytes(response) + first_bytes(response))


def test_query_of_many_names_costs_little(shop):
    """
    Names that are nearly, and not quite, like ours are compared a few times per request, not hundreds of
    times.
    """
    _, client, _, _ = shop
    names = [f"l{number:03}eventid" for number in range(330)]
    _nearest.cache_clear()
    with client.get("/events?" + "&".join(names)) as response:
        assert response.status_code == 200
    assert 0 < _nearest.cache_info().misses <= 16
