"""How many streams one client may have at once."""

from __future__ import annotations

from collections.abc import Callable

from flask import Request

from ..core.values import shown, text_of
from ..platform.locks import ReentrantLock
from ..streams.stream import Place

__all__ = ["ClientKey", "ClientStreams", "NoPlace", "key_of"]

ClientKey = Callable[[Request], "str | None"]
"""Names the client of a request, inside of it; ``None`` for one that is not limited."""


class ClientStreams:
    """
    The streams of each client in one process. Thread-safe; it knows as many clients as have streams.

    Args:
        most (int): How many streams a client may have.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        """How many streams a client may have."""
        self.counts: dict[str, int] = {}
        """How many each has; changed under the lock."""
        self.lock = ReentrantLock()
        """Held while a count changes."""

    def place_of(self, client: str) -> Place:
        """Return a place for one more stream of a client, not taken yet."""
        return _ClientPlace(self, client)


class _ClientPlace:
    __slots__ = ("_client", "_streams")

    def __init__(self, streams: ClientStreams, client: str) -> None:
        self._streams = streams
        self._client = client

    def why_not(self) -> str | None:
        return "client" if self._streams.counts.get(self._client, 0) >= self._streams.most else None

    def take(self) -> str | None:
        with self._streams.lock:
            refused = self.why_not()
            if refused is None:
                self._streams.counts[self._client] = self._streams.counts.get(self._client, 0) + 1
            return refused

    def give_back(self) -> None:
        counts = self._streams.counts
        with self._streams.lock:
            counts[self._client] -= 1
            if not counts[self._client]:
                del counts[self._client]


class NoPlace:
    """
    Is never given.

    Args:
        refusal (str): Why: ``"unknown client"``, ``"abandoned"`` or ``"bus"``.
    """

    __slots__ = ("_refusal",)

    def __init__(self, refusal: str) -> None:
        self._refusal = refusal

    def why_not(self) -> str | None:
        """Return why."""
        return self._refusal

    take = why_not

    def give_back(self) -> None:
        """It was never taken."""


def key_of(request: Request, key: ClientKey | None) -> str | None:
    """
    Return the name of a request's client; ``None`` for one that is not limited.

    Args:
        request (Request): The current one.
        key (ClientKey | None): ``SSE_PUSH_CLIENT_KEY``; ``None`` for the address. Over a Unix socket there is
            none, so nobody is limited.

    Raises:
        TypeError: The function returned something else.
        Exception: What it raised.
    """
    if key is None:
        return request.remote_addr or None
    client = key(request)
    if client is None:
        return None
    # A subclass may have another hash each time, and a proxy none behind the request: its place would never
    # be given back.
    name = text_of(client)
    if name is None:
        raise TypeError(
            f"SSE_PUSH_CLIENT_KEY must return a str or None, got {shown(client)} "
            f"({type(client).__qualname__}). "
            "Return None for a client that is not limited."
        )
    return name
