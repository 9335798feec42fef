"""The pages about the browser and about streams of one request: their scripts run in Chromium."""

import json

import httpx
import pytest

from tests.docs.pages import page
from tests.docs.served import APPLICATION, Served, listening
from tests.support import MS, eventually

LISTEN = page("docs/browser.md").block("A whole page", "js")
ANSWER = page("docs/responses.md").block("A whole view", "python")
ANSWER_SCRIPT = page("docs/responses.md").block("A whole view", "js")


def wait_for(window, expression, seconds=15):
    eventually(lambda: window.evaluate(expression), seconds * 1000 * MS, f"the page comes to {expression}")


CHANGE = """
@app.post("/orders/<int:id>")
def change_order(id):
    with database() as db:
        db.execute("UPDATE orders SET item = ? WHERE id = ?", [request.form["item"], id])
    return publish({"id": id, "item": request.form["item"]}, type="changed", channel="orders")
"""
"""What the page says that the app does when an order changes."""


@pytest.fixture
def shop(serve):
    """The first application with orders that change, and the script of the page."""
    return serve(APPLICATION + CHANGE, script=LISTEN)


def shown(window):
    """What the page has: items by the order's number."""
    return dict(window.evaluate("[...shown].map(([id, order]) => [id, order.item])"))


def test_browser_script_survives_refusals_and_restarts(shop, window):
    """
    The script listens again after a 502 and when a full server asks it to come later, has what was ordered
    until its stream began, shows what follows, and loads again when a restart lost the history.
    """
    refusals = [
        lambda route: route.fulfill(status=502, body="<h1>Bad Gateway</h1>", content_type="text/html"),
        lambda route: (
            shop.order("while it was asked to come later"),
            route.fulfill(body="retry: 2000\n\n", content_type="text/event-stream"),
        ),
    ]
    loaded = []
    window.route("**/events?*", lambda route: refusals.pop(0)(route) if refusals else route.continue_())
    window.on("request", lambda request: loaded.append(request) if request.url.endswith("/orders") else None)
    window.goto(shop.url)
    eventually(lambda: shown(window) == {1: "while it was asked to come later"} and loaded, 15_000 * MS)
    shop.order("before its stream began")
    wait_for(window, "shown.has(2)")
    assert refusals == []
    shop.order("tea")
    wait_for(window, "shown.get(3)?.item === 'tea' && lastEventId")
    before = len(loaded)
    shop.stop()
    shop.start()
    wait_for(window, "true")
    eventually(lambda: window.evaluate("true") and len(loaded) > before, 30_000 * MS, "the page loads again")
    shop.order("coffee")
    wait_for(window, "shown.get(4)?.item === 'coffee'")


def test_browser_script_keeps_the_newer_value(shop, window):
    """An answer that was read before the events, and comes after them, puts no old value over a new one."""
    for number in range(26):
        shop.order(f"old {number}")
    held = []
    window.route("**/orders", lambda route: held.append((route, route.fetch())))
    window.goto(shop.url)
    eventually(lambda: window.evaluate("1") and held, 15_000 * MS, "the page asks for the orders")
    for number in range(25):
        last = httpx.post(f"{shop.url}/orders/{number + 1}", data={"item": f"new {number}"}).text
    wait_for(window, f"lastEventId === '{last}'")
    [(route, answer)] = held
    route.fulfill(response=answer)
    wait_for(window, "shown.has(26)")
    assert shown(window) == {number + 1: f"new {number}" for number in range(25)} | {26: "old 25"}


def test_browser_script_loads_again_when_loading_failed(shop, window):
    """A failed answer is asked for again, and does not empty what is shown."""
    shop.order("tea")
    failures = []

    def fail_once(route):
        if failures:
            route.continue_()
        else:
            failures.append(route)
            route.fulfill(status=503, json={"error": "unavailable"})

    window.route("**/orders", fail_once)
    window.goto(shop.url)
    wait_for(window, "shown.get(1)?.item === 'tea'")
    assert len(failures) == 1


@pytest.fixture(scope="module")
def answering(tmp_path_factory):
    """The README's application with the view of the page below it."""
    served = Served(tmp_path_factory.mktemp("answering"), f"{APPLICATION}\n{ANSWER}")
    yield served
    served.stop()


def test_answer_ends_with_what_the_generator_returned(answering):
    """The tokens come in order, and the event done carries their number."""
    with listening(f"{answering.url}/answer", params={"question": "tea or coffee?"}) as (_, read):
        events = [(event.type, event.data) for event in read(7)]
    assert events[0] == ("state", "thinking")
    assert events[1:-1] == [("message", word) for word in ("You", "asked:", "tea", "or", "coffee?")]
    assert (events[-1][0], json.loads(events[-1][1])) == ("done", {"tokens": 5})


def test_answer_is_written_on_the_page(answering, window):
    """The script writes the tokens, reads their number from done, and closes."""
    window.goto(answering.url)
    window.evaluate("document.body.replaceChildren()")
    window.add_script_tag(content=ANSWER_SCRIPT)
    wait_for(window, "document.title === '5 tokens'")
    assert window.evaluate("document.body.innerText").split() == ["You", "asked:", "tea", "or", "coffee?"]
    assert window.evaluate("answer.readyState === EventSource.CLOSED")
