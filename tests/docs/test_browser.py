"""The pages about the browser and about streams of one request: their scripts run in Chromium."""

import json

import httpx
import pytest

from tests.docs.pages import page
from tests.docs.served import APPLICATION, SERVE, Served, listening
from tests.support import MS, eventually

LISTEN = page("docs/browser.md").block("A whole page", "js")
FIRST = page("docs/browser.md").block("What a page gets first", "python")
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


def shown(window):
    """What the page has."""
    return dict(window.evaluate("[...shown].map(([id, order]) => [id, order.item])"))


def test_browser_script_survives_refusals_and_restarts(serve, window):
    """
    The script listens again after a 502 and when a full server asks it to come later, has what was ordered
    until its stream began, shows what follows, and has everything when a restart lost the history.
    """
    shop = serve(APPLICATION, script=LISTEN, command=SERVE.replace(" -w 4", ""))
    refused = []

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
    window.goto(shop.url)
    eventually(lambda: window.evaluate("1") and len(refused) == 3, 15_000 * MS, "the page asks three times")
    eventually(lambda: shown(window) == shop.orders(), 15_000 * MS, "the page shows what is there")
    shop.order("tea")
    eventually(lambda: shown(window) == shop.orders(), 15_000 * MS, "the page shows the order")
    shop.stop()
    shop.start()
    shop.order("coffee")
    eventually(lambda: shown(window) == shop.orders(), 30_000 * MS, "the page shows what it missed")


def test_browser_script_shows_changes(shop, window):
    """What changes behind the snapshot is shown as it is now."""
    for number in range(5):
        shop.order(f"old {number}")
    window.goto(shop.url)
    eventually(lambda: shown(window) == shop.orders(), 15_000 * MS, "the page shows what is there")
    for id in list(shop.orders())[-4:]:
        last = httpx.post(f"{shop.url}/orders/{id}", data={"item": f"new {id}"}).text
    wait_for(window, f"lastEventId === '{last}'")
    assert shown(window) == shop.orders()


def test_snapshot_may_be_one_event_for_each_thing(serve, tmp_path):
    """The function of the page sends each order as the event that it was."""
    begin, end = APPLICATION.index('@sse.snapshot("orders")'), APPLICATION.index('@app.post("/orders")')
    source = f"{APPLICATION[:begin]}{FIRST}\n\n{APPLICATION[end:]}"
    shop = serve(source, command=SERVE.replace(" -w 4", ""))
    for item in ("tea", "coffee"):
        shop.order(item)
    with listening(f"{shop.url}/events?channel=orders") as (_, read):
        found = [(event.type, json.loads(event.data), event.last_event_id) for event in read(2)]
    assert found == [("created", {"id": id, "item": item}, "") for id, item in shop.orders().items()]


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
