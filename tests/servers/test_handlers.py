"""Apps that handle SIGTERM themselves."""

import os
import signal
import time

import pytest

from tests.servers.harness import FACTOR, Client, Server, eventually

KINDS = {
    "gevent": "gunicorn-gevent",
    "preload": "gunicorn-gevent-preload",
    "gthread": "gunicorn-gthread",
}

# What the handler does, by what it is set and when; the worker, and how many.
STOPPED = [
    ("calls-all-before", "gevent", 2),
    ("calls-gevent-after", "gevent", 1),
    ("calls-all-request", "preload", 1),
    ("calls-signal-after", "gthread", 1),
    ("swallows-signal-after", "gevent", 1),
    ("swallows-gevent-request", "preload", 1),
    ("swallows-signal-before", "gthread", 1),
    ("exits-gevent-before", "gevent", 1),
    ("exits-signal-after", "gthread", 1),
]


def start(handler, kind, workers, *options, wait=True):
    environ = {"TEST_HANDLER": handler}
    return Server(KINDS[kind], "-w", str(workers), *options, environ=environ, app="tests.servers.handlers:app", wait=wait)


@pytest.fixture(scope="module")
def stopped():
    """Servers of all kinds, stopped at the same time while they have streams: what became of each."""
    servers = {row: start(*row, wait=False) for row in STOPPED}
    results = {}
    try:
        clients = {}
        for row, server in servers.items():
            eventually(server._answers, 30, row)
            clients[row] = [Client(server) for _ in range(6)]
            for client in clients[row]:
                client.until(lambda client: client.status is not None)
        # Long enough for each worker to have seen that its master listens.
        for some in clients.values():
            for client in some:
                client.read(0.05)
        told = time.monotonic()
        for server in servers.values():
            server.process.send_signal(signal.SIGTERM)
        gone = {}

        def all_gone():
            for row, server in servers.items():
                if row not in gone and server.process.poll() is not None:
                    gone[row] = time.monotonic() - told
            for some in clients.values():
                for client in some:
                    if not client.ended:
                        client.read(0.001)
            return len(gone) == len(servers)

        try:
            eventually(all_gone, 9)
        except AssertionError:
            pass  # each test says what it misses
        for row, server in servers.items():
            for client in clients[row]:
                client.read(0.01)
            results[row] = (gone.get(row), clients[row], server.log)
        yield results
    finally:
        for server in servers.values():
            if server.process.poll() is None:
                os.killpg(server.process.pid, signal.SIGKILL)
            server.stop()
        for some in clients.values():
            for client in some:
                client.close()


@pytest.mark.parametrize("row", STOPPED, ids=lambda row: "-".join(map(str, row)))
def test_sigterm_ends_every_stream_whatever_the_app_does_with_it(stopped, row):
    """
    Where the app handles SIGTERM itself, streams open, end cleanly at a stop, and the server is gone in 5 s.
    """
    seconds, clients, log = stopped[row]
    assert [client.status for client in clients] == [200] * 6, log
    assert seconds is not None and seconds < 5 * FACTOR, log
    assert all(client.clean for client in clients), log
    assert "Traceback" not in log
    shown = {"swallows-signal": "because <function set_handler", "swallows-gevent": "because one of gevent.signal_handler()"}
    told = shown.get(row[0].rpartition("-")[0])
    assert log.count("handles SIGTERM") == (told is not None), log
    assert told is None or told in log, log


@pytest.mark.parametrize(("handler", "kind"), [("calls-signal-before", "gevent"), ("exits-signal-after", "gthread")])
def test_sighup_hands_over_whatever_the_app_does_with_sigterm(handler, kind):
    """
    On a reload the streams of the old worker end cleanly, and it is gone in 5 s.
    """
    with start(handler, kind, 1) as server:
        old = server.worker_pid()
        clients = [Client(server).begun() for _ in range(3)]
        told = time.monotonic()
        server.process.send_signal(signal.SIGHUP)
        for client in clients:
            client.until(lambda client: client.clean, 5)
        eventually(lambda: not os.path.exists(f"/proc/{old}"), 5 - (time.monotonic() - told), "the old worker lives on")
        assert eventually(server.worker_pid) != old


def test_max_requests_recycles_a_worker_whose_app_handles_sigterm():
    """
    A worker that has served enough requests ends its streams and is replaced within 5 s, also where SIGTERM is not its own.
    """
    with start("calls-signal-before", "gevent", 1, "--max-requests", "8") as server:
        old = server.worker_pid()
        client = Client(server).begun()
        for _ in range(8):
            if client.ended or server.worker_pid() != old:
                break
        client.until(lambda client: client.clean, 5)
        eventually(lambda: not os.path.exists(f"/proc/{old}"), 5, "the old worker lives on")
        assert eventually(server.worker_pid) != old


def test_thread_that_publishes_first_finds_the_worker(tmp_path):
    """
    Under --preload an event from a thread, before any request, goes to the bus that the workers share, also where SIGTERM was taken.
    """
    options = ["-w", "2", "-c", "tests/servers/early_conf.py"]
    with Server("gunicorn-gevent-preload", *options, environ={"TMPDIR": str(tmp_path)}) as server:
        assert server.stats()["published"] == 1
        assert server.stats()["bus"] == "sqlite"
