"""Reports that were read from a store: taken, or left out."""

import json

import pytest

from flask_sse_push.core.reports import MAX_REPORT_BYTES, check_report

GOOD_REPORT = {
    "process": "shop-1-a",
    "pid": 1,
    "host": "shop",
    "uptime_seconds": 1.5,
    "streams": 3,
    "published": 7,
    "last_event_id": None,
    "events_per_second": 0.0,
    "channels": {"news": 3},
    "more_channels": 0,
    "history": {"events": 1},
}


def test_stored_report_is_taken():
    """A report comes back as it was made, as text or as UTF-8; what a later version may add is left out."""
    assert check_report(json.dumps(GOOD_REPORT)) == GOOD_REPORT
    assert check_report(json.dumps({**GOOD_REPORT, "news": [[1]]}).encode()) == GOOD_REPORT
    assert check_report(json.dumps({"last_event_id": "e-7"})) == {"last_event_id": "e-7"}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "7",
        "null",
        b"\xff",
        "[" * 100_000,
        '{"news": "' + "x" * MAX_REPORT_BYTES + '"}',
        '{"process": 7}',
        '{"host": "a\\nb"}',
        '{"host": "\\ud800"}',
        '{"host": "' + "x" * 1000 + '"}',
        '{"pid": 1.5}',
        '{"streams": true}',
        '{"streams": -1}',
        '{"streams": ' + "9" * 400 + "}",
        '{"uptime_seconds": NaN}',
        '{"uptime_seconds": Infinity}',
        '{"uptime_seconds": "1"}',
        '{"last_event_id": 7}',
        '{"channels": 7}',
        '{"channels": {"news": -1}}',
        '{"channels": {"a b": 1}}',
        '{"history": {"events": "1"}}',
    ],
)
def test_stored_report_that_is_none_is_left_out(text):
    """What no process can have said of itself is no report, and never an error."""
    assert check_report(text) is None
