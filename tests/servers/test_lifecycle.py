"""How servers start, stop and start again."""

import http.client
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.servers.harness import FACTOR, ROOT, Client, Server, eventually, free_port

GUNICORN = ["gunicorn-gevent", "gunicorn-gevent-preload", "gunicorn-gthread"]


def is_running(pid):
    """Whether a process lives; one that has ended and that nobody has asked for (Z) does not."""
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


@pytest.mark.parametrize("kind", GUNICORN)
def test_sigterm_ends_every_stream_and_the_server(kind):
    """
    Every stream gets a reconnection time and a clean end, and the server is gone in 5 s, however long
    gunicorn keeps connections open for another request.
    """
    with Server(kind, "--keep-alive", "60") as server:
        clients = [Client(server, "/events?channel=a").begun() for _ in range(20)]
        tokens = Client(server, "/tokens?count=100&pause=1").begun()
        first = [client.decoder.retry for client in clients]
        server.publish("last", channel="a")
        told = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        for client in clients:
            client.until(lambda client: client.clean, 5)
        tokens.until(lambda client: client.clean, 5)
        server.process.wait(10)
        assert time.monotonic() - told < 5 * FACTOR
        assert all(client.data() == ["last"] for client in clients)
        assert any(client.decoder.retry != before for client, before in zip(clients, first, strict=True))
        assert (tokens.events[-1].type, tokens.events[-1].data) == ("failed", '{"reason": "draining"}')
        assert "Traceback" not in server.log
        assert "graceful timeout" not in server.log


@pytest.mark.parametrize("kind", GUNICORN)
def test_sigterm_does_not_wait_for_a_client_that_reads_nothing(kind):
    """
    A stream whose client takes nothing is cut off, and the server is gone in 5 s all the same.
    """
    with Server(kind) as server:
        stuck = Client(server, receive_buffer=4096).begun()
        server.publish("x" * 60_000, count=40)
        told = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        server.process.wait(10)
        assert time.monotonic() - told < 5 * FACTOR
        stuck.close()


@pytest.mark.parametrize("kind", ["gunicorn-gevent", "gunicorn-gthread"])
def test_workers_whose_master_was_killed_end_their_streams_and_go(kind, tmp_path):
    """
    Nobody tells them to stop. Every stream gets a clean end all the same, and nothing is left after 5 s.
    """
    with Server(kind, "-w", "2", environ={"TMPDIR": str(tmp_path)}) as server:
        seen = set()
        # A worker that still boots knows its master no more, and has no streams.
        eventually(lambda: seen.add(server.worker_pid()) or len(seen) == 2, 20)
        clients = [Client(server).begun() for _ in range(6)]
        killed = time.monotonic()
        server.process.kill()
        for client in clients:
            client.until(lambda client: client.clean, 5)
        eventually(lambda: not any(map(is_running, seen)), 5 - (time.monotonic() - killed), "workers live on")
        assert "Traceback" not in server.log
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", ["gunicorn-gevent", "gunicorn-gthread"])
def test_sighup_hands_over(kind):
    """
    On a reload every stream ends cleanly, the old worker is gone in 5 s, and who comes back with an old id is
    told of the gap.
    """
    with Server(kind) as server:
        old = server.worker_pid()
        clients = [Client(server).begun() for _ in range(5)]
        server.publish("before")
        told = time.monotonic()
        server.process.send_signal(signal.SIGHUP)
        for client in clients:
            client.until(lambda client: client.clean, 5)
        eventually(lambda: not is_running(old), 5 - (time.monotonic() - told), "the old worker lives on")
        eventually(lambda: server.worker_pid() != old)
        with Client(server, headers=[f"Last-Event-ID: {clients[0].decoder.last_event_id}"]) as back:
            assert back.wait(1)[0].type == "sse.reset"
            server.publish("after")
            assert back.wait(2)[1].data == "after"


@pytest.mark.parametrize("kind", ["gunicorn-gevent", "gunicorn-gthread"])
def test_max_requests_recycles_the_worker(kind):
    """
    A worker that has served enough requests ends its streams and is replaced within 5 s.
    """
    with Server(kind, "--max-requests", "12") as server:
        old = server.worker_pid()
        client = Client(server).begun()
        for _ in range(12):
            if client.ended or server.worker_pid() != old:
                break
        recycled = time.monotonic()
        client.until(lambda client: client.clean, 5)
        eventually(lambda: not is_running(old), 5 - (time.monotonic() - recycled), "the old worker lives on")
        assert server.worker_pid() != old


