"""A channel's life from the public API: closing, kept values, rewinding, cursors, retention."""

import time

import pytest
from flask import render_template_string

from flask_sse_push import (
    ChannelClosed,
    InvalidChannel,
    InvalidEvent,
    Publisher,
    SSEPush,
    TooManyKept,
    event_published,
)
from flask_sse_push.testing import open_stream, shutdown_after
from tests.support import FACTOR, MS, eventually

from .helpers import first_bytes, make_app, read_events, read_whole, reset_of

BUSES = ["memory", "sqlite", "redis"]

on_shared_buses = pytest.mark.parametrize("url", BUSES[1:], indirect=True)


class Shop:
    """An app on one bus, its client and its blueprint."""

    def __init__(self, url, **settings):
        self.url, self.sse = url, SSEPush()
        given = {"public_channels": ["*"], "bus_url": url, "publish_timeout_seconds": 5 * FACTOR}
        self.app = make_app(blueprint=self.sse, **{**given, **settings})
        self.client = self.app.test_client()

    def get(self, path, last_event_id=None):
        """Open a stream, and return its response."""
        headers = {} if last_event_id is None else {"Last-Event-ID": last_event_id}
        return self.client.get(f"/events?{path}", headers=headers)

    def whole(self, path, last_event_id=None):
        """The data of a stream that ends by itself, and the last id that its client knows."""
        with self.get(path, last_event_id) as response:
            assert response.status_code == 200
            events, decoder = read_whole(response)
        return [event.data for event in events], decoder.last_event_id


@pytest.fixture(params=BUSES)
def url(request, tmp_path):
    """A bus of each kind, empty."""
    if request.param == "redis":
        return f"{request.getfixturevalue('redis_server').url}?prefix=test{time.monotonic_ns()}"
    return {"memory": "memory://", "sqlite": f"sqlite:///{tmp_path}/events.db"}[request.param]


@pytest.fixture
def open_shop(url):
    """Open apps on that bus, as each process has one, and shut them down."""
    opened = []

    def open_shop(**settings):
        opened.append(Shop(url, **settings))
        return opened[-1]

    yield open_shop
    for shop in opened:
        with shutdown_after(shop.app):
            pass


@pytest.fixture
def shop(open_shop):
    return open_shop()


@pytest.fixture
def sse(shop):
    return shop.sse


def test_closed_channel_ends_its_streams_behind_the_last_event(shop, sse):
    """A stream gets what came before the close, and ends. Its client is answered 204 from then on."""
    with open_stream(shop.client, "/events?channel=run") as stream:
        sse.publish("one", channel="run")
        last = sse.publish("two", channel="run", close=True)
        assert [event.data for event in stream.read(2)] == ["one", "two"]
        assert next(iter(stream.response.response), None) is None
        assert stream.last_event_id == last
    with shop.get("channel=run", last) as response:
        assert (response.status_code, response.data) == (204, b"")


def test_mark_without_an_event_is_told_to_who_has_the_last_event(shop, sse):
    """
    A client that knows the last event, and not the mark behind it, is told the number of the mark once. It is
    answered 204 when it comes back with that.
    """
    last = sse.publish("one", channel="run")
    mark = sse.close("run")
    assert mark != last
    assert shop.whole("channel=run", last) == ([], mark)
    with shop.get("channel=run", mark) as response:
        assert response.status_code == 204


def test_client_that_missed_events_of_a_closed_channel_gets_them_first(shop, sse):
    """204 is for a client that has everything: another one gets what it misses, and the end."""
    first, *_ = [sse.publish(str(number), channel="run") for number in range(4)]
    mark = sse.close("run")
    assert shop.whole("channel=run", first) == (["1", "2", "3"], mark)
    assert shop.whole("channel=run&rewind=all") == (["0", "1", "2", "3"], mark)
    assert shop.whole("channel=run") == ([], mark)


