"""The middle of the package on a backend that the test steps by hand."""

import pytest

from tests import scripted


@pytest.fixture
def script(monkeypatch):
    """The package waits and spawns by this script, as greenlets do; see tests/scripted.py."""
    yield from scripted.install(monkeypatch)


@pytest.fixture
def threads_script(monkeypatch):
    """The same as threads, which are made to give way by the interpreter."""
    yield from scripted.install(monkeypatch, is_preemptive=True)
