"""
A real Redis server of a test's own, what may stand in its place or in the way, and what the tests ask of a
bus on it.
"""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time

import pytest

from flask_sse_push import BusUnavailable
from flask_sse_push.bus import BusOptions
from flask_sse_push.core.messages import Message
from flask_sse_push.core.positions import parse
from flask_sse_push.core.retention import ChannelRetention, RetentionRules
from tests.support import FACTOR

__all__ = [
    "CHANNELS",
    "EVENTS",
    "LEASES",
    "META",
    "ONE_SECOND",
    "OPTIONS",
    "RULES",
    "Proxy",
    "RedisServer",
    "Toy",
    "make_certificate",
    "publish",
    "refused",
]

META, LEASES, CHANNELS = "{sse_push}:meta", "{sse_push}:leases", "{sse_push}:channels"
EVENTS = "{sse_push}:events:a"
"""The history of the channel that publish() publishes to."""

RULES = RetentionRules(ChannelRetention(10_000, 300.0), 1 << 24)
OPTIONS = BusOptions(RULES, 2.0)
ONE_SECOND = OPTIONS._replace(publish_timeout_seconds=1.0)


def _free_port():
    """A port whose number plus 10,000 is free too: nodes of a Cluster talk there."""
    while True:
        with socket.socket() as sock, socket.socket() as bus:
            sock.bind(("127.0.0.1", 0))
            port = sock.getsockname()[1]
            try:
                bus.bind(("127.0.0.1", port + 10_000))
            except (OSError, OverflowError):
                continue
            return port


class RedisServer:
    """
    A redis-server on a free port of 127.0.0.1, without persistence; it ends with the block.

    Args:
        *options (str): Further options of redis-server.
        start (bool): Whether it runs from the beginning.
        host (str): The address where it listens.
        inside (tuple): How its command begins, where it runs on another machine.
    """

    def __init__(self, *options, start=True, host="127.0.0.1", inside=()):
        self.host, self._inside = host, inside
        self.port = _free_port()
        self.folder = tempfile.mkdtemp(prefix="sse-push-redis-")
        self._options = options
        self._process = None
        if start:
            self.start()

    @property
    def url(self):
        return f"redis://{self.host}:{self.port}/0"

    @property
    def socket_path(self):
        return f"{self.folder}/redis.sock"

    def start(self):
        """Start it, or start it again."""
        options = [
            "--port",
            self.port,
            "--bind",
            self.host,
            "--unixsocket",
            self.socket_path,
            "--save",
            "",
            "--appendonly",
            "no",
            "--dir",
            self.folder,
            *self._options,
        ]
        self._process = subprocess.Popen(
            [*self._inside, "redis-server", *map(str, options)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        end = time.monotonic() + 10 * FACTOR
        while True:
            try:
                socket.create_connection((self.host, self.port), 1).close()
                return
            except OSError:
                assert self._process.poll() is None, "redis-server ended"
                assert time.monotonic() < end, "redis-server did not start"
                time.sleep(0.01)

    def client(self, **options):
        """Return a client for the test's own questions."""
        import redis

        return redis.Redis(self.host, self.port, **options)

    def pause(self):
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self):
        self._process.send_signal(signal.SIGCONT)

    def kill(self):
        """End it at once, as a machine does that loses power."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def stop(self):
        """End it and remove its files."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        if self._process is not None and self._process.poll() is None:
            os.kill(self._process.pid, signal.SIGCONT)
        self.stop()


class Proxy:
    """A TCP connection in the middle that can stop to forward without closing, or lead elsewhere."""

    def __init__(self, port):
        self.target = port
        self.black_hole = False
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._sockets = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    @property
    def url(self):
        return f"redis://127.0.0.1:{self.port}/0"

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self.target))
            except OSError:
                client.close()
                continue
            self._sockets += [client, server]
            for one, other in ((client, server), (server, client)):
                thread = threading.Thread(target=self._forward, args=(one, other))
                self._threads.append(thread)
                thread.start()

    def _forward(self, one, other):
        try:
            while data := one.recv(65_536):
                if not self.black_hole:
                    other.sendall(data)
        except OSError:
            pass
        finally:
            for sock in (one, other):
                try:
                    sock.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass

    def cut(self):
        for sock in self._sockets:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
        for thread in self._threads:
            thread.join(5)
        for sock in self._sockets:
            sock.close()


class Toy:
    """A server of the test's own: ``serve`` gets each connection."""

    def __init__(self, serve):
        self._serve = serve
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._connections, self._threads = [], [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self):
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._connections.append(connection)
            thread = threading.Thread(target=self._run, args=(connection,))
            self._threads.append(thread)
            thread.start()

    def _run(self, connection):
        try:
            self._serve(connection)
        except OSError:
            pass

    def hang_up(self):
        """End the connections that there are."""
        for connection in self._connections:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.hang_up()
        for thread in self._threads:
            thread.join(5)
        for connection in self._connections:
            connection.close()


def publish(bus, text="x", once=None, channel="a", **fields):
    """Publish an event, and return its id, taken apart."""
    channels = (channel,) if isinstance(channel, str) else channel
    block = f"data: {text}\n\n".encode() if text is not None else b""
    return parse(bus.publish(Message(channels, block, once=once, **fields)).id)


def refused(bus):
    """Publish, which fails, and return the message and how long it took."""
    begun = time.monotonic()
    with pytest.raises(BusUnavailable) as caught:
        publish(bus)
    return str(caught.value), time.monotonic() - begun


def make_certificate(folder, name="localhost", names="DNS:localhost,IP:127.0.0.1"):
    """Make a certificate that has signed itself, and return the paths of its key and of itself."""
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    command = (
        f"openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN={name} -addext subjectAltName={names}"
    )
    subprocess.run([*command.split(), "-keyout", key, "-out", certificate], check=True, capture_output=True)
    return key, certificate
