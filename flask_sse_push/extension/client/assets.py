"""The browser's half: the files that the blueprint serves, and the tag that loads them."""

from __future__ import annotations

import gzip
import hashlib
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from flask import Request, Response
from markupsafe import Markup, escape

__all__ = ["Asset", "find_asset", "script_tag", "send_asset"]

_FOLDER = Path(__file__).parent
_TYPES = {
    ".js": "text/javascript",
    ".mjs": "text/javascript",
    ".ts": "text/plain",
    ".json": "application/json",
}
_NAMES = frozenset(
    {"sse-push.js", "sse-push.mjs", "sse-push.d.ts", "sse-status.js", "react.mjs", "react.d.ts"}
)
_YEAR_SECONDS = 365 * 86400


class Asset(NamedTuple):
    """A file of the browser's half, as it is sent."""

    body: bytes
    compressed: bytes
    """The same, by gzip."""
    content_type: str
    version: str
    """Of the bytes: other ones have another version, and so another URL."""


def find_asset(name: str, is_source: bool) -> Asset | None:
    """
    Return a file, or ``None`` for a name that is none of ours.

    Args:
        name (str): Such as ``sse-push.js``.
        is_source (bool): As it is written, and not minified; for debug mode.
    """
    # Anybody may ask for any name, so only ours are remembered.
    return _read_asset(name, is_source) if name in _NAMES else None


@cache
def _read_asset(name: str, is_source: bool) -> Asset:
    path = _FOLDER / name
    minified = path.with_suffix(f".min{path.suffix}")
    body = (path if is_source or not minified.exists() else minified).read_bytes()
    # Python knows types from the system, which says text/plain in some places; a browser runs no such script.
    content_type = f"{_TYPES[path.suffix]}; charset=utf-8"
    version = hashlib.sha256(body).hexdigest()[:12]
    return Asset(body, gzip.compress(body, mtime=0), content_type, version)


class _CookielessResponse(Response):
    """An answer that caches may keep for everybody, and that therefore gives nobody a cookie."""

    def set_cookie(self, *_: Any, **__: Any) -> None:
        """
        Do nothing: an app that renews its session with each request would give it to all, by a cache.
        """


def send_asset(asset: Asset, request: Request) -> Response:
    """Return the answer that sends a file: for ever where the URL names its version, else asked again."""
    is_versioned = request.args.get("v") == asset.version
    accepts_gzip = request.accept_encodings["gzip"] > 0
    body = asset.compressed if accepts_gzip else asset.body
    response = _CookielessResponse(body, content_type=asset.content_type)
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Vary"] = "Accept-Encoding"
    response.headers["Cache-Control"] = (
        f"public, max-age={_YEAR_SECONDS}, immutable" if is_versioned else "no-cache"
    )
    if accepts_gzip:
        response.headers["Content-Encoding"] = "gzip"
    response.set_etag(f"{asset.version}{'-gzip' if accepts_gzip else ''}")
    response.make_conditional(request)
    return response


def script_tag(url: str, identity: str | None, nonce: str | None) -> Markup:
    """Return the ``<script>`` that loads a file, with what the page's source is to know."""
    attributes = {"src": url, "data-identity": identity, "nonce": nonce}
    text = "".join(f' {name}="{escape(value)}"' for name, value in attributes.items() if value is not None)
    return Markup(f"<script{text}></script>")  # noqa: S704 - each value is escaped
