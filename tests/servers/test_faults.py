"""What clients can do to a server."""

import contextlib
import json
import os
import socket
import subprocess
import time
import uuid

import pytest

from tests.needs import needs
from tests.servers.harness import KINDS, Client, Server, eventually


def test_client_that_never_reads_costs_nobody_anything(server, channel):
    """
    It is cut off at the write time-out, the others get every event, and no memory is spent on it.
    """
    before = server.streams()
    stuck = Client(server, f"/events?channel={channel}", receive_buffer=4096).begun()
    others = [Client(server, f"/events?channel={channel}").begun() for _ in range(5)]
    rss = server.stats()["rss"]
    for number in range(40):
        server.publish(f"{number}:" + "x" * 60_000, channel=channel)
        for client in others:
            client.wait(number + 1)
    assert (
        server.stats()["rss"] - rss < 24 * 1024 * 1024
    )  # the history holds 40 events of 60 kB, and the response to each POST one
    eventually(lambda: server.streams() == before + 5, 5, "the stuck client was not cut off")
    assert "stalled" in server.stats()["closed"]
    for client in others:
        assert [data.partition(":")[0] for data in client.data()] == [str(number) for number in range(40)]
        client.close()
    stuck.close()
    eventually(lambda: server.streams() == before)
    assert "Traceback" not in server.log


def test_heads_leave_nothing_behind(server, channel):
    """
    Ten thousand HEAD requests (five hundred where each is a connection) hold no stream, file or thread.
    """
    keeps_alive = server.kind.startswith(("gunicorn-gevent", "pywsgi"))
    count = 10_000 if server.kind == "gunicorn-gevent" else 1_000 if keeps_alive else 500
    before = server.stats()
    request = f"HEAD /events?channel={channel} HTTP/1.1\r\nHost: x\r\n"
    if keeps_alive:
        with socket.create_connection((server.host, server.port)) as sock:
            sock.settimeout(30)
            for start in range(0, count, 50):
                for number in range(start, start + 50):
                    sock.sendall(
                        (request + ("Connection: close\r\n" if number == count - 1 else "") + "\r\n").encode()
                    )
                answers = b""
                while (
                    answers.count(b"200 OK") < 50
                ):  # and behind each an empty chunk, if the server is pywsgi
                    piece = sock.recv(65536)
                    assert piece, answers[-500:]
                    answers += piece
    else:
        for _ in range(count):
            with socket.create_connection((server.host, server.port)) as sock:
                sock.sendall((request + "Connection: close\r\n\r\n").encode())
                while sock.recv(65536):
                    pass
    after = server.stats()
    assert after["streams"] == before["streams"]
    assert after["opened"] == before["opened"]
    eventually(lambda: server.stats()["files"] <= before["files"] + 3)
    # A pool of threads grows up to its size when a busy machine is slow to let one take the next connection.
    eventually(lambda: len(server.stats()["threads"]) <= len(before["threads"]) + 10)


def test_connections_reset_at_once_leave_nothing_behind(server, channel):
    """
    Ten thousand clients (five hundred elsewhere) that ask for a stream and send RST before reading leave no
    stream, file or thread.
    """
    count = 10_000 if server.kind == "gunicorn-gevent" else 500
    before = server.stats()
    for _ in range(count):
        client = Client(server, f"/events?channel={channel}")
        client.reset_connection()
    eventually(lambda: server.streams() == before["streams"], 20)
    eventually(lambda: server.stats()["files"] <= before["files"] + 3, 10)
    assert "Traceback" not in server.log


