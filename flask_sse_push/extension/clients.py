"""How many streams one client may have at once."""

from __future__ import annotations

from collections.abc import Callable

from flask import Request

from ..core.values import shown, text_of
from ..platform.locks import ReentrantLock
from ..streams.stream import Place

__all__ = ["CUT_OFF", "NOBODY", "ClientKey", "ClientStreams", "key_of"]

ClientKey = Callable[[Request], "str | None"]
"""Names the client of a request, inside of it; ``None`` for one that is not limited."""


class ClientStreams:
    """
    The streams of each client in one process. Thread-safe; it knows as many clients as have streams.

    Args:
        most (int): How many streams a client may have.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = ReentrantLock()
        self._counts: dict[str, int] = {}

    def place_of(self, client: str) -> Place:
        """Return a place for one more stream of a client, not taken yet."""
        return _ClientPlace(self, client)

    def is_full(self, client: str) -> bool:
        """Say whether a client has as many streams as it may have."""
        return self._counts.get(client, 0) >= self._most

    def add(self, client: str) -> bool:
        """Count one more, unless the client has as many as it may have."""
        with self._lock:
            if self.is_full(client):
                return False
            self._counts[client] = self._counts.get(client, 0) + 1
            return True

    def remove(self, client: str) -> None:
        """Count one less."""
        with self._lock:
            self._counts[client] -= 1
            if not self._counts[client]:
                del self._counts[client]


class _ClientPlace:
    __slots__ = ("_client", "_streams")

    def __init__(self, streams: ClientStreams, client: str) -> None:
        self._streams = streams
        self._client = client

    def why_not(self) -> str | None:
        return "client" if self._streams.is_full(self._client) else None

    def take(self) -> str | None:
        return None if self._streams.add(self._client) else "client"

    def give_back(self) -> None:
        self._streams.remove(self._client)


class _NoPlace:
    """Is never given."""

    __slots__ = ("_refusal",)

    def __init__(self, refusal: str) -> None:
        self._refusal = refusal

    def why_not(self) -> str | None:
        return self._refusal

    def take(self) -> str | None:
        return self._refusal

    def give_back(self) -> None:
        """It was never taken."""


NOBODY: Place = _NoPlace("unknown client")
"""The place of a stream whose client could not be told."""

CUT_OFF: Place = _NoPlace("bus")
"""The place of a stream whose events this process may not read."""


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
