"""The handler that writes our log lines by gunicorn's logger."""

import logging
import os

import gunicorn.config
import gunicorn.workers.sync
import pytest

from flask_sse_push.platform import gunicorn as gunicorn_insides
from flask_sse_push.platform import worker_log


class Logger:
    """A logger class of a user's own, as gunicorn's ``--logger-class`` takes it: it keeps the lines."""

    def __init__(self):
        self.lines = []

    def warning(self, text, *values, **_):
        self.lines.append(text % values)

    error = warning


@pytest.fixture
def log(monkeypatch):
    """The logger of a gunicorn worker that is this process; nobody has configured logging in it."""
    log = Logger()
    worker = gunicorn.workers.sync.SyncWorker(0, os.getppid(), [], None, 30, gunicorn.config.Config(), log)
    worker.pid = os.getpid()
    monkeypatch.setattr(gunicorn_insides, "_known", worker)
    monkeypatch.setattr(worker_log, "_is_configured", lambda: False)
    yield log
    worker.tmp.close()


def record(text):
    values = {"name": "flask_sse_push", "levelname": "WARNING", "levelno": logging.WARNING, "msg": text}
    return logging.makeLogRecord(values)


def test_handler_needs_no_lock_of_its_own(log, monkeypatch):
    """Python 3.13 takes a handler's lock without asking whether it has one; ours has none, and emits."""

    def handle(self, record):
        with self.lock:
            self.emit(record)

    monkeypatch.setattr(logging.Handler, "handle", handle)
    worker_log._GunicornLog().handle(record("a line"))
    assert log.lines == ["a line"]


def test_handler_obeys_its_filters(log):
    """A filter drops a record, lets it through, or (from Python 3.12 on) puts another in its place."""
    handler = worker_log._GunicornLog()
    handler.addFilter(lambda record: record.getMessage() != "dropped")
    assert not handler.handle(record("dropped"))
    assert handler.handle(record("kept"))
    assert log.lines == ["kept"]


def test_fault_in_gunicorns_logger_breaks_nothing(log, monkeypatch):
    """A logger class that raises costs the line, and not the code that logged it."""
    monkeypatch.setattr(log, "warning", None)
    monkeypatch.setattr(logging, "raiseExceptions", False)
    worker_log._GunicornLog().handle(record("a line"))
    assert log.lines == []
