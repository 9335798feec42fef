"""Chromium as people have it, and a tab of it that keeps account of its events."""

import contextlib
import shutil

from tests.needs import lacking, needs
from tests.support import FACTOR, MS, eventually

__all__ = ["PEOPLES", "Tab", "launch"]

# Without these Chromium will not run as root, and asks for hosts that a test machine does not reach.
_OPTIONS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

PEOPLES = {
    "ignore_default_args": ["--disable-back-forward-cache"],
    "args": ["--host-resolver-rules=MAP intranet.test 127.0.0.1"],
}
"""With the back/forward cache, which Playwright turns off; and with a site that is no localhost."""


@contextlib.contextmanager
def launch(args=(), **options):
    """Start Chromium, driven by Playwright."""
    needs(modules=["playwright"])
    program = (
        shutil.which("chromium") or shutil.which("chromium-browser") or lacking("needs the program chromium")
    )
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=[*_OPTIONS, *args], **options)
        yield browser
        browser.close()


class Tab:
    """A tab with a page of tests/browser/site.py."""

    def __init__(self, context, url):
        self.page = context.new_page()
        self.page.set_default_timeout(20_000 * FACTOR)
        self.problems = []
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.goto(url)

    def __call__(self, script, argument=None):
        """Return what a script of the page returns."""
        return self.page.evaluate(script, argument)

    @property
    def seen(self):
        """The page's account."""
        return self("seen")

    def until(self, script, seconds=10, message=None):
        """Wait until a script returns something true, and return it."""

        def is_so():
            return self(script) or self.page.wait_for_timeout(10)  # lets the driver work

        try:
            return eventually(is_so, seconds * 1000 * MS, message or script)
        except AssertionError as error:
            raise AssertionError(f"{error}; seen {self.seen}, {self('events.explain()')}") from None

    def opens(self):
        """Wait until the stream is open, and return the tab."""
        self.until("events.readyState === PushSource.OPEN")
        return self

    def has(self, number, seconds=10):
        """Wait until an event has come, and see that all before it did; return the account."""
        self.until(f"seen.last === {number}", seconds)
        seen = self.seen
        assert (seen["problems"], self.problems) == ([], [])
        return seen

    def session(self):
        """A session of the DevTools protocol."""
        return self.page.context.new_cdp_session(self.page)

    def close(self):
        """Close the tab."""
        self.page.close()
