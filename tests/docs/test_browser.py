"""The pages about the browser and about streams of one request: their scripts run in Chromium."""

import json

import httpx
import pytest

from tests.docs.pages import page
from tests.docs.served import APPLICATION, SERVE, Served, listening
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
"""What docs/browser.md says that the app does when an order changes."""


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """The first application with both pages' views and the script of docs/browser.md."""
    source = f"{APPLICATION}\n{ANSWER}\n{CHANGE}"
    served = Served(tmp_path_factory.mktemp("shop"), source, LISTEN, command=SERVE.replace(" -w 4", ""))
    yield served
    served.stop()


def orders(shop):
    """What the server has stored: items by the order's number."""
    return {order["id"]: order["item"] for order in httpx.get(f"{shop.url}/orders").json()}


def shown(window):
    """What the page has."""
    return dict(window.evaluate("[...shown].map(([id, order]) => [id, order.item])"))


def hold_lists(window):
    """Let the server answer what the page loads, and keep the answers back; the list of them is returned."""
    held = []
    window.route("**/orders", lambda route: held.append((route, route.fetch())))
    return held


def test_browser_script_survives_refusals_and_restarts(serve, window):
    """
    The script listens again after a 502 and when a full server asks it to come later, has what was ordered
    until its stream began, shows what follows, and loads again when a restart lost the history.
    """
    shop = serve(APPLICATION, script=LISTEN, command=SERVE.replace(" -w 4", ""))
    refused, loaded = [], []

    def refuse_twice(route):
        refused.append(route)
        if len(refused) == 1:
            route.fulfill(status=502, body="<h1>Bad Gateway</h1>", content_type="text/html")
        elif len(refused) == 2:
            route.fulfill(body="retry: 1000\n\n", content_type="text/event-stream")
        else:
            if len(refused) == 3:
                shop.order("before its stream began")
            route.continue_()

    window.route("**/events?*", refuse_twice)
    window.on("response", lambda answer: loaded.append(answer) if answer.url.endswith("/orders") else None)
    window.goto(shop.url)
    eventually(lambda: window.evaluate("1") and len(refused) == 3, 15_000 * MS, "the page asks three times")
    eventually(lambda: shown(window) == orders(shop), 15_000 * MS, "the page loads when its stream begins")
    shop.order("tea")
    eventually(lambda: shown(window) == orders(shop), 15_000 * MS, "the page shows the order")
    loads = len(loaded)
    shop.stop()
    shop.start()
    eventually(lambda: window.evaluate("1") and len(loaded) > loads, 30_000 * MS, "the page loads again")
    shop.order("coffee")
    eventually(lambda: shown(window) == orders(shop), 15_000 * MS, "the page shows the order")


def test_browser_script_keeps_the_newer_value(shop, window):
    """An answer that was read before the events, and comes after them, puts no old value over a new one."""
    for number in range(5):
        shop.order(f"old {number}")
    held = hold_lists(window)
    window.goto(shop.url)
    eventually(lambda: window.evaluate("1") and held, 15_000 * MS, "the page asks for the orders")
    for id in list(orders(shop))[-4:]:
        last = httpx.post(f"{shop.url}/orders/{id}", data={"item": f"new {id}"}).text
    wait_for(window, f"lastEventId === '{last}'")
    [(route, answer)] = held
    route.fulfill(response=answer)
    eventually(lambda: shown(window) == orders(shop), 15_000 * MS, "the page shows the new values")


def test_browser_script_loads_again_when_loading_failed(shop, window):
    """A failed answer is asked for again."""
    shop.order("tea")
    failed = []

    def fail_once(route):
        if failed:
            route.continue_()
        else:
            failed.append(route)
            route.fulfill(status=503, json={"error": "unavailable"})

    window.route("**/orders", fail_once)
    window.goto(shop.url)
    eventually(lambda: shown(window) == orders(shop), 15_000 * MS, "the page loads again")
    assert len(failed) == 1


def test_answer_ends_with_what_the_generator_returned(shop):
    """The tokens come in order, and the event done carries their number."""
    with listening(f"{shop.url}/answer", params={"question": "tea or coffee?"}) as (_, read):
        events = [(event.type, event.data) for event in read(7)]
    assert events[0] == ("state", "thinking")
    assert events[1:-1] == [("message", word) for word in ("You", "asked:", "tea", "or", "coffee?")]
    assert (events[-1][0], json.loads(events[-1][1])) == ("done", {"tokens": 5})


def test_answer_is_written_on_the_page(shop, window):
    """The script writes the tokens, reads their number from done, and closes."""
    window.goto(shop.url)
    window.evaluate("document.body.replaceChildren()")
    window.add_script_tag(content=ANSWER_SCRIPT)
    wait_for(window, "document.title === '5 tokens'")
    assert window.evaluate("document.body.innerText").split() == ["You", "asked:", "tea", "or", "coffee?"]
    assert window.evaluate("answer.readyState === PushSource.CLOSED")
