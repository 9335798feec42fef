"""What a browser does with a refusal."""

import threading

from werkzeug.serving import make_server

from tests.app.helpers import make_app
from tests.support import MS, eventually


def test_browser_comes_back_to_a_rule_that_broke(sse, browser, monkeypatch):
    """
    An EventSource whose rule raises is asked to come back, and opens when the rule can answer again; after a
    403 it stops for ever.
    """
    monkeypatch.setattr("flask_sse_push.extension.answers._SOFT_RETRY_MILLISECONDS", (500, 600))
    app = make_app(blueprint=sse, heartbeat_seconds=0.2)
    asked = []

    @sse.authorize("orders")
    def may_read(channel):
        asked.append(channel)
        if len(asked) < 3:
            raise ConnectionError("the database is away")
        return True

    app.add_url_rule("/", view_func=lambda: "<!doctype html>", endpoint="page")
    server = make_server("127.0.0.1", 0, app, threaded=True)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    page = browser.new_page()
    try:
        page.goto(f"http://127.0.0.1:{server.port}/")
        page.evaluate(
            "window.events = new EventSource('/events?channel=orders'); window.refused = new "
            "EventSource('/events?channel=closed')"
        )
        eventually(
            lambda: page.evaluate("window.events.readyState") == 1 and len(asked) == 3,
            15_000 * MS,
            "the stream opens at the third try",
        )
        assert page.evaluate("window.refused.readyState") == 2
    finally:
        page.close()
        eventually(lambda: sse.stats()["streams"] == 0, 10_000 * MS, "the stream of the closed page ends")
        server.shutdown()
        thread.join()
        server.server_close()