@pytest.mark.parametrize("kind", KINDS)
def test_full_server_asks_to_come_later_and_answers_pages(kind):
    """
    A stream too many gets 200, a reconnection time of 15 to 60 s and its end; pages go on; a place that
    becomes free is given again.
    """
    with Server(kind, max_streams=5) as server:
        clients = [Client(server).begun() for _ in range(5)]
        with Client(server) as refused:
            refused.until(lambda client: client.clean or client.ended)
            assert refused.status == 200
            assert refused.headers["content-type"].startswith("text/event-stream")
            assert 15_000 <= refused.decoder.retry <= 60_000
            assert refused.events == []
        assert server.stats()["streams"] == 5
        assert server.stats()["refused"] == 1
        clients.pop().close()
        eventually(lambda: server.streams() == 4)
        with Client(server).begun():
            assert server.streams() == 5
        for client in clients:
            client.close()


def test_default_limit_leaves_room_for_pages():
    """
    With gunicorn's 20 connections, 16 streams are let in, however many come, and pages answer.
    """
    with Server("gunicorn-gevent", "--worker-connections", "20") as server:
        clients = [Client(server) for _ in range(18)]
        for client in clients:
            client.until(
                lambda client: client.body.endswith(b"\n\n") or client.clean
            )  # a refusal ends, without a blank line
        eventually(lambda: server.streams() == 16)
        assert sum(client.decoder.retry >= 15_000 for client in clients) == 2
        for client in clients:
            client.close()


def test_query_of_any_length_is_refused_quietly(server):
    """
    A query of 5,000 letters gets 400, or 414 from gunicorn itself, and no event. (Other queries:
    tests/app/test_hostile.py.)
    """
    with Client(server, "/events?channel=" + "x" * 5000) as client:
        client.until(lambda client: client.status is not None)
        assert client.status in (400, 414)
        assert client.events == []
    assert "Traceback" not in server.log


def test_hostile_data_arrives_as_data(server, channel):
    """
    Whatever a publisher is made to send stays inside one event's data.
    """
    texts = [
        "a\rdata: b\revent: evil\r\r",
        "\n\nevent: evil\ndata: x\n\n",
        "\u2028\x85\x0b\x0c\x1c",
        "\ufeff",
        "",
        "id: 5\nretry: 1",
        "\0",
        ":",
    ]
    with Client(server, f"/events?channel={channel}").begun() as client:
        for text in texts:
            server.publish(text, channel=channel)
        events = client.wait(len(texts))
    assert [event.data for event in events] == [
        text.replace("\r\n", "\n").replace("\r", "\n") for text in texts
    ]
    assert {event.type for event in events} == {"message"}


def test_tls_client_is_served_and_missed():
    """
    Through TLS events arrive, a leaving client is noticed, and one that never reads is cut off quietly.
    """
    needs("openssl")
    import shutil
    import ssl
    import tempfile

    folder = tempfile.mkdtemp()
    try:
        certificate, key = f"{folder}/cert.pem", f"{folder}/key.pem"
        make = [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-keyout",
            key,
            "-out",
            certificate,
            "-days",
            "2",
            "-subj",
            "/CN=localhost",
        ]
        subprocess.run(make, check=True, capture_output=True)
        with Server(
            "gunicorn-gevent",
            "--certfile",
            certificate,
            "--keyfile",
            key,
            wait=False,
            write_timeout_seconds=1,
        ) as server:
            context = ssl.create_default_context(cafile=certificate)
            context.check_hostname = False

            def connect(path):
                raw = socket.create_connection((server.host, server.port), timeout=5)
                return Client(server, path, sock=context.wrap_socket(raw))

            def up():
                with contextlib.suppress(OSError):
                    return connect("/ping").until(lambda client: client.clean or client.ended)

            eventually(up, 20)

            def publish(data):
                body = json.dumps({"data": data})
                headers = [f"Content-Length: {len(body)}", "Content-Type: application/json", "", body]
                # the body rides behind the blank line of the headers
                raw = context.wrap_socket(socket.create_connection((server.host, server.port), timeout=5))
                raw.sendall(("POST /publish HTTP/1.1\r\nHost: x\r\n" + "\r\n".join(headers)).encode())
                assert b"200 OK" in raw.recv(65536)
                raw.close()

            reader, stuck = connect("/events").begun(), connect("/events").begun()
            assert stats(connect)["direct_streams"] == 0  # past the encryption nothing may be written
            for number in range(30):
                publish(f"{number}:" + "x" * 60_000)
                reader.wait(number + 1)
            eventually(lambda: "stalled" in stats(connect)["closed"], 5)
            assert stats(connect)["streams"] == 1
            reader.close()
            eventually(lambda: stats(connect)["streams"] == 0, 1.5)
            stuck.close()
            assert "Traceback" not in server.log, server.log
    finally:
        shutil.rmtree(folder)


