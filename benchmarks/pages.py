"""Ordinary requests beside the streams: whether they are answered, and how soon."""

from __future__ import annotations

import statistics
import threading
import time
import urllib.request

__all__ = ["Pages"]

_PAUSE_SECONDS = 0.002


class Pages:
    """
    Asks for one page after the other while a block runs, each on a new connection, as a visitor comes.

    Args:
        port (int): The server's, on 127.0.0.1.
    """

    def __init__(self, port: int) -> None:
        # which does nothing, and answers in JSON
        self._url = f"http://127.0.0.1:{port}/publish?seconds=0&rate=0&channels=1&most=0&text=1"
        self._milliseconds: list[float] = []
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._ask, name="pages")

    def __enter__(self) -> Pages:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._is_over.set()
        self._thread.join()

    def percentiles(self) -> tuple[float, float]:
        """Return the median and the 99th percentile of how long they took, in milliseconds."""
        parts = statistics.quantiles(self._milliseconds, n=100, method="inclusive")
        return parts[49], parts[98]

    def _ask(self) -> None:
        while not self._is_over.is_set():
            began = time.monotonic()
            with urllib.request.urlopen(
                urllib.request.Request(self._url, method="POST"), timeout=60
            ) as answer:
                answer.read()
            self._milliseconds.append(1e3 * (time.monotonic() - began))
            self._is_over.wait(_PAUSE_SECONDS)
