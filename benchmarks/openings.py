"""How soon a stream begins: clients that wait for its first block."""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Sequence

from .errors import BrokenRun
from .load import QUIET_SECONDS

__all__ = ["Openings"]


class Openings:
    """
    Clients of one server, which keep their streams until the block ends.

    Args:
        port (int): The server's, on 127.0.0.1.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._sockets: list[socket.socket] = []

    def __enter__(self) -> Openings:
        return self

    def __exit__(self, *error: object) -> None:
        for sock in self._sockets:
            sock.close()

    def open(self, channels: Sequence[str], at_once: int = 1) -> list[float]:
        """
        Open a stream on each channel, and return the seconds of each: from before ``connect`` to the block
        with the place where it begins.

        Args:
            channels (Sequence[str]): One for each stream.
            at_once (int): How many are under way at the same time.

        Raises:
            BrokenRun: A stream ended, or nothing came for some seconds.
        """
        seconds: list[float] = []
        waiting = list(reversed(channels))
        with selectors.DefaultSelector() as selector:
            while waiting or selector.get_map():
                while waiting and len(selector.get_map()) < at_once:
                    self._begin(waiting.pop(), selector)
                ready = selector.select(QUIET_SECONDS)
                if not ready:
                    raise BrokenRun(f"{len(selector.get_map())} streams did not begin.")
                for key, _ in ready:
                    sock, (began, text) = key.fileobj, key.data
                    assert isinstance(sock, socket.socket)
                    part = sock.recv(65_536)
                    text += part
                    if not part or not text.startswith(b"HTTP/1.1 200 "):
                        raise BrokenRun(f"A stream did not begin: {bytes(text)!r}")
                    if b"id:" in text.partition(b"\r\n\r\n")[2]:
                        seconds.append(time.monotonic() - began)
                        selector.unregister(sock)
        return seconds

    def _begin(self, channel: str, selector: selectors.BaseSelector) -> None:
        began = time.monotonic()
        sock = socket.create_connection(("127.0.0.1", self._port), QUIET_SECONDS)
        self._sockets.append(sock)
        sock.sendall(
            f"GET /events?channel={channel} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
            "Accept: text/event-stream\r\n\r\n".encode()
        )
        selector.register(sock, selectors.EVENT_READ, (began, bytearray()))
