"""What every server delivers."""

import contextlib
import socket
import time

import pytest

from tests.servers.harness import FACTOR, KINDS, Client, Server, eventually


def test_stream_begins_at_once(server, channel):
    """
    The headers, a reconnection time and the position are there before any event.
    """
    with Client(server, f"/events?channel={channel}").begun() as client:
        assert client.status == 200
        assert client.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert client.headers["cache-control"] == "no-store, no-transform"
        assert client.headers["x-accel-buffering"] == "no"
        assert client.headers["x-content-type-options"] == "nosniff"
        assert 1000 <= client.decoder.retry <= 3000
        assert client.decoder.last_event_id == server.stats()["last_event_id"]
        assert client.events == []


def test_stream_delivers_in_order(server, channel):
    """
    Events arrive once each, in the order of publishing, with their type and the id that publish returned.
    """
    with Client(server, f"/events?channel={channel}").begun() as client:
        ids = server.publish(None, channel=channel, type="count", count=100, pause=0)
        events = client.wait(100)
    assert [int(event.data) for event in events] == list(range(100))
    assert {event.type for event in events} == {"count"}
    assert [event.last_event_id for event in events] == ids


def test_stream_of_several_channels_gets_each_event_once(server, channel):
    """
    A stream of two channels gets the events of both in order, and one that went to both once.
    """
    with Client(server, f"/events?channel={channel}.a&channel={channel}.b").begun() as client:
        server.publish("1", channel=f"{channel}.a")
        server.publish("2", channel=[f"{channel}.b", f"{channel}.a"])
        server.publish("other", channel=f"{channel}.c")
        server.publish("3", channel=f"{channel}.b")
        client.wait(3)
        assert client.data() == ["1", "2", "3"]


def test_stream_gets_a_burst_longer_than_the_history(server, channel):
    """
    A view that publishes three times the history in one loop loses nothing for a client that reads.
    """
    with Client(server, f"/events?channel={channel}").begun() as client:
        server.publish(None, channel=channel, count=900)
        events = client.wait(900, 10)
    assert [event.data for event in events] == [str(number) for number in range(900)]


def test_stream_resumes_exactly(server, channel):
    """
    A client that comes back with its last id gets what it missed and nothing twice, by header or by query.
    """
    ids = server.publish(None, channel=channel, count=10)
    with Client(server, f"/events?channel={channel}", [f"Last-Event-ID: {ids[3]}"]) as by_header:
        with Client(server, f"/events?channel={channel}&last_event_id={ids[6]}") as by_query:
            server.publish("live", channel=channel)
            assert [event.data for event in by_header.wait(7)] == ["4", "5", "6", "7", "8", "9", "live"]
            assert [event.data for event in by_query.wait(4)] == ["7", "8", "9", "live"]


def test_stream_tells_of_a_gap_before_anything_else(server, channel):
    """
    A client whose next event is gone is told so, and gets what is left behind it.
    """
    first = server.publish("first", channel=channel)[0]
    server.publish(None, channel=channel, count=400)
    with Client(server, f"/events?channel={channel}", [f"Last-Event-ID: {first}"]) as client:
        events = client.wait(301)
    assert events[0].type == "sse.reset"
    assert "evicted" in events[0].data
    assert [event.data for event in events[1:]] == [str(number) for number in range(100, 400)]


def test_stream_answers_a_foreign_last_event_id(server, channel):
    """
    An id that no log knows, in bytes that are no ASCII, gets a reset, never an error. (Other ids:
    tests/app/test_resume.py.)
    """
    with Client(server, f"/events?channel={channel}", ["Last-Event-ID: é"]) as client:
        assert client.wait(1)[0].type == "sse.reset"
        assert client.status == 200
        server.publish("live", channel=channel)
        assert client.wait(2)[1].data == "live"


def test_heartbeat_keeps_a_quiet_stream_alive(server, channel):
    """
    A stream without events is never silent for longer than its heartbeat.
    """
    with Client(server, f"/events?channel={channel}").begun() as client:
        last = time.monotonic()
        for _ in range(4):
            length = len(client.body)
            client.until(lambda client, length=length: len(client.body) > length, 2)
            assert time.monotonic() - last < 1.5
            last = time.monotonic()
        assert client.events == []


def test_heartbeat_carries_the_cursor_past_other_channels(server, channel):
    """
    When other channels move on, the heartbeat of a quiet stream moves its position, so that it resumes
    without a false gap.
    """
    with Client(server, f"/events?channel={channel}").begun() as client:
        latest = server.publish("elsewhere", channel=f"{channel}.other")[0]
        client.until(lambda client: client.decoder.last_event_id == latest, 3)
        assert client.events == []


@pytest.mark.parametrize("kind", KINDS)
def test_closed_client_is_noticed_by_watching(kind):
    """
    FIN, RST and a half-close each end the stream without a byte being sent to it: the next heartbeat is a
    minute away.
    """
    with Server(kind, heartbeat_seconds=60) as server:
        for leave in (
            Client.close,
            Client.reset_connection,
            lambda client: client.sock.shutdown(socket.SHUT_WR),
        ):
            client = Client(server).begun()
            eventually(lambda: server.streams() == 1)
            leave(client)
            eventually(lambda: server.streams() == 0, 3, f"{leave} was not noticed")
            client.close()
        assert server.stats()["closed"] == ["gone"] * 3


