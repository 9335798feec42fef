"""Where a stream is, and what a request for it says: a URL and headers, as they are written in a shell."""

from __future__ import annotations

import base64
import re
from typing import NamedTuple
from urllib.parse import quote, unquote, urlsplit

__all__ = ["Address", "parse_address", "parse_header"]

_SAFE = "/%:@!$&'()*+,;=~"  # stay in a path as they are; "%" because what follows it was quoted already

_HEADER = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\0-\x08\x0a-\x1f\x7f]*)")

_OWN_HEADERS = frozenset(
    {
        "accept-encoding",
        "connection",
        "content-length",
        "expect",
        "keep-alive",
        "last-event-id",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
"""Headers that say how the connection works, or where the stream resumes."""


class Address(NamedTuple):
    """A URL, taken apart for a request."""

    is_secure: bool
    host: str
    port: int | None
    target: str
    """Path and query, as the request line has them."""
    authorization: str | None
    """The header for the user that the URL names, if any."""

    def __str__(self) -> str:
        """Return the URL without its user."""
        scheme, port = "https" if self.is_secure else "http", "" if self.port is None else f":{self.port}"
        return f"{scheme}://{self.host}{port}{self.target}"


def parse_address(url: str) -> Address:
    """
    Take a URL apart.

    Raises:
        ValueError: No request can be sent to this URL.
    """
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port
    if not host or not host.isprintable() or " " in host:
        raise ValueError("it names no host")
    # The connection would do it too late, where a wrong name looks like a server that is away.
    host.encode("idna")
    authorization = None
    if parts.username is not None:
        user = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        authorization = "Basic " + base64.b64encode(user.encode()).decode()
    query = f"?{quote(parts.query, safe=_SAFE + '?')}" if parts.query else ""
    target = quote(parts.path or "/", safe=_SAFE) + query
    return Address(parts.scheme == "https", host, port, target, authorization)


def parse_header(line: str) -> tuple[str, str]:
    """
    Split a header of a request into its name and value.

    Raises:
        ValueError: It is no header, or one that this client sets itself. The message does not show the
            header, which may be secret.
    """
    match = _HEADER.fullmatch(line)
    if match is None:
        raise ValueError('it must be written as "Name: value", on one line')
    name, value = match[1], match[2].rstrip(" \t")
    if name.lower() in _OWN_HEADERS:
        raise ValueError("it names a header that belongs to the connection, or to --since")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError("it must be text that UTF-8 can hold") from None
    return name, value
