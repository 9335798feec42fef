"""What all tests of the app in-process share."""

import pytest


@pytest.fixture(autouse=True)
def _quick_ticks(monkeypatch):
    """The heartbeat looks up more often, so that its thread ends soon behind each test."""
    for module in ("registry", "drain"):
        monkeypatch.setattr(f"flask_sse_push.streams.{module}.TICK_SECONDS", 0.01)
