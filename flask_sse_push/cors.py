"""Pages of other origins: which may read a stream, and the answer to their preflight."""

from __future__ import annotations

from urllib.parse import urlsplit

from flask import Request
from werkzeug.datastructures import Headers

from .settings import Settings

__all__ = ["add_cors_headers", "add_preflight_headers", "is_foreign"]

_PREFLIGHT_SECONDS = 7200  # what Chromium keeps at most


def is_foreign(request: Request, settings: Settings) -> bool:
    """
    Say whether a page of an origin that is not configured asks.

    The browser would hide the answer from that page, but the stream would be open, with the visitor's cookies.
    """
    origin = request.environ.get("HTTP_ORIGIN")
    if origin is None or origin in settings.cors_origins or request.headers.get("Sec-Fetch-Site") == "same-origin":
        return False
    try:
        # Behind a proxy the scheme may be another than the browser's; the host is what counts.
        return urlsplit(origin).netloc.lower() != request.host.lower()
    except ValueError:
        return True


def add_cors_headers(headers: Headers, request: Request, settings: Settings) -> None:
    """Let the page read the answer, if its origin is configured; and tell caches that the answer depends on it."""
    if not settings.cors_origins:
        return
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
