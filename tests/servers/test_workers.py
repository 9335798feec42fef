"""Several workers of one gunicorn, with no configuration and no broker."""

import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.servers.harness import FACTOR, ROOT, Client, Server, eventually

WORKERS = ["gunicorn-gevent", "gunicorn-gevent-preload", "gunicorn-gthread"]


@pytest.fixture
def folder(tmp_path):
    """Where the servers of a test keep what their workers share."""
    return tmp_path


def start(kind, folder, *options, **config):
    server = Server(
        kind, "-w", "4", *options, environ={"TMPDIR": str(folder)}, retry_milliseconds=500, **config
    )
    if not options:
        # gunicorn loses a signal that comes while a worker boots: see each of them first.
        seen = set()

        def booted():
            seen.add(server.worker_pid())
            return len(seen) == 4

        eventually(booted, 20, "the four workers have booted")
    return server


def files(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file() or path.is_socket())


def pids(server):
    """The processes of the workers that have streams."""
    return {process["pid"] for process in server.get("/stats-of-all")["processes"] if process["streams"]}


def spread(server, path="/events", workers=2):
    """Open streams until so many workers have some."""
    clients = []

    def enough():
        client = Client(server, path).until(lambda client: client.body.endswith(b"\n\n") or client.clean)
        if b"Come back later" not in client.body:  # the threads of that worker are taken; another has some
            clients.append(client)
        return len(clients) >= 8 and len(pids(server)) >= workers

    eventually(enough, 20, "all streams are in one worker")
    return clients


def workers_of(server):
    children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text()
    return [int(pid) for pid in children.split()]


@pytest.mark.parametrize("kind", WORKERS)
def test_event_reaches_the_clients_of_all_workers(kind, folder):
    """
    What any worker publishes comes to every client of every worker, once, in the order of the numbers and
    without a hole.
    """
    with start(kind, folder) as server:
        clients = spread(server)
        ids = [id for number in range(40) for id in server.publish(number)]
        assert sorted(int(id.split("-")[1]) for id in ids) == list(range(1, 41))
        for client in clients:
            client.wait(40)
            assert [event.last_event_id for event in client.events] == ids
            assert client.data() == [str(number) for number in range(40)]


def test_burst_in_one_worker_resets_nobody(folder):
    """
    A view may publish many more events than the history holds, and no client of any worker misses one.
    """
    with start("gunicorn-gevent", folder) as server:
        clients = spread(server)
        server.publish(None, count=1500)
        for client in clients:
            client.wait(1500, 20)
            assert client.data() == [str(number) for number in range(1500)]


def test_killed_worker_loses_nothing(folder):
    """
    Clients of a worker that is killed come back to another and read on, without a reset, also what was
    published in between.
    """
    with start("gunicorn-gevent", folder) as server:
        clients = spread(server)
        before = server.publish("before")
        for client in clients:
            client.wait(1)
        for pid in workers_of(server):
            os.kill(pid, signal.SIGKILL)

        def publish():
            try:
                return server.publish("meanwhile")
            except OSError:
                return None

        meanwhile = eventually(publish, 20, "the workers come back")
        for client in clients:
            client.until(lambda client: client.ended)
            with Client(server, headers=[f"Last-Event-ID: {client.decoder.last_event_id}"]) as back:
                back.wait(1)
                assert back.data() == ["meanwhile"]
                assert [event.last_event_id for event in back.events] == meanwhile
        assert before[0].split("-")[0] == meanwhile[0].split("-")[0]


def test_reload_loses_nothing(folder):
    """
    On SIGHUP the new workers have the history of the old ones.
    """
    with start("gunicorn-gevent", folder) as server:
        client = Client(server).begun()
        server.publish("before")
        client.wait(1)
        old = workers_of(server)
        server.process.send_signal(signal.SIGHUP)
        client.until(lambda client: client.clean)
        eventually(lambda: not set(old) & set(workers_of(server)), 10, "the old workers live on")
        server.publish("after")
        with Client(server, headers=["Last-Event-ID: " + client.decoder.last_event_id]) as back:
            back.wait(1)
            assert back.data() == ["after"]


