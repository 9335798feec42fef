"""The express lane: when it is taken, and that nobody can tell from the bytes."""

import re
import selectors
import socket
import subprocess
import sys
import textwrap
import threading
import time

import gunicorn
import pytest

from tests.servers.harness import Client, Server, eventually
from tests.support import FACTOR, MS

PORTABLE = "gunicorn-gevent-portable"


def test_stream_is_written_to_directly_where_the_server_is_known(server, channel):
    """Under gunicorn's gevent worker it is, unless the setting says no; nowhere else."""
    before = server.stats()["direct_streams"]
    is_known = server.kind in ("gunicorn-gevent", "gunicorn-gevent-preload")
    with Client(server, f"/events?channel={channel}").begun() as client:
        assert server.stats()["direct_streams"] == before + is_known
        server.publish("x", channel=channel)
        client.wait(1)
    eventually(lambda: server.stats()["direct_streams"] == before)


MIDDLEWARE = {
    "untouched": (True, "hello"),
    "proxy_fix": (True, "hello"),
    "generator": (False, "hello"),
    "upper": (False, "HELLO"),
    "chain": (False, "hello"),
    "proxy": (False, "HELLO"),
    "inheriting": (False, "HELLO"),
    "headers": (False, "hello"),
    "on_close": (False, "hello"),
    "after_request": (False, "HELLO"),
}


@pytest.mark.parametrize("name", MIDDLEWARE)
def test_middleware_is_never_bypassed(name):
    """
    Whatever stands between the stream and the server sees every chunk, and a stream that nothing touches goes
    the short way.
    """
    is_direct, data = MIDDLEWARE[name]
    environ = {"TEST_APP_MIDDLEWARE": name}
    with (
        Server("gunicorn-gevent", environ=environ, app="tests.servers.middleware:app") as server,
        Client(server).begun() as client,
    ):
        assert server.stats()["direct_streams"] == is_direct
        for _ in range(3):
            server.publish("hello")
        client.until(lambda client: client.body.lower().count(b"hello") == 3)
        assert client.body.count(b": " + data.encode()) == 3  # "data: ", or "DATA: "


def test_announced_length_is_kept():
    """Where a hook announced a length, the server ends the body there."""
    with Server(
        "gunicorn-gevent",
        environ={"TEST_APP_MIDDLEWARE": "length"},
        app="tests.servers.middleware:app",
        wait=False,
    ) as server:
        eventually(lambda: "Listening" in server.log, 20)
        with Client(server) as client:
            client.until(lambda client: client.status == 200)
            for _ in range(3):
                with Client(
                    server,
                    "/publish",
                    method="POST",
                    headers=["Content-Type: application/json", "Content-Length: 15"],
                    body=b'{"data": "aaa"}',
                ) as post:
                    post.until(lambda post: post.status == 200)
            client.until(lambda client: len(client.body) == 60)
            assert not client.read(0.2)


def test_status_without_a_body_has_none():
    """After 204 nothing is written: a client would take it for the next answer on the connection."""
    if gunicorn.version_info < (26, 1):
        pytest.skip("before 26.1 gunicorn itself sends what comes after 204")
    with Server(
        "gunicorn-gevent",
        environ={"TEST_APP_MIDDLEWARE": "no_content"},
        app="tests.servers.middleware:app",
        wait=False,
    ) as server:
        eventually(lambda: "Listening" in server.log, 20)
        with Client(server) as client:
            client.until(lambda client: client.status == 204)
            with Client(
                server,
                "/publish",
                method="POST",
                headers=["Content-Type: application/json", "Content-Length: 15"],
                body=b'{"data": "aaa"}',
            ) as post:
                post.until(lambda post: post.status is not None)
            assert not client.read(0.2)


def test_unix_socket_is_written_to_directly(tmp_path):
    """It makes no difference how the proxy in front reaches the server."""
    path = str(tmp_path / "app.sock")
    with Server("gunicorn-gevent", "-b", f"unix:{path}") as server:
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(10)
        sock.connect(path)
        with Client(server, sock=sock).begun() as client:
            assert server.stats()["direct_streams"] == 1
            server.publish("x" * 60_000)
            server.publish("end")
            client.wait(2)
            assert client.data() == ["x" * 60_000, "end"]


