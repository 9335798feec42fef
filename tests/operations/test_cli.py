"""``flask sse``, run as from a shell."""

import json
import os
import pty
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import tty
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

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


def test_publish_reads_standard_input(flask):
    """ "-" is one event, and with --lines each line is one."""
    flask("publish", "orders", "-").end("two\nlines\n")
    many = flask("publish", "orders", "-", "--lines", "--type", "line").end("one\ntwo\nthree\n")
    assert len(many.lines) == 3
    epoch = many.lines[0].split("-")[0]
    shown = flask("listen", "orders", "--since", f"{epoch}-0", "--count", "4").end()
    events = [json.loads(line) for line in shown.lines]
    assert [(event["type"], event["data"]) for event in events] == [
        ("message", "two\nlines"),
        ("line", "one"),
        ("line", "two"),
        ("line", "three"),
    ]
    assert [event["id"] for event in events[1:]] == many.lines


def test_publish_with_a_key_publishes_once(flask):
    """Repeated, it prints the first id."""
    assert (
        flask("publish", "a", "x", "--key", "k").end().lines
        == flask("publish", "a", "x", "--key", "k").end().lines
    )


def test_publish_of_json_is_checked(flask):
    """With --json what cannot be parsed is refused with status 1, and what can is JSON for the client."""
    wrong = flask("publish", "a", "{item: tea}", "--json").end()
    assert wrong.process.returncode == 1
    assert wrong.said.startswith("Error: DATA must be JSON, got '{item: tea}'")
    assert (
        flask("publish", "a", "[NaN]", "--json")
        .end()
        .said.startswith("Error: DATA must be JSON, got '[NaN]' (NaN is no JSON)")
    )
    assert wrong.lines == []


def test_publish_of_json_sends_what_was_written(flask):
    """JSON loses its white space and nothing else: texts stay JSON, and keys stay in their order."""
    (id,) = flask("publish", "a", '{"item":   "tea",\n "amount": 1}', "--json").end().lines
    flask("publish", "a", '"tea"', "--json").end()
    shown = flask("listen", "a", "--since", id.replace("-1", "-0"), "--count", "2").end()
    assert [json.loads(line)["data"] for line in shown.lines] == ['{"item":"tea","amount":1}', '"tea"']


def test_publish_of_nothing_must_be_meant(flask):
    """
    Standard input that is empty publishes nothing: the command before it may have failed. An empty DATA is an
    event.
    """
    command = flask("publish", "a", "-").end("")
    assert (command.process.returncode, command.lines) == (1, [])
    assert command.said.startswith("Error: Nothing came on standard input.")
    assert len(flask("publish", "a", "").end().lines) == 1


def test_publish_of_what_is_no_text_is_told(flask):
    """Bytes that are not UTF-8 are refused with a message."""
    command = flask("publish", "a", "-").end("caf\xe9")
    assert (command.process.returncode, command.lines) == (1, [])
    assert command.said.startswith("Error: Standard input must be utf-8, got b'\\xe9'.")


def test_publish_of_lines_sends_each_as_it_comes(flask):
    """The first line is published while the next is still awaited."""
    command = flask("publish", "a", "-", "--lines")
    command.process.stdin.write(b"one\n")
    command.process.stdin.flush()
    eventually(lambda: len(command.lines) == 1, 20)
    assert command.process.poll() is None
    assert len(command.end("two\n").lines) == 2


@pytest.mark.parametrize(
    "arguments",
    [
        ["publish", "a"],
        ["publish", "a", "x", "--lines"],
        ["publish", "a", "-", "--lines", "--key", "k"],
        ["listen"],
        ["listen", "a", "http://x"],
        ["stats", "--watch", "0"],
    ],
)
def test_wrong_use_has_status_2(flask, arguments):
    """What cannot be meant is refused before anything is done."""
    command = flask(*arguments).end()
    assert command.process.returncode == 2
    assert command.said.startswith("Usage:")


@pytest.mark.parametrize("arguments", [["publish", "a", "x"], ["listen", "a"], ["stats"], ["channels"]])
@pytest.mark.parametrize("bus", ["", "memory://"])
def test_bus_that_no_other_process_reaches_is_told(flask, arguments, bus):
    """
    With the memory of a server's own processes there is nothing to see or to say, and the message has the
    cure.
    """
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
    assert "    flask sse publish news -\n" in flask("publish", "--help").end().out.read_text().replace(
        '  echo "The shop closes in five minutes." | ', "    "
    )
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


class Foreign:
    """
    A server of somebody else: each path has an answer, status, headers and body, and every request is kept.
    """

    def __init__(self):
        self.answers, self.requests = {}, []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                outer.requests.append((time.monotonic(), self.path, self.headers))
                answers = outer.answers[self.path.partition("?")[0]]
                status, headers, body = answers.pop(0) if len(answers) > 1 else answers[0]
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *arguments):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,))
        self.thread.start()

    def url(self, path, user=""):
        return f"http://{user}127.0.0.1:{self.server.server_port}{path}"

    def stream(self, path, *bodies):
        self.answers[path] = [(200, {"Content-Type": "text/event-stream"}, body) for body in bodies]


