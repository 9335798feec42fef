"""The example app: as a process of its own, and in a real browser."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.needs import needs
from tests.servers.harness import FACTOR, eventually, free_port

ROOT = Path(__file__).parents[2]
STOP_SECONDS = 3

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

    def __init__(self, log_path, port=None, command=(sys.executable, "-m", "example_app")):
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log_path = log_path
        environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
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

    def request(self, path, body=None, content_type="application/json", method=None):
        """Return status, headers and body of an answer, whatever its status."""
        request = urllib.request.Request(self.url + path, body, {"Content-Type": content_type}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=5 * FACTOR) as response:
                return response.status, response.headers, response.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.headers, error.read()

    def state(self):
        return json.loads(self.request("/state")[2])

    def write(self, text, tag="test-1"):
        return self.request("/board", json.dumps({"text": text, "tag": tag}).encode())

    def listen(self):
        """Return an open stream of what machine and board tell, as a file."""
        return urllib.request.urlopen(self.url + "/events?channel=machine&channel=board", timeout=5 * FACTOR)

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


def wait_for_text(page, id, text, seconds=10):
    wait_until(page, "([id, text]) => document.getElementById(id).textContent === text", [id, text], seconds)


def wait_for_more_events(page):
    """Wait until two events more have come."""
    before = int(page.text_content("#received"))
    wait_until(
        page, "before => Number(document.getElementById('received').textContent) >= before + 2", before
    )


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
        "chart.js": "text/javascript",
        "connection.js": "text/javascript",
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
    One stream tells of the number of streams, of measurements and of what is written on the board.
    """
    with example.listen() as stream:
        assert stream.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        while stream.readline() != b"event: streams\n":
            pass
        while stream.readline() != b"event: sample\n":
            pass
        sample = json.loads(stream.readline().removeprefix(b"data: "))
        assert 0 <= sample["cpu"] <= 100
        assert len(sample["cores"]) >= 1
        assert 0 < sample["memory_used"] < sample["memory_total"]
        assert len(sample["load"]) == 3
        assert abs(sample["time"] - time.time()) < 5 * FACTOR
        example.write("to everybody", "test-2")
        while stream.readline() != b"event: note\n":
            pass
        assert json.loads(stream.readline().removeprefix(b"data: ")) == {
            "text": "to everybody",
            "tag": "test-2",
        }