def test_access_log_counts_what_was_written_directly():
    """The size in the server's own log is that of the whole body."""
    with Server(
        "gunicorn-gevent", "--access-logfile", "-", "--access-logformat", "%(U)s had %(B)s bytes"
    ) as server:
        with Client(server).begun() as client:
            for number in range(20):
                server.publish(f"{number}:" + "x" * 1000)
                client.wait(number + 1)
            size = len(client.body)
        eventually(lambda: f"/events had {size} bytes" in server.log)


# Both ways give the same bytes


def normalized(body):
    """Return a body without what differs from one server, or second, to the next."""
    return re.sub(rb"retry: \d+", b"retry: N", re.sub(rb"id: [0-9a-f]+-", b"id: E-", body))


def reads_all(server, version):
    with Client(server, version=version).begun() as client:
        for number in range(10):
            server.publish({"number": number}, type="count")
        server.publish(None, count=700)
        server.publish("é\n\n", retry=3000)
        return [client.wait(711, 10), client.body][1]


def reads_late(server, version):
    """
    Its socket fills up again and again; it reads before the write time-out, and has lost nothing or is told
    so.
    """
    with Client(server, version=version, receive_buffer=4096).begun() as client:
        for number in range(6):
            server.publish(f"{number}:" + "x" * 60_000, count=4)
            client.wait(4 * number + 4, 20)
        return client.body


def reads_a_byte_at_a_time(server, version):
    with Client(server, version=version, receive_buffer=4096).begun() as client:
        server.publish("x" * 50_000, count=6)
        while len(client.events) < 6:
            client.raw += client.sock.recv(97)
            client._parse()
        return client.body


def resumes(server, version):
    with Client(server, version=version).begun() as client:
        server.publish("seen")
        client.wait(1)
        last = client.decoder.last_event_id
    server.publish("missed", count=50)
    with Client(server, version=version, headers=[f"Last-Event-ID: {last}"]).begun() as client:
        client.wait(50)
        server.publish("live")
        client.wait(51)
        return client.body


def half_closes(server, version):
    """It says that it will send no more: its stream ends."""
    with Client(server, version=version).begun() as client:
        server.publish("x")
        client.wait(1)
        client.sock.shutdown(socket.SHUT_WR)
        client.until(lambda client: client.ended or client.clean)
        return client.body + repr(client.clean).encode()


def is_told_to_go(server, version):
    """The server stops: the stream has its last words."""
    with Client(server, version=version).begun() as client:
        server.publish("x")
        client.wait(1)
        server.process.terminate()
        client.until(lambda client: client.ended or client.clean, 10)
        return client.body + repr(client.clean).encode()


def has_neighbours_that_go(server, version):
    """Others reset, hang up and fill up in the same fan-outs."""
    with Client(server, version=version).begun() as client:
        for number in range(30):
            resetting, closing = Client(server).begun(), Client(server).begun()
            stuck = Client(server, receive_buffer=4096)
            server.publish(f"{number}:" + "x" * 3000)
            resetting.reset_connection()
            closing.close()
            server.publish("y" * 3000)
            stuck.close()
        return [client.wait(60, 10), client.body][1]


WORKS = [
    reads_all,
    reads_late,
    reads_a_byte_at_a_time,
    resumes,
    half_closes,
    is_told_to_go,
    has_neighbours_that_go,
]


@pytest.mark.parametrize("version", ["1.1", "1.0"])
@pytest.mark.parametrize("work", WORKS, ids=lambda work: work.__name__)
def test_both_ways_give_the_same_bytes(work, version):
    """Whatever happens to a stream, its client gets the same body directly as by the server's own writing."""
    bodies = []
    for kind in ("gunicorn-gevent", PORTABLE):
        with Server(kind, heartbeat_seconds=60, history_length=1000) as server:
            bodies.append(normalized(work(server, version)))
            assert "Traceback" not in server.log
    assert bodies[0] == bodies[1]


def test_stuck_stream_is_cut_off_in_the_middle_of_a_chunk():
    """
    What was begun and not taken is given up at the write time-out, quietly; nobody else waits, and memory is
    given back.
    """
    with Server("gunicorn-gevent", write_timeout_seconds=1, heartbeat_seconds=0.5) as server:
        stuck = [Client(server, receive_buffer=4096).begun() for _ in range(3)]
        with Client(server).begun() as client:
            server.publish("x" * 60_000, count=30)
            client.wait(30, 10)
            eventually(lambda: server.streams() == 1, 5)
            begun = time.monotonic()
            server.publish("after")
            client.wait(31)
            assert time.monotonic() - begun < 1
        assert server.stats()["closed"][:3] == ["stalled"] * 3
        assert "Traceback" not in server.log
        for late in stuck:
            late.close()


