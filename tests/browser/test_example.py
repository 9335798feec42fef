"""The example app: as a process of its own, and in a real browser."""

import contextlib
import http.client
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import psutil
import pytest

from tests.needs import needs
from tests.servers.harness import FACTOR, eventually, free_port

ROOT = Path(__file__).parents[2]
STOP_SECONDS = 5
VISITOR = "visitor0of0the0tests"
CUT_SECONDS = 10

# What the example does where gunicorn cannot be imported.
WITHOUT_GUNICORN = [
    sys.executable,
    "-c",
    "import runpy, sys; sys.modules['gunicorn'] = None; sys.argv[0] = 'example_app'; "
    "runpy.run_module('example_app', run_name='__main__')",
]


def run_example(*options):
    """Run the example to its end, for when it should refuse."""
    return subprocess.run(
        [sys.executable, "-m", "example_app", *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=20 * FACTOR,
    )


class Example:
    """The example's process."""

    def __init__(self, log_path, port=None, command=(sys.executable, "-m", "example_app"), environment=None):
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log_path = log_path
        environment = {**os.environ, "PYTHONUNBUFFERED": "1", **(environment or {})}
        with log_path.open("wb") as log:
            self.process = subprocess.Popen(
                [*command, "--port", str(self.port)],
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            eventually(self._answers, 20, "the example did not start")
        except BaseException:
            print(self.log)
            self.stop()
            raise

    def _answers(self):
        assert self.process.poll() is None, f"it ended with {self.process.returncode}: {self.log}"
        with contextlib.suppress(OSError):
            return self.request("/state")[0] == 200

    @property
    def log(self):
        return self.log_path.read_text(errors="replace")

    def request(self, path, body=None, content_type="application/json", headers=()):
        """Return status, headers and body of an answer, whatever its status."""
        headers = {"Content-Type": content_type, **dict(headers)}
        request = urllib.request.Request(self.url + path, body, headers)
        try:
            with urllib.request.urlopen(request, timeout=5 * FACTOR) as response:
                return response.status, response.headers, response.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.headers, error.read()

    def state(self, visitor=""):
        return json.loads(self.request(f"/state?visitor={visitor}")[2])

    def write(self, text, tag="test-1"):
        return self.request("/board", json.dumps({"text": text, "tag": tag}).encode())

    def post(self, path, value, **headers):
        """Send JSON, and return the status."""
        return self.request(path, json.dumps(value).encode(), headers=headers)[0]

    def listen(self, visitor=VISITOR):
        """Return an open stream of what machine and board tell, as a file."""
        url = f"{self.url}/events?channel=machine&channel=board&channel=visitor.{visitor}"
        return urllib.request.urlopen(url, timeout=5 * FACTOR)

    def workers(self):
        """Return the processes that serve."""
        return psutil.Process(self.process.pid).children()

    def end(self, number):
        """
        Send a signal as a terminal does, to the whole group, and return the seconds until the process was
        gone.
        """
        began = time.monotonic()
        os.killpg(self.process.pid, number)
        self.process.wait(20 * FACTOR)
        return time.monotonic() - began

    def stop(self):
        """End the process group that was started here."""
        if self.process.poll() is None:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(10)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self.stop()


@pytest.fixture(scope="module")
def example(tmp_path_factory):
    """One process for the tests that do not end it."""
    needs(modules=["psutil", "gunicorn", "gevent"])
    with Example(tmp_path_factory.mktemp("example") / "log") as example:
        yield example


@pytest.fixture
def own_example(tmp_path):
    """Start processes of this test's own; all are ended with it."""
    needs(modules=["psutil", "gunicorn", "gevent"])
    with contextlib.ExitStack() as stack:
        count = iter(range(10))
        yield lambda **options: stack.enter_context(Example(tmp_path / f"log-{next(count)}", **options))


@pytest.fixture
def open_page(browser):
    """Open pages in windows of their own; all are closed with the test."""
    contexts = []

    def open_page(example, **options):
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        contexts.append(context)
        context.set_default_timeout(10_000 * FACTOR)
        page = context.new_page()
        page.problems = []
        page.on(
            "console",
            lambda message: (
                page.problems.append(message.text) if message.type in ("error", "warning") else None
            ),
        )
        page.on("pageerror", lambda error: page.problems.append(str(error)))
        page.goto(example.url)
        return page

    yield open_page
    for context in contexts:
        context.close()


def wait_until(page, expression, arg=None, seconds=10):
    """
    Wait until JavaScript on the page says so. Playwright's own wait_for_function is stopped by the page's
    policy, sometimes.
    """
    eventually(lambda: page.evaluate(expression, arg), seconds, f"never true: {expression} of {arg!r}")


def wait_for_state(page, words, seconds=10):
    """Wait until the status says so."""
    wait_until(
        page,
        "words => document.querySelector('sse-status').shadowRoot.textContent.startsWith(words)",
        words,
        seconds,
    )


def count_of(page, name):
    return int(page.text_content(f"#count-{name}"))


def wait_for_text(page, id, text, seconds=10):
    wait_until(page, "([id, text]) => document.getElementById(id).textContent === text", [id, text], seconds)


def wait_for_more_events(page):
    """Wait until two events more have come."""
    before = int(page.text_content("#received"))
    wait_until(
        page, "before => Number(document.getElementById('received').textContent) >= before + 2", before
    )


def read_sample(stream):
    """Return the next measurement of a stream."""
    while stream.readline() != b"event: sample\n":
        pass
    return json.loads(stream.readline().removeprefix(b"data: "))


def read_until_cut(stream):
    """Read until the connection breaks, in the middle of the response."""
    until = time.monotonic() + 5 * FACTOR
    with pytest.raises(http.client.IncompleteRead):
        while time.monotonic() < until:
            stream.read1()


def ask_each_worker(example):
    """Return the state as the one worker tells it, and as the other one does."""
    eventually(lambda: len(example.workers()) == 2)
    answers = []
    for other in example.workers():
        other.suspend()
        try:
            answers.append(example.state())
        finally:
            other.resume()
    return answers


# Without a browser


def test_page_is_served_under_a_strict_policy(example):
    """
    The page and its files may load nothing but the app's own files, and the page holds no script or style of
    its own.
    """
    status, headers, body = example.request("/")
    assert status == 200
    assert headers["Content-Security-Policy"].startswith("default-src 'self';")
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert b"<style" not in body and b" style=" not in body
    for name, content_type in {
        "page.css": "text/css",
        "page.js": "text/javascript",
        "recorder.js": "text/javascript",
    }.items():
        status, headers, _ = example.request(f"/static/{name}")
        assert (status, headers["Content-Type"].split(";")[0]) == (200, content_type)
        assert "Content-Security-Policy" in headers


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (b'{"text": "a", "tag": "b"}', "text/plain", 415),
        (b'{"text": "a", "tag": "b"}', "application/x-www-form-urlencoded", 415),
        (b"", "application/json", 400),
        (b'{"text": ', "application/json", 400),
        (b"\xff", "application/json", 400),
        (b"[]", "application/json", 400),
        (b'"text"', "application/json", 400),
        (b'{"text": "a"}', "application/json", 400),
        (b'{"text": "a", "tag": "b", "more": 1}', "application/json", 400),
        (b'{"text": null, "tag": "b"}', "application/json", 400),
        (b'{"text": "\\ud83d", "tag": "b"}', "application/json", 400),
        (b'{"text": "a", "tag": ""}', "application/json", 400),
        (b'{"text": "a", "tag": "<b>"}', "application/json", 400),
        (b'{"text": "a", "tag": 1}', "application/json", 400),
        (json.dumps({"text": "a" * 281, "tag": "b"}).encode(), "application/json", 400),
        (json.dumps({"text": "a" * 100_000, "tag": "b"}).encode(), "application/json", 413),
    ],
)
def test_board_refuses_what_is_no_note(example, body, content_type, status):
    """
    What is no JSON object of a short text and a tag is refused with a message, and the board stays as it is.
    """
    before = example.state()["note"]
    answer, headers, content = example.request("/board", body, content_type)
    assert answer == status
    assert headers["Content-Type"] == "application/json"
    assert json.loads(content)["message"]
    assert example.state()["note"] == before