def test_draining_worker_sends_late_streams_away():
    """
    A stream that begins on a kept connection while the worker stops gets a reconnection time and its end at
    once.
    """
    with Server("gunicorn-gevent") as server:
        holder = Client(server, "/tokens?count=1000&pause=0.1").begun()
        late = Client(server, "/ping")
        late.until(lambda client: client.raw or client.body)
        os.kill(late_pid := server.worker_pid(), signal.SIGTERM)
        assert late_pid
        client = Client(server, "/events", sock=late.sock)
        client.until(lambda client: client.clean or client.ended, 3)
        assert client.status == 200
        assert client.decoder.retry <= 3000
        assert client.events == []
        holder.close()


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_flask_run_stops_at_once(stop):
    """
    Ctrl-C ends the development server at once, with streams open.
    """
    with Server("flask-run") as server:
        clients = [Client(server).begun() for _ in range(3)]
        told = time.monotonic()
        server.process.send_signal(stop)
        server.process.wait(10)
        assert time.monotonic() - told < 2 * FACTOR
        for client in clients:
            client.until(lambda client: client.ended)


def test_flask_run_reloads(tmp_path):
    """
    The reloader restarts the development server under open streams when a file of the app changes.
    """
    source = tmp_path / "reloaded.py"
    text = (
        "from tests.servers.app import app\nVERSION = {}\n@app.get('/version')\ndef version(): return "
        "dict(version=VERSION)\n"
    )
    source.write_text(text.format(1))
    port = free_port()
    argv = [sys.executable, "-m", "flask", "--app", str(source), "run", "--port", str(port), "--reload"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            argv, cwd=tmp_path, env=environment, stdout=log, stderr=log, start_new_session=True
        )
        server = Server.__new__(Server)
        server.host, server.port = "127.0.0.1", port
        try:

            def version():
                try:
                    return server.get("/version")["version"]
                except (OSError, http.client.HTTPException):  # it is going, or not there yet
                    return None

            eventually(lambda: version() == 1, 20)
            client = Client(server).begun()
            source.write_text(text.format(2))
            eventually(lambda: version() == 2, 20)
            client.until(lambda client: client.ended)
            with Client(server).begun() as client:
                server.publish("again")
                client.wait(1)
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(10)


def test_strict_false_makes_the_refusal_a_warning():
    """
    With SSE_PUSH_STRICT=False the app starts, and the log has the reason and the cure.
    """
    with Server("gunicorn-gevent", "-w", "2", strict=False, bus_url="memory://") as server:
        assert "WARNING flask_sse_push SSE002" in server.log
        assert "Leave it out" in server.log


def test_preloaded_app_is_checked_in_the_worker():
    """
    Under --preload the server shows itself only in the worker: the first stream is refused and the reason
    logged.
    """
    with Server("gunicorn-sync", "--preload") as server, Client(server) as client:
        client.until(lambda client: client.status is not None)
        assert client.status == 500
        assert "SSE001" in server.log


def test_preload_before_patching_is_warned_of():
    """
    Under --preload without patching first, the log says what can happen and how to patch.
    """
    with Server("gunicorn-gevent", "--preload") as server, Client(server).begun():
        assert "WARNING flask_sse_push SSE004" in server.log
        assert "monkey.patch_all()" in server.log


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("gunicorn-gevent", "gunicorn gevent worker: bus memory, at most 800 streams"),
        ("gunicorn-gthread", "gunicorn thread worker: bus memory, at most 32 streams"),
        ("flask-run", "Werkzeug development server"),
        ("pywsgi", "gevent pywsgi"),
    ],
)
def test_one_line_says_what_it_runs_under(kind, words):
    """
    The log has one line of the package at INFO, with the server, the bus and the limits.
    """
    with Server(kind) as server, Client(server).begun(), Client(server).begun():
        lines = [line for line in server.log.splitlines() if line.startswith("INFO flask_sse_push ")]
        assert len(lines) == 1
        assert words in lines[0]
