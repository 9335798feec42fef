"""Servers of the pages' applications, and a browser's page."""

import contextlib

import pytest

from tests.docs.served import APPLICATION, PAGE_SCRIPT, Served
from tests.support import FACTOR


@pytest.fixture
def serve(tmp_path):
    """Start servers of this test's own; all end with it."""
    with contextlib.ExitStack() as stack:

        def serve(source, **options):
            served = Served(tmp_path, source, **options)
            stack.callback(served.stop)
            return served

        yield serve


@pytest.fixture(scope="module")
def application(tmp_path_factory):
    """The README's application, for the tests that do not end it."""
    served = Served(tmp_path_factory.mktemp("application"), APPLICATION, PAGE_SCRIPT)
    yield served
    served.stop()


@pytest.fixture
def window(browser):
    """A page in a window of its own. Errors of its scripts are collected, and there must be none."""
    context = browser.new_context()
    context.set_default_timeout(10_000 * FACTOR)
    window = context.new_page()
    problems = []
    window.on("pageerror", lambda error: problems.append(str(error)))
    yield window
    context.close()
    assert problems == []
