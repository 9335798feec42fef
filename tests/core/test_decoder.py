"""
The decoder reads as the standard says, by the standard's own examples, and complains where a browser is
silent.
"""

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flask_sse_push.core.decoder import (
    MAX_COMMENT_CHARACTERS,
    MAX_COMMENTS,
    MAX_EVENT_BYTES,
    DecodedEvent,
    Decoder,
    decode,
)
from flask_sse_push.errors import ConfigurationError, InvalidStream
from flask_sse_push.extension.settings import read_settings


def events(stream):
    """The events that are dispatched, as (type, data, last event id)."""
    return [(event.type, event.data, event.last_event_id) for event in Decoder().feed(stream)]


def test_example_of_three_messages():
    """WHATWG 9.2.1: three messages, the second of two lines."""
    stream = (
        b"data: This is the first message.\n\ndata: This is the second message, it\n"
        b"data: has two lines.\n\ndata: This is the third message.\n\n"
    )
    assert events(stream) == [
        ("message", "This is the first message.", ""),
        ("message", "This is the second message, it\nhas two lines.", ""),
        ("message", "This is the third message.", ""),
    ]


def test_example_of_event_types():
    """WHATWG 9.2.1: add and remove are types of their own."""
    assert events(
        b"event: add\ndata: 73857293\n\nevent: remove\ndata: 2153\n\nevent: add\ndata: 113411\n\n"
    ) == [
        ("add", "73857293", ""),
        ("remove", "2153", ""),
        ("add", "113411", ""),
    ]


def test_example_of_stocks():
    """WHATWG 9.2.6: YHOO, +2 and 10 are one event of three lines, once the blank line is there."""
    assert events(b"data: YHOO\ndata: +2\ndata: 10\n") == []
    assert events(b"data: YHOO\ndata: +2\ndata: 10\n\n") == [("message", "YHOO\n+2\n10", "")]


FOUR_BLOCKS = b": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n"


def test_example_of_four_blocks():
    """WHATWG 9.2.6: a comment, an event with an id, one that resets the id, and one with a leading space."""
    assert events(FOUR_BLOCKS + b"\n") == [
        ("message", "first event", "1"),
        ("message", "second event", ""),
        ("message", " third event", ""),
    ]


def test_example_of_four_blocks_without_the_last_blank_line():
    """WHATWG 9.2.6: the end of the stream does not dispatch the last block; here it is an error too."""
    decoder = Decoder()
    assert [event.data for event in decoder.feed(FOUR_BLOCKS)] == ["first event", "second event"]
    assert decoder.comments == ["test stream"]
    with pytest.raises(InvalidStream, match="must end with a blank line, got 'an open block'"):
        decoder.close()


def test_example_of_empty_data():
    """
    WHATWG 9.2.6: data without a value is an empty event, two of them a single newline, and an open block is
    discarded.
    """
    assert events(b"data\n\ndata\ndata\n\ndata:") == [("message", "", ""), ("message", "\n", "")]


def test_example_of_the_space_after_the_colon():
    """WHATWG 9.2.6: with and without the space after the colon the events are the same."""
    assert events(b"data:test\n\ndata: test\n\n") == [("message", "test", ""), ("message", "test", "")]


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        (b"", []),
        (b"\n\n\n", []),
        (b"event: a\n\n", []),
        (b"event: a\n\ndata: x\n\n", [("message", "x", "")]),
        (b"event:\ndata: x\n\n", [("message", "x", "")]),
        (b"event: a\nevent: b\ndata: x\n\n", [("b", "x", "")]),
        (b"id: 1\n\ndata: x\n\n", [("message", "x", "1")]),
        (b"id: 1\ndata: x\n\nid:\ndata: y\n\n", [("message", "x", "1"), ("message", "y", "")]),
        (b"id: 1\nid: 2\ndata: x\n\n", [("message", "x", "2")]),
        (b"data: a\r\ndata: b\r\n\r\n", [("message", "a\nb", "")]),
        (b"data: a\rdata: b\r\r", [("message", "a\nb", "")]),
        (b"data: a\rdata: b\n\r\ndata: c\n\n", [("message", "a\nb", ""), ("message", "c", "")]),
        (b"\xef\xbb\xbfdata: x\n\n", [("message", "x", "")]),
        (b"data: \xef\xbb\xbfx\n\n", [("message", "\ufeffx", "")]),
        (b":\n:\n\ndata: x\n\n", [("message", "x", "")]),
        ("data: a\x85b\u2028c\x0b\n\n".encode(), [("message", "a\x85b\u2028c\x0b", "")]),
        (b"data: a: b\n\n", [("message", "a: b", "")]),
        (b"data: \0\n\n", [("message", "\0", "")]),
        (b"retry: 1000\ndata: x\n\n", [("message", "x", "")]),
    ],
)
def test_decoder_reads_as_a_browser_does(stream, expected):
    """Types, ids, comments and all three line ends are read as the standard says."""
    assert events(stream) == expected
    assert [(event.type, event.data, event.last_event_id) for event in decode(stream)] == expected


