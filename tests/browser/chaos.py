"""
Tabs that open, navigate, go back, close, crash and freeze at random, while events come.

Each tab holds what it gets against the numbers of the events: every one from the tab's own place on, in order
and once, or a reset that tells of a gap."""

import random
import threading
import time
from collections import Counter

from tests.browser.chromium import Tab

__all__ = ["SECONDS_UNTIL_DEAD", "Chaos"]

SECONDS_UNTIL_DEAD = 16
"""A worker that has not answered for two beats of 5 s is dead to its tabs at the third."""

_EVENTS_PER_SECOND = 50
_PAUSE_MILLISECONDS = 150


class Chaos:
    """
    What happens to the tabs of a channel.

    Args:
        context (BrowserContext): The profile that has the tabs.
        site (Site): What they show.
        channel (str): What they listen to.
        tabs (int): How many are open at most.
        seed (int): What happens.
    """

    def __init__(self, context, site, channel, tabs, seed):
        self._context, self._site, self._channel, self._most = context, site, channel, tabs
        self._random = random.Random(seed)
        self._tabs, self._frozen = [], []
        self.figures = Counter()
        self.problems = []

    def run(self, seconds):
        """Let it happen for some seconds, then wait until every tab that is left has everything."""
        self._site.publish(self._channel)
        ended = threading.Event()
        publisher = threading.Thread(target=self._publish, args=(ended,))
        publisher.start()
        try:
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                self._random.choice(self._ways())()
                self._tabs = [tab for tab in self._tabs if not tab.is_crashed]
                self.figures["most streams"] = max(
                    self.figures["most streams"], self._site.streams(self._channel)
                )
                self._context.pages[0].wait_for_timeout(_PAUSE_MILLISECONDS)
        finally:
            ended.set()
            publisher.join()
        while self._frozen:
            self._thaw()
        last = self.figures["published"] = self._site.publish(self._channel)
        for tab in self._tabs:
            tab.until(f"seen.last === {last}", SECONDS_UNTIL_DEAD + 4)
            self._settle(tab)
        self.figures["streams opened"] = self._site.opened(self._channel)
        self.figures["tabs at the end"] = len(self._tabs)

    def _publish(self, ended):
        while not ended.wait(1 / _EVENTS_PER_SECOND):
            self._site.publish(self._channel)

    def _ways(self):
        awake = [tab for tab in self._tabs if tab not in self._frozen]
        ways = []
        if len(self._tabs) < self._most:
            ways += 3 * [self._open]
        if len(self._tabs) > self._most // 3:
            ways += [self._close]
        if len(awake) > self._most // 3:
            ways += [self._crash, self._freeze, self._freeze]
        if awake:
            ways += 2 * [self._navigate] + [self._go_back]
        if self._frozen:
            ways += 2 * [self._thaw]
        return ways

    def _any_awake(self):
        return self._random.choice([tab for tab in self._tabs if tab not in self._frozen])

    def _url(self):
        return self._site.page_here(self._channel, f"page-{self._random.random()}", share="auto")

    def _open(self):
        self._tabs.append(Tab(self._context, self._url()))
        self._context.pages[0].bring_to_front()
        self.figures["tabs"] += 1

    def _navigate(self):
        tab = self._any_awake()
        self._settle(tab)
        tab.page.goto(self._url())
        self.figures["navigations"] += 1

    def _go_back(self):
        """Go to another page, and back to this one."""
        tab = self._any_awake()
        self._settle(tab)
        tab("seen.count = 0")
        tab.page.goto(self._url())
        self._settle(tab)
        tab.page.go_back(wait_until="commit")
        self.figures["steps back"] += 1

    def _close(self):
        tab = self._random.choice(self._tabs)
        if tab in self._frozen:
            self._frozen.remove(tab)
        else:
            self._settle(tab)
        self._tabs.remove(tab)
        tab.page.close()
        self.figures["closes"] += 1

    def _crash(self):
        tab = self._any_awake()
        self._settle(tab)
        tab.crash()
        self.figures["crashes"] += 1

    def _freeze(self):
        tab = self._any_awake()
        tab.freeze()
        self._frozen.append(tab)
        self.figures["freezes"] += 1

    def _thaw(self):
        tab = self._frozen.pop(0)
        if not tab.is_crashed:
            tab.thaw()

    def _settle(self, tab):
        """Take a page's account: it counts up to here."""
        seen = tab("typeof seen === 'undefined' ? null : seen")
        if seen is None:
            return  # it is just loading
        self.figures["events"] += seen["count"]
        self.figures["resets"] += seen["resets"]
        self.figures["errors"] += len(seen["errors"])
        self.figures["restored pages"] += seen["restored"]
        for last, number in seen["problems"]:
            self.figures["doubles" if number <= last else "gaps"] += 1
        self.problems += seen["problems"] + tab.problems