def test_machine_is_measured_only_while_somebody_listens(own_example):
    """
    Measuring begins with the first stream, ends after the last one, and begins again.
    """
    example = own_example()
    assert not example.state()["measuring"]
    for _ in range(2):
        with example.listen():
            eventually(lambda: example.state()["measuring"])
            count = len(example.state()["samples"])
            eventually(lambda count=count: len(example.state()["samples"]) > count)
        eventually(lambda: not example.state()["measuring"])
    assert example.state()["streams"] == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_server_ends_at_once_with_open_streams(own_example, number):
    """
    SIGTERM and Ctrl-C end the server within 3 s, with streams open, without a traceback and without a process
    left.
    """
    example = own_example()
    assert example.url in example.log
    with example.listen() as stream:
        stream.readline()
        assert example.end(number) < STOP_SECONDS * FACTOR
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
    Where gunicorn cannot be imported, Flask's own server with threads shows the same page and streams.
    """
    example = own_example(command=WITHOUT_GUNICORN)
    assert "development server" in example.log
    with example.listen() as stream:
        while stream.readline() != b"event: sample\n":
            pass
        assert example.write("threads")[0] == 204
        assert example.end(signal.SIGINT) < STOP_SECONDS * FACTOR
    assert "Traceback" not in example.log


# In a browser


def test_page_shows_measurements_as_they_come(example, open_page):
    """
    The page goes live, its numbers are filled in, events keep coming, the charts move, and the console stays
    empty.
    """
    page = open_page(example)
    wait_for_text(page, "connection-text", "live")
    wait_for_more_events(page)
    for id in ("cpu", "memory", "load", "rate", "streams"):
        assert float(page.text_content(f"#{id}")) >= 0
    assert "GiB" in page.text_content("#memory-detail")
    assert page.locator("#cores li").count() >= 1
    for id in ("cpu-chart", "memory-chart", "load-chart"):
        picture = page.evaluate("id => document.getElementById(id).toDataURL()", id)
        wait_until(
            page, "([id, picture]) => document.getElementById(id).toDataURL() !== picture", [id, picture]
        )
    assert page.problems == []


def test_chart_shows_what_happened_before_the_page_was_opened(example, open_page):
    """
    A page opened later has the measurements of before, and shows them before the next one comes.
    """
    with example.listen():
        eventually(lambda: len(example.state()["samples"]) >= 3, 10)
        page = open_page(example)
        wait_until(page, "document.getElementById('cpu').textContent !== '–'")
        wait_for_text(page, "connection-text", "live")


def test_text_typed_in_one_tab_appears_in_another(example, open_page):
    """
    What is typed appears in both tabs as text, never as markup, and the writer learns how long it took.
    """
    one, two = open_page(example), open_page(example, color_scheme="dark")
    for page in (one, two):
        wait_for_text(page, "connection-text", "live")
    wait_for_text(one, "streams", "2")
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


def test_page_keeps_what_is_newer_than_a_slow_answer(example, open_page):
    """
    What events told while the page waited for the state, which the server had read before, stays.
    """
    held = []
    example.write("old")
    page = open_page(example)
    page.route("**/state", lambda route: held.append((route, route.fetch())))
    page.reload()
    eventually(lambda: page.evaluate("1") and held, 10, "the page did not ask for the state")
    wait_for_text(page, "streams", "1")
    open_page(example)
    wait_for_text(page, "streams", "2")
    example.write("new")
    wait_for_text(page, "board", "new")
    # One measurement of the answer is the newest of all: it shows that the page has taken the answer.
    mark = {"time": time.time() + 1000, "cpu": 1, "cores": [1], "load": [9.87, 1, 1]}
    mark |= {"memory_percent": 1, "memory_used": 1, "memory_total": 2}
    for route, answer in held:
        route.fulfill(json={**answer.json(), "samples": [mark]})
    wait_for_text(page, "load", "9.87")
    assert (page.text_content("#streams"), page.text_content("#board")) == ("2", "new")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 375, 768, 1280])
def test_page_fits_its_window(example, open_page, width, scheme):
    """
    The page never scrolls sideways: on phones, on wide screens, and with a long word on the board.
    """
    example.write("W" * 280)
    page = open_page(example, viewport={"width": width, "height": 800}, color_scheme=scheme)
    wait_for_text(page, "board", "W" * 280)
    wait_for_text(page, "connection-text", "live")
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
    wait_for_text(page, "connection-text", "live")
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
    wait_for_text(page, "connection-text", "live")
    first.stop()
    wait_for_text(page, "connection-text", "lost: reconnecting")
    assert page.text_content("#streams") == "–"
    page.get_by_label("Your text").fill("typed while it was away")
    wait_until(page, "!document.getElementById('problem').hidden")
    own_example(port=first.port)
    wait_for_text(page, "connection-text", "live", 20)
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
    wait_for_text(page, "connection-text", "live")
    first.stop()
    wait_for_text(page, "connection-text", "lost: reconnecting")
    own_example(port=first.port)
    wait_for_text(page, "board", "Nothing on the board yet.", 20)
    wait_for_text(page, "connection-text", "live")


def test_page_comes_back_after_an_answer_that_ends_every_event_source(example, open_page):
    """
    A proxy's 502 stops an EventSource for ever; the page begins another one.
    """
    page = open_page(example)
    wait_for_text(page, "connection-text", "live")
    page.route("**/events?**", lambda route: route.fulfill(status=502, body="Bad Gateway"))
    page.reload()
    wait_for_text(page, "connection-text", "lost: reconnecting")
    page.unroute("**/events?**")
    wait_for_text(page, "connection-text", "live", 20)
    wait_for_more_events(page)
