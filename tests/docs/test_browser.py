"""The pages about the browser and about streams of one request: their scripts run in Chromium."""

import json

import pytest

from tests.docs.pages import page
from tests.docs.served import APPLICATION, Served, listening
from tests.support import MS, eventually

LISTEN = page("docs/browser.md").block("A whole page", "js")
ANSWER = page("docs/responses.md").block("A whole view", "python")
ANSWER_SCRIPT = page("docs/responses.md").block("A whole view", "js")


def wait_for(window, expression, seconds=15):
    eventually(lambda: window.evaluate(expression), seconds * 1000 * MS, f"the page comes to {expression}")


def test_browser_script_survives_refusals_and_restarts(serve, window):
    """
    The script listens again after a 502, loads when the stream opens, shows what follows, and loads again
    when a restart lost the history.
    """
    served = serve(APPLICATION, script=LISTEN)
    refused, loaded = [], []

    def refuse_once(route):
        if refused:
            route.continue_()
        else:
            refused.append(route.request.url)
            route.fulfill(status=502, body="<h1>Bad Gateway</h1>", content_type="text/html")

    def answer_orders(route):
        loaded.append(route.request.url)
        route.fulfill(json=[{"item": f"stored {len(loaded)}"}])

    window.route("**/events?*", refuse_once)
    window.route("**/orders.json", answer_orders)
    window.goto(served.url)
    wait_for(window, "shown.has('stored 1')")
    assert len(refused) == 1
    served.order("tea")
    wait_for(window, "shown.has('tea')")
    served.stop()
    served.start()
    wait_for(window, "shown.has('stored 2') && !shown.has('tea')", 30)
    served.order("coffee")
    wait_for(window, "shown.has('coffee')")
    assert len(loaded) == 2


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
