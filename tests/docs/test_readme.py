"""The README: its two commands, and the application that it shows."""

import contextlib
import importlib.metadata
import json
import re
import sys

import httpx

import flask_sse_push
from tests.docs.pages import ROOT, page
from tests.docs.served import APPLICATION, PAGE_SCRIPT, SERVE, Process, listening, run
from tests.needs import needs
from tests.support import MS, eventually

README = page("README.md")
INSTALL_AND_RUN = README.block(
    "How to run it", "sh", "python3 -m venv .venv && .venv/bin/pip install -e '.[example]'"
)
INSTALL_AND_TEST = README.block(
    "How to run it", "sh", "python3 -m venv .venv && .venv/bin/pip install -e '.[test]'"
)
ORDER = README.block("How to run it", "sh", "curl -d")
LISTEN = page("docs/quickstart.md").block("A whole application", "sh", "curl -N")


def test_readme_is_short():
    """It has at most 150 lines."""
    assert len(README.lines) <= 150


def test_readme_commands_appear_once():
    """The command that shows the example and the one that runs the tests stand alone on their lines, once."""
    assert INSTALL_AND_RUN.endswith(" && .venv/bin/python -m example_app\n")
    assert INSTALL_AND_TEST.endswith(" && .venv/bin/python -m pytest\n")
    for command in (INSTALL_AND_RUN.strip(), INSTALL_AND_TEST.strip()):
        assert README.lines.count(command) == README.text.count(command) == 1
    assert README.text.count("venv .venv") == 2
    assert [line for line in README.lines if "-m pytest" in line] == [INSTALL_AND_TEST.strip()]


def test_readme_commands_name_what_exists(tmp_path):
    """The extras of the two commands are the package's own, and the example's module runs."""
    extras = importlib.metadata.metadata("flask_sse_push").get_all("Provides-Extra")
    assert {"example", "test", "gunicorn"} <= set(extras)
    run([sys.executable, "-m", "example_app", "--help"], tmp_path)


def test_readme_application_is_short():
    """The application has about 30 lines of Python, and the page about 12 of JavaScript."""
    assert len([line for line in APPLICATION.splitlines() if line.strip()]) <= 30
    assert len([line for line in PAGE_SCRIPT.splitlines() if line.strip()]) <= 12


def test_changelog_tells_of_this_version():
    """The newest entry of the changelog is that of the package's version."""
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    versions = re.findall(r"^## \[([^]]+)\] - (?:Unreleased|\d{4}-\d\d-\d\d)$", text, re.MULTILINE)
    assert versions[0] == flask_sse_push.__version__


def test_readme_application_delivers_an_order(application):
    """
    The application answers with its page, and who listens to its stream gets the order that is posted, as it
    is stored.
    """
    assert "/static/orders.js" in httpx.get(application.url).text
    with listening(f"{application.url}/events?channel=orders") as (response, read):
        assert response.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        application.order("tea")
        [event] = read(1)
    order = {"id": max(application.orders()), "item": "tea"}
    assert (event.type, json.loads(event.data)) == ("created", order)


def test_readme_application_shows_what_is_there(application):
    """A new stream begins with the orders that are stored, in any worker."""
    for item in ("first", "second"):
        application.order(item)
    for _ in range(4):
        with listening(f"{application.url}/events?channel=orders", left_out=None) as (_, read):
            [snapshot] = read(1)
        assert snapshot.type == "snapshot"
        assert {order["id"]: order["item"] for order in json.loads(snapshot.data)} == application.orders()


def test_readme_application_resumes(application):
    """A client that comes back with the id of its last event gets what it missed, and nothing twice."""
    url = f"{application.url}/events?channel=orders"
    with listening(url) as (_, read):
        application.order("first")
        [first] = read(1)
    for item in ("second", "third"):
        application.order(item)
    with listening(url, headers={"Last-Event-ID": first.last_event_id}) as (_, read):
        assert [json.loads(event.data)["item"] for event in read(2)] == ["second", "third"]


def test_readme_four_workers_share_events(application):
    """An order that any of the four workers takes reaches listeners of all of them, in one order."""
    assert " -w 4 " in SERVE
    url = f"{application.url}/events?channel=orders"
    with contextlib.ExitStack() as stack:
        reads = [stack.enter_context(listening(url))[1] for _ in range(8)]
        for number in range(12):
            application.order(f"number {number}")
        orders = [
            [(event.last_event_id, json.loads(event.data)["item"]) for event in read(12)] for read in reads
        ]
    assert [item for _, item in orders[0]] == [f"number {number}" for number in range(12)]
    assert all(order == orders[0] for order in orders)


def test_readme_curl_commands_show_an_order(application, tmp_path):
    """The README's command orders, and the quickstart's shows the event; only the port is changed."""
    needs("bash", "curl")
    listen, order = (code.strip().replace(":8000", f":{application.port}") for code in (LISTEN, ORDER))
    with Process(["bash", "-c", f"exec {listen}"], tmp_path, "listener") as listener:
        eventually(lambda: "retry: " in listener.log, 10_000 * MS, "the listener gets its first bytes")
        run(["bash", "-c", order], tmp_path)
        event = re.compile(r'event: created\ndata: {"id": \d+, "item": "coffee"}\n')
        eventually(lambda: event.search(listener.log), 10_000 * MS, "the listener gets the order")


def list_orders(application):
    """The list as the page is to show it, from what the server has stored."""
    return [f"{id}. {item}" for id, item in application.orders().items()]


def wait_for_list(window, wanted):
    shown = "document.getElementById('orders').innerText.split('\\n')"
    eventually(lambda: window.evaluate(shown) == wanted, 15_000 * MS, f"the page shows {wanted}")


def test_readme_page_keeps_its_list_over_a_reload(application, window):
    """The button orders, and the order stays: after a reload, and in a new tab. Data is shown as text."""
    application.order("<b>tea</b>")
    window.goto(application.url)
    before = list_orders(application)
    wait_for_list(window, before)
    assert "<b>tea</b>" in before[-1]
    window.get_by_role("button", name="Order tea").click()
    after = [*before, f"{len(before) + 1}. tea"]
    wait_for_list(window, after)
    window.reload()
    wait_for_list(window, after)
    tab = window.context.new_page()
    tab.goto(application.url)
    wait_for_list(tab, after)
    window.get_by_role("button", name="Order tea").click()
    for each in (window, tab):
        wait_for_list(each, [*after, f"{len(after) + 1}. tea"])


def test_readme_page_misses_nothing_before_its_stream_begins(application, window):
    """An order that comes while the page waits for its stream is in the snapshot."""
    held = []
    window.add_init_script("delete globalThis.SharedWorker")  # whose requests cannot be held here
    window.route("**/events?*", lambda route: held.append(route))
    window.goto(application.url)
    eventually(lambda: window.evaluate("1") and held, 15_000 * MS, "the page asks for its stream")
    application.order("before the stream")
    held[0].continue_()
    wait_for_list(window, list_orders(application))


def test_readme_page_shows_what_it_missed_after_a_restart(serve, window):
    """What was ordered while the page had no stream is in its next snapshot: the history is lost."""
    served = serve(APPLICATION, script=PAGE_SCRIPT, command=SERVE.replace(" -w 4", ""))
    served.order("tea")
    window.goto(served.url)
    wait_for_list(window, ["1. tea"])
    served.stop()
    served.start()
    served.order("coffee")
    wait_for_list(window, ["1. tea", "2. coffee"])
