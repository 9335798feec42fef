"""What docs/channels.md says: its application and blocks run on four workers, and its scripts in Chromium."""

import httpx
import pytest

from flask_sse_push.extension.settings import read_settings
from tests.docs.pages import page
from tests.docs.served import Served, listening
from tests.support import FACTOR, MS, eventually

PAGE = page("docs/channels.md")
SOURCE = PAGE.block("A whole application", "python")
SCRIPT = PAGE.block("A whole application", "js")
SETTINGS = PAGE.block("How much of each channel is kept", "python")
KEEP = PAGE.block("Keep the newest value of each key", "python")
REWIND = PAGE.block("Begin in the past", "python")
CURSOR = PAGE.block("Begin where the page's data was read", "python")
CURSOR_SCRIPT = PAGE.block("Begin where the page's data was read", "js")
MORE = f"""
app.config["SSE_PUSH_PUBLIC_CHANNELS"] += ["orders", "prices"]


def read_orders():
    publish("between", channel="orders")
    return []


@app.post("/prices")
def price():
    {KEEP.replace("231.5", "1").strip()}
    {KEEP.strip()}
    return "", 204


{REWIND}

{CURSOR}
"""


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """The application of the page with the page's other blocks."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "static").mkdir()
    (folder / "static/runs.js").write_text(SCRIPT, encoding="utf-8")
    served = Served(folder, SOURCE + MORE)
    yield served
    served.stop()


def start(served):
    """Start a run, and return its channel."""
    return httpx.post(f"{served.url}/runs", timeout=5 * FACTOR).json()["channel"]


def test_channels_page_watches_a_run_to_its_end(served, window):
    """The page shows each step once, the result and the end; the stream is closed for good."""
    window.goto(served.url)
    window.click("#go")
    expected = "step 1\nstep 2\nstep 3\nresult 42\nclosed\n"
    eventually(
        lambda: window.inner_text("#log").strip() == expected.strip(), 20_000 * MS, "the page shows the end"
    )


def test_channels_end_stops_the_browsers_own_source(served, window):
    """An EventSource gets all of a run, comes back once, and is CLOSED by 204."""
    channel = start(served)
    window.goto(served.url)
    window.evaluate(
        """(channel) => {
            window.steps = [];
            window.source = new EventSource(`/events?channel=${channel}&rewind=all`);
            source.addEventListener("progress", ({ data }) => steps.push(JSON.parse(data).step));
            source.addEventListener("finished", () => steps.push("end"));
        }""",
        channel,
    )
    eventually(lambda: window.evaluate("source.readyState") == 2, 20_000 * MS, "the source is closed")
    assert window.evaluate("steps") == [1, 2, 3, "end"]


def test_channels_run_that_is_over_is_read_whole(served):
    """Any worker gives all of a run that has ended, also by the view of the page, and 204 behind its end."""
    channel = start(served)
    name = channel.removeprefix("run.")
    for path in (f"/events?channel={channel}&rewind=all", f"/runs/{name}/events"):
        with listening(f"{served.url}{path}") as (_, read):
            events = read(4)
        assert [event.type for event in events] == ["progress"] * 3 + ["finished"]
        headers = {"Last-Event-ID": events[-1].last_event_id}

        def ended(path=path, headers=headers):  # a worker that has not read the mark yet streams it first
            return httpx.get(f"{served.url}{path}", headers=headers, timeout=5 * FACTOR).status_code == 204

        eventually(ended, 10_000 * MS, "the client is told not to come back")


def test_channels_values_come_first(served):
    """A new reader gets the newest of each key alone."""
    httpx.post(f"{served.url}/prices", timeout=5 * FACTOR)
    with listening(f"{served.url}/events?channel=prices") as (_, read):
        (event,) = read(1)
    assert (event.type, event.data) == ("price", '{"price": 231.5}')


def test_channels_cursor_begins_before_the_data(served, window):
    """What is published while the view reads comes by the stream."""
    window.goto(served.url)
    keep = "window.came = []; events.onmessage = ({ data }) => came.push(data);"
    window.evaluate(f"(async () => {{ {CURSOR_SCRIPT} {keep} }})()")
    eventually(lambda: window.evaluate("window.came") == ["between"], 15_000 * MS, "the event comes")


def test_channels_settings_count_in_their_order():
    """The narrow pattern of the page stands before the wide one, and so it counts."""
    config = {}
    exec(SETTINGS, {"app": type("App", (), {"config": config})})
    rules = read_settings(config).retention()
    assert rules.of("run.test.7") == (10, 300)
    assert rules.of("run.7") == (10_000, 3600)
