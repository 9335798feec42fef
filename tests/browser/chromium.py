"""Chromium as people have it, and a tab of it that keeps account of its events."""

import contextlib
import shutil
import subprocess

from tests.needs import lacking, needs
from tests.support import FACTOR, MS, eventually

__all__ = ["CHROMIUM_OPTIONS", "Tab", "find_chromium", "peoples_chromium"]

# Without these Chromium will not run as root, and asks for hosts that a test machine does not reach.
CHROMIUM_OPTIONS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def find_chromium():
    """Return the program, or skip the test."""
    needs(modules=["playwright"])
    return (
        shutil.which("chromium") or shutil.which("chromium-browser") or lacking("needs the program chromium")
    )


@contextlib.contextmanager
def peoples_chromium(folder):
    """
    Start Chromium without what Playwright changes, and yield its profile.

    It has the back/forward cache, and hidden tabs, whose timers are slow and which can be frozen. The name
    intranet.test is this machine: a site that is no secure context.

    Args:
        folder (Path): Where the profile goes.
    """
    program = find_chromium()
    from playwright.sync_api import sync_playwright

    process = subprocess.Popen(
        [
            program,
            *CHROMIUM_OPTIONS,
            "--headless=new",
            "--remote-debugging-port=0",
            f"--user-data-dir={folder}",
            "--host-resolver-rules=MAP intranet.test 127.0.0.1",
            "about:blank",
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        told = folder / "DevToolsActivePort"
        eventually(
            lambda: told.exists() and told.read_text().count("\n"), 30_000 * MS, "Chromium did not start"
        )
        with sync_playwright() as playwright:
            port = told.read_text().split()[0]
            browser = playwright.chromium.connect_over_cdp(f"http://127.0.0.1:{port}", no_defaults=True)
            yield browser.contexts[0]
            browser.close()
    finally:
        process.terminate()
        try:
            process.wait(10 * FACTOR)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class Tab:
    """A tab with a page of tests/browser/site.py."""

    def __init__(self, context, url):
        self.page = context.new_page()
        self.page.set_default_timeout(20_000 * FACTOR)
        self.problems = []
        self.is_crashed = False
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("crash", self._crashed)
        self.page.goto(url)

    def _crashed(self, page):
        self.is_crashed = True

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

    def freeze(self):
        """Stop the page's script, as Chromium does with tabs that nobody looks at."""
        self.page.context.pages[0].bring_to_front()  # only hidden pages freeze
        self.until("document.visibilityState === 'hidden'")
        self._set_state("frozen")

    def thaw(self):
        """Let the page go on."""
        self._set_state("active")

    def crash(self):
        """End the process of the page."""
        with contextlib.suppress(Exception):
            self.page.goto("chrome://crash")
        lobby = self.page.context.pages[0]
        eventually(lambda: self.is_crashed or lobby.wait_for_timeout(10), 10_000 * MS, "the page crashes")

    def _set_state(self, state):
        self.session().send("Page.setWebLifecycleState", {"state": state})
