"""Streams from the request to their last byte, stepped by hand."""

import re

import pytest

from flask_sse_push import SSEPush
from tests.app.helpers import make_app
from tests.scripted import LOOK_SECONDS

RETRY = re.compile(rb"^retry: (\d+)$", re.MULTILINE)


class Site:
    """An app whose streams a script reads."""

    def __init__(self, script, **settings):
        self.script = script
        self.sse = SSEPush()
        self.app = make_app(blueprint=self.sse, public_channels=["*"], bus_url="memory://", **settings)
        self.readers = []

    def open(self, channel="news", last_event_id=None):
        """Open a stream; its first bytes are sent when this returns."""
        headers = {} if last_event_id is None else {"Last-Event-ID": last_event_id}
        response = self.app.test_client().get(f"/events?channel={channel}", headers=headers)
        assert response.status_code == 200
        reader = self.script.reader(response.response)
        self.readers.append((reader, response))
        self.script.settle()
        return reader

    def publish(self, data, channel="news"):
        with self.app.app_context():
            return self.sse.publish(data, channel=channel)

    def streams(self):
        with self.app.app_context():
            return self.sse.stats()["streams"]

    def close(self):
        """Close all streams, as their server does, and let everything that looked after them end."""
        for task in self.script.named("reader"):
            self.script.interrupt(task)
        self.script.advance(5)


@pytest.fixture
def site(script):
    sites = []

    def make(**settings):
        sites.append(Site(script, **settings))
        return sites[-1]

    yield make
    for site in sites:
        site.close()


def test_event_wakes_the_stream(script, site):
    """A published event is sent as soon as the fan-out and the stream have had their turns."""
    site = site()
    reader = site.open()
    site.publish("hello")
    assert b"hello" not in reader.body
    script.settle()
    assert b"data: hello\n\n" in reader.body


def test_silent_streams_send_heartbeats_apart(script, site):
    """
    Streams that were opened together are each silent for at most the heartbeat's time, and do not all speak
    together.
    """
    site = site(heartbeat_seconds=8)
    readers = [site.open() for _ in range(40)]
    heard = [len(reader.chunks) for reader in readers]
    spoke = []
    for _ in range(8 * 4):
        script.advance(0.25)
        now = [len(reader.chunks) for reader in readers]
        spoke.append(sum(after > before for before, after in zip(heard, now, strict=True)))
        heard = now
    assert all(len(reader.chunks) >= 2 for reader in readers)
    # Two looks of the heartbeat have half of them each; together they would be 39 or 40.
    assert max(spoke) < 35, spoke


def test_retry_is_another_one_for_each_stream(script, site):
    """Each stream tells its client a time of its own to come back after, within half of the setting."""
    site = site(retry_milliseconds=2000)
    told = [int(RETRY.search(site.open().body)[1]) for _ in range(20)]
    assert all(1000 <= retry <= 3000 for retry in told)
    assert len(set(told)) > 10


def test_fanout_makes_way_for_others(script, site):
    """While a fan-out wakes many streams, whoever else is ready runs in between."""
    site = site()
    readers = [site.open() for _ in range(100)]
    script.look_seconds = 0.0005
    before = len(readers[0].chunks)
    seen = []

    def others():
        for _ in range(20):
            seen.append(sum(len(reader.chunks) > before for reader in readers))
            script.backend.give_way()

    script.backend.spawn(others, "others")
    site.publish("hello")
    script.settle()
    script.look_seconds = LOOK_SECONDS
    script.advance(0.1)
    assert all(b"hello" in reader.body for reader in readers)
    assert any(0 < count < 100 for count in seen), seen


def test_burst_waits_for_streams_that_can_read(script, site):
    """A loop that publishes more than the history holds loses nothing for a client that takes everything."""
    site = site(history_length=10)
    reader = site.open()

    def burst():
        for number in range(200):
            site.publish(f"event {number}.")

    script.look_seconds = 0.0001
    script.backend.spawn(burst, "burst")
    script.settle()
    script.look_seconds = LOOK_SECONDS
    script.advance(0.1)
    assert b"sse.reset" not in reader.body
    assert [int(number) for number in re.findall(rb"event (\d+)\.", reader.body)] == list(range(200))


def test_stream_whose_server_forgot_it_is_reclaimed(script, site):
    """
    A stream that was cut off and never closed gives back its place, though its server never comes for it.
    """
    site = site(write_timeout_seconds=2)
    reader = site.open()
    reader.is_writing = False
    site.publish("hello")
    script.settle()
    assert site.streams() == 1
    script.advance(2 + 1.5)
    assert site.streams() == 1
    script.advance(10)
    assert site.streams() == 0
