"""Pages of other origins: which of them may read a stream, and the response to their preflight."""

from __future__ import annotations

from urllib.parse import urlsplit

from flask import Request
from werkzeug.datastructures import Headers

from .settings import Settings

__all__ = ["add_cors_headers", "add_preflight_headers", "is_foreign"]

_PREFLIGHT_SECONDS = 7200  # what Chromium keeps at most

_OF_THE_USER = frozenset({"document", "empty"})
"""``Sec-Fetch-Dest`` of a tab, and of a fetch by an extension of the browser."""


def is_foreign(request: Request, settings: Settings) -> bool:
    """
    Say whether a request comes from a page whose origin is neither ours nor configured.

    The browser would hide the response from that page, and the stream would be open all the same, with the
    visitor's cookies.

    The browser names such a page in ``Origin``. For an iframe, an image, a script, a link and ``fetch``
    without CORS it sends ``Sec-Fetch-Site`` instead. A request with neither header is let through: it comes
    from an old browser, through a proxy that removes headers, over plain HTTP to another host than localhost,
    or from no browser at all.

    See:
        Fetch Metadata Request Headers, 2.3 "Sec-Fetch-Site"
        https://www.w3.org/TR/fetch-metadata/#sec-fetch-site-header
    """
    environ = request.environ
    origin, site = environ.get("HTTP_ORIGIN"), environ.get("HTTP_SEC_FETCH_SITE")
    if site == "same-origin" or (origin is not None and origin in settings.cors_origins):
        return False
    if site == "none" and origin is None:
        # The user's own doing: an address typed in, a bookmark, an extension. No page can cause this.
        return environ.get("HTTP_SEC_FETCH_DEST", "document") not in _OF_THE_USER
    if site and site != "none":
        return True  # also "same-site": another host of the same domain is another origin
    return origin is not None and not _is_own(origin, request.host)


def _is_own(origin: str, host: str) -> bool:
    # Only the hosts are compared: behind a proxy the app may see another scheme than the browser. Without a
    # host there is nothing to compare.
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(host) and parts.netloc.lower() == host.lower()


def add_cors_headers(headers: Headers, request: Request, settings: Settings) -> None:
    """Let a page of a configured origin read the response, and tell caches that the origin matters."""
    headers.add("Vary", "Origin")
    origin = request.headers.get("Origin")
    if origin in settings.cors_origins:
        headers["Access-Control-Allow-Origin"] = origin
        if settings.cors_credentials:
            headers["Access-Control-Allow-Credentials"] = "true"


def add_preflight_headers(headers: Headers) -> None:
    """
    Add the response headers of ``OPTIONS``, if :func:`add_cors_headers` has let the page read it.

    See:
        Fetch Standard, 3.2.2 "HTTP requests"
        https://fetch.spec.whatwg.org/#http-requests
    """
    if "Access-Control-Allow-Origin" in headers:
        headers["Access-Control-Allow-Methods"] = "GET, HEAD, OPTIONS"
        headers["Access-Control-Allow-Headers"] = "Authorization, Cache-Control, Last-Event-ID"
        headers["Access-Control-Max-Age"] = str(_PREFLIGHT_SECONDS)
