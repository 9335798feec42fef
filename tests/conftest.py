"""Fixtures of all tests, and the rule that no test leaves a thread behind."""

import shutil

import pytest
from flask import Flask
from hypothesis import HealthCheck, settings

from flask_sse_push import SSEPush
from tests.needs import lacking, needs
from tests.support import MS, eventually, own_threads

# No deadline: the machines of CI are noisy, and a slow example is no failure. The fixtures used with @given are stateless or reset inside.
settings.register_profile(
    "default",
    deadline=None,
    max_examples=100,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("default")

# Without these Chromium will not run as root, and asks for hosts that a test machine does not reach.
CHROMIUM_OPTIONS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


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
def browser():
    """Chromium, driven by Playwright."""
    needs(modules=["playwright"])
    executable = (
        shutil.which("chromium") or shutil.which("chromium-browser") or lacking("needs the program chromium")
    )
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=CHROMIUM_OPTIONS)
        yield browser
        browser.close()
