"""Fixtures of the tests of buses."""

import time

import pytest

from flask_sse_push.bus import BusOptions, open_bus
from tests.bus.redis_server import OPTIONS, Proxy, RedisServer
from tests.bus.stores import Store, keep
from tests.needs import needs
from tests.support import FACTOR


@pytest.fixture
def server():
    """A Redis of this test alone."""
    needs("redis-server", modules=["redis"])
    with RedisServer() as server:
        yield server


@pytest.fixture
def proxy(server):
    """A way to that Redis that can be blocked."""
    with Proxy(server.port) as proxy:
        yield proxy


@pytest.fixture
def open_redis(request):
    """Return buses, each as a process has it: by default on the server of this test."""
    needs(modules=["redis"])
    opened = []

    def open_redis(url=None, options=OPTIONS):
        bus = open_bus(url or request.getfixturevalue("server").url, options)
        opened.append(bus)
        return bus

    yield open_redis
    for bus in opened:
        bus.close()


@pytest.fixture
def path(tmp_path):
    """Where the database of this test is."""
    return tmp_path / "events.db"


@pytest.fixture
def make(path):
    """Return buses on that database or another one, each as a process has it."""
    from flask_sse_push.bus.sqlite import SqliteBus  # not on every machine

    opened = []

    def make(where=None, timeout=5 * FACTOR, retention=keep(), max_event_bytes=64 * 1024):
        bus = SqliteBus(str(where or path), BusOptions(retention, timeout, max_event_bytes))
        opened.append(bus)
        return bus

    yield make
    for bus in opened:
        bus.close()


@pytest.fixture
def store(request, tmp_path):
    """An empty store of each kind that the test names."""
    kind = request.param
    if kind == "redis":
        url = request.getfixturevalue("redis_server").url + f"?prefix=test{time.monotonic_ns()}"
    else:
        url = {"memory": "memory://", "sqlite": f"sqlite:///{tmp_path}/events.db"}[kind]
    store = Store(kind, url)
    yield store
    store.close()
