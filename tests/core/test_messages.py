"""Messages: what becomes of the arguments of publish(), and of what a store gives back."""

import json

import pytest
from markupsafe import Markup

from flask_sse_push.core.messages import MAX_KEY_BYTES, check_stored, prepare, to_json
from flask_sse_push.core.wire import encode_fields
from flask_sse_push.errors import InvalidChannel, InvalidEvent

GOOD = b"data: x\n\n"


def prepared(data="x", *, type=None, id=None, retry=None, channel="news", key=None, max_bytes=100):
    return prepare(data, type, id, retry, channel, key, json.dumps, max_bytes)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({}, ("x", ("news",), GOOD, None)),
        ({"data": Markup("x"), "channel": Markup("news")}, ("x", ("news",), GOOD, None)),
        ({"data": {"id": 7}}, ('{"id": 7}', ("news",), b'data: {"id": 7}\n\n', None)),
        ({"channel": ["a", "b", "a"]}, ("x", ("a", "b"), GOOD, None)),
        ({"type": "created"}, ("x", ("news",), b"event: created\n" + GOOD, None)),
        ({"retry": 500}, ("x", ("news",), b"retry: 500\n" + GOOD, None)),
        ({"key": Markup("row 7")}, ("x", ("news",), GOOD, "row 7")),
    ],
)
def test_message_is_checked_and_encoded(arguments, expected):
    """The text, the channels, the block and the key come back, all of them plain values."""
    message = prepared(**arguments)
    assert message == expected
    assert all(value is None or type(value) in (str, tuple, bytes) for value in message)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"id": "7"}, '"id" is given by the bus'),
        ({"key": ""}, '"idempotency_key" must be 1 to 200 bytes of printable text'),
        ({"key": 7}, '"idempotency_key" must be'),
        ({"key": "a\nb"}, '"idempotency_key" must be'),
        ({"key": "ü" * (MAX_KEY_BYTES // 2 + 1)}, '"idempotency_key" must be'),
        ({"channel": "a b"}, '"channel" is not a name'),
        ({"channel": []}, '"channel" names no channel at all'),
        ({"type": "sse.reset"}, '"type" must not begin with'),
        ({"retry": 1}, '"retry" must be whole milliseconds'),
        ({"data": "x" * 93}, "SSE_PUSH_MAX_EVENT_BYTES allows 100"),
    ],
)
def test_message_that_cannot_be_sent_is_refused(arguments, message):
    """Each argument has its rule, and the error names it."""
    with pytest.raises((InvalidEvent, InvalidChannel), match=message):
        prepared(**arguments)


def test_message_may_be_as_large_as_the_limit():
    """The limit counts the bytes of the block, blank line included."""
    _, _, block, _ = prepared("x" * 92)
    assert len(block) == 100


def test_value_that_is_no_json_is_refused():
    """The error shows the value, or says that it is within itself."""
    endless = []
    endless.append(endless)
    with pytest.raises(InvalidEvent, match="got <object object at .* Convert it first"):
        to_json(object(), json.dumps)
    with pytest.raises(InvalidEvent, match="got a list within itself"):
        to_json(endless, lambda value: json.dumps(value, check_circular=False))
    with pytest.raises(InvalidEvent, match="the encoder gave something else for 7"):
        to_json(7, lambda value: b"7")


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


@pytest.mark.parametrize("size", [3, 400])
def test_stored_channels_are_split_alike_at_every_length(size):
    """Names that are remembered, and names that are too long for that, come back the same each time."""
    names = tuple(f"c{number}" for number in range(size))
    for text in ("\n".join(names), "\n".join(names).encode()):
        assert check_stored(text, GOOD, 100) == check_stored(text, GOOD, 100) == names


def test_stored_channels_in_use_are_checked_once():
    """All events of a channel share its name, and a name that was refused is refused again."""
    assert check_stored(b"shared", GOOD, 100) is check_stored(b"shared", GOOD, 100)
    for _ in range(2):
        with pytest.raises(InvalidChannel):
            check_stored(b"a b", GOOD, 100)
