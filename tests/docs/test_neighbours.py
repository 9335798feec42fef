"""The page about other software: its files are read by the programs that they are for."""

import contextlib
import itertools
import json
import shutil
import socket
import threading
from pathlib import Path

import httpx
import pytest

import flask_sse_push
from tests.docs.pages import page
from tests.docs.served import Process, listening
from tests.docs.test_deployment import nginx_command, replaced
from tests.needs import lacking, needs
from tests.servers.harness import free_port
from tests.support import FACTOR, MS, eventually

PAGE = page("docs/neighbours.md")
LIMITER = PAGE.block("Rate limits", "python")
NGINX = PAGE.block("Two nginx in a row", "nginx")
CADDY = PAGE.block("Front ends that compress", "caddy")
VITE = PAGE.block("Dev servers that hide a death", "js")
READER = PAGE.block("Readers that are no browsers", "python")


def answers(url):
    """Whether something answers there already."""
    with contextlib.suppress(httpx.TransportError):
        return httpx.get(url, timeout=5 * FACTOR).status_code == 200


def test_limiter_of_the_page_leaves_streams_alone(monkeypatch):
    """The factory and the view of the page open more streams than the limit allows other views."""
    needs(modules=["flask_limiter"])
    monkeypatch.setattr(flask_sse_push, "sse", flask_sse_push.SSEPush())  # no other test meets this app
    names = {"__name__": "shop"}
    exec(LIMITER.replace("200 per day", "2 per day"), names)
    app = names["create_app"]()
    app.config["SSE_PUSH_PUBLIC_CHANNELS"] = ["orders"]
    app.add_url_rule("/mine", view_func=names["my_orders"])
    app.add_url_rule("/page", "page", lambda: "page")
    client = app.test_client()

    def statuses(path):
        for _ in range(3):
            with client.head(path) as response:
                yield response.status_code

    assert list(statuses("/events?channel=orders")) == list(statuses("/mine")) == [200] * 3
    assert list(statuses("/page")) == [200, 200, 429]


@pytest.mark.parametrize("passes", [True, False], ids=["passed on", "taken out"])
def test_outer_nginx_needs_the_header_of_the_inner_one(application, tmp_path, passes):
    """
    Behind two nginx an event arrives when the inner one passes the header on; without its line nothing does,
    not even the status.
    """
    inner, outer = free_port(), free_port()
    configuration = replaced(
        NGINX,
        app=("127.0.0.1:8000", f"127.0.0.1:{application.port}"),
        listen=("listen 80;", f"listen 127.0.0.1:{inner};"),
        line=("proxy_pass_header X-Accel-Buffering;", "proxy_pass_header X-Accel-Buffering;" * passes),
    )
    # HTTP/1.0 is what an nginx of Debian 12 speaks to the one behind it when nobody has told it otherwise.
    configuration += f"""
    server {{
        listen 127.0.0.1:{outer};
        proxy_http_version 1.0;
        location / {{ proxy_pass http://127.0.0.1:{inner}; }}
    }}
    """
    url = f"http://127.0.0.1:{outer}"
    with Process(nginx_command(tmp_path, configuration), tmp_path, "nginx"):
        eventually(lambda: answers(url), 10_000 * MS, "both nginx answer")
        if passes:
            with listening(f"{url}/events?channel=orders") as (_, read):
                application.order("tea")
                assert json.loads(read(1)[0].data)["item"] == "tea"
        else:
            client = httpx.Client(timeout=FACTOR)
            with client, pytest.raises(httpx.ReadTimeout):
                client.send(client.build_request("GET", f"{url}/events?channel=orders"), stream=True)


def test_caddy_of_the_page_compresses_pages_and_no_streams(application, tmp_path):
    """
    Caddy compresses a page, and gives a client that has missed much what it missed and what comes then, as it
    is.
    """
    needs("caddy")
    port = free_port()
    configuration = replaced(
        CADDY,
        site=("orders.example.com", f"http://127.0.0.1:{port}"),
        app=("127.0.0.1:8000", f"127.0.0.1:{application.port}"),
    )
    (tmp_path / "Caddyfile").write_text(f"{{\n    admin off\n}}\n{configuration}", encoding="utf-8")
    (application.folder / "static/long.js").write_text("// a page\n" * 200, encoding="utf-8")
    url = f"http://127.0.0.1:{port}"
    command = ["caddy", "run", "--config", "Caddyfile", "--adapter", "caddyfile"]
    with Process(command, tmp_path, "caddy", XDG_CONFIG_HOME=str(tmp_path), XDG_DATA_HOME=str(tmp_path)):
        eventually(lambda: answers(f"{url}/static/long.js"), 20_000 * MS, "Caddy answers")
        headers = {"Accept-Encoding": "gzip"}
        script = httpx.get(f"{url}/static/long.js", headers=headers, timeout=5 * FACTOR)
        assert script.headers["Content-Encoding"] == "gzip"
        with listening(f"{url}/events?channel=orders", headers=headers) as (_, read):
            application.order("tea")
            place = read(1)[0].last_event_id
        missed = [f"{'a long name ' * 20}{number}" for number in range(4)]
        for item in missed:
            application.order(item)
        with listening(f"{url}/events?channel=orders", headers={**headers, "Last-Event-ID": place}) as (
            response,
            read,
        ):
            assert "Content-Encoding" not in response.headers
            assert [json.loads(event.data)["item"] for event in read(4)] == missed
            application.order("coffee")
            assert json.loads(read(1)[0].data)["item"] == "coffee"