def stats(connect):
    import json

    with connect("/stats") as client:
        client.until(lambda client: client.body.endswith(b"}\n"))
        return json.loads(client.body)


@contextlib.contextmanager
def another_host():
    """
    A network namespace with one cable to a second one: (prefix of commands there, its address, pull the
    cable).
    """
    needs("ip", root=True)
    name = "sse" + uuid.uuid4().hex[:8]

    def ip(*words):
        subprocess.run(["ip", *words], check=True, capture_output=True)

    try:
        ip("netns", "add", name + "s")
        ip("netns", "add", name + "c")
        ip(
            "link",
            "add",
            name[:10] + "s",
            "netns",
            name + "s",
            "type",
            "veth",
            "peer",
            "name",
            name[:10] + "c",
            "netns",
            name + "c",
        )
        for end, address in (("s", "10.99.0.1/24"), ("c", "10.99.0.2/24")):
            ip("-n", name + end, "addr", "add", address, "dev", name[:10] + end)
            ip("-n", name + end, "link", "set", name[:10] + end, "up")
            ip("-n", name + end, "link", "set", "lo", "up")
        yield name
    finally:
        for end in "sc":
            subprocess.run(["ip", "netns", "del", name + end], capture_output=True)


CURL = (
    "import socket,sys\ns=socket.create_connection(('10.99.0.1',int(sys.argv[1])))\ns.sendall(b'GET "
    "/events HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n')\nwhile s.recv(65536): print('bytes', flush=True)"
)


@pytest.mark.parametrize("kind", ["gunicorn-gevent", "gunicorn-gthread"])
@pytest.mark.parametrize("busy", [False, True], ids=["quiet", "busy"])
def test_client_that_vanishes_is_missed(kind, busy):
    """
    A client whose cable is pulled, without FIN or RST, is given up within the time-outs, on a quiet stream
    and on a busy one.
    """
    import sys

    with another_host() as name:
        inside = ["ip", "netns", "exec", name + "s"]
        # heartbeats far apart: on the quiet stream only the kernel's own probes can tell
        with Server(
            kind,
            prefix=inside,
            host="10.99.0.1",
            wait=False,
            write_timeout_seconds=4,
            heartbeat_seconds=1 if busy else 60,
        ) as server:

            def fetch(path):
                script = (
                    "import urllib.request as u; "
                    f"print(u.urlopen('http://10.99.0.1:{server.port}{path}', "
                    "timeout=5).read().decode())"
                )
                return subprocess.run(
                    [*inside, sys.executable, "-c", script], capture_output=True, text=True
                ).stdout

            eventually(lambda: "pid" in fetch("/ping"), 20)
            client = subprocess.Popen(
                ["ip", "netns", "exec", name + "c", sys.executable, "-c", CURL, str(server.port)],
                stdout=subprocess.PIPE,
            )
            try:
                assert client.stdout.readline() == b"bytes\n"
                assert '"streams":1' in fetch("/stats")
                subprocess.run(["ip", "-n", name + "c", "link", "set", name[:10] + "c", "down"], check=True)
                pulled = time.monotonic()
                eventually(lambda: '"streams":0' in fetch("/stats"), 25)
                assert time.monotonic() - pulled > 1
            finally:
                client.kill()
                client.wait()
                client.stdout.close()
            assert "Traceback" not in server.log, server.log