def test_board_takes_the_longest_text(example):
    """
    A text of 280 characters is taken, whatever characters they are, and comes back as it was.
    """
    for text in ("\U0001f600" * 280, "line\r\nline\u2028\0", ""):
        assert example.write(text)[0] == 204
        assert example.state()["note"] == {"text": text, "tag": "test-1"}


def test_board_is_written_with_post_alone(example):
    """
    A link or an image cannot write on the board.
    """
    assert example.request("/board")[0] == 405


def test_stream_carries_both_channels(example):
    """
    One stream tells of the process that serves it, of measurements and of what is written on the board.
    """
    with example.listen() as stream:
        assert stream.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        while stream.readline() != b"event: process\n":
            pass
        pid = json.loads(stream.readline().removeprefix(b"data: "))["pid"]
        assert pid in [worker.pid for worker in example.workers()]
        assert example.state(VISITOR)["pid"] == pid
        while stream.readline() != b"event: sample\n":
            pass
        sample = json.loads(stream.readline().removeprefix(b"data: "))
        assert 0 <= sample["cpu"] <= 100
        assert len(sample["cores"]) >= 1
        assert 0 < sample["memory_used"] < sample["memory_total"]
        assert len(sample["load"]) == 3
        assert sample["streams"] >= 1
        assert abs(sample["time"] - time.time()) < 5 * FACTOR
        example.write("to everybody", "test-2")
        while stream.readline() != b"event: note\n":
            pass
        assert json.loads(stream.readline().removeprefix(b"data: ")) == {
            "text": "to everybody",
            "tag": "test-2",
        }


