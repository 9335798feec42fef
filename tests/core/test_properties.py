"""What holds for every event, every cut of the bytes, and every history of a log."""

import re

import httpx
import pytest
from httpx_sse import EventSource
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from flask_sse_push.core.cursor import Cursor
from flask_sse_push.core.decoder import Decoder, decode
from flask_sse_push.core.entry import (
    CHANNEL_OVERHEAD_BYTES,
    ENTRY_OVERHEAD_BYTES,
    PLACE_OVERHEAD_BYTES,
    Entry,
)
from flask_sse_push.core.event import RESERVED_PREFIX, RESERVED_TYPES, Event
from flask_sse_push.core.log import Log
from flask_sse_push.core.positions import EventId, parse
from flask_sse_push.core.retention import ChannelRetention, RetentionRules
from flask_sse_push.core.wire import encode
from flask_sse_push.errors import InvalidEvent

text = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=40)
# What could end a line, a field or a value, far more often than chance brings it.
hostile = st.text(alphabet=st.sampled_from("\r\n\0: \ufeff\u2028\u2029\x85\x0b\x0c\x1cadeitv"), max_size=40)
types = st.none() | (text | hostile | st.sampled_from(["message", "done", "a b"])).filter(
    lambda type: (
        type
        and not re.search("[\r\n\0]", type)
        and type not in RESERVED_TYPES
        and not type.startswith(RESERVED_PREFIX)
    )
)
tokens = st.text(alphabet="abXYZ019._~-", min_size=1, max_size=64)
events = st.builds(Event, text | hostile, types, st.none() | tokens, st.none() | st.integers(500, 3_600_000))


def normalised(data):
    """The data as a browser sees it: every line end is LF."""
    return data.replace("\r\n", "\n").replace("\r", "\n")


def expected(sent):
    """What is dispatched for a list of events, as (type, data, last event id)."""
    last_id, seen = "", []
    for event in sent:
        last_id = event.id or last_id
        seen.append((event.type or "message", normalised(event.data), last_id))
    return seen


def pieces(stream, cuts):
    """The bytes, cut at some places."""
    places = sorted({min(cut, len(stream)) for cut in cuts})
    return [stream[start:end] for start, end in zip([0, *places], [*places, len(stream)], strict=True)]


def read_by_httpx_sse(chunks):
    """What httpx-sse, which knows nothing of ours, makes of it."""
    response = httpx.Response(200, headers={"Content-Type": "text/event-stream"}, content=iter(chunks))
    return [(event.event, event.data, event.id) for event in EventSource(response).iter_sse()]


@given(sent=st.lists(events, max_size=4), cuts=st.lists(st.integers(0, 300), max_size=8))
def test_decoder_reads_what_was_encoded(sent, cuts):
    """
    Decoding what was encoded gives the events back, with line ends normalised, wherever the bytes are cut.
    """
    decoder = Decoder()
    seen = [event for piece in pieces(b"".join(map(encode, sent)), cuts) for event in decoder.feed(piece)]
    decoder.close()
    assert [(event.type, event.data, event.last_event_id) for event in seen] == expected(sent)
    retries = [event.retry for event in sent if event.retry is not None]
    assert decoder.retry == (retries[-1] if retries else None)


@given(sent=st.lists(events, max_size=4), cuts=st.lists(st.integers(0, 300), max_size=8))
def test_another_decoder_reads_what_was_encoded(sent, cuts):
    """A decoder that others wrote reads the same events, wherever the bytes are cut."""
    assert read_by_httpx_sse(pieces(b"".join(map(encode, sent)), cuts)) == expected(sent)


@given(event=events, id=tokens)
def test_encoded_event_is_one_block_of_lf(event, id):
    """Whatever is published, one block goes out: no CR, one blank line, and that at the end."""
    wire = encode(event, id)
    assert b"\r" not in wire
    assert wire.endswith(b"\n\n")
    assert wire.count(b"\n\n") == 1
    assert wire.startswith(b"id: " + id.encode() + b"\n")
    assert len(decode(wire)) == 1


