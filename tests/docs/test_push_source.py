"""The page about PushSource: its scripts run in Chromium, its tables are those of the code."""

import re

import pytest

from tests.docs.pages import ROOT, page
from tests.docs.served import APPLICATION, Served
from tests.support import MS, eventually

PAGE = page("docs/push-source.md")
TAG = PAGE.block("Load it", "html")
MODULE = PAGE.block("Load it", "js")
TEMPLATE = PAGE.block("A whole page", "html")
SCRIPT = PAGE.block("A whole page", "js")
RETRY = PAGE.block("When it comes back", "js")
IDENTIFY = PAGE.block("One stream for all tabs", "python")
POST = PAGE.block("Other requests", "js")
SOURCE = (ROOT / "flask_sse_push/extension/client/sse-push.js").read_text(encoding="utf-8")

MORE = f"""
from flask import render_template_string, session

app.secret_key = "a key for the tests"
{IDENTIFY}

@app.get("/live")
def live():
    return render_template_string({TEMPLATE!r})


@app.get("/login/<user>")
def login(user):
    session["user_id"] = user
    return "<!doctype html>"


@app.get("/tag")
def tag():
    return render_template_string({TAG!r})


@app.post("/answer")
def answer():
    if request.headers["Authorization"] != "new":
        return "", 401
    return sse.response([request.get_json()["question"], "yes"])
"""


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    served = Served(tmp_path_factory.mktemp("push"), f"{APPLICATION}\n{MORE}", SCRIPT)
    yield served
    served.stop()


def wait_for(window, expression):
    eventually(lambda: window.evaluate(expression), 15_000 * MS, f"the page comes to {expression}")


def test_page_shows_orders_and_its_state(shop, window):
    """The whole page is live, shows an order as it comes, and shares its stream with a second tab."""
    window.goto(f"{shop.url}/live")
    status = "document.querySelector('sse-status').shadowRoot.querySelector('[part=text]').textContent"
    wait_for(window, f"{status} === 'Live'")
    second = window.context.new_page()
    second.goto(f"{shop.url}/live")
    wait_for(second, f"{status} === 'Live'")
    shop.order("tea")
    for tab in (window, second):
        wait_for(tab, "document.getElementById('orders').innerText === 'tea'")
    assert second.evaluate("events.explain().shared") is True
    second.close()


def test_page_of_a_visitor_who_left_is_signed_out(shop, window):
    """When somebody else has logged in, the stream of the old page ends, and the page goes to the login."""
    window.goto(f"{shop.url}/login/ann")
    window.goto(f"{shop.url}/live")
    wait_for(window, "events.readyState === PushSource.OPEN")
    other = window.context.new_page()
    other.goto(f"{shop.url}/login/bob")
    window.evaluate("events.reconnect()")
    window.wait_for_url("**/login")
    other.close()


def test_module_is_loaded_as_the_page_says(shop, window):
    """The import gives the class, which knows where its worker's script is."""
    window.goto(f"{shop.url}/tag")
    found = window.evaluate(
        """async (code) => {
          const text = `${code.replace('"/', `"${location.origin}/`)}\nexport { PushSource };`;
          const url = URL.createObjectURL(new Blob([text], { type: "text/javascript" }));
          return (await import(url)).PushSource.script;
        }""",
        MODULE,
    )
    assert found.startswith(f"{shop.url}/events/client/sse-push.js")


def test_retry_options_of_the_page_are_those_of_the_code(shop, window):
    """The values that the page names are the ones that count without them."""
    window.goto(f"{shop.url}/tag")
    window.add_script_tag(content=RETRY.replace("const events", "window.events"))
    wait_for(window, "events.readyState === PushSource.OPEN")
    options = re.search(r"retry: (\{.*\}),", RETRY)[1]
    assert options == "{ first: 500, factor: 2, max: 30000, limit: Infinity }"
    assert "const DEFAULTS = { first: 500, factor: 2, max: 30000, limit: Infinity };" in SOURCE
    assert "connectTimeout: 20000," in RETRY and "connectTimeout: 20000," in SOURCE


def test_post_is_sent_with_a_fresh_token_and_read_to_its_end(shop, window):
    """After a 401 the token is refreshed, and the answer's events come in order, until done."""
    window.goto(f"{shop.url}/tag")
    window.evaluate(
        "async (code) => { document.body.replaceChildren(); let current = 'old'; const token = () => current;"
        " const refresh = () => (current = 'new');"
        " await new (async () => {}).constructor('token', 'refresh', code)(token, refresh); }",
        POST,
    )
    assert window.evaluate("document.body.textContent") == "tea?yes"


def test_kinds_of_the_page_are_those_of_the_types():
    """The table has each kind once, and no other."""
    rows = [row[0].strip("`") for row in PAGE.table("| kind |")]
    types = (ROOT / "flask_sse_push/extension/client/sse-push.d.ts").read_text(encoding="utf-8")
    kinds = re.search(r"type PushErrorKind =([^;]*);", types)[1]
    assert sorted(rows) == sorted(["null", *re.findall(r'"([^"]+)"', kinds)])
