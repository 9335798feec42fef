"""Pages of configured origins, and pages behind proxies that change the Host, in a real browser."""

import contextlib
import hashlib
import json
import shutil
import threading

import pytest
from flask import request
from flask_cors import CORS
from flask_cors import cross_origin as flask_cors_cross_origin
from werkzeug.middleware.proxy_fix import ProxyFix
from werkzeug.serving import make_server

from flask_sse_push import SSEPush
from tests.app.helpers import make_app
from tests.conftest import CHROMIUM_OPTIONS
from tests.servers.test_nginx import Nginx
from tests.support import FACTOR, MS, eventually

HEADERS = {
    "Content-Type": "application/json",
    "Authorization": "Bearer x",
    "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    "tracestate": "a=b",
    "baggage": "a=b",
    "sentry-trace": "4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1",
    "datastar-request": "true",
    "x-csrf-token": "x",
    "x-requested-with": "XMLHttpRequest",
}

ASK = """async ([url, method, headers]) => {
    try {
        const answer = await fetch(url, {
            method, headers, credentials: "include", body: method == "POST" ? "{}" : undefined,
        });
        const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
        const first = await reader.read();
        await reader.cancel();
        return [answer.status, first.value];
    } catch (error) {
        return [0, error.name];
    }
}"""

LISTEN = """url => new Promise((resolve) => {
    const events = new EventSource(url, { withCredentials: true });
    events.onopen = () => { events.close(); resolve("open"); };
    events.onerror = () => { events.close(); resolve("refused"); };
})"""


@contextlib.contextmanager
def served(app, sse):
    """The port of a server of this process."""
    app.add_url_rule("/", view_func=lambda: "<!doctype html><p>A page.", endpoint="page")
    server = make_server("127.0.0.1", 0, app, threaded=True)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_port
        eventually(lambda: sse.stats()["streams"] == 0, 10_000 * MS, "the streams of closed pages end")
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def context(browser):
    context = browser.new_context()
    context.set_default_timeout(10_000 * FACTOR)
    yield context
    context.close()


def with_views(sse, origins, **settings):
    """An app whose views stream: marked by us, decorated by Flask-CORS, and neither."""
    app = make_app(blueprint=sse, cors_origins=origins, heartbeat_seconds=0.2, **settings)

    def ask():
        return sse.response([f"asked by {request.method}"])

    app.add_url_rule("/marked", view_func=sse.cross_origin(lambda: ask()), methods=["POST"], endpoint="a")
    decorated = flask_cors_cross_origin(supports_credentials=True)(lambda: ask())
    app.add_url_rule("/decorated", view_func=decorated, methods=["POST"], endpoint="b")
    app.add_url_rule("/unmarked", view_func=lambda: ask(), methods=["POST"], endpoint="c")
    return app


@pytest.mark.parametrize("beside", [False, True], ids=["alone", "beside Flask-CORS"])
def test_configured_page_calls_what_it_may(context, beside):
    """
    A page of a configured origin reads the stream and a marked view, with cookies and with the headers of its
    tracing; a page of another origin reads nothing. A view without a mark is called where Flask-CORS is.
    """
    pages = make_app()
    with served(pages, pages.blueprints["sse"]) as elsewhere:
        listed, evil = (f"http://{name}.example.localhost:{elsewhere}" for name in ("listed", "evil"))
        sse = SSEPush()
        app = with_views(sse, [listed], cors_credentials=True)
        if beside:
            CORS(app, supports_credentials=True)
        with served(app, sse) as port:
            shop = f"http://app.shop.localhost:{port}"

            def ask(path, method="POST", headers=HEADERS):
                status, first = page.evaluate(ASK, [shop + path, method, headers])
                return status if status != 200 else "stream" if first.startswith(("retry: ", ":")) else first

            page = context.new_page()
            page.goto(listed)
            assert page.evaluate(LISTEN, shop + "/events") == "open"
            assert ask("/events", "GET", {**HEADERS, "Last-Event-ID": "x" * 200}) == "stream"
            assert ask("/marked") == "stream"
            assert ask("/decorated") == "stream"
            assert ask("/unmarked") == ("stream" if beside else 0)
            page.goto(evil)
            assert page.evaluate(LISTEN, shop + "/events") == "refused"
            assert ask("/events", "GET") == 0
            assert ask("/marked") == 0
            assert ask("/marked", headers={}) == 0
            assert sse.stats()["opened"] == 4 + beside
            page.close()


