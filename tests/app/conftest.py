"""What all tests of the app in-process share."""

import pytest


@pytest.fixture(autouse=True)
def _quick_ticks(monkeypatch):
    """The heartbeat looks up more often, so that its thread ends soon behind each test."""
    monkeypatch.setattr("flask_sse_push.streams.heartbeat.TICK_SECONDS", 0.01)
