"""The decoder reads as the standard says, by the standard's own examples, and complains where a browser is silent."""

import pytest

from flask_sse_push.decoder import DecodedEvent, Decoder, decode
from flask_sse_push.errors import InvalidStream


def events(stream):
    """The events that are dispatched, as (type, data, last event id)."""
    return [(event.type, event.data, event.last_event_id) for event in Decoder().feed(stream)]


def test_example_of_three_messages():
    """WHATWG 9.2.1: three messages, the second of two lines."""
    stream = b"data: This is the first message.\n\ndata: This is the second message, it\ndata: has two lines.\n\ndata: This is the third message.\n\n"
    assert events(stream) == [
        ("message", "This is the first message.", ""),
        ("message", "This is the second message, it\nhas two lines.", ""),
        ("message", "This is the third message.", ""),
    ]


def test_example_of_event_types():
    """WHATWG 9.2.1: add and remove are types of their own."""
    assert events(b"event: add\ndata: 73857293\n\nevent: remove\ndata: 2153\n\nevent: add\ndata: 113411\n\n") == [
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
    assert events(FOUR_BLOCKS + b"\n") == [("message", "first event", "1"), ("message", "second event", ""), ("message", " third event", "")]


def test_example_of_four_blocks_without_the_last_blank_line():
    """WHATWG 9.2.6: the end of the stream does not dispatch the last block; here it is an error too."""
    decoder = Decoder()
    assert [event.data for event in decoder.feed(FOUR_BLOCKS)] == ["first event", "second event"]
    assert decoder.comments == ["test stream"]
    with pytest.raises(InvalidStream, match="must end with a blank line, got 'an open block'"):
        decoder.close()


def test_example_of_empty_data():
    """WHATWG 9.2.6: data without a value is an empty event, two of them a single newline, and an open block is discarded."""
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


@pytest.mark.parametrize("stream", [b"\xef\xbb\xbfdata: \xe2\x82\xac a\r\ndata: b\r\rid: 1\n\ndata: \xf0\x9f\x98\x80\r\n\r\n:c\n\n", FOUR_BLOCKS + b"\n"])
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
        (b"<html>\n", "got '<html>'"),
        (b"data: x", "must end with a blank line"),
        (b"data: x\n", "must end with a blank line"),
        (b": x\n", "must end with a blank line"),
        (b"data: x\n\ndata: \xc3", "UTF-8"),
    ],
)
def test_decoder_refuses_what_a_browser_drops_silently(stream, message):
    """Bytes that a browser would repair, ignore or discard are an InvalidStream."""
    with pytest.raises(InvalidStream) as caught:
        decode(stream)
    assert message in str(caught.value)
