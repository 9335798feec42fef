"""``flask sse``, run as from a shell."""

import json
import os
import signal
import subprocess
import sys

import pytest

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
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", "SSE_PUSH_BUS_URL": url or ""}
        self.out, self.err = folder / f"{id(self)}.out", folder / f"{id(self)}.err"
        with self.out.open("wb") as out, self.err.open("wb") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "flask", "--app", "app", "sse", *map(str, arguments)],
                cwd=folder, env=environment, stdin=subprocess.PIPE, stdout=out, stderr=err, text=True, **options,
            )

    def end(self, text=None):
        self.process.communicate(text, timeout=30 * FACTOR)
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


def test_publish_reads_standard_input(flask):
    """"-" is one event, and with --lines each line is one."""
    flask("publish", "orders", "-").end("two\nlines\n")
    many = flask("publish", "orders", "-", "--lines", "--type", "line").end("one\ntwo\nthree\n")
    assert len(many.lines) == 3
    epoch = many.lines[0].split("-")[0]
    shown = flask("listen", "orders", "--since", f"{epoch}-0", "--count", "4").end()
    events = [json.loads(line) for line in shown.lines]
    assert [(event["type"], event["data"]) for event in events] == [("message", "two\nlines"), ("line", "one"), ("line", "two"), ("line", "three")]
    assert [event["id"] for event in events[1:]] == many.lines


def test_publish_with_a_key_publishes_once(flask):
    """Repeated, it prints the first id."""
    assert flask("publish", "a", "x", "--key", "k").end().lines == flask("publish", "a", "x", "--key", "k").end().lines


def test_publish_of_json_is_checked(flask):
    """With --json what cannot be parsed is refused with status 1, and what can is JSON for the client."""
    wrong = flask("publish", "a", "{item: tea}", "--json").end()
    assert wrong.process.returncode == 1
    assert wrong.said.startswith("Error: DATA must be JSON, got '{item: tea}'")
    assert flask("publish", "a", '{"item":   "tea"}', "--json").end().process.returncode == 0


@pytest.mark.parametrize("arguments", [["publish", "a"], ["publish", "a", "x", "--lines"], ["publish", "a", "-", "--lines", "--key", "k"], ["listen"], ["listen", "a", "http://x"], ["stats", "--watch", "0"]])
def test_wrong_use_has_status_2(flask, arguments):
    """What cannot be meant is refused before anything is done."""
    command = flask(*arguments).end()
    assert command.process.returncode == 2
    assert command.said.startswith("Usage:")


@pytest.mark.parametrize("arguments", [["publish", "a", "x"], ["listen", "a"], ["stats"], ["channels"]])
@pytest.mark.parametrize("bus", ["", "memory://"])
def test_bus_that_no_other_process_reaches_is_told(flask, arguments, bus):
    """With the memory of a server's own processes there is nothing to see or to say, and the message has the cure."""
    command = flask(*arguments, url=bus).end()
    assert command.process.returncode == 1
    assert command.lines == []
    assert "Set SSE_PUSH_BUS_URL for the server and for this command" in command.said


def test_bus_that_is_away_is_told(flask, folder):
    """A bus that cannot take the event is status 1 and a message."""
    command = flask("publish", "a", "x", url=f"sqlite:///{folder}/nowhere/events.db").end()
    assert command.process.returncode == 1
    assert command.said.startswith("Error: The event was not stored")


def test_wrong_channel_is_told(flask):
    """A name that cannot be a channel's is status 1 and a message."""
    for arguments in (["publish", "a b", "x"], ["listen", "a b"]):
        command = flask(*arguments).end()
        assert command.process.returncode == 1
        assert command.said.startswith('Error: "channel"')


def test_app_without_the_blueprint_is_told(flask, folder):
    """An app that does not push says so."""
    (folder / "app.py").write_text("from flask import Flask\napp = Flask('shop')\n")
    command = flask("publish", "a", "x").end()
    assert command.process.returncode == 1
    assert "not registered on app 'shop'" in command.said


def test_help_has_examples(flask):
    """Each command's help shows how it is used, line by line."""
    assert "    flask sse publish news -\n" in flask("publish", "--help").end().out.read_text().replace("  echo \"The shop closes in five minutes.\" | ", "    ")
    for name in ("listen", "stats"):
        assert f"  flask sse {name} " in flask(name, "--help").end().out.read_text()


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
    """In a pipe that closes it ends without a word."""
    epoch = flask("publish", "orders", "one").end().lines[0].split("-")[0]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "SSE_PUSH_BUS_URL": url}
    flask("publish", "orders", "-", "--lines").end("\n".join("more" for _ in range(50)))
    command = f"{sys.executable} -m flask --app app sse listen orders --since {epoch}-0 | head -1"
    done = subprocess.run(["bash", "-c", command], cwd=folder, env=environment, capture_output=True, text=True, timeout=30 * FACTOR)
    assert json.loads(done.stdout)["data"] == "one"
    assert done.stderr == ""


def test_listen_to_a_url_resumes_over_a_restart(flask, url):
    """Following a server it shows what is published there, waits while it is away, says so once, and misses nothing."""
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
        listener = flask("listen", f"http://127.0.0.1:{server.port}/events?channel=orders", "--raw", "--count", "1")
        eventually(lambda: server.streams() == 1, 20)
        (id,) = server.publish("tea", channel="orders")
        listener.end()
        assert listener.out.read_text().startswith("retry: ")
        assert listener.out.read_text().endswith(f"id: {id}\ndata: tea\n\n")


def test_listen_to_a_url_that_refuses_ends(flask, url):
    """What will not become a stream by waiting ends with status 1 and the server's words."""
    with Server("gunicorn-gevent", bus_url=url, public_channels=["news"]) as server:
        for path, words in (("/events?channel=secret", "answers 403"), ("/ping", "answers application/json"), ("/nowhere", "answers 404")):
            command = flask("listen", f"http://127.0.0.1:{server.port}{path}").end()
            assert command.process.returncode == 1
            assert words in command.said


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