@given(
    data=st.text(alphabet=st.characters(), max_size=20),
    type=st.none() | st.text(alphabet=st.characters(), max_size=10),
)
def test_any_text_is_sent_whole_or_refused(data, type):
    """No text, lone surrogates included, makes anything but one whole event or an InvalidEvent."""
    try:
        wire = encode(Event(data, type))
    except InvalidEvent:
        return
    (event,) = decode(wire)
    assert (event.type, event.data) == (type or "message", normalised(data))


@given(epoch=st.text(alphabet="abXYZ019._~", min_size=1, max_size=40), sequence=st.integers(0, 10**19 - 1))
def test_position_is_read_as_it_was_written(epoch, sequence):
    """Every position of every log survives its way through a client."""
    assert parse(str(EventId(epoch, sequence))) == EventId(epoch, sequence)


@given(text=st.text(alphabet=st.characters()) | st.from_regex(r"[a-z0-9]{0,5}-?[0-9]{0,25}"))
def test_any_text_is_a_position_or_none(text):
    """No Last-Event-ID raises, and one that is read is written the same."""
    id = parse(text)
    assert id is None or str(id) == text


@given(
    text=st.text(alphabet=st.characters()) | st.from_regex(r"(now|then)-[0-9]{1,3}", fullmatch=True),
    head=st.integers(0, 50),
)
def test_any_start_is_within_the_log(text, head):
    """
    Wherever a client says it stopped, the stream begins between 0 and the head, and says why when it cannot
    prove it.
    """
    log = Log("now", RetentionRules(ChannelRetention(5, 10.0), 1 << 20), head=head)
    start = log.place(("a",), text)
    assert 0 <= start.position <= head
    assert (start.reason is None) == (
        text == "" or (text.startswith("now-") and str(parse(text)) == text and parse(text).sequence <= head)
    )


CHANNELS = "abcd"
channel_sets = st.lists(st.sampled_from(CHANNELS), min_size=1, max_size=3, unique=True).map(tuple)
WIRE_BYTES = 8


class Reader:
    """A cursor with what it was given and told, so that every read can be judged."""

    def __init__(self, channels, position):
        self.cursor = Cursor(channels, position, "e")
        self.position = position
        self.told = dict.fromkeys(channels, -1)


