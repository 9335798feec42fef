"""What docs/origins.md says: its application, its script, and the messages and origins that it names."""

import re
import threading

import pytest
from werkzeug.serving import make_server

from flask_sse_push import SSEPush
from flask_sse_push.extension.settings import read_settings
from tests.docs.pages import ROOT, page
from tests.servers.harness import free_port
from tests.support import MS, eventually

PAGE = page("docs/origins.md")
APPLICATION = PAGE.block("A whole application", "python")
SCRIPT = PAGE.block("A whole application", "js")


@pytest.fixture
def hosts(monkeypatch):
    """The application at one name of this machine, and a function that puts such names into a text."""
    port, own = free_port(), SSEPush()
    monkeypatch.setattr("flask_sse_push.sse", own)

    def here(text):
        return re.sub(r"https://(\w+)\.example\.com", rf"http://\1.example.localhost:{port}", text)

    namespace = {"__name__": "app"}
    exec(compile(here(APPLICATION), "docs/origins.md", "exec"), namespace)
    server = make_server("127.0.0.1", port, namespace["app"], threaded=True)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield own, here
    eventually(lambda: own.stats()["streams"] == 0, 30_000 * MS, "the streams of closed pages end")
    server.shutdown()
    thread.join()
    server.server_close()


def test_origins_application_serves_the_page_of_the_listed_origin(hosts, window):
    """The page at the listed origin listens, and its POST is answered; one at another origin gets nothing."""
    sse, here = hosts
    window.goto(here("https://app.example.com/nowhere"))
    window.add_script_tag(content=here(SCRIPT))
    eventually(lambda: window.evaluate("events.readyState") == 1, 15_000 * MS, "the page listens")
    sse.publish("Hello.")
    eventually(lambda: "Hello." in window.evaluate("document.body.innerText"), 15_000 * MS, "it hears")
    window.evaluate("ask('tea or coffee?')")
    assert re.findall(r"data: (\S+)", window.evaluate("document.body.innerText")) == [
        *"You asked: tea or coffee?".split(),
        "null",
    ]
    window.goto(here("https://evil.example.com/nowhere"))
    window.add_script_tag(content=here(SCRIPT))
    eventually(lambda: window.evaluate("events.readyState") == 2, 15_000 * MS, "the page is refused")
    assert window.evaluate("ask('tea or coffee?').catch((error) => error.name)") == "TypeError"
    assert sse.stats()["opened"] == 2


def test_origins_that_the_page_names_can_be_listed():
    """The schemes of apps and extensions are accepted as they are written there; null is not listed."""
    origins = re.findall(r"`((?:capacitor|tauri|app|https?)://[^`]+)`", PAGE.text)
    assert len(origins) >= 5
    assert read_settings({"SSE_PUSH_CORS_ORIGINS": origins}).cors_origins == set(origins)


def test_origins_page_quotes_what_the_package_says():
    """The log's sentence, and the cure for nginx, are those of the code."""
    source = (ROOT / "flask_sse_push/extension/cors.py").read_text(encoding="utf-8")
    for text in ("a page of the origin ", "asked the Host ", "proxy_set_header Host $http_host"):
        assert text in PAGE.text, text
        assert text in source, text
