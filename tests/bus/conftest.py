"""Fixtures of the tests of buses."""

import pytest

from flask_sse_push.bus import open_bus
from tests.bus.redis_server import OPTIONS, Proxy, RedisServer
from tests.needs import needs


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
