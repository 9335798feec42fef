"""The bytes around the events: ids, the time to come back, and gaps."""

import json

from flask_sse_push.core.decoder import DecodedEvent, Decoder, decode
from flask_sse_push.core.wire import COMMENT, ID_BLOCK, RESET_TYPE, RETRY_LINE, come_back, reset


def test_reset_is_an_event_with_reason_and_channels():
    """A reset is dispatched as sse.reset with JSON data, and says where its client stands."""
    assert RESET_TYPE == "sse.reset"
    event = decode(reset("evicted", ("a", "b"), "now-5"))[0]
    assert event == DecodedEvent("sse.reset", event.data, "now-5")
    assert json.loads(event.data) == {"reason": "evicted", "channels": ["a", "b"]}


def test_id_block_moves_the_client_and_dispatches_nothing():
    """A client keeps the id of a block without data."""
    decoder = Decoder()
    assert decoder.feed(ID_BLOCK % b"e-7") == []
    assert decoder.last_event_id == "e-7"
    decoder.close()


def test_comment_is_no_event():
    """A heartbeat without news is a comment and leaves the id alone."""
    decoder = Decoder()
    assert decoder.feed(ID_BLOCK % b"e-7" + COMMENT) == []
    assert (decoder.comments, decoder.last_event_id) == ([""], "e-7")


def test_retry_line_may_begin_a_block():
    """The time to reconnect counts at once, and an event may follow in the same block."""
    decoder = Decoder()
    decoder.feed(RETRY_LINE % 2500)
    assert decoder.retry == 2500
    assert [event.data for event in decoder.feed(b"data: x\n\n")] == ["x"]


def test_client_that_is_to_come_back_keeps_its_id():
    """The body has no blank line, at which a client on a new connection would forget its id."""
    body = come_back("The server is full.", 7000)
    decoder = Decoder()
    assert decoder.feed(body) == []
    assert (decoder.retry, decoder.comments) == (7000, ["The server is full."])
    assert b"\n\n" not in body
    decoder.close()
