"""Pages of other origins: which of them may open streams, and what their browsers are told."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeVar

from flask import Flask, Request, Response
from werkzeug.datastructures import Headers
from werkzeug.exceptions import HTTPException
from werkzeug.routing import Rule

from ..core.values import shown
from ..errors import ConfigurationError
from .config import DEFAULT_PORTS
from .refusals import Refusal
from .settings import Settings

__all__ = [
    "answer_preflight",
    "calls_marked_view",
    "cross_origin",
    "find_foreign",
    "find_marked",
    "set_cors_headers",
]

ViewT = TypeVar("ViewT", bound=Callable[..., Any])

_MARK = "flask_sse_push_cross_origin"

_PREFLIGHT_SECONDS = 7200  # what Chromium keeps at most

# RFC 9110, 5.6.2 "Tokens", in a list. The length is bounded because the answer repeats it.
_HEADER_NAMES = re.compile(r"[\w!#$%&'*+.^`|~-]+(?:[ \t]*,[ \t]*[\w!#$%&'*+.^`|~-]+)*", re.ASCII)
_MAX_HEADER_NAMES = 2048  # characters

_EXPOSED = ("Retry-After", "SSE-Push-Heartbeat")
"""Headers that a page of another origin reads only where it is told that it may."""

_OF_THE_USER = frozenset({"document", "empty"})
"""``Sec-Fetch-Dest`` of a tab, and of a fetch by an extension of the browser."""


def find_foreign(request: Request, settings: Settings) -> Refusal | None:
    """
    Return a refusal for a request from a page whose origin is neither ours nor configured.

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
        return None
    cure = "List the origin in SSE_PUSH_CORS_ORIGINS if its pages may open streams."
    if site == "none" and origin is None:
        # The user's own doing: an address typed in, a bookmark, an extension. No page can cause this.
        if environ.get("HTTP_SEC_FETCH_DEST", "document") in _OF_THE_USER:
            return None
    elif not site or site == "none":  # any other is foreign: "same-site" is another host of the same domain
        if origin is None or _is_own(origin, request.host):
            return None
        cure += (
            " If the page is the app's own, a proxy has changed the Host: let it pass on what the browser "
            "sent (nginx: proxy_set_header Host $http_host), or send X-Forwarded-Host to an app in "
            "ProxyFix(x_host=1)."
        )
    page = "a page of another site" if origin is None else f"a page of the origin {shown(origin)}"
    return Refusal(
        403,
        "Pages of this origin may not open streams. SSE_PUSH_CORS_ORIGINS lists the origins that may.",
        f"{page} asked the Host {shown(request.host)}",
        cure,
        "origin",
        origin,
    )


def _is_own(origin: str, host: str) -> bool:
    # Only the hosts are compared: behind a proxy the app may see another scheme than the browser. A browser
    # leaves the default port out, and a proxy may write the one of its own side of TLS. Without a host there
    # is nothing to compare.
    scheme, _, name = origin.lower().partition("://")
    if scheme not in DEFAULT_PORTS:
        return False
    host, name = host.lower(), name.removesuffix(DEFAULT_PORTS[scheme])
    return name != "" and name in (host, host.removesuffix(":80"), host.removesuffix(":443"))


def cross_origin(view: ViewT) -> ViewT:
    """
    Mark a view of your own that pages of other origins call with ``fetch``: ``POST``, JSON, or any header. ::

        @app.post("/ask")
        @sse.cross_origin
        def ask():
            return sse.response(tokens(request.json["question"]))

    Browsers ask before they send such a request. For a page of ``SSE_PUSH_CORS_ORIGINS`` this package answers
    that question, before the app's own ``before_request`` functions: the browser sends no cookie with it.
    Everything that the view answers then, also its errors, can be read by these pages, and by no others.

    Other views are left alone. Other decorators may stand above or below, if they use ``functools.wraps``. Of
    a ``MethodView`` mark the class, a method, or list this in ``decorators``.

    Args:
        view (Callable): A function, or a class of views.

    Returns:
        Callable: The same view.

    Raises:
        ConfigurationError: It is something else, for instance a bound method.
    """
    try:
        setattr(view, _MARK, True)
    except AttributeError:
        raise ConfigurationError(
            f'"view" must be a function or a class of views, got {shown(view)}. Write @sse.cross_origin '
            "without parentheses above a def, and list the origins in SSE_PUSH_CORS_ORIGINS."
        ) from None
    return view