@pytest.mark.parametrize("kind", WORKERS)
def test_shared_folder_is_private_and_goes_with_the_server(kind, folder):
    """
    While the server runs nobody else can enter the folder; when it stops, nothing is left.
    """
    with start(kind, folder) as server:
        Client(server).begun()
        server.publish("something")
        (base,) = [path for path in folder.iterdir() if path.name.startswith("flask_sse_push-")]
        assert stat.S_IMODE(base.stat().st_mode) == 0o700
        assert any(path.suffix == ".db" for path in files(base))
        server.process.terminate()
        server.process.wait(15)
    assert not [path for path in folder.iterdir() if path.name.startswith("flask_sse_push-")]


def test_shared_folder_of_a_killed_server_goes(folder):
    """
    When gunicorn's master is killed, its workers notice and take the folder away.
    """
    with start("gunicorn-gevent", folder) as server:
        Client(server).begun()
        server.publish("something")
        workers = workers_of(server)
        server.process.kill()
        server.process.wait(10)
        eventually(
            lambda: not any(os.path.exists(f"/proc/{pid}") for pid in workers), 20, "the workers live on"
        )
    assert not files(folder)


def test_shared_folder_of_a_server_that_was_killed_whole_is_removed_by_the_next(folder):
    """
    Where nobody was left to clean up, the next server does; it leaves alone what belongs to a server that
    lives.
    """
    with start("gunicorn-gevent", folder) as living, start("gunicorn-gevent", folder) as killed:
        for server in (living, killed):
            Client(server).begun()
            server.publish("something")
        os.killpg(killed.process.pid, signal.SIGKILL)
        killed.process.wait(10)
        databases = [path for path in files(folder) if path.suffix == ".db"]
        assert len(databases) == 2
        with start("gunicorn-gevent", folder) as third:
            Client(third).begun()
            third.publish("something")
            left = [path for path in files(folder) if path.suffix == ".db"]
            assert len(left) == 2
            assert len(set(left) & set(databases)) == 1
        living.publish("still there")


def test_recycled_workers_keep_the_folder(folder):
    """
    With max_requests workers come and go, and the numbers go on.
    """
    with start("gunicorn-gevent", folder, "--max-requests", "3") as server:
        numbers = []

        def publish():
            try:
                numbers.extend(int(id.split("-")[1]) for id in server.publish("x"))
            except OSError:
                pass  # the worker went with the connection
            return len(numbers) >= 40

        eventually(publish, 40)
        assert numbers == sorted(numbers)
        assert len(set(numbers)) == len(numbers)
        epochs = {id.split("-")[0] for id in server.publish("last")}
        assert len(epochs) == 1
        assert numbers[0] == 1


def test_worker_that_only_publishes_follows_nothing(folder):
    """
    Without a stream a worker opens the database to publish, and starts no thread and no doorbell.
    """
    with start("gunicorn-gthread", folder) as server:
        server.publish("unheard")
        assert not [path for path in folder.rglob("*") if path.is_socket()]
        for _ in range(10):
            assert not [
                name for name in server.stats()["threads"] if name.startswith("flask_sse_push.follower")
            ]


def test_stats_speak_of_all_workers(folder):
    """
    One worker's answer has the streams, listeners and positions of all; a killed worker's are gone with its
    lease.
    """
    with start("gunicorn-gevent", folder) as server:
        clients = spread(server, "/events?channel=a&channel=b")
        server.publish("x", channel="a")

        def known():
            told = server.get("/stats-of-all")
            return (
                told
                if told["streams"] == len(clients)
                and told["lag"] == 0
                and all(p["last_event_id"] for p in told["processes"])
                else None
            )

        told = eventually(known, 10, "all processes report")
        assert told["channels"] == {"a": len(clients), "b": len(clients)}
        assert told["bus"] == "sqlite"
        assert told["history"]["events"] == 1
        victim = max(told["processes"], key=lambda process: process["streams"])
        os.kill(victim["pid"], signal.SIGKILL)
        eventually(lambda: victim["pid"] not in pids(server), 15, "the lease of a killed process expires")


def test_lone_worker_needs_no_file(folder):
    """
    With one worker the bus is memory, and nothing is written.
    """
    with Server("gunicorn-gevent", environ={"TMPDIR": str(folder)}) as server:
        Client(server).begun()
        server.publish("x")
        assert server.stats()["bus"] == "memory"
        assert not [path for path in files(folder) if "flask_sse_push" in str(path)]


