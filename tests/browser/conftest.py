"""A site and a browser as people have them, one of each for a module."""

import pytest

from tests.browser.chromium import Tab, peoples_chromium
from tests.browser.running import Site
from tests.support import FACTOR, LONG

collect_ignore = [] if LONG else ["test_firefox.py"]
"""Half a minute and a browser more: it belongs to the long form, ``nox -s browser``."""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site, running."""
    site = Site(tmp_path_factory.mktemp("site"))
    yield site
    site.close()


@pytest.fixture(scope="module")
def profile(tmp_path_factory):
    """The browser's profile."""
    with peoples_chromium(tmp_path_factory.mktemp("profile")) as profile:
        profile.set_default_timeout(20_000 * FACTOR)
        yield profile


@pytest.fixture
def context(profile, site):
    """The profile, without tabs and cookies of other tests. No page broke the policy of the site."""
    yield profile
    for page in profile.pages[1:]:
        page.close()
    profile.clear_cookies()
    assert [report for report in site.journal("report") if "/guilty" not in report] == []


@pytest.fixture
def channel(request):
    """A channel that no other test uses."""
    return "".join(letter if letter.isalnum() else "-" for letter in request.node.name)[:90]


@pytest.fixture
def open_tab(context):
    """Open a tab of the test's profile, and wait for its stream."""
    return lambda url: Tab(context, url).opens()