def test_measurements_are_numbered_without_a_hole(example):
    """
    However many workers measure, there is one measurement a second, and the numbers count them.
    """
    ask_each_worker(example)  # a worker measures from its first request on
    with example.listen() as stream:
        samples = [read_sample(stream) for _ in range(4)]
    first = samples[0]["number"]
    assert [sample["number"] for sample in samples] == list(range(first, first + 4))
    times = [sample["time"] for sample in samples]
    assert all(after - before >= 0.79 for before, after in itertools.pairwise(times))


def test_each_worker_shows_the_same(example):
    """
    What a page loads is the same from each of the two workers.
    """
    example.write("for both")
    eventually(lambda: len(example.state()["samples"]) >= 3)
    one, two = ask_each_worker(example)
    assert one["note"] == two["note"] == {"text": "for both", "tag": "test-1"}
    # A measurement may have come between the two answers.
    assert [sample for sample in two["samples"] if sample in one["samples"]][-1] == one["samples"][-1]


def test_pulled_plug_cuts_the_streams_of_one_visitor(example):
    """
    The visitor's stream breaks off, and new ones are refused with the time to wait; other visitors read on.
    """
    visitor = "cut0in0this0test0alone"
    with example.listen() as other, example.listen(visitor) as stream:
        read_sample(stream)
        assert example.post("/plug", {"visitor": visitor, "loses_history": False}) == 204
        read_until_cut(stream)
        status, headers, _ = example.request(f"/events?channel=machine&channel=visitor.{visitor}")
        assert status == 503
        assert 1 <= int(headers["Retry-After"]) <= CUT_SECONDS
        before = read_sample(other)["number"]
        assert read_sample(other)["number"] == before + 1


@pytest.mark.parametrize("path", ["/plug", "/restart"])
@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        {},
        {"visitor": VISITOR, "more": 1},
        {"visitor": 1, "loses_history": False},
        {"visitor": "short", "loses_history": False},
        {"visitor": "*" * 24, "loses_history": False},
        {"visitor": VISITOR, "loses_history": 1},
    ],
)
def test_plug_refuses_what_names_no_visitor(example, path, value):
    """
    What is no JSON object with the secret name of a visitor is refused.
    """
    assert example.post(path, value) == 400


@pytest.mark.parametrize(
    "headers",
    [{"Host": "shop.example.com"}, {"X-Forwarded-For": "203.0.113.1"}, {"Forwarded": "for=203.0.113.1"}],
)
def test_worker_is_restarted_only_from_its_own_machine(example, headers):
    """
    A visitor who came by another name or through a proxy is offered no restart, and refused one.
    """
    assert b'id="restart"' in example.request("/")[2]
    assert b'id="restart"' not in example.request("/", headers=headers)[2]
    with example.listen() as stream:
        read_sample(stream)
        assert example.post("/restart", {"visitor": VISITOR}, **headers) == 403
        read_sample(stream)


def test_restart_without_a_stream_is_refused(example):
    """
    A visitor whom no worker serves restarts none.
    """
    assert example.post("/restart", {"visitor": "nobody0listens0by0this"}) == 409


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_server_ends_at_once_with_open_streams(own_example, number):
    """
    SIGTERM and Ctrl-C end the server within 5 s, with streams open, without a traceback and without a process
    or a file left.
    """
    # A short path: the name of a socket may have 107 bytes.
    with tempfile.TemporaryDirectory() as folder:
        example = own_example(environment={"TMPDIR": folder})
        assert example.url in example.log
        with example.listen() as stream:
            stream.readline()
            assert example.end(number) < STOP_SECONDS * FACTOR
        assert os.listdir(folder) == []
    assert example.process.returncode == 0
    assert "Traceback" not in example.log
    with pytest.raises(ProcessLookupError):
        os.killpg(example.process.pid, 0)