def test_closed_channel_takes_no_event(shop, sse):
    """An event for it, also beside an open one, is an error, and nothing is stored or sent."""
    sse.close("run")
    place = sse.cursor("run")
    with open_stream(shop.client, "/events?channel=open") as stream:
        for options in ({}, {"close": True}, {"key": "k", "keep": True}):
            with pytest.raises(ChannelClosed, match=r'^"channel" \'run\' was closed'):
                sse.publish("late", channel=["open", "run"], **options)
        with pytest.raises(ChannelClosed):
            sse.forget("run", "k")
        assert sse.cursor("run") == place
        sse.publish("next", channel="open")
        assert [event.data for event in stream.read()] == ["next"]


def test_close_is_idempotent(sse):
    """Closed once more, a channel keeps its mark. Of several, one mark closes those that are open."""
    mark = sse.close("a")
    assert sse.close("a") == mark
    both = sse.close("a", "b")
    assert both != mark
    assert sse.close("b", "a") == both
    assert sse.cursor("a") == both


@pytest.mark.parametrize("names", [(), ("a b",), ("",), ("*control",)])
def test_close_names_its_channels(sse, names):
    """Without a name nothing is closed: not the default channel, and not the extension."""
    with pytest.raises(InvalidChannel, match='"channel"'):
        sse.close(*names)


def test_stream_of_several_channels_ends_when_all_are_closed(shop, sse):
    """One closed channel of two ends nothing; 204 is for a client behind both marks."""
    with open_stream(shop.client, "/events?channel=a&channel=b") as stream:
        first = sse.close("a")
        sse.publish("still", channel="b")
        assert [event.data for event in stream.read()] == ["still"]
        last = sse.close("b")
        assert b"".join(stream.response.response).endswith(f"id: {last}\n\n".encode())
    with shop.get("channel=a", first) as response:
        assert response.status_code == 204
    assert shop.whole("channel=a&channel=b", first) == (["still"], last)
    with shop.get("channel=b&channel=a", last) as response:
        assert response.status_code == 204


@on_shared_buses
def test_closed_channel_is_closed_for_every_process(open_shop):
    """What one process closes, another one refuses to publish to and streams no more of."""
    here, there = open_shop(), open_shop()
    with there.get("channel=run") as response:
        first_bytes(response)
        here.sse.publish("one", channel="run")
        mark = here.sse.close("run")
        events, decoder = read_whole(response)
    assert ([event.data for event in events], decoder.last_event_id) == (["one"], mark)
    with pytest.raises(ChannelClosed):
        there.sse.publish("x", channel="run")
    assert there.sse.close("run") == mark


def test_closed_channel_gives_its_kept_values(shop, sse):
    """A newcomer gets the last values of what is over, and the end."""
    sse.publish("1", channel="game", key="home", keep=True)
    sse.publish("2", channel="game", key="home", keep=True)
    sse.publish("over", channel="game", close=True)
    assert shop.whole("channel=game")[0] == ["2"]


def test_closed_channel_is_forgotten_with_its_history(open_shop):
    """Behind its retention it takes events again, and has nothing of what it was."""
    shop = open_shop(channels={"run.*": {"history_seconds": 1}})
    sse = shop.sse
    sse.publish("old", channel="run.7", key="k", keep=True)
    mark = sse.close("run.7")

    def reopened():
        try:
            return sse.publish("new", channel="run.7")
        except ChannelClosed:
            return None

    id = eventually(reopened, 10_000 * MS)
    with shop.get("channel=run.7&rewind=all") as response:
        assert [event.data for event in read_events(response)[0]] == ["new"]
    with shop.get("channel=run.7", mark) as response:
        assert [event.last_event_id for event in read_events(response)[0]] == [id]


def test_close_sends_no_event_signal(shop, sse):
    """event_published is about events: closing and forgetting are none."""
    said = []

    def receive(sender, event, channels, id):
        said.append((event.data, channels))

    with event_published.connected_to(receive, shop.app):
        sse.publish("x", channel="a", key="k", keep=True)
        sse.forget("a", "k")
        sse.close("a")
        sse.publish("last", channel="b", close=True)
    assert said == [("x", ("a",)), ("last", ("b",))]


