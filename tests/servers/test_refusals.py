"""Connections of clients that were refused."""

import socket

import pytest

from tests.servers.harness import KINDS, Client, Server, eventually

REFUSALS = {
    "full": ("GET", "/events", [], 200),
    "forbidden": ("GET", "/events", ["Origin: http://evil.example"], 403),
    "bad": ("GET", "/events?channel=*", [], 400),
    "finished": ("GET", "/tokens", ["Last-Event-ID: end"], 204),
    "full for a fetch": ("POST", "/tokens", ["Content-Length: 0"], 503),
}


@pytest.mark.parametrize(
    "kind", [kind for kind in KINDS if kind not in ("gunicorn-gevent-preload", "pywsgi-unpatched")]
)
def test_connection_ends_with_a_refusal(kind):
    """
    A client that was refused gets its whole answer and then the end, however long the server keeps
    connections; a page's stays open.
    """
    options = ["--keep-alive", "60"] if kind.startswith("gunicorn") else []
    with Server(kind, *options, max_streams=1) as server, Client(server).begun():
        for name, (method, path, headers, status) in REFUSALS.items():
            with Client(server, path, headers, method) as client:
                while not client.ended:
                    assert client.read(5), f"{name}: the connection stays open"
                assert client.status == status
                if status != 204:
                    assert client.body or client.clean
                if status == 200 and "transfer-encoding" in client.headers:
                    assert client.clean
        if options:
            with Client(server, "/ping") as page:
                page.until(lambda client: b"}" in client.body)
                assert page.headers["connection"] == "keep-alive"


@pytest.mark.parametrize("kind", ["gunicorn-gevent", "gunicorn-gthread"])
def test_refused_clients_leave_the_server_to_pages(kind):
    """
    Two hundred clients that are refused and keep their connections open do not take what the server has for
    pages.
    """
    with (
        Server(kind, "--worker-connections", "50", "--keep-alive", "60", max_streams=1) as server,
        Client(server).begun(),
    ):
        refused = [Client(server) for _ in range(200)]
        for client in refused[:100:10]:
            client.until(lambda client: client.ended or client.clean)
        assert server.get("/ping", timeout=5)["pid"]
        eventually(lambda: server.stats()["refused"] == 200)


def test_few_open_files_mean_few_streams(tmp_path):
    """
    Where a process may open 64 files, the workers refuse streams before the files are used up: the log has no
    error, streams get their events and pages are answered.
    """
    few_files = ("sh", "-c", 'ulimit -n 64 && exec "$@"', "sh")
    environ = {"TMPDIR": str(tmp_path)}
    with Server("gunicorn-gevent", "-w", "2", prefix=few_files, environ=environ) as server:
        most = server.stats()["max_streams"]
        assert 20 <= most <= 40
        clients, refused = [], 0
        while refused < 20:
            client = Client(server).until(lambda client: client.body.endswith(b"\n\n") or client.clean)
            refused += b"Come back later" in client.body
            clients += [] if b"Come back later" in client.body else [client]
        assert len(clients) <= 2 * most + 2  # each worker opened a file or two differently when it was asked
        server.publish("x")
        for client in clients:
            client.wait(1)
        for _ in range(20):
            assert server.stats()["files"] < 60
            assert server.stats()["max_streams"] in range(most - 2, most + 3)
        assert "Traceback" not in server.log


def test_refused_client_with_a_body_gets_its_answer():
    """
    A request whose body nobody read is answered whole: to close at once would reset the connection under the
    answer.
    """
    with Server("gunicorn-gevent", max_streams=1) as server, Client(server).begun():
        body = b"x" * 3_000_000
        with socket.create_connection((server.host, server.port)) as sock:
            head = ["Origin: http://evil.example", f"Content-Length: {len(body)}"]
            client = Client(server, "/tokens", head, "POST", sock=sock, body=body)
            client.until(lambda client: b"foreign" in client.body or b"forbidden" in client.body)
            assert client.status == 403