def find_marked(app: Flask, request: Request) -> Rule | None:
    """Return the rule of the marked view that a preflight asks about; ``None`` for any other request."""
    asked = request.headers.get("Access-Control-Request-Method")
    if request.method != "OPTIONS" or asked is None:
        return None
    try:
        adapter = app.create_url_adapter(request)
        if adapter is None:
            return None
        # Not request.url_rule: a path may have one view for each method, and all have OPTIONS.
        rule, _ = adapter.match(method=asked, return_rule=True)
    except HTTPException:  # no view, or a redirect, which a preflight may not follow
        return None
    return rule if _is_marked(app, rule.endpoint, asked) else None


def calls_marked_view(app: Flask, request: Request) -> bool:
    """Say whether a request is for a marked view."""
    return request.endpoint is not None and _is_marked(app, request.endpoint, request.method)


def _is_marked(app: Flask, endpoint: str, method: str) -> bool:
    view = app.view_functions.get(endpoint)
    views = getattr(view, "view_class", None)
    one = getattr(views, "get" if method == "HEAD" else method.lower(), None)
    return any(getattr(place, _MARK, False) is True for place in (view, views, one))


def answer_preflight(rule: Rule, request: Request, settings: Settings) -> Response | None:
    """
    Return the answer to the preflight of a page of a configured origin; ``None`` for any other.

    It allows every header that the page asks for. A list would protect nobody, because the origin is one that
    the developer trusts; and each SDK that traces requests adds headers of its own.

    See:
        Fetch Standard, 3.2.2 "HTTP requests"
        https://fetch.spec.whatwg.org/#http-requests
    """
    if request.headers.get("Origin") not in settings.cors_origins:
        return None
    response = Response(status=204)
    del response.headers["Content-Type"]
    # At once, and not with those of other responses: Flask-CORS would add its own beside these.
    set_cors_headers(response.headers, request, settings)
    response.headers["Cache-Control"] = "no-store"
    response.headers["Access-Control-Allow-Methods"] = ", ".join(sorted(rule.methods or ()))
    response.headers["Access-Control-Max-Age"] = str(_PREFLIGHT_SECONDS)
    names = request.headers.get("Access-Control-Request-Headers", "")
    if len(names) <= _MAX_HEADER_NAMES and _HEADER_NAMES.fullmatch(names):
        response.headers["Access-Control-Allow-Headers"] = names
    return response


def set_cors_headers(headers: Headers, request: Request, settings: Settings) -> None:
    """Let a page of a configured origin read a response, and no other, whatever was allowed before."""
    names = [name.strip() for line in headers.getlist("Vary") for name in line.split(",")]
    if not {"*", "origin"} & {name.lower() for name in names}:
        names.append("Origin")  # a cache may not give one page what was allowed to another
    headers["Vary"] = ", ".join(names)
    headers.remove("Access-Control-Allow-Origin")
    headers.remove("Access-Control-Allow-Credentials")
    origin = request.headers.get("Origin")
    if origin in settings.cors_origins:
        headers["Access-Control-Allow-Origin"] = origin
        if settings.cors_credentials:
            headers["Access-Control-Allow-Credentials"] = "true"
        if exposed := [name for name in _EXPOSED if name in headers]:
            headers.setdefault("Access-Control-Expose-Headers", ", ".join(exposed))
