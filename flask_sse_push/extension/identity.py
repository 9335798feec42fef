"""Which app it is, for a log that belongs to one."""

from __future__ import annotations

from flask import Flask

from ..bus.base import Identity

__all__ = ["identify"]


def identify(app: Flask) -> Identity:
    """
    Return what an app is known by, under every server, in every shell and on every machine.

    A deployment adds and removes routes, and tutorials call every app ``app``: so both its name and its routes count.
    Static files and the streams of this package are left out, which all apps have alike.
    """
    rules = [rule for rule in app.url_map.iter_rules() if not _is_common(app, str(rule.endpoint))]
    return Identity(app.name, frozenset(f"{rule.rule} {rule.endpoint}" for rule in rules))


def _is_common(app: Flask, endpoint: str) -> bool:
    if endpoint.rpartition(".")[2] == "static":
        return True
    module = getattr(app.view_functions.get(endpoint), "__module__", None) or ""
    return module.partition(".")[0] == __package__.partition(".")[0]