class LogModel(RuleBasedStateMachine):
    """
    A list of everything that was ever published, beside a log that forgets.

    A reader gets exactly what came to its channels behind its position, or is told of the channels in which
    something is missing before it gets anything that came later.
    """

    @initialize(length=st.integers(1, 6), entries=st.integers(1, 12), batch=st.integers(1, 5))
    def begin(self, length, entries, batch):
        self.max_bytes = entries * (WIRE_BYTES + ENTRY_OVERHEAD_BYTES) + 2 * CHANNEL_OVERHEAD_BYTES
        rules = RetentionRules(ChannelRetention(length, 10.0), self.max_bytes)
        self.log = Log("e", rules, batch_bytes=batch * WIRE_BYTES)
        self.now = 0.0
        self.published = {}
        self.holes = []
        self.readers = []

    @rule(channels=channel_sets, times=st.integers(1, 8), seconds=st.sampled_from([0.0, 0.0, 1.0, 4.0]))
    def publish(self, channels, times, seconds):
        for _ in range(times):
            self.now += seconds
            sequence = self.log.head + 1
            self.published[sequence] = channels
            self.log.append(Entry(sequence, channels, b"%07d;" % sequence, self.now))

    @rule(channels=channel_sets, missing=st.integers(1, 3))
    def lose_some_on_the_way(self, channels, missing):
        self.holes += range(self.log.head + 1, self.log.head + 1 + missing)
        sequence = self.log.head + missing + 1
        self.published[sequence] = channels
        self.log.append(Entry(sequence, channels, b"%07d;" % sequence, self.now))

    @rule(seconds=st.sampled_from([0.5, 3.0, 9.0, 20.0]))
    def expire(self, seconds):
        self.now += seconds
        self.log.sweep(self.now)

    @rule(channels=channel_sets, back=st.integers(0, 20))
    def listen(self, channels, back):
        self.readers.append(Reader(channels, max(0, self.log.head - back)))

    @rule(which=st.integers(0, 20), times=st.integers(1, 4))
    def read(self, which, times):
        if self.readers:
            for _ in range(times):
                self.read_once(self.readers[which % len(self.readers)])

    def read_once(self, reader):
        before = reader.cursor.position
        batch = self.log.read(reader.cursor)
        after = reader.cursor.position
        got = [int(number) for number in batch.wire.split(b";")[:-1]]
        assert before <= after <= self.log.head
        assert got == sorted(set(got))
        assert batch.last == (got[-1] if got else 0)
        assert all(before < sequence <= after for sequence in got)
        wanted = [
            sequence
            for sequence, channels in self.published.items()
            if before < sequence <= after and set(channels) & set(reader.cursor.channels)
        ]
        assert set(got) <= set(wanted)
        for channel in batch.lost:
            mark = self.log.watermark(channel)
            assert mark > reader.told[channel], "told once"
            lost = [
                sequence
                for sequence, channels in self.published.items()
                if channel in channels and before < sequence <= mark
            ]
            assert lost or any(before < hole <= mark for hole in self.holes), "told only of what is lost"
            reader.told[channel] = mark
        for sequence in set(wanted) - set(got):
            for channel in set(self.published[sequence]) & set(reader.cursor.channels):
                assert reader.told[channel] >= sequence, "missing without a word"
        for hole in self.holes:
            if before < hole <= after:
                assert all(reader.told[channel] >= hole for channel in reader.cursor.channels), (
                    "a hole without a word"
                )
        return batch

    @invariant()
    def accounts_are_right(self):
        if hasattr(self, "log"):
            logs = self.log._channels.values()
            places = [(log.name, entry) for log in logs for entry in log.history]
            count = self.log.count()
            assert count["events"] == len({entry.sequence for _, entry in places})
            assert count["channels"] == len({name for name, _ in places})
            held = count["events"] * (WIRE_BYTES + ENTRY_OVERHEAD_BYTES)
            held += count["channels"] * CHANNEL_OVERHEAD_BYTES
            held += sum(PLACE_OVERHEAD_BYTES + len(name) for name, _ in places)
            assert self.log.size_bytes == held
            assert self.log.size_bytes <= self.max_bytes or count["events"] == 1
            assert len(self.log._channels._oldest) <= 2 * len(logs) + 64 + 3

    def teardown(self):
        if not hasattr(self, "log"):
            return
        for reader in self.readers:
            while reader.cursor.position < self.log.head:
                before = reader.cursor.position
                self.read_once(reader)
                assert reader.cursor.position > before, "no progress"
        self.log.sweep(float("inf"))
        assert set(self.log.count().values()) == {0}
        for reader in self.readers:
            self.read_once(reader)


TestLogModel = LogModel.TestCase
TestLogModel.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


@pytest.mark.parametrize("length", [1, 3, 8])
@given(published=st.lists(channel_sets, max_size=15), position=st.integers(0, 15), channels=channel_sets)
def test_resumed_cursor_reads_the_suffix_or_is_told(length, published, position, channels):
    """
    Who resumes reads exactly what came after, or is told first in which of its channels something is gone.
    """
    log = Log("e", RetentionRules(ChannelRetention(length, 10.0), 1 << 20))
    for sequence, names in enumerate(published, 1):
        log.append(Entry(sequence, names, b"%d;" % sequence, 0.0))
    batch = log.read(Cursor(channels, min(position, log.head), "e"))
    got = [int(number) for number in batch.wire.split(b";")[:-1]]
    suffix = [
        sequence
        for sequence, names in enumerate(published, 1)
        if sequence > position and set(names) & set(channels)
    ]
    gone = [sequence for sequence in suffix if sequence not in got]
    assert [sequence for sequence in suffix if sequence not in gone] == got
    for sequence in gone:
        assert set(published[sequence - 1]) & set(channels) <= set(batch.lost)
    for channel in batch.lost:
        assert len([names for names in published[position:] if channel in names]) > length
