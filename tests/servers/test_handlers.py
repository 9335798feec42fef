"""Apps that handle SIGTERM themselves."""

import contextlib
import os
import signal
import time

import pytest

from tests.servers.harness import FACTOR, Client, Server, close_clients, eventually

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
    ("calls-docs-after", "gthread", 1),
    ("swallows-signal-after", "gevent", 1),
    ("swallows-gevent-request", "preload", 1),
    ("swallows-signal-before", "gthread", 1),
    ("exits-gevent-before", "gevent", 1),
    ("exits-signal-after", "gthread", 1),
]


def start(handler, kind, workers, *options, wait=True):
    environ = {"TEST_HANDLER": handler}
    return Server(
        KINDS[kind],
        "-w",
        str(workers),
        *options,
        environ=environ,
        app="tests.servers.handlers:app",
        wait=wait,
    )


def stop(servers, clients):
    """Stop servers that have clients, and return how long each took; those that took too long are missing."""
    told, gone = time.monotonic(), {}
    for server in servers.values():
        server.process.send_signal(signal.SIGTERM)

    def all_gone():
        for row, server in servers.items():
            if row not in gone and server.process.poll() is not None:
                gone[row] = time.monotonic() - told
            for client in clients[row]:
                if not client.ended:
                    client.read(0.001)
        return len(gone) == len(servers)

    with contextlib.suppress(AssertionError):  # each test says what it misses
        eventually(all_gone, 7)
    return gone


@pytest.fixture(scope="module")
def stopped():
    """
    Servers of all kinds, started together and stopped a few at a time while they have streams: what became of
    each.
    """
    servers, clients, gone = {}, {}, {}
    try:
        for row in STOPPED:
            servers[row] = start(*row, wait=False)
        for row, server in servers.items():
            eventually(server._answers, 30, row)
            clients[row] = [Client(server) for _ in range(6)]
        for client in (client for some in clients.values() for client in some):
            # Where the stream begins; the worker has soon seen that its master listens.
            client.until(lambda client: client.status is not None)
            client.read(0.05)
        for first in range(0, len(STOPPED), 3):
            gone |= stop({row: servers[row] for row in STOPPED[first : first + 3]}, clients)
        yield {row: (gone.get(row), clients[row], server.log) for row, server in servers.items()}
    finally:
        for server in servers.values():
            if server.process.poll() is None:
                os.killpg(server.process.pid, signal.SIGKILL)
            server.stop()
        close_clients()


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
    shown = {
        "swallows-signal": "because <function set_handler",
        "swallows-gevent": "because one of gevent.signal_handler()",
    }
    told = shown.get(row[0].rpartition("-")[0])
    assert log.count("handles SIGTERM") == (told is not None), log
    assert told is None or told in log, log
    assert ("The app stops." in log) == ("docs" in row[0]), log


def test_worker_that_handles_sigterm_itself_is_not_said_to_miss_it():
    """
    A sync worker (SSE_PUSH_STRICT=False) runs its own handler only when its stream sends something: the
    stream
    ends before that, and nobody is blamed for it.
    """
    with Server("gunicorn-sync", "-w", "2", strict=False) as server:
        client = Client(server).begun()
        client.read(0.8)  # until the worker has seen its master listen
        told = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        client.until(lambda client: client.clean, 5)
        client.close()
        server.process.wait(10 * FACTOR)
        assert time.monotonic() - told < 5 * FACTOR
        assert "handles SIGTERM" not in server.log


def test_sighup_hands_over_whatever_the_app_does_with_sigterm():
    """
    On a reload the streams of the old worker end cleanly, and it is gone in 5 s, also where the app's handler
    ends the process.
    """
    with start("exits-signal-after", "gevent", 1) as server:
        old = server.worker_pid()
        clients = [Client(server).begun() for _ in range(3)]
        told = time.monotonic()
        server.process.send_signal(signal.SIGHUP)
        for client in clients:
            client.until(lambda client: client.clean, 5)
        eventually(
            lambda: not os.path.exists(f"/proc/{old}"),
            5 - (time.monotonic() - told),
            "the old worker lives on",
        )
        assert eventually(server.worker_pid) != old


def test_max_requests_recycles_a_worker_whose_app_handles_sigterm():
    """
    A worker that has served enough requests ends its streams and is replaced within 5 s, also where SIGTERM
    is not its own.
    """
    with start("calls-signal-before", "gthread", 1, "--max-requests", "8") as server:
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
    Under --preload an event from a thread, before any request, goes to the bus that the workers share, also
    where SIGTERM was taken.
    """
    options = ["-w", "2", "-c", "tests/servers/early_conf.py"]
    with Server("gunicorn-gevent-preload", *options, environ={"TMPDIR": str(tmp_path)}) as server:
        seen = set()
        # A worker that still boots would lose the signal to stop.
        eventually(lambda: seen.add(server.worker_pid()) or len(seen) == 2, 20)
        assert server.stats()["published"] == 1
        assert server.stats()["bus"] == "sqlite"
