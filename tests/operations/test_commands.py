"""``flask sse`` within this process: what it says, and with which status it ends."""

import io
import json
import os
import sqlite3
import sys
import time
from contextlib import closing, suppress
from types import SimpleNamespace

import pytest
from click.testing import CliRunner
from flask.cli import cli

from flask_sse_push.operations.listen import write_events
from tests.operations.foreign import HOSTILE

APP = """
from flask import Flask
from flask_sse_push import SSEPush
app = Flask("shop")
app.register_blueprint(SSEPush())
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "app.py").write_text(APP)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def url(folder):
    return f"sqlite:///{folder}/events.db"


class Command:
    """``flask sse ...``, run by :meth:`end`."""

    def __init__(self, folder, url, *arguments):
        self.folder, self.url, self.arguments = folder, url, [str(argument) for argument in arguments]
        self.out, self.process = folder / f"{id(self)}.out", SimpleNamespace(returncode=None)
        self.said = ""

    def end(self, text=None):
        """Run it to its end; ``text`` is its standard input, in Latin-1."""
        environment = {"SSE_PUSH_BUS_URL": self.url or None}
        given = None if text is None else text.encode("latin-1")
        before = list(sys.path)
        try:
            result = CliRunner(env=environment).invoke(cli, ["--app", "app", "sse", *self.arguments], given)
        finally:
            self._forget_app()
            sys.path[:] = before
            os.environ.pop("FLASK_RUN_FROM_CLI", None)
        self.process.returncode, self.said = result.exit_code, result.stderr
        self.out.write_bytes(result.stdout_bytes)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
        return self

    def _forget_app(self):
        """Close what the app has opened; the next command makes it anew."""
        module = sys.modules.pop("app", None)
        for state in getattr(getattr(module, "app", None), "extensions", {}).values():
            with suppress(Exception):  # an app whose bus cannot be made has none to close
                state.process().bus.close()

    @property
    def lines(self):
        return self.out.read_text().splitlines()


@pytest.fixture
def flask(folder, url):
    def flask(*arguments, url=url):
        return Command(folder, url, *arguments)

    return flask


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


def test_publish_with_an_idempotency_key_publishes_once(flask):
    """Repeated, it prints the first id."""
    assert (
        flask("publish", "a", "x", "--idempotency-key", "k").end().lines
        == flask("publish", "a", "x", "--idempotency-key", "k").end().lines
    )


def test_publish_keeps_a_value_and_forget_forgets_it(flask):
    """--key and --keep keep the newest value beyond the history, until forget removes it, without a word."""
    for value in ("1", "2"):
        flask("publish", "prices", value, "--key", "AAPL", "--keep").end()
    shown = flask("listen", "prices", "--count", "1").end()
    assert [json.loads(line)["data"] for line in shown.lines] == ["2"]
    forgotten = flask("forget", "prices", "AAPL").end()
    assert (forgotten.process.returncode, forgotten.lines, forgotten.said) == (0, [], "")
    flask("publish", "prices", "3", "--key", "MSFT", "--keep").end()
    shown = flask("listen", "prices", "--count", "1").end()
    assert [json.loads(line)["data"] for line in shown.lines] == ["3"]


def test_close_prints_the_mark_and_ends_the_channel(flask):
    """A closed channel takes no event: publish has status 1 then. Closed again, it keeps its mark."""
    (mark,) = flask("close", "run", "run.2").end().lines
    assert flask("close", "run").end().lines == [mark]
    refused = flask("publish", "run", "late").end()
    assert refused.process.returncode == 1
    assert refused.said.startswith("Error: \"channel\" 'run' was closed")


def test_publish_closes_behind_the_event_or_the_last_line(flask):
    """--close makes the event the last one of its channel; of lines the last one."""
    (last,) = flask("publish", "one", "x", "--close").end().lines
    assert flask("close", "one").end().lines == [last]
    ids = flask("publish", "many", "-", "--lines", "--close").end("1\n2\n3\n").lines
    (mark,) = flask("close", "many").end().lines
    assert len(ids) == 3
    assert int(mark.split("-")[1]) == int(ids[-1].split("-")[1]) + 1


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


@pytest.mark.parametrize(
    "arguments",
    [
        ["publish", "a"],
        ["publish", "a", "x", "--lines"],
        ["publish", "a", "-", "--lines", "--idempotency-key", "k"],
        ["publish", "a", "x", "--key", "k"],
        ["publish", "a", "x", "--keep"],
        ["close"],
        ["forget", "a"],
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


@pytest.mark.parametrize(
    "arguments",
    [["publish", "a", "x"], ["close", "a"], ["forget", "a", "k"], ["listen", "a"], ["stats"], ["channels"]],
)
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
    for arguments in (
        ["publish", "a b", "x"],
        ["listen", "a b"],
        ["close", "a", "a b"],
        ["forget", "a b", "k"],
    ):
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
    for name in ("close", "forget", "listen", "stats"):
        assert f"  flask sse {name} " in flask(name, "--help").end().out.read_text()


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


def test_listen_writes_the_bytes_of_a_url(flask, foreign):
    """With --raw every byte that a server sends is written, as it is."""
    stream = b"data: a\tb\r\ndata: " + HOSTILE.encode() + b"\xff\ndata: \xe2\x86\x92\n\n"
    foreign.stream("/", stream)
    command = flask("listen", foreign.url("/"), "--raw", "--count", "1").end()
    assert command.out.read_bytes() == stream


def test_listen_writes_the_bytes_of_a_channel(flask):
    """With --raw a channel is written as a client of the server would get it, but for the retry line."""
    (id,) = flask("publish", "orders", "tea").end().lines
    since = id.replace("-1", "-0")
    command = flask("listen", "orders", "--since", since, "--raw", "--count", "1").end()
    assert command.out.read_text() == f"id: {since}\n\nid: {id}\ndata: tea\n\n"


def test_raw_bytes_on_a_terminal_are_printable(monkeypatch):
    """What would steer a terminal is escaped, also where a character is cut between two reads."""

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(sys, "stdout", Terminal())
    arrow = "\u2192".encode()
    event = SimpleNamespace(last_event_id="1", type="message", data="x")
    chunks = [(b"data: \x1b[2J" + arrow[:1], []), (arrow[1:] + b"\ttea\n", [event])]
    write_events(iter(chunks), 1, as_bytes=True)
    assert sys.stdout.getvalue() == "data: \\x1b[2J\u2192\ttea\n"


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
                    "INSERT OR REPLACE INTO leases VALUES (?, ?, ?)",
                    (f"report/{said['process']}", json.dumps(said), time.monotonic() + 6),
                )

    for arguments in (["stats"], ["channels"], ["stats", "--json"], ["channels", "--json"]):
        plant()
        command = flask(*arguments).end()
        assert command.process.returncode == 0, command.said
        shown = command.out.read_text()
        assert ("room" if arguments[0] == "channels" else "shop") in shown
        assert "owned" not in shown
        assert all(line.isprintable() for line in shown.split("\n"))