@pytest.mark.parametrize(
    "stream",
    [
        b"\xef\xbb\xbfdata: \xe2\x82\xac a\r\ndata: b\r\rid: 1\n\ndata: \xf0\x9f\x98\x80\r\n\r\n:c\n\n",
        FOUR_BLOCKS + b"\n",
    ],
)
def test_decoder_reads_any_pieces(stream):
    """One byte at a time, or in two parts cut anywhere, the events are those of the whole."""
    whole = decode(stream)
    decoder = Decoder()
    assert [event for byte in stream for event in decoder.feed(bytes([byte]))] == whole
    for cut in range(len(stream) + 1):
        decoder = Decoder()
        assert decoder.feed(stream[:cut]) + decoder.feed(b"") + decoder.feed(stream[cut:]) == whole


def test_decoder_dispatches_at_the_cr():
    """A blank line that ends in CR is complete: the event does not wait for what may be an LF."""
    decoder = Decoder()
    assert decoder.feed(b"data: x\r\r") == [DecodedEvent("message", "x", "")]
    assert decoder.feed(b"\ndata: y\n\n") == [DecodedEvent("message", "y", "")]


def test_decoder_keeps_what_a_browser_keeps():
    """The last id changes with its block, the reconnection time at once, and comments are collected."""
    decoder = Decoder()
    assert (decoder.last_event_id, decoder.retry, decoder.comments) == ("", None, [])
    decoder.feed(b": hello\nretry: 2500\nid: 7\n")
    assert (decoder.last_event_id, decoder.retry, decoder.comments) == ("", 2500, ["hello"])
    decoder.feed(b"\n")
    assert decoder.last_event_id == "7"
    decoder.close()


@pytest.mark.parametrize(
    ("stream", "message"),
    [
        (b"data: \xff\n\n", "must be UTF-8, got b'\\xff'"),
        (b"data: \xed\xa0\x80\n\n", "must be UTF-8"),
        (b"id: a\0b\n\n", '"id" must not contain NUL'),
        (b"retry: soon\n\n", '"retry" must be ASCII digits'),
        (b"retry: -1\n\n", '"retry" must be ASCII digits'),
        (b"retry: 1.5\n\n", '"retry" must be ASCII digits'),
        (b"retry:\n\n", '"retry" must be ASCII digits'),
        ("retry: \u0661\n\n".encode(), '"retry" must be ASCII digits'),
        (b"retry: " + b"9" * 5000 + b"\n\n", '"retry"'),
        (b"date: x\n\n", "a field must be data, event, id or retry, got 'date'"),
        (b" data: x\n\n", "got ' data'"),
        (b"DATA: x\n\n", "got 'DATA'"),
        (b"data: x\n\n\xef\xbb\xbfdata: y\n\n", "got '\\ufeffdata'"),
        (b"<html>\n", "got '<html>'"),
        (b"data: x", "must end with a blank line"),
        (b"data: x\n", "must end with a blank line"),
        (b"id: 1\n", "must end with a blank line, got 'an open block'"),
        (b"event: a\n", "must end with a blank line, got 'an open block'"),
        (b"retry: 1000", "must end with a blank line, got 'retry: 1000'"),
        (b": x", "must end with a blank line, got ': x'"),
        (b"\xef\xbb", "UTF-8"),
        (b"data: x\n\ndata: \xc3", "UTF-8"),
    ],
)
def test_decoder_refuses_what_a_browser_drops_silently(stream, message):
    """Bytes that a browser would repair, ignore or discard are an InvalidStream."""
    with pytest.raises(InvalidStream) as caught:
        decode(stream)
    assert message in str(caught.value)