@pytest.mark.parametrize(
    ("query", "data"),
    [
        ("rewind=2", ["a 2", "b 2"]),
        ("rewind=4", ["a 1", "b 1", "a 2", "b 2"]),
        ("rewind=all", ["a 0", "b 0", "a 1", "b 1", "a 2", "b 2"]),
        ("rewind=1000000", ["a 0", "b 0", "a 1", "b 1", "a 2", "b 2"]),
        ("rewind=0", []),
        ("", []),
    ],
)
def test_rewind_begins_with_the_newest_events(shop, sse, query, data):
    """
    A new stream asks for the newest events of all its channels; the first id is the place before the first.
    """
    places = [sse.cursor("a")]
    for number in range(3):
        for channel in "ab":
            places.append(sse.publish(f"{channel} {number}", channel=channel))
            sse.publish("another", channel="c")
    with shop.get(f"channel=a&channel=b&{query}") as response:
        chunk = first_bytes(response)
    id_lines = [line[4:].decode() for line in chunk.split(b"\n") if line.startswith(b"id: ")]
    data_lines = [line[6:].decode() for line in chunk.split(b"\n") if line.startswith(b"data: ")]
    assert data_lines == data
    assert id_lines[1:] == places[len(places) - len(data) :]
    with shop.get("channel=a&channel=b", id_lines[0]) as response:
        assert [event.data for event in read_events(response)[0]] == data


def test_last_event_id_beats_the_query_and_the_rewind(shop, sse):
    """The header counts before ?last_event_id=, and this one before ?rewind=."""
    ids = [sse.publish(str(number), channel="a") for number in range(4)]

    def came(query, last_event_id=None):
        with shop.get(f"channel=a&{query}", last_event_id) as response:
            return [event.data for event in read_events(response)[0]]

    assert came("rewind=all") == ["0", "1", "2", "3"]
    assert came(f"rewind=all&last_event_id={ids[1]}") == ["2", "3"]
    assert came(f"rewind=all&last_event_id={ids[1]}", ids[2]) == ["3"]
    assert came("rewind=all", ids[3]) == []


def test_id_of_nowhere_with_a_rewind_fetches_nothing(shop, sse):
    """An id of another epoch gets a reset and the end of the log, whatever rewind says."""
    sse.publish("x", channel="a")
    with shop.get("channel=a&rewind=all", "gone-1") as response:
        (reset,), decoder = read_events(response)
    assert reset_of(reset) == ("epoch", ["a"])
    assert decoder.last_event_id == sse.cursor("a")


def test_view_rewinds_its_own_stream(shop, sse):
    """sse.stream(rewind=) counts, whatever the query says; without it the query counts."""
    for number in range(4):
        sse.publish(str(number), channel="a")
    given = {"some": 2, "whole": "all", "none": 0, "asked": None}
    for name, rewind in given.items():
        shop.app.add_url_rule(f"/{name}", name, lambda rewind=rewind: sse.stream("a", rewind=rewind))
    for path, data in [
        ("/some?rewind=1", ["2", "3"]),
        ("/whole", ["0", "1", "2", "3"]),
        ("/none?rewind=all", []),
        ("/asked?rewind=1", ["3"]),
        ("/asked", []),
    ]:
        with shop.client.get(path) as response:
            assert [event.data for event in read_events(response)[0]] == data, path


@pytest.mark.parametrize("sent", ["some", "-1", "1.5", "", "ALL", "20 ", "9" * 19, "\u0661"])
def test_rewind_of_another_value_is_told(caplog, sent):
    """In debug mode it is refused with the cure; without it begins at the end, and is logged once."""
    shop = Shop("memory://")
    shop.sse.publish("old", channel="a")
    query = {"channel": "a", "rewind": sent}
    for _ in range(2):
        with shop.client.get("/events", query_string=query) as response:
            assert read_events(response)[0] == []
    assert caplog.text.count("Write for instance rewind=20, or rewind=all") == 1
    shop.app.debug = True
    response = shop.client.get("/events", query_string=query)
    assert response.status_code == 400
    assert response.json["message"] == "The rewind in the query must be a number of events, or 'all'."
    assert "Write for instance rewind=20" in response.json["cure"]


def test_rewind_that_is_nearly_written_is_told():
    """?rewinds= is a mistake that debug mode names."""
    shop = Shop("memory://")
    shop.app.debug = True
    response = shop.client.get("/events?channel=a&rewinds=3")
    assert (response.status_code, response.json["cure"]) == (400, "Write rewind=.")