def test_vanished_client_is_missed_within_thirty_seconds_by_default():
    """
    The default time-outs add up to less than 30 s: a heartbeat may just have been acknowledged, and the next
    one starts the kernel's clock.
    """
    from flask_sse_push.extension.settings import read_settings
    from flask_sse_push.platform.hangups import KEEPALIVE_SECONDS, USER_TIMEOUT_MARGIN_SECONDS

    settings = read_settings({})
    kernel = settings.write_timeout_seconds + USER_TIMEOUT_MARGIN_SECONDS
    # Without data the probes find out at most one probe after the time-out; with a heartbeat before that, its
    # own clock runs.
    quiet = kernel + KEEPALIVE_SECONDS
    assert min(settings.heartbeat_seconds, quiet) + kernel <= 30
    assert quiet <= 30


def test_fork_in_a_view_leaves_the_streams_alone():
    """
    A child process forked by a worker with open streams shares no log with it, and its end ends none of them.
    """
    with Server("gunicorn-gevent") as server, Client(server).begun() as client:
        pid = server.worker_pid()
        assert pid != os.getpid()
        server.publish("before")
        server.post("/fork")
        server.publish("after")
        client.wait(2)
        assert client.data() == ["before", "after"]


def test_child_that_waits_writes_to_no_client_of_its_parent(tmp_path):
    """
    A forked child has a copy of every greenlet, which runs as soon as the child waits: it leaves the streams
    to its parent.
    """
    with (
        Server("gunicorn-gevent", bus_url=f"sqlite:///{tmp_path}/events.db", heartbeat_seconds=0.5) as server,
        Client(server).begun() as client,
        Client(server, "/fork-and-publish", method="POST"),
    ):
        client.wait(10)
        assert client.data() == [str(number) for number in range(10)]


def test_client_cannot_pass_for_http2():
    """
    A header of the client's does not hide its socket from the time-outs.
    """
    with Server("gunicorn-gevent", write_timeout_seconds=1) as server:
        with Client(server, headers=["Version: 2"], receive_buffer=4096).begun():
            server.publish("x" * 60_000, count=30)
            eventually(lambda: server.streams() == 0)


@pytest.mark.parametrize("kind", ["gunicorn-gevent", "gunicorn-gevent-portable"])
@pytest.mark.parametrize("pause", [None, 0])
def test_history_of_few_bytes_costs_a_quick_client_nothing(kind, pause):
    """
    Who publishes in a loop makes way for the streams before the history has no room left, also where its
    bytes are the limit.
    """
    with (
        Server(kind, history_length=10_000, history_bytes=150_000) as server,
        Client(server).begun() as client,
    ):
        server.publish(None, count=600, pause=pause)
        client.wait(600)
        assert client.data() == [str(number) for number in range(600)]


def test_loop_callback_can_publish():
    """
    A callback of gevent's loop, which cannot make way for anybody, publishes without stopping the loop.
    """
    with (
        Server("gunicorn-gevent", history_length=200) as server,
        Client(server, "/events?channel=loop").begun() as client,
    ):
        server.post("/publish-in-the-loop")
        client.wait(100)
        assert server.get("/ping", timeout=2)


@pytest.mark.parametrize("kind", ["gunicorn-gevent", "gunicorn-gthread"])
def test_middleware_that_forgets_to_close_costs_no_place(kind):
    """
    Streams that were cut off behind middleware that never calls close() are taken back, and their places are
    free again.
    """
    with Server(kind, environ={"TEST_APP_CARELESS": "1"}, max_streams=2, write_timeout_seconds=1) as server:
        stuck = [Client(server, receive_buffer=4096).begun() for _ in range(2)]
        server.publish("x" * 60_000, count=40)
        eventually(lambda: server.streams() == 0, 15)
        with Client(server) as client:
            client.until(lambda client: client.decoder.retry is not None)
            assert client.decoder.retry < 15_000
        for client in stuck:
            client.close()
