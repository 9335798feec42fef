"""``flask sse``, run as from a shell."""

import json
import os
import pty
import signal
import subprocess
import sys
import tty

import pytest

from tests.operations.foreign import HOSTILE
from tests.servers.harness import FACTOR, ROOT, Client, Server, eventually

APP = """
from flask import Flask
from flask_sse_push import sse
app = Flask("shop")
app.register_blueprint(sse)
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "app.py").write_text(APP)
    return tmp_path


@pytest.fixture
def url(folder):
    return f"sqlite:///{folder}/events.db"


class Command:
    """``flask sse ...`` in the folder of the app, until it ends or is ended."""

    def __init__(self, folder, url, *arguments, **options):
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "1",
            "PYTHONIOENCODING": "utf-8:strict",
            "SSE_PUSH_BUS_URL": url or "",
        }
        self.out, self.err = folder / f"{id(self)}.out", folder / f"{id(self)}.err"
        with self.out.open("wb") as out, self.err.open("wb") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "flask", "--app", "app", "sse", *map(str, arguments)],
                cwd=folder,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=err,
                **options,
            )

    def end(self, text=None):
        """Wait for its end; ``text`` is its standard input, in Latin-1."""
        self.process.communicate(None if text is None else text.encode("latin-1"), timeout=30 * FACTOR)
        return self

    @property
    def lines(self):
        return self.out.read_text().splitlines()

    @property
    def said(self):
        return self.err.read_text()


@pytest.fixture
def flask(folder, url):
    started = []

    def flask(*arguments, url=url):
        started.append(Command(folder, url, *arguments))
        return started[-1]

    yield flask
    for command in started:
        if command.process.poll() is None:
            command.process.kill()
        command.process.communicate()


def test_publish_prints_the_id(flask):
    """Each event's id is a line of standard output, and nothing else is."""
    first, second = (flask("publish", "orders", "tea").end() for _ in range(2))
    assert first.process.returncode == 0, first.said
    assert first.lines[0].endswith("-1")
    assert second.lines == [first.lines[0].replace("-1", "-2")]
    assert first.said == ""


def test_publish_of_lines_sends_each_as_it_comes(flask):
    """The first line is published while the next is still awaited."""
    command = flask("publish", "a", "-", "--lines")
    command.process.stdin.write(b"one\n")
    command.process.stdin.flush()
    eventually(lambda: len(command.lines) == 1, 20)
    assert command.process.poll() is None
    assert len(command.end("two\n").lines) == 2


def test_listen_follows_what_others_publish_until_ctrl_c(flask):
    """Events of other processes are shown as they come; Ctrl-C ends it with status 130 and no traceback."""
    listener = flask("listen", "orders")

    def heard():
        flask("publish", "orders", "tea").end()
        return listener.lines

    line = json.loads(eventually(heard, 30)[0])
    assert (line["type"], line["data"]) == ("message", "tea")
    listener.process.send_signal(signal.SIGINT)
    listener.end()
    assert listener.process.returncode == 130
    assert "Traceback" not in listener.said


def test_listen_ends_quietly_with_its_reader(flask, folder, url):
    """In a pipe that closes it ends without a word, also when no other event comes."""
    (id,) = flask("publish", "orders", "one").end().lines
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "SSE_PUSH_BUS_URL": url}
    command = (
        f"{sys.executable} -m flask --app app sse listen orders --since {id.replace('-1', '-0')} | head -1"
    )
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=30 * FACTOR,
    )
    assert json.loads(done.stdout)["data"] == "one"
    assert done.stderr == ""


def test_listen_is_seen_as_a_process(flask):
    """Who listens from a shell is among the processes, with all that a process says of itself."""
    listener = flask("listen", "orders")

    def seen():
        stats = json.loads(flask("stats", "--json").end().lines[0])
        return stats["processes"] if stats["channels"] else None

    (process,) = eventually(seen, 30)
    assert (process["pid"], process["streams"], process["channels"]) == (
        listener.process.pid,
        1,
        {"orders": 1},
    )
    assert flask("stats").end().lines[-1].split()[1] == str(listener.process.pid)


def test_listen_to_a_url_resumes_over_a_restart(flask, url):
    """
    Following a server it shows what is published there, waits while it is away, says so once, and misses
    nothing.
    """
    with Server("gunicorn-gevent", bus_url=url, retry_milliseconds=500) as server:
        listener = flask("listen", f"http://127.0.0.1:{server.port}/events?channel=orders")
        eventually(lambda: server.streams() == 1, 20)
        server.publish("before", channel="orders")
        eventually(lambda: listener.lines, 10)
        port = server.port
    eventually(lambda: "lost" in listener.said, 10)
    flask("publish", "orders", "meanwhile").end()
    with Server("gunicorn-gevent", "-b", f"127.0.0.1:{port}", bus_url=url, retry_milliseconds=500):
        eventually(lambda: len(listener.lines) >= 2, 40)
        assert [json.loads(line)["data"] for line in listener.lines] == ["before", "meanwhile"]
        assert listener.said.count("lost") == 1
        assert listener.said.count("back") == 1


