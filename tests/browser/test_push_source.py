"""PushSource in Chromium, over a real server, nginx and a network that breaks."""

import os
import signal
from pathlib import Path

import pytest

from tests.browser.chromium import Tab
from tests.servers.harness import eventually
from tests.servers.nginx import Nginx
from tests.soak.proxy import Proxy
from tests.support import LONG

PLAIN_NGINX = """
upstream app { server 127.0.0.1:8000; }
server {
    listen 80;
    location / {
        proxy_pass http://app;
        proxy_http_version 1.1;
        proxy_set_header Host $http_host;
    }
}
"""
"""As it is written without the documentation: with 502 while the app is away."""

WHILE_WORKERS_START = {"network", "timeout"}
"""The master accepts what no worker answers yet."""

STALL_SECONDS = 0.5 + 5  # a heartbeat, and 5 s


@pytest.fixture
def proxy(site):
    """A network between browser and server that a test breaks."""
    with Proxy(site.server.port) as proxy:
        yield proxy


@pytest.fixture
def far_tab(open_tab, site, channel, proxy):
    """A tab behind the proxy that has had one event."""
    tab = open_tab(site.page(channel, at=f"http://127.0.0.1:{proxy.port}", timeout=2000, max=20_000))
    tab.has(site.publish(channel))
    return tab


def kinds(tab):
    """What kinds of errors a tab has seen, one after the other."""
    return [error["kind"] for error in tab.seen["errors"]]


ANSWERS = {
    # status: kind, seen as, whether final as the first answer and after a success
    200: ("protocol", 200, True, False),  # of another type
    204: ("closed", 204, True, True),
    302: ("signed-out", 200, True, True),  # to a page of the same site
    400: ("protocol", 400, True, False),
    401: ("auth", 401, True, True),
    403: ("forbidden", 403, True, False),
    404: ("protocol", 404, True, False),
    408: ("server", 408, False, False),
    410: ("protocol", 410, True, False),
    429: ("server", 429, False, False),
    500: ("server", 500, False, False),
    502: ("server", 502, False, False),
    503: ("server", 503, False, False),
    504: ("server", 504, False, False),
}


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("is_after", [False, True], ids=["first", "after success"])
def test_answer_is_named(context, site, channel, method, is_after):
    """
    What is no event stream is told by kind and status, and is final where trying again is no use. A POST that
    was answered by a stream is over with it, and never sent again.
    """
    tab = Tab(context, site.page(channel)).opens()
    answers = tab(
        """async ([statuses, method, query]) => {
            const hear = async (status) => {
                const options = { method, body: method === "POST" ? "x" : undefined, retry: { max: 1 } };
                const source = new PushSource(`/answer/${status}${query}`, options);
                const told = await new Promise((take) => {
                    source.onerror = (error) => (error.kind || error.final) && take(error);
                });
                const { kind, status: seen, final } = told;
                const isClosed = source.readyState === PushSource.CLOSED;
                source.close();
                return [status, [kind, seen, final, isClosed]];
            };
            return Promise.all(statuses.map(hear));
        }""",
        [list(ANSWERS), method, "?after" if is_after else ""],
    )
    for status, told in answers:
        kind, seen_as, is_final_first, is_final_after = ANSWERS[status]
        is_final = method == "POST" or (is_final_after if is_after else is_final_first)
        expected = (
            ["closed", 200, True, True]
            if method == "POST" and is_after
            else [kind, seen_as, is_final, is_final]
        )
        assert told == expected, status
    assert tab.has(site.publish(channel))["count"] == 1


def test_strict_policy_is_kept(open_tab, site, channel):
    """Under default-src 'self' the scripts, the worker and the status element do nothing that is reported."""
    tab = open_tab(site.page(channel, share="auto"))
    assert tab.has(site.publish(channel))["count"] == 1
    tab.until("document.querySelector('sse-status').shadowRoot.textContent.includes('Live')")
    assert site.journal("report") == []
    guilty = open_tab(site.page(channel, "guilty"))
    guilty("document.head.append(Object.assign(document.createElement('style'), { textContent: 'p {}' }))")
    reports = eventually(lambda: site.journal("report"), 10, "what breaks the policy is reported")
    assert all("/guilty" in report for report in reports)


@pytest.mark.parametrize("last", [b"data: 2", "2 €".encode()[:-1]], ids=["event", "character"])
def test_cut_in_the_middle_loses_nothing(site, channel, proxy, far_tab, last):
    """A connection that breaks inside of an event, or of a character, loses none and brings none twice."""
    proxy.cut_after(last)
    site.publish(channel, 2)
    assert far_tab.has(3)["count"] == 3
    assert kinds(far_tab) == ["network"]


def test_killed_workers_lose_nothing(open_tab, site, channel):
    """Workers that are killed break the stream; the next ones go on where it was."""
    tab = open_tab(site.page(channel))
    tab.has(site.publish(channel))
    master = site.server.process.pid
    for worker in Path(f"/proc/{master}/task/{master}/children").read_text().split():
        os.kill(int(worker), signal.SIGKILL)
    assert tab.has(site.publish(channel, 3), 20)["count"] == 4
    first, *later = kinds(tab)
    assert first == "network"
    assert set(later) <= WHILE_WORKERS_START