@pytest.fixture
def foreign():
    foreign = Foreign()
    yield foreign
    foreign.server.shutdown()
    foreign.server.server_close()
    foreign.thread.join()


def test_listen_reads_streams_that_a_browser_repairs(flask, foreign):
    """
    Unknown fields, a retry that is none and broken UTF-8 are read as browsers do, and the first is told.
    """
    foreign.stream("/", b"color: red\nretry: soon\ndata: caf\xe9\n\ncolor: blue\ndata: 2\n\n")
    command = flask("listen", foreign.url("/"), "--count", "2").end()
    assert command.process.returncode == 0
    assert [json.loads(line)["data"] for line in command.lines] == ["caf\ufffd", "2"]
    assert (
        command.said
        == "This is not quite an event stream: a field must be data, event, id or retry, got 'color'. "
        "A browser would ignore it.\n"
    )


def test_listen_comes_back_when_it_was_asked_to(flask, foreign):
    """It waits for as long as retry says, resumes by the last id, whatever its letters, and ends with 204."""
    foreign.stream("/", "retry: 700\nid: \u00e9\u2192\ndata: 1\n\n".encode())
    foreign.answers["/"].append((204, {}, b""))
    command = flask("listen", foreign.url("/")).end()
    assert command.process.returncode == 0
    assert len(command.lines) == 1
    (first, _, _), (second, _, headers) = foreign.requests
    assert second - first >= 0.7
    assert headers["Last-Event-ID"].encode("latin-1").decode() == "\u00e9\u2192"


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


def test_listen_needs_no_app_for_a_url(flask, foreign, folder):
    """A URL is followed from anywhere."""
    (folder / "app.py").unlink()
    foreign.stream("/a%20b", b"data: 1\n\n")
    assert len(flask("listen", foreign.url("/a b?c=\u00e9"), "--count", "1").end().lines) == 1
    assert foreign.requests[0][1] == "/a%20b?c=%C3%A9"


def test_listen_sends_the_user_of_a_url_and_shows_nobody(flask, foreign):
    """User and password are sent, and are not in what is told."""
    foreign.answers["/"] = [(401, {}, b"")]
    command = flask("listen", foreign.url("/", user="me:secret@")).end()
    assert command.process.returncode == 1
    assert foreign.requests[0][2]["Authorization"] == "Basic bWU6c2VjcmV0"
    assert "answers 401 Unauthorized. Look at the address, and at who may read it." in command.said
    assert "secret" not in command.said


def test_listen_tells_where_a_redirect_leads(flask, foreign):
    """It is not followed, and the message says where to listen."""
    foreign.answers["/"] = [(301, {"Location": "https://elsewhere.example/events"}, b"")]
    command = flask("listen", foreign.url("/")).end()
    assert command.process.returncode == 1
    assert command.said.endswith(
        "answers 301 Moved Permanently. It points to https://elsewhere.example/events: listen there.\n"
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ["http:///x"],
        ["http://127.0.0.1:99999/"],
        ["http://[::1/"],
        ["http://a b/"],
        ["http://a..b/"],
        ["a", "--since", "a\nb"],
    ],
)
def test_listen_to_what_cannot_be_has_status_2(flask, arguments):
    """A URL or an id that nothing can be asked with is wrong use."""
    command = flask("listen", *arguments).end()
    assert command.process.returncode == 2
    assert command.said.startswith("Usage:")


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


HOSTILE = "\x1b]0;owned\x07\x9b2J\x7f\u202e\u2028\u200f\r"
"""Sequences that steer a terminal, in 7 and in 8 bits, and marks that turn or break a line."""


@pytest.mark.parametrize("arguments", [["publish", "a", "x"], ["listen", "a"], ["stats"], ["channels"]])
def test_wrong_bus_url_is_told(flask, arguments):
    """An app that cannot be made, for a URL that is none, is one sentence and status 1."""
    command = flask(*arguments, url="carrier-pigeon://loft").end()
    assert command.process.returncode == 1
    assert command.said.startswith('Error: SSE_PUSH_BUS_URL must be "auto", or begin with ')
    assert command.said.count("\n") == 1
    assert command.lines == []


def test_error_of_any_origin_is_told_printable(flask, folder):
    """
    The words of an error may be those of a store or of a server: what would steer a terminal is escaped.
    """
    (folder / "app.py").write_text(
        f"from flask_sse_push import BusUnavailable\nraise BusUnavailable({HOSTILE!r})\n"
    )
    command = flask("stats").end()
    assert command.process.returncode == 1
    assert command.said == "Error: \\x1b]0;owned\\x07\\x9b2J\\x7f\\u202e\\u2028\\u200f\\r\n"