@pytest.mark.parametrize("kind", ["gunicorn-gevent-preload", "gunicorn-gthread"])
def test_worker_that_is_added_to_a_lone_one_says_how_they_come_together(kind, folder):
    """
    The first worker keeps its events in memory and cannot know of the second, which warns and names it. When
    it was replaced, as the warning says, every event reaches the clients of both. A reload goes back to one.
    """
    with Server(kind, environ={"TMPDIR": str(folder)}) as server:
        first = server.worker_pid()
        Client(server).begun()
        server.process.send_signal(signal.SIGTTIN)
        seen = set()
        eventually(lambda: seen.add(server.worker_pid()) or len(seen) == 2, 20, "a second worker")
        eventually(lambda: (Client(server).begun(), f"kill -TERM {first}" in server.log)[1], 10)
        os.kill(first, signal.SIGTERM)
        eventually(lambda: len(workers_of(server)) == 2 and first not in workers_of(server), 20)
        clients = spread(server)
        for number in range(10):
            server.publish(number)
        for client in clients:
            client.wait(10)
            assert client.data() == [str(number) for number in range(10)]
        added = set(workers_of(server))
        server.process.send_signal(signal.SIGHUP)
        eventually(lambda: not added & set(workers_of(server)), 10, "the old workers live on")
        assert server.stats()["bus"] == "memory"
        assert server.log.count("A worker was added") == 1


def test_worker_that_is_added_is_warned_of_where_memory_was_chosen(folder):
    """With memory:// a second worker says SSE002, and does not stop the server as it would at the start."""
    with Server("gunicorn-gevent", bus_url="memory://") as server:
        assert "SSE002" not in server.log
        server.process.send_signal(signal.SIGTTIN)
        eventually(lambda: "WARNING flask_sse_push SSE002" in server.log, 20)
        eventually(lambda: len(workers_of(server)) == 2)
        assert server.worker_pid()


def test_named_database_keeps_the_history_over_a_restart(folder):
    """
    With sqlite:// and a path, a client that comes back after the server was stopped and started reads on.
    """
    url = f"sqlite:///{folder}/events.db"
    with start("gunicorn-gevent", folder, bus_url=url) as server:
        client = Client(server).begun()
        server.publish("first")
        client.wait(1)
        server.publish("second")
        seen = client.events[0].last_event_id
    with start("gunicorn-gevent", folder, bus_url=url) as server:
        server.publish("third")
        with Client(server, headers=[f"Last-Event-ID: {seen}"]) as back:
            back.wait(2)
            assert back.data() == ["second", "third"]


def test_idempotency_key_holds_over_all_workers(folder):
    """
    The same key, published through any worker, is one event and one id.
    """
    with start("gunicorn-gevent", folder) as server:
        clients = spread(server)
        ids = {id for _ in range(20) for id in server.publish("once", idempotency_key="order-7")}
        assert len(ids) == 1
        server.publish("after")
        for client in clients:
            client.wait(2)
            assert client.data() == ["once", "after"]


def test_script_that_publishes_to_nobody_is_told(tmp_path):
    """
    A process that serves nobody and keeps its events in memory gets a warning, once, with the cure.
    """
    script = tmp_path / "script.py"
    script.write_text("from tests.servers.app import app, publish\npublish('a')\npublish('b')\n")
    done = subprocess.run(
        [sys.executable, script],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=30 * FACTOR,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("Nobody can hear this event") == 1
    assert "SSE_PUSH_BUS_URL" in done.stderr


def test_reload_is_quick(folder):
    """
    Taking leave of the shared folder keeps no worker any longer than one of a server that has none.
    """
    # Side by side: a busy machine is as slow for the one as for the other. (That streams and workers are gone
    # within their time is for test_lifecycle.) Preloaded: new workers that import everything need processors.
    kind = "gunicorn-gevent-preload"
    named = f"sqlite:///{folder}/events.db"
    with start(kind, folder) as server, start(kind, folder, bus_url=named) as without:
        servers, gone = (server, without), {}
        clients = [Client(each).begun() for each in servers for _ in range(8)]
        old = {each: set(workers_of(each)) for each in servers}
        for each in servers:
            each.process.send_signal(signal.SIGHUP)
        for client in clients:
            client.until(lambda client: client.clean)

        def all_gone():
            for each in servers:
                if each not in gone and not old[each] & set(workers_of(each)):
                    gone[each] = time.monotonic()
            return len(gone) == 2

        eventually(all_gone, 15, "the old workers live on")
        assert gone[server] - gone[without] < 2 * FACTOR
