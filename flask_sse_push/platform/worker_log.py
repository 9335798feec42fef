"""
Where our log lines go under gunicorn when nobody configured logging: into its error log, with its level and
its time.

Python alone would write the bare text of warnings to stderr, and nothing of what is less.
"""

from __future__ import annotations

import logging
from functools import cache

from .gunicorn import nearest_worker

__all__ = ["use_gunicorn_log"]

logger = logging.getLogger("flask_sse_push")


class _Level(int):
    """A level that only we set: who configures logging sets a plain one."""


class _GunicornLog(logging.Handler):
    """
    Hands records to gunicorn's logger, whichever class it has, which knows ``--log-level`` and
    ``--error-logfile``.
    """

    def createLock(self) -> None:  # noqa: N802  # logging's own name
        """
        Do without a lock: the handlers behind gunicorn's logger have locks of their own, and one around them
        would be held while they wait.
        """
        self.lock = None

    def handle(self, record: logging.LogRecord) -> bool:
        """Emit a record that the filters let through; from Python 3.13 on, logging's own insists on a lock."""
        kept = self.filter(record)
        if kept:
            self.emit(kept if isinstance(kept, logging.LogRecord) else record)
        return bool(kept)

    def emit(self, record: logging.LogRecord) -> None:
        worker = nearest_worker()
        if _is_configured() or worker is None:
            return
        try:
            say = getattr(worker.log, record.levelname.lower(), worker.log.error)
            say("%s", record.getMessage(), **({"exc_info": record.exc_info} if record.exc_info else {}))
        except Exception:  # noqa: BLE001  # a line must not break what it tells of
            self.handleError(record)


def use_gunicorn_log() -> None:
    """
    Let gunicorn write our lines in its worker, as long as nobody else does. Once more is harmless.

    Who configures logging, before or later, gets every line once, and those alone that their levels let
    through.
    """
    if nearest_worker() is None or _handler() in logger.handlers:
        return
    if logger.level == logging.NOTSET:
        logger.setLevel(_Level(logging.INFO))  # gunicorn says what of it is wanted
    logger.addFilter(_asked_for)
    logger.addHandler(_handler())


@cache
def _handler() -> logging.Handler:
    return _GunicornLog()


def _asked_for(record: logging.LogRecord) -> bool:
    """Whether the record is one that would be there without the level that we set."""
    ours = isinstance(logger.level, _Level) and logger.parent is not None
    return not ours or not _is_configured() or record.levelno >= logger.parent.getEffectiveLevel()  # type: ignore[union-attr]


def _is_configured() -> bool:
    """Whether a handler other than ours gets our records."""
    if any(handler is not _handler() for handler in logger.handlers):
        return True
    return bool(logger.propagate and logger.parent is not None and logger.parent.hasHandlers())