DEV_SERVER = """
import { EventEmitter } from "node:events";
import http from "node:http";
import config from "./vite.config.mjs";

const { target, configure } = config.server.proxy["/events"];
const proxy = new EventEmitter();
configure(proxy);
const server = http.createServer((request, response) =>
  http.get(target + request.url, (upstream) => {
    proxy.emit("proxyRes", upstream, request, response);
    response.writeHead(upstream.statusCode, upstream.headers);
    upstream.pipe(response);
  }),
);
server.listen(0, "127.0.0.1", () => console.log(`port ${server.address().port}`));
"""


def find_node():
    """Return a node: the machine's, or the one that Playwright brings."""
    if (found := shutil.which("node")) is not None:
        return found
    with contextlib.suppress(ImportError):
        import playwright

        brought = Path(playwright.__file__).parent / "driver/node"
        if brought.exists():
            return str(brought)
    lacking("needs node, which Playwright has")


@contextlib.contextmanager
def upstream_that_ends(last):
    """The port of a server whose one stream has an event, and ends with these bytes."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(20 * FACTOR)

        def answer():
            with listener.accept()[0] as connection:
                connection.recv(65536)
                head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
                connection.sendall(head + b"9\r\ndata: a\n\n\r\n" + last)

        thread = threading.Thread(target=answer)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            thread.join()


@pytest.mark.parametrize("last", [b"0\r\n\r\n", b""], ids=["clean", "cut"])
def test_dev_server_of_the_page_passes_an_end_on(tmp_path, last):
    """
    With the function of the page a proxy that pipes as Vite's does ends the browser's response when Flask's
    has ended, cut off where that was cut off.
    """
    node = find_node()
    with upstream_that_ends(last) as port:
        config = replaced(VITE, target=("127.0.0.1:5000", f"127.0.0.1:{port}"))
        (tmp_path / "vite.config.mjs").write_text(config, encoding="utf-8")
        (tmp_path / "dev.mjs").write_text(DEV_SERVER, encoding="utf-8")
        with Process([node, "dev.mjs"], tmp_path, "dev") as dev:
            eventually(lambda: "port " in dev.log, 10_000 * MS, "the dev server listens")
            url = f"http://127.0.0.1:{dev.log.split()[1]}/events"
            cut = contextlib.nullcontext() if last else pytest.raises(httpx.RemoteProtocolError)
            received = b""
            with cut, httpx.stream("GET", url, timeout=5 * FACTOR) as response:
                for chunk in response.iter_raw():
                    received += chunk
            assert received == b"data: a\n\n"


def test_reader_of_the_page_skips_what_is_no_event(application):
    """httpx-sse shows the first block as a message without data; the page's program prints events alone."""
    needs(modules=["httpx_sse"])
    from httpx_sse import connect_sse

    url = f"{application.url}/events?channel=orders"
    with httpx.Client(timeout=10 * FACTOR) as client, connect_sse(client, "GET", url) as source:
        snapshot, place = itertools.islice(source.iter_sse(), 2)
        assert (snapshot.event, snapshot.id) == ("snapshot", "")
        assert (place.event, place.data, bool(place.id)) == ("message", "", True)

    class Printed(Exception):
        """The program has printed an event."""

    def told(*what):
        if what[0] != "snapshot":
            raise Printed(*what)

    done = threading.Event()

    def order():
        while not done.wait(0.05 * FACTOR):
            application.order("tea")

    names, thread = {"print": told}, threading.Thread(target=order)
    thread.start()
    try:
        with pytest.raises(Printed) as printed:
            exec(replaced(READER, url=("http://localhost:8000", application.url)), names)
    finally:
        done.set()
        thread.join()
    type, data = printed.value.args
    assert (type, json.loads(data)["item"]) == ("created", "tea")
    assert names["last_event_id"] > place.id
