"""What may be published, and its bytes."""

import enum

import pytest
from markupsafe import Markup

from flask_sse_push.core.event import MAX_RETRY_MILLISECONDS, MIN_RETRY_MILLISECONDS, Event
from flask_sse_push.core.wire import encode
from flask_sse_push.errors import InvalidEvent, SSEPushError


@pytest.mark.parametrize(
    ("event", "wire"),
    [
        (Event("hello"), b"data: hello\n\n"),
        (Event(""), b"data: \n\n"),
        (Event(" two spaces"), b"data:  two spaces\n\n"),
        (Event("a\nb"), b"data: a\ndata: b\n\n"),
        (Event("a\rb"), b"data: a\ndata: b\n\n"),
        (Event("a\r\nb"), b"data: a\ndata: b\n\n"),
        (Event("a\n\rb"), b"data: a\ndata: \ndata: b\n\n"),
        (Event("a\n"), b"data: a\ndata: \n\n"),
        (Event("\n"), b"data: \ndata: \n\n"),
        (
            Event("a\x0bb\x0cc\x1cd\x1de\x1ef\x85g\u2028h\u2029i"),
            "data: a\x0bb\x0cc\x1cd\x1de\x1ef\x85g\u2028h\u2029i\n\n".encode(),
        ),
        (
            Event("x\rdata: injected\revent: evil\r\r"),
            b"data: x\ndata: data: injected\ndata: event: evil\ndata: \ndata: \n\n",
        ),
        (Event("\0"), b"data: \0\n\n"),
        (Event("né \U0001f600"), "data: né \U0001f600\n\n".encode()),
        (Event("\ufeffbom"), "data: \ufeffbom\n\n".encode()),
        (Event("x", type="created"), b"event: created\ndata: x\n\n"),
        (Event("x", retry=500), b"retry: 500\ndata: x\n\n"),
        (
            Event("x", "created", "own-1", 3_600_000),
            b"id: own-1\nevent: created\nretry: 3600000\ndata: x\n\n",
        ),
    ],
)
def test_encode_writes_one_block_with_lf_only(event, wire):
    """
    An event is one block of id, event, retry and data lines; CRLF, CR and LF begin a new data line, and
    nothing else does.
    """
    assert encode(event) == wire


def test_encode_prefers_the_position_over_the_events_own_id():
    """The id that is given to encode stands in the id line, not the event's."""
    assert encode(Event("x", id="own"), id="e-7") == b"id: e-7\ndata: x\n\n"


@pytest.mark.parametrize("event", [Event("a\ud800b"), Event("\udcff" * 50), Event("x", type="a\udfffb")])
def test_encode_refuses_a_lone_surrogate(event):
    """Text that no UTF-8 can hold is refused, with the place and the cure."""
    with pytest.raises(
        InvalidEvent, match=r"lone surrogate in '.+'\. Decode the text with errors=\"replace\" first\.$"
    ):
        encode(event)


class Kind(str, enum.Enum):
    CREATED = "created"


class Wait(int, enum.Enum):
    SECOND = 1000


@pytest.mark.parametrize(
    ("event", "wire"),
    [
        (lambda: Event(Kind.CREATED), b"data: created\n\n"),
        (lambda: Event("x", type=Kind.CREATED), b"event: created\ndata: x\n\n"),
        (lambda: Event("x", retry=Wait.SECOND), b"retry: 1000\ndata: x\n\n"),
        (lambda: Event("x", id=Kind.CREATED), b"id: created\ndata: x\n\n"),
    ],
    ids=["data", "type", "retry", "id"],
)
def test_encode_writes_the_value_that_was_checked(event, wire):
    """
    A member of an Enum over str or int is sent by its value, which is what was checked, and not by its name.
    """
    assert encode(event()) == wire