def test_busy_port_is_refused_with_the_cure():
    """
    A port that is in use ends the example with one sentence that names another port.
    """
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        port = sock.getsockname()[1]
        ended = run_example("--port", str(port))
    assert ended.returncode == 1
    assert ended.stderr.startswith(f"Port {port} of 127.0.0.1 is in use")
    assert "--port" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    "options", [["--port", "0"], ["--port", "65536"], ["--port", "http"], ["--host", "203.0.113.1"]]
)
def test_wrong_address_is_refused(options):
    """
    A port that is none, and an address of another machine, are refused with a message and no traceback.
    """
    ended = run_example(*options)
    assert ended.returncode in (1, 2)
    assert ended.stderr
    assert "Traceback" not in ended.stderr


def test_example_runs_without_gunicorn(own_example):
    """
    Where gunicorn cannot be imported, Flask's own server with threads shows the same page and streams, and
    cuts a plug. It offers no restart of a worker, for it has none.
    """
    with tempfile.TemporaryDirectory() as folder:
        example = own_example(command=WITHOUT_GUNICORN, environment={"TMPDIR": folder})
        assert "development server" in example.log
        with example.listen() as stream:
            read_sample(stream)
            assert example.write("threads")[0] == 204
            assert b'id="restart"' not in example.request("/")[2]
            assert example.post("/restart", {"visitor": VISITOR}) == 403
            assert example.post("/plug", {"visitor": VISITOR, "loses_history": False}) == 204
            read_until_cut(stream)
        with example.listen("somebody0else0reads0on") as stream:
            read_sample(stream)
            assert example.end(signal.SIGINT) < STOP_SECONDS * FACTOR
        assert os.listdir(folder) == []
    assert "Traceback" not in example.log


# In a browser


def test_page_shows_measurements_as_they_come(example, open_page):
    """
    The page goes live, its numbers are filled in, events keep coming, the charts move, and the console stays
    empty.
    """
    page = open_page(example)
    wait_for_state(page, "Live")
    wait_for_more_events(page)
    for id in ("cpu", "memory", "load", "streams", "pid"):
        assert float(page.text_content(f"#{id}")) >= 0
    assert "GiB" in page.text_content("#memory-detail")
    assert page.locator("#cores li").count() >= 1
    for id in ("cpu-chart", "memory-chart", "load-chart"):
        picture = page.evaluate("id => document.getElementById(id).toDataURL()", id)
        wait_until(
            page, "([id, picture]) => document.getElementById(id).toDataURL() !== picture", [id, picture]
        )
    assert page.problems == []


# How many seconds a chart shows: from the first column that has its pen's color to the last one.
DRAWN_SECONDS = """() => {
    const canvas = document.getElementById("cpu-chart");
    const { width, height } = canvas;
    const color = getComputedStyle(canvas).getPropertyValue("--trace").trim();
    const [red, green, blue] = [1, 3, 5].map((at) => parseInt(color.slice(at, at + 2), 16));
    const { data } = canvas.getContext("2d").getImageData(0, 0, width, height);
    const columns = new Set();
    for (let at = 0; at < data.length; at += 4) {
        const distance = [red, green, blue].reduce((sum, part, i) => sum + Math.abs(data[at + i] - part), 0);
        if (distance < 30 && data[at + 3] > 200) columns.add((at / 4) % width);
    }
    const seconds = columns.size ? (90 * (Math.max(...columns) - Math.min(...columns))) / width : 0;
    return [seconds, Number(document.getElementById("count-received").textContent)];
}"""


def test_second_tab_opens_with_filled_charts(example, open_page):
    """
    A page opened later draws the measurements of before at once, more than it can have heard, and shares the
    stream of the first tab.
    """
    eventually(lambda: len(example.state()["samples"]) >= 15, 30)
    one = open_page(example)
    wait_for_state(one, "Live")
    two = one.context.new_page()
    two.goto(example.url)
    eventually(lambda: two.evaluate(DRAWN_SECONDS)[0] > 0)
    seconds, received = two.evaluate(DRAWN_SECONDS)
    assert seconds >= received + 5
    for page in (one, two):
        wait_for_text(page, "tabs", "2")
        wait_for_text(page, "streams", "1")
    assert one.text_content("#pid") == two.text_content("#pid") != "–"
    assert one.problems == []


