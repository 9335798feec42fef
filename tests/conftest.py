"""Fixtures of all tests, their layers, and the rule that no test leaves a thread behind."""

import os
import signal

import pytest
from flask import Flask
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadScopeScheduling

from flask_sse_push import SSEPush
from tests.browser.chromium import CHROMIUM_OPTIONS, find_chromium
from tests.layers import LAYERS, group_of, layer_of, order_of
from tests.needs import needs
from tests.support import MS, eventually, own_threads

# No deadline: the machines of CI are noisy, and a slow example is no failure. The fixtures used with @given
# are
# stateless or reset inside.
settings.register_profile(
    "default",
    deadline=None,
    max_examples=100,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("default")

# Most tests wait for a server, a browser or a clock most of the time; the quick ones compute.
PROCESSES_PER_CORE = 2
QUICK_PROCESSES_PER_CORE = 1
MOST_PROCESSES = 8


def pytest_configure(config):
    """Name the layers, and let the servers of the tests hear Ctrl-C."""
    for layer, what in LAYERS.items():
        config.addinivalue_line("markers", f"{layer}: {what}")
    # A shell that runs the tests in the background lets them ignore SIGINT, and their servers would inherit
    # that.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_xdist_auto_num_workers(config):
    """
    Run the whole suite, or a layer of it, in several processes; and what was asked for by its path in one.
    """
    whole = {config.rootpath, *(config.rootpath / path for path in config.getini("testpaths"))}
    if {config.invocation_params.dir / path for path in config.args} - whole:
        return 0
    per_core = QUICK_PROCESSES_PER_CORE if config.option.markexpr == "quick" else PROCESSES_PER_CORE
    return min(MOST_PROCESSES, per_core * (os.cpu_count() or 1))


def pytest_ignore_collect(collection_path, config):
    """
    Read only the files of a layer where one is asked for: ``-m quick`` is for the time while one writes.
    """
    if config.option.markexpr in LAYERS and collection_path.name.startswith("test_"):
        return layer_of(collection_path) != config.option.markexpr or None
    return None


def pytest_itemcollected(item):
    """Put each test into the layer of its file."""
    item.add_marker(layer_of(item.path))


class GroupScheduling(LoadScopeScheduling):
    """
    Send a whole group of tests to a process.

    (``--dist loadgroup`` writes the group into the id of a test, where pytest 9.2 does not read it from xdist
    3.8: each test was a group of its own, and most of the time went into fixtures.)
    """

    def _split_scope(self, nodeid):
        return group_of(nodeid)


def pytest_xdist_make_scheduler(config, log):
    """Keep the tests together that share a fixture."""
    return GroupScheduling(config, log)


@pytest.hookimpl(trylast=True)  # behind the shuffling of pytest-randomly
def pytest_collection_modifyitems(config, items):
    """Begin with the slow layers where several processes run the tests."""
    if hasattr(config, "workerinput"):
        items.sort(key=order_of)


@pytest.fixture(autouse=True)
def _no_thread_is_left():
    """After each test, the threads of the package that it started are gone."""
    before = set(own_threads())
    yield
    eventually(
        lambda: not set(own_threads()) - before,
        timeout=5000 * MS,
        message="the threads of the package end with their work",
    )


@pytest.fixture
def sse():
    """A blueprint of this test alone: the ready one is shared by all apps of a process."""
    return SSEPush()


@pytest.fixture
def app(sse):
    """An app with the blueprint at /events."""
    app = Flask("shop")
    app.config.update(
        TESTING=True, SECRET_KEY="a key for the tests", SSE_PUSH_PUBLIC_CHANNELS=["news", "orders", "room.*"]
    )
    app.register_blueprint(sse, url_prefix="/events")
    return app


@pytest.fixture
def client(app):
    """A client of the app."""
    return app.test_client()


@pytest.fixture(scope="module")
def redis_server():
    """A Redis that the tests of a module share."""
    needs("redis-server", modules=["redis"])
    from tests.bus.redis_server import RedisServer

    with RedisServer() as server:
        yield server


@pytest.fixture(scope="module")
def browser():
    """Chromium, driven by Playwright."""
    program = find_chromium()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=CHROMIUM_OPTIONS)
        yield browser
        browser.close()
