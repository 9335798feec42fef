"""Coming back: by header or query, within the history or behind a reset."""

import pytest

from flask_sse_push import SSEPush
from flask_sse_push.testing import open_stream
from tests.support import eventually

from .helpers import first_bytes, make_app, read_events, reset_of


@pytest.fixture
def sse():
    return SSEPush()


@pytest.fixture
def app(sse):
    return make_app(blueprint=sse, public_channels=["*"], history_length=4)


def publish(sse, *channels, times=1):
    return [
        sse.publish(f"{channel} {number}", channel=channel) for channel in channels for number in range(times)
    ]


def resumed(client, path="/events", last_event_id=None):
    headers = {} if last_event_id is None else {"Last-Event-ID": last_event_id}
    with client.get(path, headers=headers) as response:
        assert response.status_code == 200
        return read_events(response)


def test_new_client_gets_its_position_and_nothing_old(client, sse):
    """
    The first bytes of a new client are retry: and an id: alone, which browsers keep without dispatching
    anything.
    """
    id = sse.publish("old")
    with client.get("/events") as response:
        lines = first_bytes(response).decode().split("\n")
    assert lines[0].startswith("retry: ")
    assert lines[1:] == [f"id: {id}", "", ""]


def test_position_before_the_first_event_resumes(client, sse):
    """A client that saw no event yet comes back with position 0 and gets all that came since."""
    events, decoder = resumed(client)
    assert events == []
    assert decoder.last_event_id.endswith("-0")
    publish(sse, "sse", times=3)
    events, _ = resumed(client, last_event_id=decoder.last_event_id)
    assert [event.data for event in events] == ["sse 0", "sse 1", "sse 2"]


def test_header_resumes_behind_the_event(client, sse):
    """Last-Event-ID brings exactly what came after it, in one piece, with the last id at the end."""
    ids = publish(sse, "sse", times=4)
    events, decoder = resumed(client, last_event_id=ids[1])
    assert [event.last_event_id for event in events] == ids[2:]
    assert decoder.last_event_id == ids[-1]


def test_query_resumes_as_the_header_does(client, sse):
    """
    ?last_event_id= serves clients that cannot set a header, a page with a position rendered into it for
    instance.
    """
    ids = publish(sse, "sse", times=4)
    events, _ = resumed(client, f"/events?last_event_id={ids[2]}")
    assert [event.last_event_id for event in events] == ids[3:]


@pytest.mark.parametrize(
    "last_event_id", ["feedbeef-7", "%00", "0", "x" * 300, "\u00e9", "-1", "feedbeef-99999999999999999999"]
)
def test_id_that_no_log_knows_gets_a_reset(client, sse, last_event_id):
    """An id that no log knows is told as a gap, never as an error, and the stream is live behind it."""
    with open_stream(client, "/events", headers={"Last-Event-ID": last_event_id}) as stream:
        (reset,) = stream.read()
        assert reset_of(reset) == ("epoch" if last_event_id == "feedbeef-7" else "malformed", ["sse"])
        sse.publish("live")
        assert [event.data for event in stream.read()] == ["live"]


def test_header_wins_over_the_query(client, sse):
    """A browser that reconnects repeats the old URL: what its header says is newer."""
    ids = publish(sse, "sse", times=4)
    events, _ = resumed(client, f"/events?last_event_id={ids[0]}", ids[2])
    assert [event.last_event_id for event in events] == ids[3:]


def test_empty_header_leaves_it_to_the_query(client, sse):
    """An empty Last-Event-ID says nothing."""
    ids = publish(sse, "sse", times=4)
    events, _ = resumed(client, f"/events?last_event_id={ids[2]}", "")
    assert [event.last_event_id for event in events] == ids[3:]


def test_client_that_missed_nothing_is_told_nothing(client, sse):
    """Who comes back with the newest id gets no event and no reset."""
    ids = publish(sse, "sse", times=4)
    events, decoder = resumed(client, last_event_id=ids[-1])
    assert events == []
    assert decoder.last_event_id == ids[-1]


def test_resume_keeps_to_the_channels(client, sse):
    """Events of other channels in between are not shown and are no gap."""
    first, *_ = publish(sse, "a", "b", "a", "b", "b", "b", "b", "b")
    events, _ = resumed(client, "/events?channel=a", first)
    assert [event.data for event in events] == ["a 0"]


@pytest.mark.parametrize(
    "last_event_id",
    ["nonsense", "end", "7", "x-01", "a" * 4000, "-", "null", "undefined", "é", "a b", "<script>", "%00"],
)
def test_malformed_id_is_told_and_fetches_nothing(client, sse, last_event_id):
    """
    An id that is none of ours begins at the end, behind a reset, and leaves the client with a position that
    works.
    """
    publish(sse, "sse", times=3)
    (reset,), decoder = resumed(client, last_event_id=last_event_id)
    assert reset_of(reset) == ("malformed", ["sse"])
    assert decoder.last_event_id == sse.stats()["last_event_id"]
    assert resumed(client, last_event_id=decoder.last_event_id)[0] == []


