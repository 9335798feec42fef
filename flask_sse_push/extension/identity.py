"""
Who a request is from, and whether a page belongs to the same visitor.

A browser may share one stream between tabs, and its visitor may change: Ann logs out in one tab, Bob logs in,
and tabs of Ann's are still open. So a page carries a proof of whom it was rendered for, its stream sends the
proof, and the server says whether the stream's visitor is the same.
"""

from __future__ import annotations

import hashlib
import logging
import sys
from collections.abc import Callable

from flask import Flask, has_request_context, request
from itsdangerous import Signer

from ..core.values import number_of, shown, text_of

__all__ = ["IDENTITY_KEY", "Identify", "Identities"]

Identify = Callable[[], "str | int | None"]
"""A function in a request that returns who sent it, ``None`` for nobody."""

IDENTITY_KEY = "HTTP_SSE_PUSH_IDENTITY"
"""Where the WSGI environment has the proof that a page's stream sends."""

NOBODY = "nobody"
"""The proof of a page that was rendered for nobody."""

UNNAMED = "unnamed"
"""The same, where the request might be from somebody all the same: such pages are kept apart."""

UNKNOWN = "unknown"
"""What a stream sends whose page carries no proof, and that would be shared."""

_SALT = "flask_sse_push.identity"

logger = logging.getLogger("flask_sse_push")


class Identities:
    """Finds out who a request is from, and proves it to the browser and back. Thread-safe."""

    def __init__(self) -> None:
        self.identify: Identify | None = None
        self._has_failed = False

    def find(self, app: Flask) -> str | None:
        """
        Return who sent the current request: what the app's function says, else Flask-Login's user.

        Raises:
            TypeError: The function returned something else than a str, an int or None.
        """
        if self.identify is None:
            return text_of(sys.modules["flask_login"].current_user.get_id()) if _has_login(app) else None
        found = self.identify()
        number = number_of(found)
        text = text_of(found) if number is None else str(number)
        if text is None and found is not None:
            raise TypeError(
                f"The function of @sse.identify must return a str, an int or None, got {shown(found)}. "
                "Return the id of the user, or None for nobody."
            )
        return text

    def prove(self, app: Flask) -> str | None:
        """Return what a page carries: a proof of who it is for; ``None`` without a SECRET_KEY."""
        who = self.find(app)
        if who is None:
            return UNNAMED if has_request_context() and self._may_be_somebody(app) else NOBODY
        signer = _signer(app)
        return None if signer is None else signer.get_signature(who).decode()

    def judge(self, app: Flask) -> tuple[tuple[str, str], ...]:
        """
        Return headers that say whether the stream of the current request, which carries a proof, is the
        visitor's of its page, and may be shared.
        """
        try:
            who = self.find(app)
        except Exception:
            if not self._has_failed:
                self._has_failed = True
                logger.exception("Streams are not shared by tabs: the function of @sse.identify failed.")
            return _NOT_SHARED
        proof, signer = request.environ[IDENTITY_KEY], _signer(app)
        if who is None:
            if proof not in (NOBODY, UNNAMED, UNKNOWN):
                return _OTHER
            return _NOT_SHARED if self._may_be_somebody(app) else ()
        if proof == UNKNOWN or signer is None:
            return _NOT_SHARED
        return () if proof.isascii() and signer.verify_signature(who, proof) else _OTHER

    def _may_be_somebody(self, app: Flask) -> bool:
        """Return whether the current request, if from nobody known, carries what may say who it is from."""
        cookies = request.cookies
        if "HTTP_AUTHORIZATION" in request.environ or app.config["SESSION_COOKIE_NAME"] in cookies:
            return True
        # Where the app has no way of saying who it is, any cookie may be a login, such as one with a token.
        return bool(cookies) and self.identify is None and not _has_login(app)


_OTHER = (("SSE-Push-Identity", "other"),)
_NOT_SHARED = (("SSE-Push-Sharing", "no"),)


def _has_login(app: Flask) -> bool:
    return "flask_login" in sys.modules and hasattr(app, "login_manager")


def _signer(app: Flask) -> Signer | None:
    """Sign by SECRET_KEY, and take what SECRET_KEY_FALLBACKS signed (Flask 3.1), newest last."""
    if not app.secret_key:
        return None
    keys = [*(app.config.get("SECRET_KEY_FALLBACKS") or ()), app.secret_key]
    return Signer(keys, salt=_SALT, key_derivation="hmac", digest_method=hashlib.sha256)