def test_listen_shows_what_a_stream_says_in_ascii(flask, foreign):
    """Types, ids and data are JSON in which nothing steers a terminal; what is said of them is printable."""
    hostile = HOSTILE.replace("\r", "")
    foreign.stream(
        "/",
        f"color{hostile}: x\n: {hostile}\nid: {hostile}\nevent: {hostile}\n"
        f"data: {hostile}\ndata: \n\n".encode(),
    )
    command = flask("listen", foreign.url("/"), "--count", "1").end()
    line = command.out.read_bytes().removesuffix(b"\n").decode("ascii")
    assert line.isprintable()
    assert json.loads(line) == {"id": hostile, "type": hostile, "data": hostile + "\n"}
    assert command.said.removesuffix("\n").isprintable()


def test_listen_shows_a_refusal_printable(flask, foreign):
    """Where a redirect leads, and what a refusal says, reaches the terminal as text only."""
    hostile = HOSTILE.encode().replace(b"\r", b"").decode("latin-1")
    foreign.answers["/away"] = [(301, {"Location": f"http://x/{hostile}"}, b"")]
    foreign.answers["/no"] = [(403, {}, json.dumps({"message": HOSTILE}).encode())]
    for path, words in (
        ("/away", "It points to http://x/\\x1b]0;owned"),
        ("/no", "\\x1b]0;owned\\x07\\x9b2J\\x7f\\u202e\\u2028\\u200f\\r"),
    ):
        command = flask("listen", foreign.url(path)).end()
        assert command.process.returncode == 1
        assert words in command.said
        assert command.said.removesuffix("\n").isprintable()


def test_listen_sends_headers(flask, foreign, folder):
    """Each --header is sent to the URL, and each line of a file of them."""
    foreign.stream("/", b"data: 1\n\n")
    (folder / "secret.txt").write_text("Authorization: Bearer s3cret\nX-Day: 1\n")
    given = ["--header", "@secret.txt", "--header", "X-Team: tea"]
    command = flask("listen", foreign.url("/"), "--count", "1", *given).end()
    assert command.process.returncode == 0
    headers = foreign.requests[0][2]
    names = ("Authorization", "X-Day", "X-Team", "Accept")
    assert [headers[name] for name in names] == ["Bearer s3cret", "1", "tea", "text/event-stream"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["http://127.0.0.1:9/", "--header", "X-A: 1", "--header", "Authorization Bearer s3cret"],
            '--header number 2 cannot be sent: it must be written as "Name: value", on one line.',
        ),
        (
            ["http://127.0.0.1:9/", "--header", "Transfer-Encoding: s3cret"],
            "--header number 1 cannot be sent: it names a header that belongs to the connection",
        ),
        (
            ["orders", "--header", "Authorization: Bearer s3cret"],
            "--header is for a URL: channels are read from the bus.",
        ),
        (
            ["http://127.0.0.1:9/", "--header", "@nowhere.txt"],
            "--header cannot read 'nowhere.txt': FileNotFoundError.",
        ),
        (
            ["http://127.0.0.1:9/", "--header", "@app.py"],
            "--header number 1 cannot be sent: it must be written",
        ),
    ],
)
def test_listen_never_shows_a_header(flask, arguments, words):
    """A header that cannot be sent is wrong use, and told by its number: it may be a secret."""
    command = flask("listen", *arguments).end()
    assert command.process.returncode == 2
    assert words in command.said
    assert "s3cret" not in command.said


def test_listen_writes_raw_bytes_to_anything_but_a_terminal(flask, foreign, folder):
    """In a file --raw is every byte; on a terminal all but line feeds and tabs is only shown."""
    stream = b"data: a\tb\r\ndata: " + HOSTILE.encode() + b"\xff\ndata: \xe2\x86\x92\n\n"
    foreign.stream("/", stream)
    command = flask("listen", foreign.url("/"), "--raw", "--count", "1").end()
    assert command.out.read_bytes() == stream

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


def test_stats_and_channels_show_nothing_that_others_planted(flask, folder):
    """
    What processes say of themselves is in a store that others may write too: what none can have said is left
    out.
    """
    flask("publish", "orders", "x").end()
    report = {
        "process": "p",
        "host": "shop",
        "pid": 7,
        "streams": 1,
        "uptime_seconds": 7.5,
        "channels": {"room": 2},
    }
    planted = [
        {**report, "process": "q", "host": f"host{HOSTILE}"},
        {**report, "process": "r", "channels": {f"room{HOSTILE}": 2}},
    ]

    def plant():
        """
        Anew for each command: a report counts for some seconds, and a busy machine starts no command in
        those.
        """
        with closing(sqlite3.connect(folder / "events.db")) as database, database:
            for said in (report, *planted):
                database.execute(
                    "INSERT OR REPLACE INTO reports VALUES (?, ?, ?)",
                    (said["process"], json.dumps(said), time.monotonic() + 6),
                )

    for arguments in (["stats"], ["channels"], ["stats", "--json"], ["channels", "--json"]):
        plant()
        command = flask(*arguments).end()
        assert command.process.returncode == 0, command.said
        shown = command.out.read_text()
        assert ("room" if arguments[0] == "channels" else "shop") in shown
        assert "owned" not in shown
        assert all(line.isprintable() for line in shown.split("\n"))
