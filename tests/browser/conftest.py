"""A site and a browser as people have them, one of each for a module."""

import pytest

from tests.browser.chromium import PEOPLES, Tab, launch
from tests.browser.running import Site
from tests.support import FACTOR


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site, running."""
    site = Site(tmp_path_factory.mktemp("site"))
    yield site
    site.close()


@pytest.fixture(scope="module")
def peoples_browser():
    """Chromium with the back/forward cache."""
    with launch(**PEOPLES) as browser:
        yield browser


@pytest.fixture
def context(peoples_browser, site):
    """A profile of this test alone: cookies, workers. No page of it broke the policy of the site."""
    context = peoples_browser.new_context()
    context.set_default_timeout(20_000 * FACTOR)
    yield context
    context.close()
    assert site.journal("report") == []


@pytest.fixture
def channel(request):
    """A channel that no other test uses."""
    return "".join(letter if letter.isalnum() else "-" for letter in request.node.name)[:90]


@pytest.fixture
def open_tab(context):
    """Open a tab of the test's profile, and wait for its stream."""
    return lambda url: Tab(context, url).opens()
