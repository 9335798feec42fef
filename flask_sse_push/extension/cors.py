"""Pages of other origins: which may read a stream, and the answer to their preflight."""

from __future__ import annotations

from urllib.parse import urlsplit

from flask import Request
from werkzeug.datastructures import Headers

from .settings import Settings

__all__ = ["add_cors_headers", "add_preflight_headers", "is_foreign"]

_PREFLIGHT_SECONDS = 7200  # what Chromium keeps at most

_OF_THE_USER = frozenset({"document", "empty"})
"""``Sec-Fetch-Dest`` of a tab, and of what a user's own extension fetches."""


def is_foreign(request: Request, settings: Settings) -> bool:
    """
    Say whether a page of an origin that is not configured asks.

    The browser would hide the answer from that page, but the stream would be open, with the visitor's cookies.

    A page that is not ours shows itself by ``Origin``, or where the browser sends none (an iframe, an image, a script, a link, ``fetch`` without
    CORS) by ``Sec-Fetch-Site``. A client that sends neither is let through: a browser too old for it, a proxy that takes it away, plain HTTP to
    anything but localhost, and every client that is no browser.

    See:
        Fetch Metadata Request Headers, 2.3 "Sec-Fetch-Site"
        https://www.w3.org/TR/fetch-metadata/#sec-fetch-site-header
    """
    environ = request.environ
    origin, site = environ.get("HTTP_ORIGIN"), environ.get("HTTP_SEC_FETCH_SITE")
    if site == "same-origin" or (origin is not None and origin in settings.cors_origins):
        return False
    if site == "none" and origin is None:
        # The user: an address typed in, a bookmark. Never what a page embeds.
        return environ.get("HTTP_SEC_FETCH_DEST", "document") not in _OF_THE_USER
    if site and site != "none":
        return True  # also "same-site": a neighbour under the same domain is another origin
    return origin is not None and not _is_own(origin, request.host)


def _is_own(origin: str, host: str) -> bool:
    # Behind a proxy the scheme may be another than the browser's; the host is what counts. A request without a host has no pages.
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(host) and parts.netloc.lower() == host.lower()


def add_cors_headers(headers: Headers, request: Request, settings: Settings) -> None:
    """Let the page read the answer, if its origin is configured; and tell caches that the answer depends on it."""
    headers.add("Vary", "Origin")
    origin = request.headers.get("Origin")
    if origin in settings.cors_origins:
        headers["Access-Control-Allow-Origin"] = origin
        if settings.cors_credentials:
            headers["Access-Control-Allow-Credentials"] = "true"


def add_preflight_headers(headers: Headers) -> None:
    """
    Answer ``OPTIONS``, where :func:`add_cors_headers` has let the page in.

    See:
        Fetch Standard, 3.2.2 "HTTP requests"
        https://fetch.spec.whatwg.org/#http-requests
    """
    if "Access-Control-Allow-Origin" in headers:
        headers["Access-Control-Allow-Methods"] = "GET, HEAD, OPTIONS"
        headers["Access-Control-Allow-Headers"] = "Authorization, Cache-Control, Last-Event-ID"
        headers["Access-Control-Max-Age"] = str(_PREFLIGHT_SECONDS)