def ledger_of(page):
    """Return numbers and classes of what the page has entered, oldest first."""
    cells = page.evaluate(
        "[...document.getElementById('ledger').children].map((c) => [c.textContent, c.className])"
    )
    return [(int(number), kind) for number, kind in cells]


def test_pulled_plug_loses_nothing(example, open_page):
    """
    A page whose plug is pulled says that it reconnects; when it is back, it has every number of the ten
    seconds, marked as replayed. A tab that is opened meanwhile shows what is there. The page of another
    visitor does not notice.
    """
    page, other = open_page(example), open_page(example)
    for some in (page, other):
        wait_for_state(some, "Live")
        wait_for_more_events(some)
    page.get_by_role("button", name="Pull the plug").click()
    wait_for_state(page, "Reconnecting")
    assert page.text_content("#streams") == "–"
    before = count_of(page, "received")
    late = page.context.new_page()
    late.goto(example.url)
    wait_until(late, "document.getElementById('cpu').textContent !== '–'")
    late.close()
    wait_for_state(page, "Live", 2 * CUT_SECONDS + 10)
    wait_until(page, "document.querySelector('#ledger > :last-child')?.className === 'live'")
    wait_until(
        page,
        "/Back: [1-9][0-9]* replayed, 0 lost, 0 missed/.test(document.getElementById('diary').textContent)",
    )
    replayed = count_of(page, "replayed")
    assert replayed >= CUT_SECONDS - 2
    assert count_of(page, "received") >= before + replayed
    assert count_of(page, "lost") == count_of(page, "told") == 0
    assert page.locator("#count-lost.is-some").count() == 0
    numbers, kinds = zip(*ledger_of(page), strict=True)
    assert list(numbers) == list(range(numbers[0], numbers[-1] + 1))
    assert kinds.count("replayed") == replayed
    assert other.text_content("#diary") == ""
    assert count_of(other, "replayed") == 0
    assert other.problems == []


def test_lost_history_is_told_and_the_state_loaded(example, open_page):
    """
    A page whose history is lost shows a notice, crosses out the numbers that it missed, counts none as lost,
    and loads its state again.
    """
    page = open_page(example)
    wait_for_state(page, "Live")
    wait_for_more_events(page)
    loads = []
    page.on("request", lambda request: loads.append(request.url) if "/state" in request.url else None)
    assert page.is_hidden("#gap")
    page.get_by_role("button", name="Lose my history").click()
    wait_until(page, "!document.getElementById('gap').hidden", seconds=30)
    assert "sse.reset" in page.text_content("#gap")
    wait_until(page, "Number(document.getElementById('count-told').textContent) > 0")
    assert count_of(page, "lost") == count_of(page, "replayed") == 0
    assert [kind for _, kind in ledger_of(page)].count("told") == count_of(page, "told")
    assert len(loads) == 1
    wait_for_state(page, "Live")


@pytest.mark.parametrize("way", ["button", "crash"])
def test_page_moves_to_another_worker(example, open_page, way):
    """
    When the worker that serves a page ends or crashes, the page goes on with another one that it names, and
    has missed nothing.
    """
    page = open_page(example)
    wait_for_state(page, "Live")
    wait_for_more_events(page)
    pid = page.text_content("#pid")
    if way == "button":
        page.get_by_role("button", name="Restart my worker").click()
    else:
        os.kill(int(pid), signal.SIGKILL)
    wait_until(page, "pid => document.getElementById('pid').textContent !== pid", pid, 20)
    moved = page.text_content("#pid")
    assert f"Moved from process {pid} to process {moved}." in page.text_content("#diary")
    eventually(lambda: int(pid) not in [worker.pid for worker in example.workers()])
    wait_for_state(page, "Live")
    wait_for_more_events(page)
    wait_for_text(page, "streams", "1")
    assert count_of(page, "lost") == count_of(page, "told") == 0
    assert page.is_hidden("#gap")