class Liar(str):
    """Says that it is equal to everything."""

    __slots__ = ()

    __eq__ = __ne__ = lambda self, other: True
    __hash__ = str.__hash__


@pytest.mark.parametrize("rewind", [-1, True, 1.5, "some", "", b"all", Liar("some"), "x" * 100_000])
def test_view_that_rewinds_by_another_value_is_told(rewind):
    """A wrong argument of the developer is an error in the view, shown shortly."""
    shop = Shop("memory://")
    with (
        shop.app.test_request_context(),
        pytest.raises(ValueError, match='"rewind" must be a whole number') as caught,
    ):
        shop.sse.stream("a", rewind=rewind)
    assert len(str(caught.value)) < 400


def test_cursor_is_where_a_page_begins(shop, sse):
    """A stream from the cursor brings what came after it, also what came before the stream was opened."""
    sse.publish("before", channel="a")
    place = sse.cursor("a", "b")
    id = sse.publish("after", channel="a")
    assert sse.cursor() == id
    with shop.get(f"channel=a&channel=b&last_event_id={place}") as response:
        assert [event.data for event in read_events(response)[0]] == ["after"]


def test_cursor_is_written_by_templates(shop, sse):
    """{{ sse_cursor("orders") }} is the cursor."""
    place = sse.publish("x", channel="orders")
    with shop.app.test_request_context():
        assert render_template_string("{{ sse_cursor('orders', 'news') }}") == place


def test_cursor_of_what_is_no_channel_is_refused(shop, sse):
    """A name that no stream could read is an error in the view, and not in the browser."""
    with pytest.raises(InvalidChannel):
        sse.cursor("a b")
    with pytest.raises(InvalidChannel, match="at most 32"):
        sse.cursor(*(f"c{number}" for number in range(33)))


@pytest.mark.parametrize("begin", ["rewind=all", "cursor"])
def test_job_that_begins_before_its_reader_loses_no_event(shop, sse, begin):
    """What a job has published and closed before anybody listens is read whole."""
    query = begin if begin != "cursor" else f"last_event_id={sse.cursor('run.1')}"
    for number in range(100):
        sse.publish(str(number), channel="run.1")
    sse.publish("done", channel="run.1", close=True)
    data, last = shop.whole(f"channel=run.1&{query}")
    assert data == [*map(str, range(100)), "done"]
    with shop.get(f"channel=run.1&{query}", last) as response:
        assert response.status_code == 204


def test_kept_values_come_first_and_without_ids(shop, sse):
    """A newcomer gets the newest of each key, in the order in which they came, and then its place."""
    for key, value in [("A", 1), ("B", 1), ("A", 2), ("C", 1)]:
        sse.publish(value, "price", channel="prices", key=key, keep=True)
    place = sse.publish("an event", channel="prices")
    sse.forget("prices", "C")
    place = sse.cursor("prices")
    with shop.get("channel=prices") as response:
        chunk = first_bytes(response).partition(b"\n")[2]
    assert chunk == (
        b":kept\nevent: price\ndata: 1\n\nevent: price\ndata: 2\n\n" + f"id: {place}\n\n".encode()
    )


def test_forget_of_nothing_is_no_error(sse):
    """A key that no channel keeps leaves no trace, also of several channels."""
    place = sse.cursor("a")
    sse.forget("a", "k")
    sse.forget(["a", "b"], "k")
    assert sse.cursor("a") == place
    with pytest.raises(InvalidEvent, match='"key" must be'):
        sse.forget("a", "two\nlines")


@pytest.mark.parametrize("options", [{"key": "k"}, {"keep": True}, {"key": "", "keep": True}])
def test_key_and_keep_belong_together(sse, options):
    """One without the other is an error that says so."""
    with pytest.raises(InvalidEvent, match='"key"'):
        sse.publish("x", channel="a", **options)


