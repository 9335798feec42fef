"""The configurations of the documentation, in a real nginx."""

import contextlib
import http.server
import signal
import threading

import pytest

from tests.letter import LetterClient
from tests.servers.harness import Client, Server, eventually
from tests.servers.nginx import Nginx, documented


@contextlib.contextmanager
def backend(status):
    """The port of an app that answers everything with this status."""

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args):
            """Nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def whole(nginx, path="/events", headers=(), method="GET"):
    with Client(nginx, path, [*headers, "Connection: close"], method) as client:
        return client.until(lambda client: client.ended or client.clean)


def check_is_asked_to_come_back(answer, milliseconds):
    assert (answer.status, answer.headers["content-type"], answer.headers["cache-control"]) == (
        200,
        "text/event-stream",
        "no-store",
    )
    letter = LetterClient()
    letter.last_event_id = "7"
    letter.connect(answer.body)
    assert (letter.last_event_id, letter.retry, letter.events) == ("7", milliseconds, [])


PAGES = [("docs/deployment.md", "nginx"), ("docs/limits.md", "Limits for each client")]


@pytest.mark.parametrize(("page", "section"), PAGES)
@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_nginx_turns_a_fault_into_a_time_to_come_back(tmp_path, page, section, status):
    """
    What would stop an EventSource for ever becomes 200 with a reconnection time, and no client loses its id
    by it.
    """
    with backend(status) as upstream, Nginx(tmp_path, documented(page, section), upstream) as nginx:
        check_is_asked_to_come_back(whole(nginx), 2000)


@pytest.mark.parametrize("status", [204, 400, 401, 403])
def test_nginx_passes_what_is_meant_for_good(tmp_path, status):
    """A refusal for good, and the answer that ends a stream for good, reach the browser."""
    with backend(status) as upstream, Nginx(tmp_path, documented(*PAGES[0]), upstream) as nginx:
        assert whole(nginx).status == status


def test_nginx_turns_the_limit_of_an_app_into_a_time_to_come_back(tmp_path):
    """A 429 of the app, as Flask-Limiter gives it, does not stop a browser behind the documented nginx."""
    for page, section, milliseconds in [(*PAGES[0], 2000), (*PAGES[1], 30_000)]:
        folder = tmp_path / section
        folder.mkdir()
        with backend(429) as upstream, Nginx(folder, documented(page, section), upstream) as nginx:
            check_is_asked_to_come_back(whole(nginx), milliseconds)


@pytest.mark.parametrize("status", [503, 429])
def test_nginx_turns_its_own_rate_limit_into_a_time_to_come_back(tmp_path, status):
    """Where limit_req stands in the documented nginx, who reconnects too soon is asked to come back."""
    http = documented(*PAGES[0]).replace(
        "location /events {",
        f"location /events {{\n limit_req zone=soon;\n limit_req_status {status};\n",
    )
    http = "limit_req_zone $binary_remote_addr zone=soon:1m rate=1r/m;\n" + http
    with backend(204) as upstream, Nginx(tmp_path, http, upstream) as nginx:
        assert whole(nginx).status == 204
        check_is_asked_to_come_back(whole(nginx), 2000)


def test_nginx_out_of_connections_asks_to_come_back(tmp_path):
    """When nginx has no connection left for the app it would answer 500: the documented list has that too."""
    with (
        Server("gunicorn-gevent") as server,
        Nginx(tmp_path, documented(*PAGES[0]), server.port, connections=12) as nginx,
    ):
        for _ in range(12):
            client = Client(nginx)
            client.until(lambda client: client.body)
            assert client.status == 200
            if b"id:" not in client.body:
                break
        check_is_asked_to_come_back(client, 2000)


def test_nginx_limits_the_streams_of_an_address(tmp_path):
    """
    The twenty-first stream is asked to come back in 30 s, before the app hears of it; a place that becomes
    free is given again.
    """
    with Server("gunicorn-gevent") as server, Nginx(tmp_path, documented(*PAGES[1]), server.port) as nginx:
        clients = [Client(nginx).begun() for _ in range(20)]
        check_is_asked_to_come_back(whole(nginx), 30_000)
        assert (server.streams(), server.stats()["opened"]) == (20, 20)
        clients[0].close()
        eventually(lambda: server.streams() == 19)
        with Client(nginx).begun() as client:
            assert b"id:" in client.body


CACHING = """
server {
    listen 80;
    location / {
        proxy_pass http://127.0.0.1:UPSTREAM;
        proxy_set_header Host $http_host;
        proxy_set_header Last-Event-ID $http_last_event_id;
        proxy_cache pages;
        proxy_cache_key $uri;
        proxy_cache_valid any 10m;
    }
}
"""


def test_cache_in_front_gives_nobody_the_answer_to_another(tmp_path):
    """A cache that keeps all it may gives neither the final 204 nor a refusal to the next visitor."""
    with (
        Server("gunicorn-gevent", max_streams=1) as server,
        Nginx(tmp_path, CACHING.replace("UPSTREAM", str(server.port)), server.port) as nginx,
    ):
        assert whole(nginx, "/tokens", ["Last-Event-ID: end"]).status == 204
        assert whole(nginx, "/tokens").status == 200
        assert whole(nginx, "/events", ["Origin: http://evil.example"]).status == 403
        assert whole(nginx, "/events?channel=*").status == 400
        with Client(nginx).begun() as first:
            assert b"id:" in first.body
            assert b"id:" not in whole(nginx).body
        eventually(lambda: server.streams() == 0)
        with Client(nginx).begun() as client:
            assert b"id:" in client.body


def test_abrupt_end_passes_nginx_over_http_1_1(tmp_path):
    """The last chunk is missing behind nginx too, unless it speaks HTTP/1.0 to the app."""
    block, clients = documented(*PAGES[0]), {}
    assert block.count("proxy_http_version 1.1;") == 1
    with Server("gunicorn-gevent", abrupt_end=True) as server, contextlib.ExitStack() as proxies:
        for version in ("1.1", "1.0"):
            folder = tmp_path / version
            folder.mkdir()
            http = block.replace("proxy_http_version 1.1;", f"proxy_http_version {version};")
            clients[version] = Client(proxies.enter_context(Nginx(folder, http, server.port))).begun()
        server.publish("last")
        for client in clients.values():
            client.wait(1)
        server.process.send_signal(signal.SIGHUP)
        for client in clients.values():
            while not (client.ended or client.clean):
                assert client.read(5)
            assert client.data() == ["last"]
        assert {version: client.clean for version, client in clients.items()} == {"1.1": False, "1.0": True}