def test_client_that_sends_during_its_stream_is_still_noticed(server, channel):
    """
    Bytes that a client sends into its stream neither end it nor hide that the client leaves.
    """
    before = server.streams()
    client = Client(server, f"/events?channel={channel}").begun()
    client.sock.sendall(b"GET /ping HTTP/1.1\r\n")
    server.publish("still here", channel=channel)
    client.wait(1)
    client.close()
    eventually(lambda: server.streams() == before, 1.5)


def test_half_closed_client_gets_a_clean_end(server, channel):
    """
    A client that closed only its sending side can read the end of the body.
    """
    with Client(server, f"/events?channel={channel}").begun() as client:
        client.sock.shutdown(socket.SHUT_WR)
        client.until(lambda client: client.clean)


def test_http_1_0_client_gets_the_stream(server, channel):
    """
    A client of HTTP/1.0 gets the events, without chunks where the server knows better than to send them.
    """
    with Client(server, f"/events?channel={channel}", version="1.0").begun() as client:
        if server.kind != "flask-run":  # Werkzeug answers in the form of 1.1 whatever it is asked in
            assert "transfer-encoding" not in client.headers
        server.publish("old", channel=channel)
        client.wait(1)
        assert client.data() == ["old"]


def test_native_threads_can_publish(server, channel):
    """
    Threads that gevent knows nothing of publish without a context; each one's order is kept and nothing is
    late.
    """
    with Client(server, f"/events?channel={channel}").begun() as client:
        server.post("/publish-natively", channel=channel, threads=4, count=50)
        client.wait(200)
    for thread in range(4):
        assert [data for data in client.data() if data.startswith(f"{thread}:")] == [
            f"{thread}:{number}" for number in range(50)
        ]


def test_response_streams_one_request(server):
    """
    The items of an iterable arrive as they come, then what it returned.
    """
    for method in ("GET", "POST"):
        with Client(server, "/tokens", method=method, headers=["Content-Length: 0"]) as client:
            events = client.wait(4)
            client.until(lambda client: client.clean)
        assert [event.data for event in events[:3]] == ["token 0", "token 1", "token 2"]
        assert (events[3].type, events[3].data) == ("done", '{"tokens": 3}')


def test_response_beats_while_its_iterable_thinks(server):
    """
    An iterable that needs long for an item does not let its stream fall silent.
    """
    with Client(server, "/tokens?count=1&pause=1.5") as client:
        client.until(lambda client: b":\n\n" in client.body, 3)
        assert client.events == []
        client.wait(2)


def test_response_closes_its_iterable_when_the_client_leaves(server):
    """
    Where greenlets run it is closed where it waits, elsewhere with its next item.
    """
    closed = server.stats()["closed"].count("generator")
    pause = 0.3 if server.kind in ("gunicorn-gthread", "flask-run") else 60
    client = Client(server, f"/tokens?count=1000&pause={pause}").begun()
    client.close()
    eventually(lambda: server.stats()["closed"].count("generator") == closed + 1, 3)


@pytest.mark.parametrize("kind", ["gunicorn-gthread", "flask-run", "gunicorn-gevent"])
def test_threads_that_clients_have_left_are_counted_and_bounded(kind, tmp_path):
    """
    A thread that waits for a silent upstream cannot be ended. When as many are left as there may be streams,
    responses are refused until some end, and channels are streamed all the same. Greenlets are ended.
    """
    path = str(tmp_path / "upstream.sock")
    with (
        Server(kind, max_streams=2, heartbeat_seconds=0.5) as server,
        socket.socket(socket.AF_UNIX) as upstream,
        contextlib.ExitStack() as peers,
    ):
        upstream.bind(path)
        upstream.listen()
        upstream.settimeout(10 * FACTOR)
        left = 0 if kind == "gunicorn-gevent" else 2
        for _ in range(2):
            client = Client(server, f"/relay?path={path}").begun()
            peers.enter_context(upstream.accept()[0])
            client.close()
        eventually(lambda: (server.streams(), server.stats()["abandoned_responses"]) == (0, left))
        for _ in range(3):
            with Client(server, "/tokens").until(lambda client: client.clean) as client:
                assert (b"Come back later" in client.body) == bool(left)
        assert server.log.count("a time-out") == bool(left)
        if left:
            with Client(server, "/tokens", method="POST").until(lambda client: client.body) as client:
                assert client.status == 503
        with Client(server).begun():
            pass
        peers.close()
        eventually(lambda: server.stats()["abandoned_responses"] == 0)
        with Client(server, "/tokens") as client:
            assert client.wait(4)[3].type == "done"


def test_own_view_grants_what_it_names(server, channel):
    """
    A stream that a view returns reads the channels that the view names.
    """
    with Client(server, "/mine/ada").begun() as client:
        server.publish("for ada", channel="user.ada")
        client.wait(1)
        assert client.data() == ["for ada"]


def test_pages_answer_beside_streams(server, channel):
    """
    Twenty open streams do not keep a page waiting.
    """
    clients = [Client(server, f"/events?channel={channel}").begun() for _ in range(20)]
    assert server.get("/ping", timeout=2)
    server.publish("all", channel=channel)
    for client in clients:
        client.wait(1)
        client.close()


def test_shutdown_ends_streams_and_the_app_goes_on(server, channel):
    """
    shutdown() in a view ends the streams cleanly with a time to come back after, and the next ones work.
    """
    with Client(server, f"/events?channel={channel}").begun() as client:
        assert server.post("/shutdown") == {"streams": 0}
        client.until(lambda client: client.clean)
        assert b"retry: " in client.body.rpartition(b"\n\n")[2]
    with Client(server, f"/events?channel={channel}").begun() as client:
        server.publish("again", channel=channel)
        assert [event.data for event in client.wait(1)] == ["again"]