def test_listen_to_a_url_writes_the_bytes(flask, url):
    """With --raw what comes is written as it comes."""
    with Server("gunicorn-gevent", bus_url=url) as server:
        listener = flask(
            "listen", f"http://127.0.0.1:{server.port}/events?channel=orders", "--raw", "--count", "1"
        )
        eventually(lambda: server.streams() == 1, 20)
        (id,) = server.publish("tea", channel="orders")
        listener.end()
        assert listener.out.read_text().startswith("retry: ")
        assert listener.out.read_text().endswith(f"id: {id}\ndata: tea\n\n")


def test_listen_to_a_url_that_refuses_ends(flask, url):
    """What will not become a stream by waiting ends with status 1 and the server's words."""
    with Server("gunicorn-gevent", bus_url=url, public_channels=["news"]) as server:
        for path, words in (
            ("/events?channel=secret", "answers 403"),
            ("/ping", "answers application/json"),
            ("/nowhere", "answers 404"),
        ):
            command = flask("listen", f"http://127.0.0.1:{server.port}{path}").end()
            assert command.process.returncode == 1
            assert words in command.said


def test_listen_waits_for_a_server_that_fails(flask, foreign):
    """5xx is tried again, and a retry far beyond sense is no crash."""
    foreign.stream("/", b"retry: 1\ndata: 1\n\n", b"retry: 999999999999999\ndata: 2\n\n")
    foreign.answers["/"].insert(1, (503, {}, b""))
    command = flask("listen", foreign.url("/"))
    eventually(lambda: len(command.lines) == 2, 20)
    eventually(lambda: command.said.count("lost") == 2, 10)
    assert command.process.poll() is None
    command.process.send_signal(signal.SIGINT)
    assert command.end().process.returncode == 130


def test_listen_notices_a_dead_connection(flask, url):
    """Silence for longer than --timeout is a loss, and it comes back."""
    with Server("gunicorn-gevent", bus_url=url, retry_milliseconds=500, heartbeat_seconds=30) as server:
        listener = flask("listen", f"http://127.0.0.1:{server.port}/events", "--timeout", "1")
        eventually(lambda: "The stream is back." in listener.said, 20)
        assert listener.said.startswith("The stream is lost (nothing came for 1 s); trying again.\n")


def test_stats_and_channels_show_all_processes(flask, url):
    """Streams of a running server are seen from the shell, as a table and as JSON."""
    with Server("gunicorn-gevent", "-w", "2", bus_url=url) as server:
        clients = [Client(server, "/events?channel=a&channel=b").begun() for _ in range(3)]

        def seen():
            stats = json.loads(flask("stats", "--json").end().lines[0])
            return stats if stats["streams"] == 3 else None

        stats = eventually(seen, 30)
        assert stats["channels"] == {"a": 3, "b": 3}
        assert "sqlite: 3 streams in" in flask("stats").end().lines[0]
        assert [line.split() for line in flask("channels").end().lines] == [["3", "a"], ["3", "b"]]
        assert json.loads(flask("channels", "--json").end().lines[0]) == {"a": 3, "b": 3}
        watching = flask("stats", "--watch", "0.2")
        eventually(lambda: sum("sqlite: " in line for line in watching.lines) >= 2, 20)
        watching.process.send_signal(signal.SIGINT)
        assert watching.end().process.returncode == 130
        for client in clients:
            client.close()


def test_listen_shows_raw_bytes_on_a_terminal(foreign, folder):
    """On a terminal --raw shows all bytes but line feeds and tabs, and writes none of the others."""
    foreign.stream("/", b"data: a\tb\r\ndata: " + HOSTILE.encode() + b"\xff\ndata: \xe2\x86\x92\n\n")
    terminal, other_end = pty.openpty()
    tty.setraw(other_end)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8:strict"}
    arguments = [
        sys.executable,
        "-m",
        "flask",
        "--app",
        "app",
        "sse",
        "listen",
        foreign.url("/"),
        "--raw",
        "--count",
        "1",
    ]
    try:
        done = subprocess.run(
            arguments,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=other_end,
            stderr=subprocess.PIPE,
            timeout=30 * FACTOR,
        )
        shown = os.read(terminal, 65_536).decode()
    finally:
        os.close(terminal)
        os.close(other_end)
    assert b"Traceback" not in done.stderr
    assert (
        shown == "data: a\tb\\r\ndata: \\x1b]0;owned\\x07\\x9b2J\\x7f\\u202e\\u2028\\u200f\\r\\xff\n"
        "data: \u2192\n\n"
    )
