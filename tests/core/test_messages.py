"""Messages: what becomes of the arguments of publish(), and of what a store gives back."""

import json

import pytest
from markupsafe import Markup

from flask_sse_push.core.channels import CONTROL_CHANNEL
from flask_sse_push.core.messages import (
    MAX_KEY_BYTES,
    Message,
    check_stored,
    closing,
    forgetting,
    prepare,
    scope_of,
    to_json,
)
from flask_sse_push.core.wire import encode_fields
from flask_sse_push.errors import InvalidChannel, InvalidEvent

GOOD = b"data: x\n\n"


class Unanswered:
    """Has neither a truth nor a repr."""

    def __bool__(self):
        raise RuntimeError

    __repr__ = __bool__


def prepared(data="x", *, type=None, id=None, retry=None, channel="news", once=None, max_bytes=100, **more):
    return prepare(data, type, id, retry, channel, once, json.dumps, max_bytes, **more)


@pytest.mark.parametrize(
    ("arguments", "text", "message"),
    [
        ({}, "x", Message(("news",), GOOD)),
        ({"data": Markup("x"), "channel": Markup("news")}, "x", Message(("news",), GOOD)),
        ({"data": {"id": 7}}, '{"id": 7}', Message(("news",), b'data: {"id": 7}\n\n')),
        ({"channel": ["a", "b", "a"]}, "x", Message(("a", "b"), GOOD)),
        ({"type": "created"}, "x", Message(("news",), b"event: created\n" + GOOD)),
        ({"retry": 500}, "x", Message(("news",), b"retry: 500\n" + GOOD)),
        ({"once": Markup("row 7")}, "x", Message(("news",), GOOD, once="news row 7")),
        ({"key": Markup("AAPL"), "keep": True}, "x", Message(("news",), GOOD, "AAPL")),
        ({"close": True}, "x", Message(("news",), GOOD, closes=True)),
        (
            {"close": True, "key": "x", "keep": True, "once": "7"},
            "x",
            Message(("news",), GOOD, "x", closes=True, once="news 7"),
        ),
    ],
)
def test_message_is_checked_and_encoded(arguments, text, message):
    """The text, the channels, the block and the keys come back, all of them plain values."""
    assert prepared(**arguments) == (text, message)
    plain = (str, tuple, bytes, bool)
    assert all(value is None or type(value) in plain for value in prepared(**arguments)[1])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"id": "7"}, '"id" is given by the bus'),
        ({"once": ""}, '"idempotency_key" must be 1 to 200 bytes of printable text'),
        ({"once": 7}, '"idempotency_key" must be'),
        ({"once": "a\nb"}, '"idempotency_key" must be'),
        ({"once": "ü" * (MAX_KEY_BYTES // 2 + 1)}, '"idempotency_key" must be'),
        (
            {"key": "", "keep": True},
            "\"key\" must be 1 to 200 bytes of printable text, got ''. Use what names",
        ),
        ({"key": 7, "keep": True}, '"key" must be'),
        ({"key": "a\nb", "keep": True}, '"key" must be'),
        ({"close": "no"}, "\"close\" must be True or False, got 'no'. Leave it out for False."),
        ({"close": None}, '"close" must be True or False, got None'),
        ({"close": Unanswered()}, '"close" must be True or False, got a value that cannot be shown'),
        ({"key": "x", "keep": "false"}, "\"keep\" must be True or False, got 'false'"),
        ({"key": "x", "keep": 1}, '"keep" must be True or False, got 1'),
        ({"key": "x"}, '"key" and "keep" belong together, got key=\'x\' and keep=False. Give both'),
        ({"keep": True}, '"key" and "keep" belong together, got key=None and keep=True'),
        ({"channel": "a b"}, '"channel" is not a name'),
        ({"channel": "*control"}, '"channel" is not a name'),
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
    _, message = prepared("x" * 92)
    assert len(message.block) == 100


def test_idempotency_key_counts_for_a_set_of_channels():
    """The order does not matter, and no key of one set is that of another, whatever its text."""
    assert scope_of(("a", "b"), "7") == scope_of(("b", "a"), "7")
    sets = [("a",), ("b",), ("a", "b"), ("a", "b", "c"), ("ab",), ("a.b",)]
    keys = ["7", " 7", "a 7", "b 7", "  a 7"]
    scopes = {scope_of(channels, key) for channels in sets for key in keys}
    assert len(scopes) == len(sets) * len(keys)
    longest = scope_of(tuple("x" * 120 + f"{number:08}" for number in range(1_000)), "k" * MAX_KEY_BYTES)
    assert len(longest) <= 330
    assert all(scope.isprintable() for scope in [*scopes, longest])
    assert len(scope_of(("x" * 128,), "k" * MAX_KEY_BYTES)) <= 330


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


def test_stored_event_may_send_nothing():
    """What forgets a value or closes a channel has no block; and commands have a channel of their own."""
    assert check_stored("news", b"", 100) == ("news",)
    assert check_stored(CONTROL_CHANNEL, GOOD, 100) == (CONTROL_CHANNEL,)
    with pytest.raises(InvalidChannel):
        check_stored(f"news\n{CONTROL_CHANNEL}", GOOD, 100)


def test_message_that_closes_has_no_block():
    """It names its channels, each once, and nothing else; no channel is closed by leaving the name out."""
    assert closing(("a", "b", "a")) == Message(("a", "b"), b"", None, True)
    with pytest.raises(InvalidChannel):
        closing(())


def test_message_that_forgets_has_a_key_and_no_block():
    """The key is checked as that of a value is."""
    assert forgetting("prices", "AAPL") == Message(("prices",), b"", "AAPL")
    with pytest.raises(InvalidEvent, match='"key" must be 1 to 200 bytes'):
        forgetting("prices", "")


def test_stored_channels_in_use_are_checked_once():
    """All events of a channel share its name, and a name that was refused is refused again."""
    assert check_stored(b"shared", GOOD, 100) is check_stored(b"shared", GOOD, 100)
    for _ in range(2):
        with pytest.raises(InvalidChannel):
            check_stored(b"a b", GOOD, 100)
