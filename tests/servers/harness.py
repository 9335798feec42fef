"""Servers as processes, and a client that sees every byte."""

import contextlib
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from flask_sse_push.testing import Decoder
from tests import support
from tests.support import FACTOR

ROOT = Path(__file__).parents[2]
KINDS = [
    "gunicorn-gevent",
    "gunicorn-gevent-portable",
    "gunicorn-gevent-preload",
    "gunicorn-gthread",
    "flask-run",
    "pywsgi",
    "pywsgi-unpatched",
]


def command(kind, port, *options):
    gunicorn = [
        sys.executable,
        "-m",
        "gunicorn",
        "-c",
        "tests/servers/gunicorn_conf.py",
        "-b",
        f"127.0.0.1:{port}",
    ]
    return {
        "gunicorn-gevent": [*gunicorn, "-k", "gevent", *options, "tests.servers.app:app"],
        "gunicorn-gevent-portable": [*gunicorn, "-k", "gevent", *options, "tests.servers.app:app"],
        "gunicorn-gevent-preload": [
            *gunicorn,
            "-k",
            "gevent",
            "--preload",
            *options,
            "tests.servers.app:app",
        ],
        "gunicorn-gthread": [
            *gunicorn,
            "-k",
            "gthread",
            "--threads",
            "40",
            *options,
            "tests.servers.app:app",
        ],
        "gunicorn-sync": [*gunicorn, *options, "tests.servers.app:app"],
        "flask-run": [
            sys.executable,
            "-m",
            "flask",
            "--app",
            "tests.servers.app",
            "run",
            "--port",
            str(port),
            *options,
        ],
        "pywsgi": [sys.executable, "-m", "tests.servers.serve_pywsgi", str(port)],
        "pywsgi-unpatched": [sys.executable, "-m", "tests.servers.serve_pywsgi", str(port), "unpatched"],
    }[kind]


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def eventually(condition, seconds=5.0, message=""):
    """Wait until the condition is true and return its value; servers need longer than functions."""
    return support.eventually(condition, seconds * FACTOR, message)


class Server:
    """
    A server process; ``config`` are settings without their prefix.

    ``argv`` starts one of another kind: ``{port}`` in it stands for the port.
    """

    def __init__(
        self,
        kind,
        *options,
        host="127.0.0.1",
        port=None,
        prefix=(),
        environ=None,
        wait=True,
        app="tests.servers.app:app",
        argv=None,
        **config,
    ):
        self.kind, self.port, self.host = kind, port or free_port(), host
        self._is_foreign = argv is not None
        path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        environment = {**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1", **(environ or {})}
        if kind == "gunicorn-gevent-portable":
            config["direct_write"] = False
        environment.update(
            {f"TEST_APP_SSE_PUSH_{key.upper()}": json.dumps(value) for key, value in config.items()}
        )
        self.log_path = Path(tempfile.gettempdir()) / f"sse-push-test-{os.getpid()}-{self.port}.log"
        self._log = self.log_path.open("wb")
        started = command(kind, self.port, *options) if argv is None else argv
        argv = [
            app if part == "tests.servers.app:app" else part.replace("{port}", str(self.port))
            for part in [*prefix, *started]
        ]
        if host != "127.0.0.1":
            argv = [part.replace("127.0.0.1", host) for part in argv]
        self.process = subprocess.Popen(
            argv, cwd=ROOT, env=environment, stdout=self._log, stderr=self._log, start_new_session=True
        )
        if wait:
            try:
                eventually(self._answers, 20, f"{kind} did not start")
            except AssertionError:
                print(self.log)
                self.stop()
                raise

    def _answers(self):
        assert self.process.poll() is None, f"{self.kind} ended with {self.process.returncode}: {self.log}"
        with contextlib.suppress(OSError):
            return self.get("/ping")

    @property
    def log(self):
        return self.log_path.read_text(errors="replace")

    def get(self, path, timeout=5):
        with urllib.request.urlopen(
            f"http://{self.host}:{self.port}{path}", timeout=timeout * FACTOR
        ) as response:
            return json.load(response)

    def post(self, path, **order):
        url = f"http://{self.host}:{self.port}{path}"
        request = urllib.request.Request(
            url, json.dumps(order).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=20 * FACTOR) as response:
            return json.load(response)

    def publish(self, data, **order):
        return self.post("/publish", data=data, **order)

    def stats(self):
        return self.get("/stats")

    def streams(self):
        return self.stats()["streams"]

    def worker_pid(self):
        return self.get("/ping")["pid"]

    def stop(self):
        """
        End the process group that was started here; how a server stops is for the tests to try, and waited
        for nowhere else.
        """
        try:
            if self._is_foreign:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self.process.pid, signal.SIGKILL)  # some wait for what they never end
                self.process.wait()
            elif self.process.poll() is None:
                # gunicorn looks once a second whether its requests are done; SIGQUIT spares that, and still
                # leaves nothing behind.
                self.process.send_signal(
                    signal.SIGQUIT if self.kind.startswith("gunicorn") else signal.SIGTERM
                )
                try:
                    self.process.wait(10)
                except subprocess.TimeoutExpired:
                    os.killpg(self.process.pid, signal.SIGKILL)
                    self.process.wait()
        finally:
            self._log.close()
            self.log_path.unlink(missing_ok=True)

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self.stop()