@pytest.mark.parametrize("kind", ["gunicorn-gevent", PORTABLE])
def test_pages_are_answered_while_streams_are_fed_flat_out(kind):
    """
    A view that publishes without end, to 200 streams that read, does not keep others out: neither pages nor
    new streams.
    """
    with Server(kind) as server:
        clients = [Client(server).begun() for _ in range(200)]
        with Client(server, "/publish-for?seconds=4", method="POST"):
            read_on = threading.Event()
            reader = threading.Thread(target=read_all_of, args=(clients, read_on))
            reader.start()
            try:
                eventually(lambda: clients[0].body.count(b"\ndata") > 100)
                for _ in range(20):
                    begun = time.monotonic()
                    server.get("/ping")
                    with Client(server).begun():
                        assert time.monotonic() - begun < 1 * FACTOR
            finally:
                read_on.set()
                reader.join()
        for client in clients:
            client.close()


def read_all_of(clients, stopped):
    with selectors.DefaultSelector() as selector:
        for client in clients:
            selector.register(client.sock, selectors.EVENT_READ, client)
        while not stopped.is_set():
            for key, _ in selector.select(0.1):
                key.data.body += key.data.sock.recv(262_144)


def test_finalizers_that_wait_stop_nobody():
    """
    A finalizer may wait in the middle of anything, also while its greenlet holds a lock of ours: the loop
    goes on, and nothing comes out of order.
    """
    with Server("gunicorn-gevent", history_length=1000) as server, Client(server).begun() as client:
        with Client(server, "/publish-among-finalizers", method="POST") as post:

            def is_answered():
                client.read(10 * MS)
                post.read(10 * MS)
                return post.body.endswith(b"]\n")

            eventually(is_answered, 10)
            last = int(post.body.strip(b"[]\n "))
        client.until(lambda client: client.events and client.events[-1].data == str(last), 10)
        numbers = [int(event.data) for event in client.events if event.type == "message"]
        assert numbers == sorted(set(numbers))


def test_nothing_is_sent_after_a_failure():
    """
    Where a signal handler raised in the middle, something may be lost: what comes next must not reach the
    client before its greenlet ends the stream.
    """
    script = """
        import gevent.socket
        from types import SimpleNamespace
        from flask_sse_push.core.session import Action
        from flask_sse_push.streams.direct import DirectWriter
        from flask_sse_push.platform.greenlets import GREENLETS

        class Stream:
            unsent, has_more, session = b"", False, SimpleNamespace(writing_since=None)
            outcome, steps, ended = None, [b"first", TimeoutError(), b"third"], []

            def read(self):
                step = self.steps.pop(0)
                if isinstance(step, Exception):
                    raise step
                return step

            def take(self):
                return Action.WAIT, b""

            def cut_off(self):
                self.ended.append("cut off")

        ours, theirs = gevent.socket.socketpair()
        stream, response = Stream(), SimpleNamespace(chunked=True, sock=ours, sent=0)
        bell = DirectWriter(stream, stream, GREENLETS.wakeup(), response)
        parked = gevent.spawn(bell.wait)
        gevent.sleep(0)
        bell.wake()
        try:
            bell.wake()
        except TimeoutError:
            bell.wake()
        parked.join(1)
        ours.close()
        assert parked.ready()
        assert (stream.ended, stream.steps, response.sent) == (["cut off"], [b"third"], 5)
        assert theirs.recv(100) + theirs.recv(100) == b"5\\r\\nfirst\\r\\n"
        print("fine")
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        capture_output=True,
        text=True,
        timeout=20 * FACTOR,
        check=False,
    )
    assert done.stdout == "fine\n", done.stderr


def test_heartbeats_are_written_directly_too():
    """A silent stream beats, as often as its settings say, and its position moves on with it."""
    with Server("gunicorn-gevent", heartbeat_seconds=0.3) as server, Client(server).begun() as client:
        client.until(lambda client: client.body.count(b":\n\n") >= 3)
        server.publish("x", channel="another")
        id = server.stats()["last_event_id"]
        client.until(lambda client: client.decoder.last_event_id == id)
        assert client.events == []