def test_reload_of_the_server_is_no_failure(open_tab, site, channel):
    """On SIGHUP the stream ends cleanly: CONNECTING without a kind, and nothing is lost."""
    tab = open_tab(site.page(channel))
    tab.has(site.publish(channel))
    site.server.process.send_signal(signal.SIGHUP)
    tab.until("seen.errors.length", 20)
    assert tab.has(site.publish(channel, 3), 20)["count"] == 4
    error = tab.seen["errors"][0]
    assert (error["kind"], error["status"], error["final"]) == (None, 200, False)
    assert set(kinds(tab)) <= {None} | WHILE_WORKERS_START


def test_server_away_loses_nothing(open_tab, site, channel, tmp_path):
    """
    While the server is away for 5 s a page sees refused connections, or nginx's 502, and then all it missed.
    """
    with Nginx(tmp_path, PLAIN_NGINX, site.server.port) as nginx:
        direct = open_tab(site.page(channel))
        behind = open_tab(site.page(channel, at=f"http://127.0.0.1:{nginx.port}"))
        site.publish(channel)
        for tab in (direct, behind):
            tab.has(1)
        site.stop()
        direct.until("seen.errors.length > 2")
        behind.until("seen.errors.some((error) => error.status === 502)")
        direct.page.wait_for_timeout(5000 - 1000)
        last = site.publish(channel, 5)
        site.start()
        for tab in (direct, behind):
            assert tab.has(last, 20)["count"] == 6
        assert set(kinds(direct)) <= WHILE_WORKERS_START
        assert {"server"} < set(kinds(behind)) <= {"server"} | WHILE_WORKERS_START


def test_dead_link_is_noticed(site, channel, proxy, far_tab):
    """A link that dies without a word is noticed within a heartbeat and 5 s, and costs no event."""
    proxy.hold()
    held = far_tab("Date.now()")
    site.publish(channel, 2)
    far_tab.until("seen.errors.length", STALL_SECONDS + 3)
    error = far_tab.seen["errors"][0]
    assert (error["kind"], error["final"]) == ("stalled", False)
    assert 5000 < error["at"] - held < (STALL_SECONDS + 1.5) * 1000  # a tick of 1 s
    proxy.cut()
    proxy.flow()
    assert far_tab.has(site.publish(channel))["count"] == 4
    assert {"stalled", "network"} >= set(kinds(far_tab))


def test_offline_is_told_and_online_is_used_at_once(context, site, channel, proxy, far_tab):
    """A break while the browser is offline is told as that, and it reconnects as soon as it is online."""
    context.set_offline(True)
    assert far_tab.has(site.publish(channel))["count"] == 2  # an open stream goes on
    proxy.cut()
    far_tab.until("seen.errors.length")
    last = site.publish(channel, 2)
    errors = far_tab.seen["errors"]
    assert (errors[0]["kind"], errors[0]["final"]) == ("offline", False)
    assert errors[-1]["retryIn"] > 20_000  # the longest wait there is
    context.set_offline(False)
    assert far_tab.has(last, 2)["count"] == 4
    assert set(kinds(far_tab)) == {"offline"}


def test_frozen_page_catches_up(site, channel, far_tab, proxy):
    """
    A page that was frozen while its connection died has what it missed a second after it is active, without
    an error.
    """
    far_tab.freeze()
    proxy.lose()
    last = site.publish(channel, 5)
    far_tab.page.wait_for_timeout(40_000 if LONG else 2000)
    far_tab.thaw()
    assert far_tab.has(last, 2)["count"] == 6
    assert kinds(far_tab) == []


def test_back_and_forward_lose_nothing(open_tab, site, channel):
    """A page that comes out of the back/forward cache has what it missed, and saw no error."""
    tab = open_tab(site.page(channel))
    tab.has(site.publish(channel))
    tab.page.goto(site.page("elsewhere", "next"))
    eventually(lambda: site.streams(channel) == 0)
    last = site.publish(channel, 3)
    tab.page.go_back(wait_until="commit")
    assert tab.has(last)["restored"] == 1
    assert tab.seen["count"] == 4
    tab.page.go_forward(wait_until="commit")
    tab.until("seen.restored === 1")
    last = site.publish(channel, 3)
    tab.page.go_back(wait_until="commit")
    assert tab.has(last)["count"] == 7
    assert kinds(tab) == []
    assert tab.seen["restored"] == 2


def test_reloading_is_no_error(open_tab, site, channel):
    """A page that is reloaded 50 times while events come sees no error, and leaves no stream behind."""
    tab = open_tab(site.page(channel))
    before = site.journal("error")
    for _ in range(50):
        site.publish(channel)
        tab.page.reload()
    tab.opens().has(site.publish(channel))
    assert site.journal("error") == before
    eventually(lambda: site.streams(channel) == 1)


def test_memory_does_not_grow_with_events(open_tab, site, channel):
    """A page that has read many events holds no more than one that has read a tenth of them."""
    tab = open_tab(site.page(channel))
    devtools = tab.session()

    def used():
        devtools.send("HeapProfiler.collectGarbage")
        return devtools.send("Runtime.getHeapUsage")["usedSize"]

    def read(count):
        for _ in range(count // 1000):
            tab.has(site.publish(channel, 1000), 30)
        return used()

    before = read(10_000 if LONG else 2000)
    assert read(90_000 if LONG else 18_000) - before < 200_000
