"""What pages of other sites can open, in a real browser."""

import contextlib
import http.server
import re
import threading

import pytest

from tests.servers.harness import Server, eventually
from tests.support import FACTOR

HOSTS = {"another site": "evil.example.localhost", "a neighbour under the same domain": "evil.shop.localhost"}

WAYS = {
    "iframe": "document.body.append(Object.assign(document.createElement('iframe'), {src: url}))",
    "image": "document.body.append(Object.assign(document.createElement('img'), {src: url}))",
    "script": "document.body.append(Object.assign(document.createElement('script'), {src: url}))",
    "fetch without CORS": "fetch(url, {mode: 'no-cors', credentials: 'include'}).catch(() => {})",
    "fetch": "fetch(url, {credentials: 'include'}).catch(() => {})",
    "post without CORS": "fetch(url, {mode: 'no-cors', method: 'POST', body: 'x'}).catch(() => {})",
    "EventSource": "new EventSource(url, {withCredentials: true})",
    "link": "window.open(url)",
    "sandboxed iframe": "document.body.append(Object.assign(document.createElement('iframe'), {sandbox: "
    "'allow-scripts', "
    "srcdoc: `<img src='${url}'>`}))",
}


@pytest.fixture(scope="module")
def shop():
    with Server(
        "gunicorn-gevent", "--access-logfile", "-", "--access-logformat", "answered %(U)s %(q)s %(m)s %(s)s"
    ) as server:
        yield server


class Page(http.server.BaseHTTPRequestHandler):
    """A page of its own under any name."""

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><p>A page.")

    def log_message(self, *args):
        """Nothing."""


@pytest.fixture(scope="module")
def elsewhere():
    """
    The port of another server on this machine: the browser would keep a page that came from no server away
    from it.
    """
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@pytest.fixture
def context(browser, shop):
    context = browser.new_context()
    context.set_default_timeout(10_000 * FACTOR)
    yield context
    context.close()
    eventually(lambda: shop.streams() == 0)


@pytest.mark.parametrize("path", ["/events", "/tokens"])
@pytest.mark.parametrize("whose", HOSTS)
def test_foreign_page_opens_no_stream(context, shop, elsewhere, whose, path):
    """
    Whatever a page of another origin embeds, fetches or opens, it is refused, and no place is held for it.
    """
    before = shop.stats()
    page = context.new_page()
    page.goto(f"http://{HOSTS[whose]}:{elsewhere}/")
    for number, (way, script) in enumerate(WAYS.items()):
        if (path, way) == ("/events", "post without CORS"):
            continue  # Flask itself answers 405
        mark = f"way={whose.replace(' ', '-')}-{number}"
        page.evaluate(f"url => {{ {script}; }}", f"http://app.shop.localhost:{shop.port}{path}?{mark}")

        def answered(mark=mark):
            page.wait_for_timeout(20)  # lets the driver work
            return re.findall(rf"answered {path} {mark} (?:GET|POST) (\d+)", shop.log)

        assert eventually(answered, message=f"no answer to {way}") == ["403"], way
    after = shop.stats()
    assert (after["opened"], after["refused"]) == (before["opened"], before["refused"])
    assert after["closed"].count("generator") == before["closed"].count("generator")


def test_own_page_and_its_user_open_streams(context, shop):
    """
    A page of the app reads with EventSource and with fetch, in a frame too, and who types the address in sees
    the stream.
    """
    base = f"http://app.shop.localhost:{shop.port}"
    before = shop.stats()["opened"]
    page = context.new_page()
    page.goto(base + "/ping")
    assert (
        page.evaluate("async () => (await new Promise(r => new EventSource('/events').onopen = r)).type")
        == "open"
    )
    assert page.evaluate("async () => (await fetch('/events')).status") == 200
    assert "done" in page.evaluate(
        "async () => (await fetch('/tokens?count=1', {method: 'POST', body: 'x'})).text()"
    )
    page.evaluate(
        "() => document.body.append(Object.assign(document.createElement('iframe'), {src: '/events'}))"
    )
    eventually(lambda: page.wait_for_timeout(20) or shop.stats()["opened"] == before + 4)
    typed = context.new_page()
    statuses = []
    typed.on("response", lambda response: statuses.append(response.status))
    with contextlib.suppress(Exception):  # it has no end, so the browser may call it a download
        typed.goto(base + "/events?typed", wait_until="commit")
    assert statuses == [200]