def test_decoder_counts_the_bytes_of_an_event():
    """
    The field lines of an event, each with its line end, may be max_event_bytes long together, and no more.
    """
    stream = b"id: 1\nevent: a\r\ndata: xy\n\n"
    size = len(b"id: 1\nevent: a\ndata: xy\n")
    for pieces in ([stream], [bytes([byte]) for byte in stream]):
        decoder = Decoder(max_event_bytes=size)
        assert [event.data for piece in pieces * 3 for event in decoder.feed(piece)] == ["xy"] * 3
        decoder = Decoder(max_event_bytes=size - 1)
        with pytest.raises(
            InvalidStream, match=rf"^an event must be at most {size - 1} bytes, .*max_event_bytes"
        ):
            for piece in pieces:
                decoder.feed(piece)


@pytest.mark.parametrize(
    "piece",
    [
        b"x" * 1000,
        b"data: " + b"x" * 994,
        b":" + b"x" * 999,
        b"data\n" * 200,
        b"id: 1\n" * 170,
        b"event: a\n" * 100,
        b"\xef\xbb\xbf" * 300,
    ],
)
def test_decoder_holds_a_bounded_event(piece):
    """A line, a comment or an event without an end is an InvalidStream once it is too long."""
    decoder = Decoder(max_event_bytes=10_000)
    with pytest.raises(InvalidStream, match=r"^an event must be at most 10,000 bytes"):
        for _ in range(30):
            decoder.feed(piece)
    for _ in range(30):
        with pytest.raises(InvalidStream):
            decoder.feed(b"x" * 10_001)
    held = sum(
        len(value) for value in vars(decoder).values() if isinstance(value, bytes | bytearray | str | list)
    )
    assert held < 20_000


def test_decoder_takes_the_largest_event_by_default():
    """Without a bound of its own it reads whatever SSE_PUSH_MAX_EVENT_BYTES can allow."""
    most = {"SSE_PUSH_MAX_EVENT_BYTES": MAX_EVENT_BYTES, "SSE_PUSH_HISTORY_BYTES": 1 << 40}
    assert read_settings(most).max_event_bytes == MAX_EVENT_BYTES
    with pytest.raises(ConfigurationError):
        read_settings({**most, "SSE_PUSH_MAX_EVENT_BYTES": MAX_EVENT_BYTES + 1})
    data = "x" * (MAX_EVENT_BYTES - len("data: \n\n"))
    (event,) = Decoder().feed(b"id: " + b"e" * 64 + b"\ndata: " + data.encode() + b"\n\n")
    assert event.data == data


def test_decoder_keeps_the_latest_comments():
    """Of the comments, the latest are kept, and of each the beginning."""
    decoder = Decoder()
    for number in range(MAX_COMMENTS + 10):
        decoder.feed(b": %d\n" % number)
    assert decoder.comments == [str(number) for number in range(10, MAX_COMMENTS + 10)]
    decoder.feed(b": " + "é".encode() * 5000 + b"\n")
    assert decoder.comments[-1] == "é" * MAX_COMMENT_CHARACTERS
    assert len(decoder.comments) == MAX_COMMENTS


def test_decoder_counts_no_comment_as_an_event():
    """Comments without a blank line between them may come for ever."""
    decoder = Decoder(max_event_bytes=100)
    for _ in range(1000):
        assert decoder.feed(b": still here\n") == []
    assert [event.data for event in decoder.feed(b"data: x\n\n")] == ["x"]


def cpu_seconds(pieces, count):
    """The least CPU time of three that a decoder needs for so many pieces."""
    took = []
    for _ in range(3):
        decoder, begun = Decoder(), time.thread_time()
        for _ in range(count):
            decoder.feed(pieces)
        took.append(time.thread_time() - begun)
    return min(took)


@pytest.mark.parametrize(
    "piece",
    [b"x" * 4096, b"x" * 3, b"data: y\n" * 64],
    ids=["a line without an end", "in small pieces", "an event without an end"],
)
def test_decoder_reads_in_linear_time(piece):
    """Eight times the bytes take about eight times as long, not sixty-four times."""
    few = 500 if len(piece) > 3 else 20_000
    assert cpu_seconds(piece, 8 * few) < 24 * cpu_seconds(piece, few)


@pytest.mark.parametrize(
    "stream",
    [
        b": This server is stopping. Come back.\nretry: 2000\n",
        b"retry: 2000\n",
        b": x\n",
        b"data: x\n\nretry: 1\n:\n",
        b"\xef\xbb\xbf",
        b"",
    ],
)
def test_decoder_takes_an_end_behind_retry_or_a_comment(stream):
    """What counts at once needs no blank line, which would let a client by the letter forget its place."""
    decode(stream)