def test_values_are_kept_within_limits(open_shop):
    """A value too many of a channel, and bytes too many of all, are errors that name the setting."""
    shop = open_shop(kept_values=2, kept_bytes=4096)
    sse = shop.sse
    for key in "AB":
        sse.publish("1", channel="a", key=key, keep=True)
    with pytest.raises(TooManyKept, match="SSE_PUSH_KEPT_VALUES"):
        sse.publish("1", channel="a", key="C", keep=True)
    sse.publish("2", channel="a", key="A", keep=True)
    with pytest.raises(TooManyKept, match="SSE_PUSH_KEPT_BYTES"):
        sse.publish("x" * 5000, channel="b", key="A", keep=True)
    sse.forget("a", "A")
    sse.publish("1", channel="a", key="C", keep=True)
    with shop.get("channel=a") as response:
        assert [event.data for event in read_events(response)[0]] == ["1", "1"]


def test_idempotency_key_counts_for_its_set_of_channels(shop, sse):
    """The same key on other channels names another event: nobody's key makes another one's event vanish."""
    first = sse.publish("mine", channel="user.1", idempotency_key="k")
    assert sse.publish("again", channel="user.1", idempotency_key="k") == first
    ids = {first}
    for channel in ("user.2", ["user.1", "user.2"], ["user.2", "user.3"]):
        id = sse.publish("another", channel=channel, idempotency_key="k")
        assert sse.publish("again", channel=channel, idempotency_key="k") == id
        ids.add(id)
    assert len(ids) == 4
    assert sse.publish("x", channel=["user.2", "user.1"], idempotency_key="k") in ids


def test_idempotency_key_is_asked_before_the_closing(sse):
    """A task that is repeated after it closed its channel gets its id, and no error."""
    id = sse.publish("done", channel="run", idempotency_key="end", close=True)
    assert sse.publish("done", channel="run", idempotency_key="end", close=True) == id
    with pytest.raises(ChannelClosed):
        sse.publish("done", channel="run", idempotency_key="another", close=True)


def test_busy_channel_leaves_a_quiet_one_its_past(open_shop):
    """Each channel has its own length: what a quiet one holds stays, and its clients resume."""
    shop = open_shop(
        history_length=4, channels={"run.*": {"history_length": 8}, "run.1": {"history_length": 1}}
    )
    sse = shop.sse
    place = sse.cursor("quiet")
    sse.publish("once", channel="quiet")
    for number in range(20):
        sse.publish(str(number), channel="busy")
        sse.publish(str(number), channel="run.1")
    with shop.get("channel=quiet", place) as response:
        assert [event.data for event in read_events(response)[0]] == ["once"]
    for channel, length in (("busy", 4), ("run.1", 8)):
        with shop.get(f"channel={channel}&rewind=all") as response:
            data = [event.data for event in read_events(response)[0]]
        assert data == [str(number) for number in range(20 - length, 20)]
        with shop.get(f"channel={channel}", place) as response:
            reset, *events = read_events(response)[0]
        assert reset_of(reset) == ("evicted", [channel])


@on_shared_buses
def test_publisher_closes_keeps_and_forgets(open_shop, url):
    """A publisher without the app does all of it on the bus of the app, and obeys its retention."""
    shop = open_shop(channels={"run.*": {"history_length": 3}})
    with shop.get("channel=run.1") as response, Publisher(url) as publisher:
        first_bytes(response)  # the app follows the bus, and has written how much is kept
        place = publisher.cursor("run.1", "prices")
        publisher.publish("1", channel="prices", key="A", keep=True)
        publisher.publish("2", channel="prices", key="B", keep=True)
        publisher.forget("prices", "B")
        for number in range(6):
            publisher.publish(number, channel="run.1")
        mark = publisher.close_channel("run.1")
        assert publisher.close_channel("run.1") == mark
        with pytest.raises(ChannelClosed):
            publisher.publish("x", channel="run.1", close=True)
        with pytest.raises(InvalidChannel):
            publisher.close_channel()
        eventually(lambda: shop.sse.stats()["last_event_id"] == mark, 10_000 * MS)
    data, last = shop.whole("channel=run.1&rewind=all")
    assert last == mark
    assert data in (["3", "4", "5"], ["4", "5"])  # a store may count the mark as one of the three
    with shop.get("channel=prices") as response:
        assert [event.data for event in read_events(response)[0]] == ["1"]
    with shop.get("channel=prices", place) as response:
        assert [event.data for event in read_events(response)[0]] == ["1"]
