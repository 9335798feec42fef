"""Snapshots on servers: once for all, in their place, beside everything else."""

import contextlib
import threading

import pytest

from tests.servers.harness import Client, Server, eventually

SECONDS = 0.2
"""How long the function of the channels ``counter`` takes."""


@pytest.fixture(
    scope="module",
    params=["gunicorn-gevent", "gunicorn-gevent-portable", "gunicorn-gevent-preload", "gunicorn-gthread"],
)
def server(request):
    options = ["--threads", "120"] if request.param == "gunicorn-gthread" else []
    with Server(
        request.param,
        *options,
        app="tests.servers.snapshots:app",
        environ={"TEST_APP_SNAPSHOT_SECONDS": str(SECONDS)},
        heartbeat_seconds=0.5,
        history_length=10_000,
        max_streams=110,
    ) as server:
        yield server


def snapshots_of(client):
    return [event.data for event in client.events if event.type == "snapshot"]


@pytest.fixture
def hold(server):
    """Lets the snapshots of the channels "held*" wait, or go on."""

    def switch(is_held):
        server.post("/hold", is_held=is_held)

    switch(True)
    yield switch
    switch(False)


def is_waiting(client):
    """A stream that waits for its snapshot shows that it lives without a blank line."""
    return client.body.endswith(b"\n:\n")


def test_crowd_shares_one_snapshot(server, channel, hold):
    """A hundred streams that open need one call of the function, and one more when all lose their log."""
    channel = f"held.{channel}"
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(Client(server, f"/events?channel={channel}")) for _ in range(100)]
        for client in clients:
            client.until(is_waiting, 10)
        hold(False)
        for client in clients:
            client.until(snapshots_of)
            client.until(lambda client: client.decoder.last_event_id)
        hold(True)
        server.post("/forget")
        for client in clients:
            client.until(is_waiting, 10)
        hold(False)
        for client in clients:
            client.until(lambda client: len(snapshots_of(client)) == 2, 10)
            assert [event.type for event in client.events] == ["snapshot", "sse.reset", "snapshot"]
        assert server.get("/calls")["calls"][channel] == 2


def test_snapshot_and_events_leave_no_gap(server, channel):
    """
    Beside a thousand writes a second, each page shows a value and then every later one, in order: no event is
    missing between.
    """
    channel = f"counter.{channel}"
    counting = threading.Thread(
        target=server.post, args=("/count",), kwargs={"channel": channel, "count": 2_000}
    )
    counting.start()
    try:
        with contextlib.ExitStack() as stack:
            clients = []
            while counting.is_alive():
                client = stack.enter_context(Client(server, f"/events?channel={channel}"))
                clients.append(client.until(snapshots_of))
            last = server.post("/count", channel=channel, count=1)["counter"]
            for client in clients:
                client.until(lambda client: client.data()[-1] == str(last))
                shown, *values = map(int, client.data())
                assert client.events[0].type == "snapshot"
                assert values[0] <= shown + 1
                assert values == list(range(values[0], last + 1))
            assert len(clients) > 2
    finally:
        counting.join()


def test_slow_snapshot_holds_back_its_own_streams_alone(server, channel, hold):
    """They get signs of life, and it when it comes; a client that left meanwhile is noticed."""
    path = f"/events?channel=held.{channel}"
    with Client(server, path) as waiting, Client(server, "/events?channel=fast") as fast:
        gone = Client(server, path).until(is_waiting)
        fast.begun()
        server.publish("on", channel="fast")
        assert fast.wait(1)[0].data == "on"
        waiting.until(lambda client: client.body.count(b"\n:") >= 2)
        assert b"\n\n" not in waiting.body
        before = server.streams()
        gone.close()
        eventually(lambda: server.streams() == before - 1)
        hold(False)
        waiting.until(lambda client: snapshots_of(client) == ["at last"])


def test_function_sees_no_request(server, channel):
    """It runs in the context of its app alone, on every server."""
    with Client(server, f"/events?channel=counter.{channel}") as client:
        client.until(snapshots_of)
    assert server.get("/calls")["contexts"] == [["tests.servers.snapshots", False]]


def test_failing_snapshot_asks_its_client_to_come_back(server):
    """The stream ends cleanly, with a time between 5 and 15 seconds; the log says why."""
    with Client(server, "/events?channel=failing") as client:
        client.until(lambda client: client.clean)
        assert 5_000 <= client.decoder.retry <= 15_000
        assert client.events == []
    assert "The snapshot of channel 'failing' failed" in server.log
    assert "no database" in server.log


def test_snapshot_leaves_no_thread(server, channel):
    """When nobody waits for one, nothing of it runs."""
    with Client(server, f"/events?channel=counter.{channel}") as client:
        client.until(snapshots_of)
    eventually(lambda: not [name for name in server.stats()["threads"] if "snapshot" in name])