@pytest.mark.parametrize(
    ("event", "wire"),
    [
        (lambda: Event('{"a": "<"}', type=Markup("t")), b'event: t\ndata: {"a": "<"}\n\n'),
        (lambda: Event(Markup("<b>hi</b>"), type="it's"), b"event: it's\ndata: <b>hi</b>\n\n"),
        (
            lambda: Event(Markup("<b>\n</b>"), type="a&b", retry=1000),
            b"event: a&b\nretry: 1000\ndata: <b>\ndata: </b>\n\n",
        ),
    ],
    ids=["type", "data", "lines"],
)
def test_markup_escapes_nothing_beside_it(event, wire):
    """
    What a template gives is a Markup, which escapes every text that is added to it: it is sent as it is, and
    so is the rest.
    """
    assert encode(event()) == wire


@pytest.mark.parametrize("data", [None, 7, b"bytes", ["a"], bytearray(b"x")])
def test_event_takes_only_text(data):
    """Event's data is a str; everything else is the caller's to encode."""
    with pytest.raises(InvalidEvent, match=r'^"data" of an Event must be a str, got .*\. Encode it first'):
        Event(data)


@pytest.mark.parametrize(
    ("type", "message"),
    [
        ("", "non-empty str"),
        (7, "non-empty str"),
        (b"created", "non-empty str"),
        ("a\nb", "line break or NUL"),
        ("a\rb", "line break or NUL"),
        ("a\0b", "line break or NUL"),
        ("a\n", "line break or NUL"),
        ("open", "browsers use that name"),
        ("error", "browsers use that name"),
        ("sse.", "begin with 'sse.'"),
        ("sse.reset", "begin with 'sse.'"),
    ],
)
def test_type_that_cannot_be_sent_is_refused(type, message):
    """
    A type that would break the block, or belongs to the browser or to this package, is refused with its value
    shown.
    """
    with pytest.raises(InvalidEvent) as caught:
        Event("x", type=type)
    assert message in str(caught.value)
    assert repr(type) in str(caught.value)
    assert '"type"' in str(caught.value)


@pytest.mark.parametrize(
    "type",
    [
        "message",
        "created",
        "sse",
        "ssex",
        "Open",
        "errors",
        "a b",
        "a:b",
        "é",
        "hx:x",
        " a",
        "a\x85b",
        "a\u2028b",
    ],
)
def test_type_of_any_other_text_is_taken(type):
    """What is no line break, no NUL and not reserved is a type."""
    assert encode(Event("x", type=type)) == f"event: {type}\ndata: x\n\n".encode()


@pytest.mark.parametrize("retry", [MIN_RETRY_MILLISECONDS, 2000, MAX_RETRY_MILLISECONDS])
def test_retry_takes_its_whole_range(retry):
    """Retry may be anything from half a second to an hour."""
    assert Event("x", retry=retry).retry == retry


@pytest.mark.parametrize(
    "retry",
    [0, -1, MIN_RETRY_MILLISECONDS - 1, MAX_RETRY_MILLISECONDS + 1, 2.5, 1000.0, "1000", True, float("nan")],
)
def test_retry_out_of_range_is_refused(retry):
    """Retry that would make browsers hammer or stay away is refused, with the range."""
    with pytest.raises(
        InvalidEvent, match=r'^"retry" must be whole milliseconds from 500 to 3,600,000, got '
    ):
        Event("x", retry=retry)


@pytest.mark.parametrize("id", ["", "a b", "a\n", "a\0", "é", "a,b", "x" * 65, 7, b"a", "a\r", "\u0661"])
def test_own_id_that_a_client_would_drop_is_refused(id):
    """An id outside the alphabet, or longer than 64, could not be sent back and is refused."""
    with pytest.raises(InvalidEvent, match=r'^"id" must be 1 to 64 letters'):
        Event("x", id=id)


def test_event_is_a_value():
    """Events with the same fields are equal, hashable and cannot be changed."""
    event = Event("x", "created", "a", 500)
    assert event == Event("x", "created", "a", 500)
    assert hash(event) == hash(Event("x", "created", "a", 500))
    with pytest.raises(AttributeError):
        event.data = "y"


def test_invalid_event_is_a_value_error():
    """Who catches ValueError, or any error of the package, catches a refused event."""
    assert issubclass(InvalidEvent, ValueError)
    assert issubclass(InvalidEvent, SSEPushError)
