"""Where a blueprint serves the browser's half, and what its templates write."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, abort, current_app, has_request_context, request, url_for
from markupsafe import Markup

from ..identity import Identities
from .assets import Asset, find_asset, script_tag, send_asset

__all__ = ["add_client"]

_SOURCE = "sse-push.js"


def add_client(blueprint: Blueprint, identities: Identities) -> None:
    """
    Let a blueprint serve the files below ``client/``, and give templates ``{{ sse_push_script() }}``.

    Args:
        blueprint (Blueprint): Not registered yet.
        identities (Identities): Say whose page a tag is written for.
    """

    def serve(sse_push_file: str, **_: Any) -> Response:
        return send_asset(_find(sse_push_file) or abort(404), request)

    def sse_push_script(name: str = _SOURCE, nonce: str | None = None) -> Markup:
        asset = _find(name)
        if asset is None:
            raise ValueError(
                f'"name" must be a file of the browser\'s half, got {name!r}. Leave it out for {_SOURCE}.'
            )
        # By the function: the blueprint may have another name, or be registered on another blueprint.
        endpoint = next(endpoint for endpoint, view in current_app.view_functions.items() if view is serve)
        [rule] = current_app.url_map.iter_rules(endpoint)
        given = (request.view_args or {}) if has_request_context() else {}
        values = {name: value for name, value in given.items() if name in rule.arguments}  # of a prefix
        identity = identities.prove(current_app) if name == _SOURCE else None
        url = url_for(endpoint, **values, sse_push_file=name)
        return script_tag(f"{url}{'&' if '?' in url else '?'}v={asset.version}", identity, nonce)

    # A variable of the app's own prefix may have any shorter name.
    blueprint.add_url_rule("/client/<sse_push_file>", endpoint="client", view_func=serve)
    blueprint.add_app_template_global(sse_push_script)


def _find(name: str) -> Asset | None:
    return find_asset(name, current_app.debug)