def test_extension_of_the_browser_calls_what_it_may(browser, tmp_path):
    """The page of an extension has an origin of another scheme, which can be configured."""
    manifest = {"manifest_version": 3, "name": "Orders", "version": "1"}
    (tmp_path / "extension").mkdir()
    (tmp_path / "extension/manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    (tmp_path / "extension/page.html").write_text("<!doctype html><p>A page.", encoding="utf-8")
    digest = hashlib.sha256(str(tmp_path / "extension").encode()).hexdigest()[:32]  # as Chromium names it
    origin = "chrome-extension://" + "".join(chr(ord("a") + int(digit, 16)) for digit in digest)
    sse = SSEPush()
    with served(with_views(sse, [origin]), sse) as port:
        context = browser.browser_type.launch_persistent_context(
            tmp_path / "profile",
            executable_path=shutil.which("chromium") or shutil.which("chromium-browser"),
            args=[
                *CHROMIUM_OPTIONS,
                f"--load-extension={tmp_path / 'extension'}",
                f"--disable-extensions-except={tmp_path / 'extension'}",
            ],
            ignore_default_args=["--disable-extensions"],
        )
        try:
            page = context.new_page()
            page.goto(origin + "/page.html")
            url = f"http://app.shop.localhost:{port}"
            assert page.evaluate(LISTEN.replace("true", "false"), url + "/events") == "open"
            ask = ASK.replace('"include"', '"omit"')
            assert page.evaluate(ask, [url + "/marked", "POST", HEADERS])[0] == 200
        finally:
            context.close()


HOSTS = {
    "passed.test:8080": "proxy_set_header Host $http_host;",
    "added.test": "proxy_set_header Host $host:443;",
    "forwarded.test:8080": "proxy_set_header X-Forwarded-Host $http_host;",
    "dropped.test:8080": "proxy_set_header Host $host;",
    "rewritten.test:8080": "",
}
"""What a proxy does with the Host of each address."""

SERVED = {"passed.test:8080", "added.test", "forwarded.test:8080"}

PROXY = """
server {{
    listen 80;
    server_name {name};
    location / {{ proxy_pass http://127.0.0.1:{port}; proxy_http_version 1.1; {directive} }}
}}
"""


def test_own_page_behind_a_proxy_posts_over_plain_http(browser, caplog, tmp_path):
    """
    Over plain HTTP the browser says only Origin: a POST is served where the proxy passes the Host on or adds
    a default port, and is else refused with what to write into the proxy. EventSource works behind all.
    """
    sse = SSEPush()
    app = with_views(sse, [])
    app.wsgi_app = ProxyFix(app.wsgi_app, x_for=0, x_proto=0, x_host=1)
    with served(app, sse) as port:
        http = "".join(
            PROXY.format(name=host.partition(":")[0], port=port, directive=directive)
            for host, directive in HOSTS.items()
        )
        with Nginx(tmp_path, http, port) as nginx, contextlib.ExitStack() as stack:
            context = browser.new_context(proxy={"server": f"http://127.0.0.1:{nginx.port}"})
            stack.callback(context.close)
            context.set_default_timeout(10_000 * FACTOR)
            page = context.new_page()
            for host in HOSTS:
                page.goto(f"http://{host}/")
                assert page.evaluate("isSecureContext") is False
                assert page.evaluate(LISTEN, "/events") == "open", host
                status, _ = page.evaluate(ASK, ["/unmarked", "POST", HEADERS])
                assert status == (200 if host in SERVED else 403), host
            page.close()
    dropped, rewritten = (record.getMessage() for record in caplog.records if "Host" in record.getMessage())
    assert "origin 'http://dropped.test:8080' asked the Host 'dropped.test'. " in dropped
    assert f"origin 'http://rewritten.test:8080' asked the Host '127.0.0.1:{port}'. " in rewritten
    assert "proxy_set_header Host $http_host" in rewritten
