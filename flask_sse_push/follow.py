"""Following a stream over HTTP as a browser does: reconnecting, resuming, and giving up only when told to."""

from __future__ import annotations

import http.client
import random
import time
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

from .decoder import DecodedEvent, Decoder
from .errors import SSEPushError

__all__ = ["RefusedStream", "follow"]

_FIRST_RETRY_MILLISECONDS = 3_000
"""What browsers wait when a stream says nothing else."""

_LONGEST_PAUSE_SECONDS = 30.0


class RefusedStream(SSEPushError):
    """The server does not want this client, and will not later either."""


def follow(url: str, last_event_id: str, timeout_seconds: float, say: Callable[[str], None]) -> Iterator[tuple[bytes, list[DecodedEvent]]]:
    """
    Yield what comes: bytes, and the events that are complete by them. Ends when the server says that there is nothing more (204).

    Args:
        url (str): ``http://`` or ``https://``.
        last_event_id (str): Where to resume; empty for now.
        timeout_seconds (float): Silence after which a connection counts as dead.
        say (Callable): Told in words when the stream is lost and when it is back.

    Raises:
        RefusedStream: Any answer but 200 and 204, unless it may be another one later (5xx, 408, 425, 429); or 200 that is no event stream.
        InvalidStream: The bytes are no event stream.
    """
    retry_milliseconds, failures, lost = _FIRST_RETRY_MILLISECONDS, 0, False
    while True:
        decoder = Decoder()
        reason = "it ended"
        try:
            connection, response = _connect(url, last_event_id, timeout_seconds)
            try:
                if response.status == 204:
                    return
                if response.status != 200:
                    raise OSError(f"{response.status} {response.reason}")
                if lost:
                    say("The stream is back.")
                failures, lost = 0, False
                while chunk := response.read1(65_536):
                    events = decoder.feed(chunk)
                    last_event_id = decoder.last_event_id or last_event_id
                    retry_milliseconds = decoder.retry or retry_milliseconds
                    yield chunk, events
            finally:
                connection.close()
        except (OSError, http.client.HTTPException) as error:
            reason = str(error) or type(error).__name__
            failures += 1
        if not lost:
            say(f"The stream is lost ({reason}); trying again.")
            lost = True
        pause = min(_LONGEST_PAUSE_SECONDS, retry_milliseconds / 1000 * 2 ** min(failures, 10) / 2) if failures else retry_milliseconds / 1000
        time.sleep(random.uniform(pause / 2, pause))


def _connect(url: str, last_event_id: str, timeout_seconds: float) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=timeout_seconds)
    headers = {"Accept": "text/event-stream", "Cache-Control": "no-store"}
    if last_event_id:
        headers["Last-Event-ID"] = last_event_id
    try:
        connection.request("GET", (parts.path or "/") + (f"?{parts.query}" if parts.query else ""), headers=headers)
        response = connection.getresponse()
        _check(url, response)
    except BaseException:
        connection.close()
        raise
    return connection, response


def _check(url: str, response: http.client.HTTPResponse) -> None:
    kind = response.headers.get_content_type()
    if response.status == 200 and kind != "text/event-stream":
        raise RefusedStream(f"{url} answers {kind}, and no event stream. Look at the address.")
    if response.status not in (200, 204, 408, 425, 429) and response.status < 500:
        raise RefusedStream(f"{url} answers {response.status} {response.reason}: {response.read(500).decode(errors='replace').strip()}")
