"""What processes say of themselves, and what that makes together."""

import os
import sys
import threading

from flask_sse_push.bus import Snapshot
from flask_sse_push.bus.reports import MAX_REPORTED_CHANNELS, Reporter, summarize


def make(reporter, **changes):
    return reporter.make(
        **{
            "streams": 2,
            "published": 3,
            "last_event_id": "e-10",
            "channels": {"a": 2},
            "history": {"events": 1},
            "entries_read": 7,
            **changes,
        }
    )


def test_report_names_its_process():
    """Two reporters of one machine are told apart, also where a number of a process comes back."""
    one, other = make(Reporter()), make(Reporter())
    assert one["pid"] == other["pid"] == os.getpid()
    assert one["process"] != other["process"]
    assert one["streams"] == 2
    assert one["published"] == 3
    assert one["entries_read"] == 7


def test_report_counts_what_came_since_the_last():
    """
    The rate is of the bus, over the time between two reports; the first has none, and a new log begins
    without one.
    """
    reporter = Reporter()
    assert make(reporter, last_event_id="e-10")["events_per_second"] == 0
    assert make(reporter, last_event_id="e-1000000")["events_per_second"] > 1000
    assert make(reporter, last_event_id="f-2000000")["events_per_second"] == 0
    assert make(reporter, last_event_id=None)["events_per_second"] == 0


def test_report_may_be_asked_for_by_many_threads():
    """In a lone process each request for statistics makes one: no rate is below nought."""
    reporter, rates, interval = Reporter(), [], sys.getswitchinterval()

    def ask():
        for number in range(20_000):
            rates.append(make(reporter, last_event_id=f"e-{number}")["events_per_second"])

    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert min(rates) >= 0


def test_report_names_the_channels_with_the_most_listeners():
    """Where there are very many channels, the most heard are named and the others counted."""
    channels = {f"c{number}": number for number in range(1, MAX_REPORTED_CHANNELS + 11)}
    report = make(Reporter(), channels=channels)
    assert len(report["channels"]) == MAX_REPORTED_CHANNELS
    assert report["more_channels"] == 10
    assert min(report["channels"].values()) == 11


def test_summary_adds_up():
    """Streams and listeners are added, the slowest process gives the lag, the quickest the rate."""
    reports = [
        {
            "process": "b",
            "streams": 3,
            "channels": {"x": 3, "y": 1},
            "last_event_id": "e-90",
            "entries_read": 10,
            "events_per_second": 4.0,
            "more_channels": 0,
        },
        {
            "process": "a",
            "streams": 2,
            "channels": {"x": 2},
            "last_event_id": "e-100",
            "entries_read": 20,
            "events_per_second": 5.0,
            "more_channels": 2,
        },
    ]
    told = summarize("redis", Snapshot("e", 100, 50, 5000, 20, 3, reports))
    assert told["streams"] == 5
    assert told["channels"] == {"x": 5, "y": 1}
    assert told["lag"] == 10
    assert told["events_per_second"] == 5.0
    assert told["more_channels"] == 2
    assert told["last_event_id"] == "e-100"
    assert told["entries_read"] == 30
    assert told["history"] == {"events": 50, "bytes": 5000, "channels": 20, "kept": 3}
    assert [(process["process"], process["lag"]) for process in told["processes"]] == [("a", 0), ("b", 10)]


def test_summary_counts_a_process_once():
    """
    A process whose connection broke says how it is under another lease, until the old one has run out: what
    it said last counts.
    """
    reports = [
        {"process": "a", "uptime_seconds": 14.0, "streams": 3, "channels": {"x": 3}, "last_event_id": "e-9"},
        {"process": "b", "uptime_seconds": 5.0, "streams": 1, "channels": {"x": 1}, "last_event_id": "e-9"},
        {"process": "a", "uptime_seconds": 12.0, "streams": 4, "channels": {"x": 4}, "last_event_id": "e-7"},
    ]
    told = summarize("redis", Snapshot("e", 9, 9, 900, 1, 0, reports))
    assert told["streams"] == 4
    assert told["channels"] == {"x": 4}
    assert told["lag"] == 0
    assert [process["process"] for process in told["processes"]] == ["a", "b"]


def test_summary_of_a_process_in_another_log():
    """Who still follows a log that is gone has no lag that could be told."""
    told = summarize("redis", Snapshot("new", 3, 3, 300, 1, 0, [{"process": "a", "last_event_id": "old-90"}]))
    assert told["processes"][0]["lag"] is None
    assert told["lag"] == 0


def test_summary_of_nobody():
    """Without a process and without a log there are noughts."""
    told = summarize("sqlite", Snapshot("", 0, 0, 0, 0, 0, []))
    assert (told["streams"], told["channels"], told["lag"], told["last_event_id"], told["processes"]) == (
        0,
        {},
        0,
        None,
        [],
    )


def test_stats_of_all_processes_on_memory_are_those_of_this_one(app, sse, client):
    """In a lone process all is what this one has."""
    from flask_sse_push.testing import open_stream

    with open_stream(client, "/events?channel=news") as stream, app.app_context():
        sse.publish("x", channel="news")
        stream.read(1)
        told = sse.stats(all_processes=True)
    assert told["streams"] == 1
    assert told["channels"] == {"news": 1}
    assert told["history"]["events"] == 1
    assert told["lag"] == 0
    assert told["last_event_id"].endswith("-1")
    assert told["processes"][0]["pid"] == os.getpid()