def test_decoder_begins_with_an_empty_id():
    """The last event ID buffer is a connection's own: a blank line before any id leaves it empty."""
    first, second = Decoder(), Decoder()
    first.feed(b"id: 7\n\n")
    second.feed(b"\n")
    assert (first.last_event_id, second.last_event_id) == ("7", "")


@pytest.mark.parametrize(
    "stream",
    [
        b"x" * 5000 + b"\n",
        b"retry: " + b"x" * 5000 + b"\n",
        b"id: \0" + b"x" * 5000 + b"\n",
        b"data: " + b"x" * 5000,
    ],
)
def test_decoder_complains_in_a_bounded_message(stream):
    """Whatever is shown of a stream is short and printable."""
    for end in (b"", "\x1b[2J\x9b\u202e\u2028".encode()):
        with pytest.raises(InvalidStream) as caught:
            decode(end + stream)
        assert len(str(caught.value)) < 300
        assert str(caught.value).isprintable()


parts = [
    b"data",
    b"id",
    b"event",
    b"retry",
    b"color",
    b":",
    b": ",
    b" ",
    b"\r",
    b"\n",
    b"\r\n",
    b"\n\n",
    b"\0",
    b"1",
    b"12",
    b"x",
    b"\xef\xbb\xbf",
    b"\xef",
    b"\xbb",
    b"\xbf",
    b"\xc3",
    b"\xa9",
    b"\xe2\x82",
    b"\xac",
    b"\xff",
    b"\xed\xa0\x80",
    b"\xf0\x9f\x98\x80",
]
lines = [b"data: x\n", b"data\r\n", b"id: 7\n", b"id\r", b"event: a\n", b"retry: 1000\n", b":\n", b"\n"]
any_stream = st.lists(st.sampled_from(parts + lines * 2) | st.binary(max_size=4), max_size=20).map(b"".join)
cuts = st.lists(st.integers(0, 60), max_size=6) | st.just(range(200))


def by_the_letter(stream):
    """
    Read a whole stream as WHATWG 9.2.5 and 9.2.6 say, in the simplest way.

    Returns:
        The events, the last event ID string, the retry, the comments, and whether anything was repaired.
    """
    text = stream.decode("utf-8", "replace")
    try:
        stream.decode()
        sloppy = False
    except UnicodeDecodeError:
        sloppy = True
    *whole, rest = re.split("\r\n|\r|\n", text.removeprefix("\ufeff"))
    data, type, buffer, last_id, retry, comments, seen, pending = "", "", "", "", None, [], [], False
    for line in whole:
        if line == "":
            last_id, pending = buffer, False
            if data != "":
                seen.append((type or "message", data.removesuffix("\n"), last_id))
            data = type = ""
            continue
        if line[0] == ":":
            comments.append(line[1:].removeprefix(" "))
            continue
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        pending = pending or field in ("data", "event", "id")
        if field == "data":
            data += value + "\n"
        elif field == "event":
            type = value
        elif field == "id" and "\0" not in value:
            buffer = value
        elif field == "retry" and re.fullmatch("[0-9]{1,15}", value):
            retry = int(value)
        else:
            sloppy = True
    return seen, last_id, retry, comments, sloppy or pending or rest != ""


def pieces_of(stream, cuts):
    places = sorted({min(cut, len(stream)) for cut in cuts})
    return [stream[start:end] for start, end in zip([0, *places], [*places, len(stream)], strict=True)]


@settings(max_examples=600)
@given(stream=any_stream, cuts=cuts)
def test_decoder_reads_any_bytes_by_the_letter(stream, cuts):
    """
    Any bytes, cut anywhere, are read as the standard says, or refused if a browser would repair or drop any.
    """
    seen, last_id, retry, comments, sloppy = by_the_letter(stream)
    decoder, got = Decoder(), []
    try:
        for piece in pieces_of(stream, cuts):
            got += [(event.type, event.data, event.last_event_id) for event in decoder.feed(piece)]
        decoder.close()
    except InvalidStream:
        assert sloppy
        assert got == seen[: len(got)]
    else:
        assert not sloppy
        assert (got, decoder.last_event_id, decoder.retry, decoder.comments) == (
            seen,
            last_id,
            retry,
            comments,
        )
