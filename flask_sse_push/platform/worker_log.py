"""
Writes our log lines into gunicorn's error log, with level and time, where nobody has configured logging.

Python by itself would write warnings to stderr as bare text, and nothing below a warning.
"""

from __future__ import annotations

import logging
from functools import cache

from .gunicorn import nearest_worker

__all__ = ["use_gunicorn_log"]

logger = logging.getLogger("flask_sse_push")


class _Level(int):
    """A level that we have set: somebody who configures logging sets a plain ``int``."""


class _GunicornLog(logging.Handler):
    """
    Hands records to gunicorn's logger, of whichever class, which knows ``--log-level`` and
    ``--error-logfile``.
    """

    def createLock(self) -> None:  # noqa: N802  # logging's own name
        """
        Have no lock: the handlers of gunicorn's logger have their own, and a lock around them would be held
        while they wait.
        """
        self.lock = None

    def handle(self, record: logging.LogRecord) -> bool:
        """Emit a record that the filters let through, without a lock; Python 3.13's own method needs one."""
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
    Let gunicorn's logger write our lines in its workers, unless somebody configures logging. Once more is
    harmless.

    Handlers that are configured before or later get each line once, and only what their levels let through.
    """
    if nearest_worker() is None or _handler() in logger.handlers:
        return
    if logger.level == logging.NOTSET:
        logger.setLevel(_Level(logging.INFO))  # gunicorn's --log-level decides
    logger.addFilter(_asked_for)
    logger.addHandler(_handler())


@cache
def _handler() -> logging.Handler:
    return _GunicornLog()


def _asked_for(record: logging.LogRecord) -> bool:
    """Whether the record would be there also without the level that we have set."""
    ours = isinstance(logger.level, _Level) and logger.parent is not None
    return not ours or not _is_configured() or record.levelno >= logger.parent.getEffectiveLevel()  # type: ignore[union-attr]


def _is_configured() -> bool:
    """Whether another handler than ours gets our records."""
    if any(handler is not _handler() for handler in logger.handlers):
        return True
    return bool(logger.propagate and logger.parent is not None and logger.parent.hasHandlers())
