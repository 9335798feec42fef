"""A real Redis server of a test's own."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time

from tests.support import FACTOR

__all__ = ["RedisServer"]


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
    """

    def __init__(self, *options, start=True):
        self.port = _free_port()
        self.folder = tempfile.mkdtemp(prefix="sse-push-redis-")
        self._options = options
        self._process = None
        if start:
            self.start()

    @property
    def url(self):
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def socket_path(self):
        return f"{self.folder}/redis.sock"

    def start(self):
        """Start it, or start it again."""
        options = [
            "--port",
            self.port,
            "--bind",
            "127.0.0.1",
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
            ["redis-server", *map(str, options)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        end = time.monotonic() + 10 * FACTOR
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                assert self._process.poll() is None, "redis-server ended"
                assert time.monotonic() < end, "redis-server did not start"
                time.sleep(0.01)

    def client(self, **options):
        """Return a client for the test's own questions."""
        import redis

        return redis.Redis(port=self.port, **options)

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