OPEN_CLIENTS = []


def close_clients():
    """Close what the tests opened, also those that failed."""
    while OPEN_CLIENTS:
        OPEN_CLIENTS.pop().close()


class Client:
    """One request on a raw socket; its answer is read as an event stream."""

    def __init__(
        self,
        server,
        path="/events",
        headers=(),
        method="GET",
        version="1.1",
        sock=None,
        receive_buffer=None,
        body=b"",
    ):
        if sock is None:
            sock = socket.socket()
            if receive_buffer:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            sock.settimeout(10 * FACTOR)
            sock.connect((server.host, server.port))
        self.sock = sock
        OPEN_CLIENTS.append(self)
        lines = [f"{method} {path} HTTP/{version}", "Host: 127.0.0.1", *headers, "", ""]
        sock.sendall("\r\n".join(lines).encode("latin-1") + body)
        self.raw = b""
        self.body = b""
        self.status = None
        self.headers = {}
        self.ended = False  # the server closed the connection
        self.clean = False  # the body ended as it should
        self.decoder = Decoder()
        self.events = []

    def read(self, timeout=5.0):
        """Read what comes next; False when nothing came in time."""
        self.sock.settimeout(max(0.001, timeout))
        try:
            piece = self.sock.recv(262_144)
        except TimeoutError:
            return False
        except ConnectionError:
            piece = b""
        if not piece:
            self.ended = True
        self.raw += piece
        self._parse()
        return True

    def _parse(self):
        if self.status is None:
            head, found, rest = self.raw.partition(b"\r\n\r\n")
            if not found:
                return
            status, *lines = head.decode("latin-1").split("\r\n")
            self.status = int(status.split()[1])
            self.headers = {
                name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)
            }
            self.raw = rest
        if self.headers.get("transfer-encoding") == "chunked":
            while not self.clean:
                size, found, rest = self.raw.partition(b"\r\n")
                if not found:
                    return
                length = int(size, 16)
                if len(rest) < length + 2:
                    return
                assert rest[length : length + 2] == b"\r\n"
                self.raw = rest[length + 2 :]
                if length == 0:
                    self.clean = True
                self._take(rest[:length])
        else:
            piece, self.raw = self.raw, b""
            self._take(piece)
            self.clean = self.ended

    def _take(self, piece):
        self.body += piece
        if self.headers.get("content-type", "").startswith("text/event-stream"):
            self.events += self.decoder.feed(piece)

    def until(self, condition, seconds=5.0, message=None):
        """Read until the condition, called with this client, is true."""
        deadline = time.monotonic() + seconds * FACTOR
        while not condition(self):
            left = deadline - time.monotonic()
            if left <= 0 or self.ended:
                shown = [event.data[:60] for event in self.events[-5:]]
                raise AssertionError(
                    message
                    or f"status {self.status}, {len(self.events)} events, last {shown}, body ends "
                    f"{self.body[-200:]!r}, ended {self.ended}"
                )
            self.read(left)
        return self

    def begun(self):
        """Read until the first bytes of the body are there."""
        return self.until(lambda client: client.body.endswith(b"\n\n"))

    def wait(self, count, seconds=5.0):
        """Read until so many events are there, and return all."""
        return self.until(lambda client: len(client.events) >= count, seconds).events

    def data(self):
        return [event.data for event in self.events]

    def reset_connection(self):
        """Close with RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def close(self):
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self.close()