def test_text_typed_in_one_tab_appears_in_another(example, open_page):
    """
    What is typed appears in both tabs as text, never as markup, and the writer learns how long it took.
    """
    one, two = open_page(example), open_page(example, color_scheme="dark")
    for page in (one, two):
        wait_for_state(page, "Live")
    text = "<img src=x onerror=alert(1)> & ümläut \U0001f680"
    one.get_by_label("Your text").press_sequentially(text)
    for page in (one, two):
        wait_for_text(page, "board", text)
    assert " ms to the server and back" in one.text_content("#board-origin")
    assert two.text_content("#board-origin").startswith("From another tab")
    wait_for_text(two, "announcer", f"On the board: {text}")
    two.get_by_role("button", name="Clear the board").click()
    for page in (one, two):
        wait_for_text(page, "board", "Nothing on the board yet.")
    assert one.problems == two.problems == []


def test_new_tab_shows_what_is_on_the_board(example, open_page):
    """
    A page that is opened later shows the text that was written before.
    """
    example.write("written before")
    wait_for_text(open_page(example), "board", "written before")


def test_page_keeps_a_note_that_is_newer_than_a_slow_answer(example, open_page):
    """
    A note that came by event while the page waited for the state, which the server had read before, stays.
    """
    held = []
    example.write("old")
    page = open_page(example)
    page.route("**/state?*", lambda route: held.append((route, route.fetch())))
    page.reload()
    eventually(lambda: page.evaluate("1") and held, 10, "the page did not ask for the state")
    wait_for_state(page, "Live")
    example.write("new")
    wait_for_text(page, "board", "new")
    # One measurement of the answer is the newest of all: it shows that the page has taken the answer.
    for route, answer in held:
        state = answer.json()
        mark = {**state["samples"][-1], "number": 10**9, "time": time.time() + 1000, "load": [9.87, 1, 1]}
        route.fulfill(json={**state, "samples": [mark]})
    wait_for_text(page, "load", "9.87")
    assert page.text_content("#board") == "new"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 375, 768, 1280])
def test_page_fits_its_window(example, open_page, width, scheme):
    """
    The page never scrolls sideways: on phones, on wide screens, and with a long word on the board.
    """
    example.write("W" * 280)
    page = open_page(example, viewport={"width": width, "height": 800}, color_scheme=scheme)
    wait_for_text(page, "board", "W" * 280)
    wait_for_state(page, "Live")
    wait_until(page, "document.getElementById('cpu').textContent !== '–'")
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert (
        page.evaluate(
            "[...document.querySelectorAll('body *')].filter(e => e.getBoundingClientRect().right > "
            "innerWidth + 0.5).map(e => e.outerHTML)"
        )
        == []
    )
    assert page.problems == []


def test_page_with_reduced_motion_moves_once_a_second(example, open_page):
    """
    Who asked for less motion gets the same numbers, and a chart that is drawn with each measurement and never
    between.
    """
    page = open_page(example, reduced_motion="reduce")
    wait_for_state(page, "Live")
    page.evaluate("""() => {
        const context = document.getElementById("cpu-chart").getContext("2d");
        const clear = context.clearRect.bind(context);
        window.drawn = 0;
        window.start = Number(document.getElementById("received").textContent);
        context.clearRect = (...box) => { window.drawn++; clear(...box); };
    }""")
    wait_for_more_events(page)
    drawn, events = page.evaluate(
        "[window.drawn, Number(document.getElementById('received').textContent) - window.start]"
    )
    assert drawn <= events + 1


def test_page_comes_back_when_the_server_does(own_example, open_page):
    """
    When the server is restarted the page says that it is lost, comes back by itself, and shows the new
    server's board.
    """
    first = own_example()
    first.write("of the first server")
    page = open_page(first)
    wait_for_text(page, "board", "of the first server")
    wait_for_state(page, "Live")
    first.stop()
    wait_for_state(page, "Reconnecting")
    assert page.text_content("#streams") == "–"
    page.get_by_label("Your text").fill("typed while it was away")
    wait_until(page, "!document.getElementById('problem').hidden")
    own_example(port=first.port)
    wait_for_state(page, "Live", 20)
    wait_for_text(page, "streams", "1")
    wait_for_text(page, "board", "typed while it was away")
    assert page.is_hidden("#problem")
    wait_for_more_events(page)


def test_page_that_missed_the_restart_forgets_the_old_board(own_example, open_page):
    """
    A page that comes back to a new server is told of the gap, and shows what that server has.
    """
    first = own_example()
    first.write("of the first server")
    page = open_page(first)
    wait_for_text(page, "board", "of the first server")
    wait_for_state(page, "Live")
    first.stop()
    wait_for_state(page, "Reconnecting")
    own_example(port=first.port)
    wait_for_text(page, "board", "Nothing on the board yet.", 20)
    wait_for_state(page, "Live")
