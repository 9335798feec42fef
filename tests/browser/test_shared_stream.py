"""Tabs that share one stream in Chromium: navigation, deaths, logins."""

import pytest

from tests.browser.chaos import SECONDS_UNTIL_DEAD, Chaos
from tests.browser.chromium import Tab
from tests.servers.harness import eventually
from tests.support import LONG


@pytest.fixture
def shared(site, channel, open_tab):
    """Open so many tabs that share a stream."""
    return lambda count: [open_tab(site.page(channel, share="auto")) for _ in range(count)]


def workers(context):
    """Return the SharedWorkers of the browser, and a session to end them by."""
    devtools = context.browser.new_browser_cdp_session()
    targets = devtools.send("Target.getTargets", {"filter": [{"type": "shared_worker"}]})
    return devtools, [target["targetId"] for target in targets["targetInfos"]]


def test_many_tabs_have_one_stream_and_a_site_that_answers(shared, site, channel):
    """Twenty tabs over HTTP/1.1 read one stream, and a request beside it is answered within a second."""
    for count in (8, 12):
        tabs = shared(count)
        last = site.publish(channel, 3)
        for tab in tabs:
            assert tab.has(last)["count"] == 3
        took = tabs[-1](
            """async () => {
                const begun = performance.now();
                await (await fetch("/ping", { cache: "no-store" })).json();
                return performance.now() - begun;
            }"""
        )
        assert took < 1000
        assert (site.opened(channel), site.streams(channel)) == (1, 1)
    tabs[0].until("events.explain().tabs === 20")


def test_navigation_costs_no_stream(shared, site, channel):
    """
    A tab that goes from page to page, back and forward costs no stream and sees no error, and the tab beside
    it misses nothing.
    """
    mover, other = shared(2)
    mover.has(site.publish(channel))
    for title in ("one", "two", "three"):
        mover.page.goto(site.page(channel, title, share="auto"))
        mover.opens().has(site.publish(channel))
    mover.page.go_back(wait_until="commit")
    mover.until("document.title === 'two' && seen.restored === 1")
    assert mover.has(site.publish(channel))["count"] == 3  # its own one, that of "three", and this
    mover.page.go_forward(wait_until="commit")
    mover.until("document.title === 'three' && seen.restored === 1")
    mover.has(site.publish(channel))
    assert other.has(site.publish(channel))["count"] == 7
    assert other.seen["errors"] == mover.seen["errors"] == []
    assert site.opened(channel) == 1


def test_lone_tab_keeps_its_stream_from_page_to_page(shared, site, channel):
    """The stream outlives a page: the next page of the only tab goes on with it."""
    (tab,) = shared(1)
    for title in ("one", "two", "three"):
        tab.page.goto(site.page(channel, title, share="auto"))
        tab.opens().has(site.publish(channel))
    assert site.opened(channel) == 1
    tab.page.goto(f"{site.url}/ping")
    eventually(lambda: site.streams(channel) == 0, 15, "the stream ends some seconds after its last page")


def test_worker_that_dies_silently_is_replaced(shared, site, channel, context):
    """
    When the SharedWorker dies without a word, every tab has another within 15 s, the same for all and for
    tabs that open later, and no event is lost.
    """
    tabs = shared(3)
    last = site.publish(channel)
    for tab in tabs:
        tab.has(last)
    devtools, targets = workers(context)
    for target in targets:
        devtools.send("Target.closeTarget", {"targetId": target})
    eventually(lambda: site.streams(channel) == 0)
    last = site.publish(channel, 5)
    for tab in tabs:
        assert tab.has(last, SECONDS_UNTIL_DEAD)["count"] == 6
        assert tab.seen["errors"] == []
    (later,) = shared(1)
    last = site.publish(channel)
    for tab in (*tabs, later):
        tab.has(last)
    assert (site.opened(channel), site.streams(channel)) == (2, 1)


def test_chaos_of_tabs_loses_nothing(context, site, channel):
    """Tabs that open, move, close, crash and freeze at random have every event from their place on, once."""
    chaos = Chaos(context, site, channel, tabs=20 if LONG else 8, seed=1)
    chaos.run(60 if LONG else 10)
    print(", ".join(f"{name} {number}" for name, number in chaos.figures.items()))
    assert chaos.problems == []
    assert chaos.figures["events"] > chaos.figures["published"]


