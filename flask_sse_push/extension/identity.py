"""The identity of an app, by which a shared log knows the one app that it belongs to."""

from __future__ import annotations

from flask import Flask

from ..bus.base import Identity

__all__ = ["identify"]


def identify(app: Flask) -> Identity:
    """
    Return the name and the routes of an app, which are the same under every server and on every machine.

    The name alone is not enough, because tutorials call every app ``app``. The routes alone are not, because
    each deployment may change some. Routes that all apps have, of static files and of this package, are left
    out.
    """
    rules = [rule for rule in app.url_map.iter_rules() if not _is_common(app, str(rule.endpoint))]
    return Identity(app.name, frozenset(f"{rule.rule} {rule.endpoint}" for rule in rules))


def _is_common(app: Flask, endpoint: str) -> bool:
    if endpoint.rpartition(".")[2] == "static":
        return True
    module = getattr(app.view_functions.get(endpoint), "__module__", None) or ""
    return module.partition(".")[0] == __package__.partition(".")[0]
