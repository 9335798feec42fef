"""What a store gives back: an event of ours, or something that is refused."""

import json

import pytest

from flask_sse_push.core.wire import encode_fields
from flask_sse_push.core.stored import MAX_REPORT_BYTES, check_report, check_stored

GOOD = b"data: x\n\n"


@pytest.mark.parametrize(
    "fields",
    [
        ("", None, None),
        ("x", None, None),
        ("a\r\nb\rc\n\nd\n", None, None),
        ("id: 7\nevent: sse.reset\n\nretry: 0", None, None),
        ("data: data: ", "created", 500),
        ("\0\u2028ü", "ü: ", 3_600_000),
    ],
)
def test_stored_event_of_ours_is_taken(fields):
    """Whatever can be encoded is known again, and its channels come back, each once."""
    data, type, retry = fields
    block = encode_fields(data, type, None, retry)
    assert check_stored(b"news\norders\nnews", block, len(block)) == ("news", "orders")
    assert check_stored("news", block, len(block)) == ("news",)


@pytest.mark.parametrize(
    "block",
    [
        b"",
        b"\n",
        b"\n\n",
        b"\n\n\n\n",
        b"data: x",
        b"data: x\n",
        b"data: x\n\n\n",
        b"\ndata: x\n\n",
        b"data: x\n\ndata: y\n\n",
        b"data: x\nid: e-9\n\n",
        b"id: e-9\ndata: x\n\n",
        b"data: x\nid\n\n",
        b"data: x\rid: e-9\n\n",
        b"data: x\n: hidden\n\n",
        b"event: a\n\n",
        b"event: a",
        b"event: sse.reset\ndata: {}\n\n",
        b"event: open\ndata: x\n\n",
        b"event: \ndata: x\n\n",
        b"event: \xff\ndata: x\n\n",
        b"event: a\nevent: b\ndata: x\n\n",
        b"data: x\nevent: a\n\n",
        b"retry: 0\ndata: x\n\n",
        b"retry: -1\ndata: x\n\n",
        b"retry: 1_000\ndata: x\n\n",
        b"retry: " + b"9" * 10_000 + b"\ndata: x\n\n",
        b"retry: 1000",
        b"data: \xff\n\n",
        b"data: \xed\xa0\x80\n\n",
        b"data: " + b"x" * 93 + b"\n\n",
        None,
        7,
        "data: x\n\n",
        bytearray(GOOD),
        [GOOD],
    ],
)
def test_stored_block_that_is_none_is_refused(block):
    """A block that publish() cannot have made is a ValueError, of whatever type it is."""
    with pytest.raises(ValueError, match="."):
        check_stored("news", block, 100)


@pytest.mark.parametrize(
    "channels",
    [
        None,
        7,
        [],
        ["news"],
        "",
        b"",
        "a\n",
        "\na",
        "a b",
        b"\xff",
        "x" * 129,
        "a*",
        "\n".join(map(str, range(1001))),
    ],
)
def test_stored_channels_that_are_none_are_refused(channels):
    """Names that publish() cannot have checked are a ValueError, of whatever type they are."""
    with pytest.raises(ValueError, match="."):
        check_stored(channels, GOOD, 100)


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
