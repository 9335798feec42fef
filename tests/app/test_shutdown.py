"""How an app lets go of what it has in a process: when it is told to, and when nobody holds it any more."""

import os
import subprocess
import sys
import threading

import pytest

from flask_sse_push import NotRegistered, SSEPush
from flask_sse_push.testing import open_stream, shutdown_after
from tests.needs import needs
from tests.servers.harness import ROOT
from tests.support import FACTOR, eventually, own_threads

from .helpers import first_bytes, make_app


def open_files():
    """Return what this process has open, without what the interpreter itself opens now and then."""
    paths = []
    for number in os.listdir("/proc/self/fd"):
        try:
            paths.append(os.readlink(f"/proc/self/fd/{number}"))
        except OSError:
            pass  # the one that lists them
    return sorted(path for path in paths if ".db" in path or path.startswith("socket:"))


@pytest.fixture(params=["memory", "sqlite", "redis"])
def bus_url(request, tmp_path):
    """A bus of each kind."""
    if request.param == "redis":
        needs("redis-server", modules=["redis"])
        from tests.bus.redis_server import RedisServer

        with RedisServer() as server:
            yield server.url
    else:
        yield {"memory": "memory://", "sqlite": f"sqlite:///{tmp_path}/events.db"}[request.param]


def test_shutdown_lets_go_of_everything(bus_url):
    """Streams end and ask their clients to come back; then no file and no thread is there."""
    sse = SSEPush()
    app = make_app(blueprint=sse, bus_url=bus_url)
    before = open_files()
    sse.publish("x")
    came = []

    def read():
        with app.test_client().get("/events") as response:
            came.extend(response.response)

    reader = threading.Thread(target=read)
    reader.start()
    eventually(lambda: came)
    sse.shutdown()
    reader.join(10 * FACTOR)
    assert not reader.is_alive()
    assert came[-1].startswith(b"retry: ")
    assert open_files() == before
    eventually(lambda: not own_threads())
    sse.shutdown()  # once more is harmless


def test_app_is_used_again_after_shutdown(bus_url):
    """The next use begins as the first one did: the settings are read again, and counts begin at zero."""
    sse = SSEPush()
    app = make_app(blueprint=sse, bus_url=bus_url)
    sse.publish("before")
    sse.shutdown()
    app.config["SSE_PUSH_MAX_STREAMS"] = 7
    assert (sse.stats()["max_streams"], sse.stats()["published"]) == (7, 0)
    with open_stream(app.test_client(), "/events") as stream:
        sse.publish("again")
        assert [event.data for event in stream.read(1)] == ["again"]
    sse.shutdown()


def test_memory_has_no_history_after_shutdown():
    """A client that comes back to a memory bus is told that its place is gone."""
    sse = SSEPush()
    app = make_app(blueprint=sse)
    id = sse.publish("before")
    sse.shutdown()
    with open_stream(app.test_client(), "/events", headers={"Last-Event-ID": id}) as stream:
        assert [event.type for event in stream.read(1)] == ["sse.reset"]


def test_shutdown_closes_what_nobody_reads():
    """A response that a test left open holds nothing after a second; shutdown() waits no longer for it."""
    sse = SSEPush()
    app = make_app(blueprint=sse)
    response = app.test_client().get("/events")
    first_bytes(response)
    assert sse.stats()["streams"] == 1
    process = app.extensions["flask_sse_push"].process()
    sse.shutdown()
    assert process.stats()["streams"] == 0
    eventually(lambda: not own_threads())
    response.close()


def test_shutdown_is_of_one_app():
    """The streams of another app in the same process go on."""
    both = [SSEPush(), SSEPush()]
    apps = [make_app(name, sse) for name, sse in zip("ab", both, strict=True)]
    with open_stream(apps[0].test_client(), "/events") as stream:
        both[1].publish("x")
        both[1].shutdown()
        both[0].publish("goes on")
        assert [event.data for event in stream.read(1)] == ["goes on"]


def test_shutdown_needs_an_app():
    """Without one it cannot be told what is to be shut down."""
    with pytest.raises(NotRegistered):
        SSEPush().shutdown()


def test_shutdown_after_is_for_tests(tmp_path):
    """The block's end shuts the app down, also after an exception; and it may be on no blueprint at all."""
    sse = SSEPush()
    app = make_app(blueprint=sse, bus_url=f"sqlite:///{tmp_path}/events.db")
    before = open_files()
    with pytest.raises(KeyError), shutdown_after(app) as same:
        assert same is app
        sse.publish("x")
        assert open_files() != before
        raise KeyError
    assert open_files() == before
    del app.extensions["flask_sse_push"]
    with shutdown_after(app):
        pass


DROPPED = """
import gc, sys
from flask import Flask
from flask_sse_push import SSEPush
from flask_sse_push.bus import follower
from flask_sse_push.testing import open_stream
from tests.app.test_shutdown import open_files
from tests.support import eventually, own_threads

follower.LINGER_SECONDS = 0.01

def use():
    app = Flask("shop")
    app.config["SSE_PUSH_BUS_URL"] = sys.argv[1]
    sse = SSEPush(app)
    with open_stream(app.test_client(), "/events") as stream:
        sse.publish("x")
        stream.read(1)
    return sse, app

before = open_files()
use()
eventually(lambda: not own_threads(), 10)  # nobody listens any more
gc.collect()
assert open_files() == before, open_files()
follower.LINGER_SECONDS = 30
sse, app = use()  # is followed, and open, at the end of the process
"""


def test_app_that_is_dropped_closes_its_files(bus_url):
    """Without shutdown() nothing stays open and nothing warns: when it is collected, and at the end."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", DROPPED, bus_url],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60 * FACTOR,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