@pytest.mark.parametrize("ahead", [1, 10**6, 10**18])
def test_future_id_is_told_and_fetches_nothing(client, sse, ahead):
    """An id ahead of the log begins at the end, behind a reset."""
    epoch, sequence = publish(sse, "sse", times=3)[-1].split("-")
    (reset,), decoder = resumed(client, last_event_id=f"{epoch}-{int(sequence) + ahead}")
    assert reset_of(reset) == ("future", ["sse"])
    assert decoder.last_event_id == f"{epoch}-{sequence}"


def test_unknown_epoch_fetches_nothing_that_is_kept(client, sse):
    """
    After the log was lost, a client gets a reset, and goes on from now: anybody can make up such an id, and
    the history may be large.
    """
    ids = publish(sse, "sse", times=3)
    (reset, *events), decoder = resumed(client, last_event_id="gone-17")
    assert reset_of(reset) == ("epoch", ["sse"])
    assert events == []
    assert decoder.last_event_id == ids[-1]


def test_unknown_epoch_is_told_when_nothing_is_kept(client, sse):
    """A reset goes out also when nothing follows it, with a position of the new log."""
    (reset,), decoder = resumed(client, "/events?channel=a&channel=b", "gone-17")
    assert reset_of(reset) == ("epoch", ["a", "b"])
    assert decoder.last_event_id == sse.stats()["last_event_id"]


def test_evicted_events_are_told_before_what_is_left(client, sse):
    """
    A client that stayed away for longer than the history gets a reset first, then what is left in order.
    """
    ids = publish(sse, "sse", times=10)
    (reset, *events), _ = resumed(client, last_event_id=ids[2])
    assert reset_of(reset) == ("evicted", ["sse"])
    assert [event.last_event_id for event in events] == ids[6:]
    events, _ = resumed(client, last_event_id=ids[5])
    assert [event.last_event_id for event in events] == ids[6:]


def test_evicted_channel_is_named(client, sse):
    """The reset names the channels that lost something, and no others."""
    (start,) = publish(sse, "quiet")
    publish(sse, "quiet")
    publish(sse, "busy", times=9)
    (reset, *events), _ = resumed(client, "/events?channel=quiet&channel=busy", start)
    assert reset_of(reset) == ("evicted", ["busy"])
    assert [event.data for event in events] == ["quiet 0", "busy 5", "busy 6", "busy 7", "busy 8"]
    events, _ = resumed(client, "/events?channel=quiet", start)
    assert [event.data for event in events] == ["quiet 0"]


def test_reset_moves_no_position_before_its_events(client, sse):
    """
    While old events follow, the reset itself carries no newer id: a connection cut behind it resumes before
    them.
    """
    ids = publish(sse, "sse", times=10)
    (reset, *_), _ = resumed(client, last_event_id=ids[0])
    assert reset.last_event_id == ids[0]


def test_stream_goes_on_live_behind_what_it_resumed(client, sse):
    """Old events and new ones come in one order, none twice."""
    ids = publish(sse, "sse", times=3)
    with open_stream(client, "/events", headers={"Last-Event-ID": ids[0]}) as stream:
        ids += publish(sse, "sse", times=3)
        assert [event.last_event_id for event in stream.read(5)] == ids[1:]


def test_stream_that_falls_behind_is_told_of_the_gap(client, sse):
    """
    A client that reads slower than its channel is published gets a reset where events are missing, then what
    is left.
    """
    with client.get("/events") as response:
        first_bytes(response)
        ids = publish(sse, "sse", times=10)
        (reset, *events), decoder = read_events(response)
        assert reset_of(reset) == ("evicted", ["sse"])
        assert [event.last_event_id for event in events] == ids[6:]
        ids = publish(sse, "sse", times=2)
        assert [event.last_event_id for event in decoder.feed(first_bytes(response))] == ids


def test_quiet_stream_keeps_its_position_fresh():
    """
    A heartbeat carries the position when it has moved, so that a quiet channel beside a busy one resumes
    without a reset; else it is a comment.
    """
    sse = SSEPush()
    app = make_app(blueprint=sse, public_channels=["*"], heartbeat_seconds=0.1)
    with app.test_client().get("/events?channel=quiet") as response:
        start = first_bytes(response)
        assert first_bytes(response) == b":\n\n"
        id = sse.publish("x", channel="busy")

        def beat():
            return first_bytes(response)

        assert eventually(lambda: b"id:" in beat() or None) is True
        assert first_bytes(response) == b":\n\n"
        assert id.encode() not in start


def test_retry_is_spread_around_the_setting():
    """
    Each connection gets its own retry within half of the setting, so that clients cut off together come back
    apart.
    """
    client = make_app(retry_milliseconds=4000).test_client()
    retries = []
    for _ in range(40):
        with client.get("/events") as response:
            retries.append(read_events(response)[1].retry)
    assert all(2000 <= retry <= 6000 for retry in retries)
    assert max(retries) - min(retries) > 1000
