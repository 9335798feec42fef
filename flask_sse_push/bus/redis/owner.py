"""Whose a log is: apps that name no prefix meet in one log, and only one of them may use it."""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Callable
from typing import NamedTuple

from ...errors import ConfigurationError
from ..base import Identity

__all__ = ["Claim", "Claimant"]

_MAX_ROUTES = 256
_MAX_NAME_CHARACTERS = 100


class Claim(NamedTuple):
    """An app as the scripts take it."""

    digest: str
    """16 hexadecimal digits that stand for the rest; empty for a user of the log that asks for no owner."""
    name: str
    """The app's name, cut."""
    routes: str
    """
    8 hexadecimal digits for each route, in order. Of an app with many routes, those with the smallest numbers
    count, so that two versions keep the same ones.
    """


_NOBODY = Claim("", "", "")


class Claimant:
    """
    The app that uses a log. Thread-safe.

    Args:
        identity (Callable | None): Says which app this is; ``None`` for a log that is shared on purpose, and
            for a publisher without an app.
        log (str): Which log, for people.
    """

    def __init__(self, identity: Callable[[], Identity] | None, log: str) -> None:
        self._identity, self._log = identity, log
        self._claim = _NOBODY if identity is None else None

    def claim(self) -> Claim:
        """Return which app it is, as it was at the first call or at the last :meth:`refresh`."""
        return self._claim or self.refresh()

    def refresh(self) -> Claim:
        """Return which app it is now: it may have got more routes since."""
        if self._identity is None:
            return _NOBODY
        name, routes = self._identity()
        name = name.encode("utf-8", "replace").decode()[:_MAX_NAME_CHARACTERS]
        numbers = sorted({zlib.crc32(route.encode("utf-8", "replace")) for route in routes})[:_MAX_ROUTES]
        joined = "".join(f"{number:08x}" for number in numbers)
        digest = hashlib.sha256(json.dumps([name, joined]).encode()).hexdigest()[:16]
        self._claim = claim = Claim(digest, name, joined)
        return claim

    def check_owner(self, owner: bytes) -> None:
        """
        Check what a script found out about the owner of the log.

        Args:
            owner (bytes): The name of the app that the log belongs to; empty when this app may use it.

        Raises:
            ConfigurationError: It is another app's.
        """
        if not owner:
            return
        other = owner[:_MAX_NAME_CHARACTERS].decode("utf-8", "replace")
        mine = self.claim().name
        also = ", an app of the same name with other routes" if other == mine else ""
        raise ConfigurationError(
            f"The app {mine!r} may not use {self._log}: that log belongs to the app {other!r}{also}. "
            'Give each app a log of its own: end its SSE_PUSH_BUS_URL with a name, like "?prefix=shop".'
        )