@pytest.mark.parametrize(
    ("missed", "opened", "resets"),
    [(5, 1, 0), (600, 2, 0), (2500, 2, 1)],
    ids=["the worker has it", "the server has it", "nobody has it"],
)
def test_page_from_before_gets_what_it_missed(open_tab, site, channel, missed, opened, resets):
    """
    A tab whose page is older than the shared stream's last events gets them from the worker, by a stream of
    its own until it is level, or is told of the gap.
    """
    site.publish(channel)
    before = site.page_here(channel, share="auto")
    reader = open_tab(before)
    last = site.publish(channel, missed)
    reader.has(last)
    late = open_tab(before)
    seen = late.has(last)
    assert (seen["resets"], seen["errors"]) == (resets, [])
    assert seen["count"] == missed if not resets else seen["count"] < missed
    assert site.opened(channel) == opened
    if missed == 600:
        eventually(lambda: site.streams(channel) == 1, 10, "the tab's own stream ends")
    last = site.publish(channel)
    for tab in (reader, late):
        tab.has(last)


def test_frozen_tab_catches_up(shared, site, channel):
    """A tab that was frozen while others read on has what it missed a second after it is active."""
    frozen, other = shared(2)
    last = site.publish(channel)
    for tab in (frozen, other):
        tab.has(last)
    frozen.freeze()
    other.page.wait_for_timeout(40_000 if LONG else 1000)  # after some 20 s it gets nothing more
    last = site.publish(channel, 600)  # more than the worker keeps
    other.has(last)
    frozen.thaw()
    assert frozen.has(last, 2)["count"] == 601
    assert frozen.seen["errors"] == []
    eventually(lambda: site.streams(channel) == 1, 10, "what brought the missed events ends")


def test_login_of_another_user_shows_nothing_of_theirs(context, site):
    """
    When another user signs in in a second tab, no page shows an event of the other one, and the first page is
    told that it is signed out when its stream comes back.
    """
    page = f"{site.url}/login/%s?then=/home%%3Fof%%3D/mine%%26share%%3Dauto"
    ann, also_ann = (Tab(context, page % "ann").opens() for _ in range(2))
    site.publish("user.ann", 2)
    for tab in (ann, also_ann):
        assert tab.has(2)["count"] == 2
    assert site.opened("user.ann") == 1
    bob = Tab(context, page % "bob").opens()
    site.publish("user.bob", 3)
    assert bob.has(3)["count"] == 3
    site.publish("user.ann")
    for tab in (ann, also_ann):
        assert tab.has(3)["count"] == 3
    ann("events.reconnect()")
    for tab in (ann, also_ann):
        tab.until("events.readyState === PushSource.CLOSED")
        assert [(error["kind"], error["final"]) for error in tab.seen["errors"]] == [("signed-out", True)]
    eventually(lambda: site.streams("user.ann") == 0, 10, "the stream of Ann's tabs ends")
    site.publish("user.bob")
    assert bob.has(4)["count"] == 4
    assert bob.seen["errors"] == []
    assert (ann.seen["count"], also_ann.seen["count"]) == (3, 3)


def test_stream_is_shared_where_nothing_is_secure(open_tab, site, channel):
    """On plain http, with a name that is no localhost, tabs share a stream all the same."""
    url = site.page(channel, at=f"http://intranet.test:{site.server.port}", share="auto")
    tabs = [open_tab(url) for _ in range(2)]
    last = site.publish(channel)
    for tab in tabs:
        tab.has(last)
        assert not tab("isSecureContext")
    assert site.opened(channel) == 1


def test_tab_that_may_have_no_worker_reads_by_itself(open_tab, site, channel):
    """Where the site's policy forbids the SharedWorker, a tab has a stream of its own, and says so."""
    tab = open_tab(site.page(channel, "guilty", share="auto", workers="none"))
    assert tab.has(site.publish(channel, 3))["errors"] == []
    assert tab("events.explain().shared") is False


@pytest.mark.parametrize(
    ("query", "kept"), [("", {"key": "a", "keep": True}), ("%26rewind=all", {})], ids=["kept", "rewind"]
)
def test_tab_that_joins_gets_what_a_new_page_gets(open_tab, site, channel, query, kept):
    """
    A tab that comes later to a shared stream gets the values that a channel keeps, also those that came while
    the stream was open, and the past that its URL asks for.
    """
    page = site.page(channel, share="auto", of=f"/events%3Fchannel={channel}{query}")
    first = open_tab(page)
    site.publisher.publish("1 €", channel=channel, **kept)
    first.has(1)
    late = open_tab(page)
    assert late.has(1)["problems"] == []
    eventually(lambda: site.streams(channel) == 1, 10, "the tab's own stream ends")
    site.publisher.publish("2 €", channel=channel, **kept)
    assert [tab.has(2)["count"] for tab in (first, late)] == [2, 2]
    assert first("events.explain().resets") == late("events.explain().resets") == 0
