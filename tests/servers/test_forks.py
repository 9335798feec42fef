"""Children that a view forks among greenlets: each has copies of all, and a loop that runs them."""

import contextlib
import os
import signal
import socket
import time
from pathlib import Path

import pytest

from flask_sse_push import Publisher
from tests.bus.redis_server import RedisServer
from tests.needs import needs
from tests.servers.harness import Client, Server
from tests.support import MS


@contextlib.contextmanager
def waiting_child(server):
    """Fork a child of the server's worker that waits; give its process number."""
    pid = server.post("/fork-and-wait")["pid"]
    try:
        yield pid
    finally:
        with contextlib.suppress(
            ProcessLookupError
        ):  # gunicorn's copy in it ends it when it notices its parent
            os.kill(pid, signal.SIGKILL)


@contextlib.contextmanager
def store(kind, folder):
    """The URL of a bus that both the server and the test reach, and what stops its server."""
    if kind == "sqlite":
        yield f"sqlite:///{folder}/events.db", None
        return
    needs("redis-server", modules=["redis"])
    with RedisServer() as redis:
        yield redis.url, redis.stop


def share_of_processor(pid):
    """The part of one processor that a process takes, over half a second."""

    def used():
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    before, began = used(), time.monotonic()
    time.sleep(500 * MS)
    return (used() - before) / (time.monotonic() - began)


@pytest.mark.parametrize("kind", ["sqlite", "redis"])
@pytest.mark.parametrize("runner", ["gunicorn-gevent", "pywsgi"])
def test_child_that_waits_takes_no_event_of_its_parent(kind, runner, tmp_path):
    """The follower's copy in a child reads nothing from what it shares: each event arrives once, in order."""
    with store(kind, tmp_path) as (url, _), Server(runner, bus_url=url) as server:
        with Client(server).begun() as client, waiting_child(server), Publisher(url) as publisher:
            for number in range(60):
                publisher.publish(number)
                time.sleep(20 * MS)
            client.wait(60)
            assert client.data() == [str(number) for number in range(60)]


def test_child_that_waits_takes_no_event_of_the_workers_of_a_server():
    """The same holds on the private bus that the workers of one server share."""
    with Server("gunicorn-gevent", "-w", "2") as server, Client(server).begun() as client:
        with Client(server, "/fork-and-publish", method="POST"):
            client.wait(10)
            assert client.data() == [str(number) for number in range(10)]


def test_child_that_waits_leaves_a_response_to_its_parent():
    """An iterable that waits when a child is forked gives each item once, and ends once."""
    with Server("gunicorn-gevent") as server, Client(server, "/tokens?count=8&pause=0.1").begun() as client:
        with waiting_child(server):
            client.wait(9)
            assert client.data() == [f"token {number}" for number in range(8)] + ['{"tokens": 8}']


@pytest.mark.parametrize("kind", ["sqlite", "redis"])
def test_child_that_waits_costs_no_time_when_its_parents_store_is_gone(kind, tmp_path):
    """
    What stays readable in a child, because its parent ended or the store closed the connection, does not keep
    the child's loop busy.
    """
    with store(kind, tmp_path) as (url, stop), Server("pywsgi", bus_url=url) as server:
        with Client(server).begun() as client, waiting_child(server) as child:
            with Publisher(url) as publisher:
                publisher.publish("first")
            client.wait(1)
            if stop is not None:
                stop()
            server.process.kill()
            server.process.wait()
            assert share_of_processor(child) < 0.2


def test_child_that_waits_costs_no_time_when_an_iterables_connection_ends(tmp_path):
    """The copy of an iterable does not keep the child's loop busy when its connection is closed."""
    path = str(tmp_path / "model.sock")
    with Server("pywsgi") as server, socket.socket(socket.AF_UNIX) as model:
        model.bind(path)
        model.listen()
        with Client(server, f"/relay?path={path}") as client:
            peer, _ = model.accept()
            with peer, waiting_child(server) as child:
                peer.sendall(b"all")
                peer.shutdown(socket.SHUT_RDWR)
                client.wait(2)
                assert share_of_processor(child) < 0.2
                assert client.data() == ["all", "null"]


def test_iterable_that_forks_goes_on_in_its_child():
    """A child that an iterable forks is the greenlet that forked it, and comes back from its waits."""
    with Server("gunicorn-gevent") as server, Client(server, "/forking-tokens") as client:
        client.until(lambda client: client.events and client.events[-1].type == "done")
        assert client.data()[-1] == '"the child went on"'
