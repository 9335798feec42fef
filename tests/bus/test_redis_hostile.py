"""A Redis that was written to by somebody else, and a server that is no Redis at all."""

import contextlib
import json
import logging
import random
import threading
import time

import pytest

from flask_sse_push import BusUnavailable, ConfigurationError
from flask_sse_push.bus import BusOptions, Identity, Retention, open_bus
from flask_sse_push.bus.reader import LogChanged
from flask_sse_push.bus.reports import summarize
from flask_sse_push.core.decoder import Decoder
from flask_sse_push.core.messages import check_stored
from flask_sse_push.core.positions import parse
from flask_sse_push.streams.subscription import Subscription
from tests.bus.redis_server import LOG, META, OPTIONS, REPORTS, Toy, publish
from tests.bus.stores import Follower, block
from tests.bus.test_streams import make_hub
from tests.needs import needs
from tests.support import FACTOR, MS, eventually

GOOD = {"v": "1", "c": "a", "b": "data: x\n\n", "t": "1700000000000", "s": "500"}


def add(server, **fields):
    """Write an entry by hand, as if the script had: the next number, and whatever fields."""
    client = server.client()
    number = client.hincrby(META, "head", 1)
    seconds, _ = client.time()
    values = {**GOOD, "t": str(1000 * seconds), **fields}
    client.xadd(
        LOG,
        {name: value for name, value in values.items() if value is not None},
        id=f"{client.hget(META, 'generation').decode()}-{number}",
    )
    client.close()


POISON = {
    "a second event": {"b": "data: x\n\ndata: y\n\n"},
    "an id": {"b": "id: e-9\ndata: x\n\n"},
    "no blank line": {"b": "data: x\n"},
    "a carriage return": {"b": "data: x\rid: e-9\n\n"},
    "a signal of ours": {"b": 'event: sse.reset\ndata: {"reason": "epoch"}\n\n'},
    "a hostile retry": {"b": "retry: 0\ndata: x\n\n"},
    "no UTF-8": {"b": b"data: \xff\n\n"},
    "nothing": {"b": ""},
    "no block": {"b": None},
    "no channels": {"c": None},
    "a channel that is no name": {"c": "a\nb c"},
    "channels in no UTF-8": {"c": b"\xff"},
    "too much": {"b": b"data: " + b"x" * 70_000 + b"\n\n"},
    "no time": {"t": None},
    "an absurd time": {"t": "9" * 400},
    "a time that is none": {"t": "nan"},
    "a field too many": {"v": "1", "\xff": "1"},
    "a later version": {"v": "2"},
}


def test_entry_with_the_number_zero_is_none(server, open_redis):
    """0 is the place before the first event: an entry that somebody put there is left out."""
    bus = open_redis()
    publish(bus)
    client = server.client()
    client.delete(LOG)
    client.xadd(
        LOG, {**GOOD, "t": str(1000 * client.time()[0])}, id=f"{client.hget(META, 'generation').decode()}-0"
    )
    publish(bus)
    follower = Follower(bus).up()
    assert follower.numbers() == [2]


@pytest.mark.parametrize("where", ["before the follower", "while it follows"])
def test_poison_is_a_hole_and_no_outage(server, open_redis, caplog, where):
    """
    Entries that publish() cannot have made are left out, told once, and everything before, between and
    behind them is read.
    """
    bus = open_redis()
    follower = Follower(bus).up() if where == "while it follows" else None
    good = [publish(bus).sequence]
    for fields in POISON.values():
        add(server, **fields)
        good.append(publish(bus).sequence)
    follower = follower or Follower(bus).up()
    eventually(lambda: follower.numbers()[-1:] == good[-1:], 5000 * MS)
    kept = [number for number in follower.numbers() if number not in good]
    assert follower.numbers() == sorted(follower.numbers())
    assert set(good) <= set(follower.numbers())
    extra = 2 + 2 * list(POISON).index("a field too many")
    assert kept == [extra]  # a field that is not known harms nobody
    assert caplog.text.count("are left out") == 1
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


def test_poison_that_keeps_coming_ends_a_read_in_time(server, open_redis):
    """
    What cannot be read begins no wait anew: a follower reports, and sees that it is to stop, all the same.
    """
    bus = open_redis()
    position = publish(bus).sequence
    is_over = threading.Event()

    def poison():
        for _ in range(40):
            if not is_over.wait(100 * MS):
                add(server, b="data: x\n")

    thread = threading.Thread(target=poison)
    with contextlib.closing(bus._open_reader()) as reader:
        epoch = reader.epoch()
        thread.start()
        try:
            began = time.monotonic()
            assert reader.read(epoch, position, 0.5 * FACTOR) == []
            assert 0.4 * FACTOR < time.monotonic() - began < 2 * FACTOR
            behind = publish(bus).sequence
            assert [entry.sequence for entry in reader.read(epoch, position, 0)] == [behind]
        finally:
            is_over.set()
            thread.join()


def test_hole_is_told_to_streams(server, open_redis):
    """A stream that waits gets sse.reset in the place of what cannot be read, and then the next event."""
    bus = open_redis()
    hub = make_hub(bus)
    eventually(lambda: bus.health().state == "up", 5000 * MS)
    subscription = Subscription(hub, ("a",), None)
    decoder, bell = Decoder(), threading.Event()
    bell.wake, bell.is_pending = bell.set, False
    subscription.open(bell)
    decoder.feed(subscription.prelude())
    events = []

    def read(count):
        eventually(
            lambda: events.extend(decoder.feed(subscription.read())) or len(events) >= count, 5000 * MS
        )

    publish(bus, "one")
    read(1)
    add(server, b="id: e-9\ndata: forged\n\n")
    publish(bus, "two")
    read(3)
    subscription.close()
    assert [event.type for event in events] == ["message", "sse.reset", "message"]
    assert [events[0].data, events[2].data] == ["one", "two"]


META_POISON = {
    "an epoch that is none": {"epoch": "x\nid: forged\n\n"},
    "an epoch of bytes": {"epoch": b"\xff"},
    "a long epoch": {"epoch": "x" * 41},
    "an empty epoch": {"epoch": ""},
    "no epoch": {"epoch": None},
    "a head that is none": {"head": "x"},
    "no head": {"head": None},
    "an endless head": {"head": "inf"},
    "a head below zero": {"head": -1},
    "a head past counting": {"head": "9" * 30},
    "a head at the end of counting": {"head": (1 << 53) - 1},
    "a generation that is none": {"generation": "nan"},
    "a generation past counting": {"generation": "9" * 30},
    "bytes that are none": {"bytes": "x"},
    "endless bytes": {"bytes": "nan"},
    "a time that is none": {"seconds": "x", "max_bytes": "y", "max_events": "z"},
    "half of a retention": {"max_events": None},
    "garbage for an owner": {"owner": b"\xff\r\n-x", "routes": "\0" * 7, "apps": "\n", "served_at": "never"},
}


@pytest.mark.parametrize("fields", META_POISON.values(), ids=META_POISON)
def test_overwritten_record_of_the_log_heals(server, open_redis, fields):
    """
    Whatever somebody writes beside the log, the next publish is stored and read, in this log or a new one,
    under an id that is one.
    """
    bus = open_redis()
    follower = Follower(bus).up()
    publish(bus, "before")
    client = server.client()
    for name, value in fields.items():
        client.hdel(META, name) if value is None else client.hset(META, name, value)
    id = publish(bus, "after")
    assert parse(str(id)) == id
    eventually(
        lambda: any(entry.wire == f"id: {id}\ndata: after\n\n".encode() for entry in follower.entries),
        5000 * MS,
    )
    assert bus.health().state == "up"
    assert bus.inspect().head == id.sequence
    late = Follower(open_redis()).up()
    eventually(lambda: late.entries[-1:] and late.entries[-1].wire.endswith(b"after\n\n"), 5000 * MS)


def test_stream_key_at_the_end_of_its_numbers_begins_anew(server, open_redis):
    """A stranger's entry with the highest id there can be does not end publishing."""
    bus = open_redis()
    publish(bus)
    server.client().xadd(LOG, {"a": "b"}, id=f"{(1 << 64) - 1}-{(1 << 64) - 1}")
    assert publish(bus).sequence == 1
    assert publish(bus).sequence == 2


def test_absurd_size_and_time_of_an_entry_do_not_stop_the_clearing(server, open_redis):
    """
    What the oldest entry says of its size and its time, nobody has to believe: history stays within its
    bounds.
    """
    bus = open_redis(options=BusOptions(Retention(300, 1 << 24, 20), 5 * FACTOR))
    Follower(bus).up()
    publish(bus)
    add(server, s="nan", t="9" * 30)
    add(server, s="inf", t="inf")
    for _ in range(40):
        publish(bus)
    assert bus.inspect().events == 20
    assert 20 * 400 < bus.inspect().size_bytes < 20 * 1000


def test_entry_from_the_far_future_does_not_stop_the_clearing(server, open_redis):
    """
    The oldest entry goes when its time is one that no server's clock can have had, and what is too old
    behind it goes too.
    """
    bus = open_redis()
    publish(bus)
    server.client().delete(LOG)
    add(server, t="99999999999999")
    add(server, t="1000")
    publish(bus)
    assert bus.inspect().events == 1


def test_log_that_somebody_filled_is_read_within_the_bounds(server, open_redis):
    """
    A log with more than anybody publishes is read to its end, and no more of it is kept than the settings
    say.
    """
    bus = open_redis(options=BusOptions(Retention(300, 1 << 24, 50), 5 * FACTOR))
    publish(bus)
    for _ in range(200):
        add(server)
    follower = Follower(bus).up()
    assert follower.numbers() == list(range(152, 202))
    small = Follower(open_redis(options=BusOptions(Retention(300, 10 * 500), 5 * FACTOR))).up()
    assert 5 <= len(small.numbers()) <= 12 and small.numbers()[-1] == 201


REPORTS_POISON = [
    "[" * 100_000,
    '{"a":' * 100_000,
    "[]",
    "7",
    "null",
    "",
    "{",
    b"\xff",
    '{"streams": "many"}',
    '{"streams": 1e999}',
    '{"streams": -1}',
    '{"streams": ' + "9" * 400 + "}",
    '{"channels": ["a"]}',
    '{"channels": {"a": "b"}}',
    '{"channels": {"a\\u001b[2J": 1}}',
    '{"uptime_seconds": NaN}',
    '{"uptime_seconds": "x"}',
    '{"process": {"a": 1}}',
    '{"host": "\\ud800"}',
    '{"last_event_id": 7}',
    '{"news": "' + "x" * 600_000 + '"}',
]


def test_reports_that_are_none_are_left_out(server, open_redis):
    """
    Reports that are nested, huge, of other kinds, or end at no time are left out; what is left can be
    summed up and written as JSON.
    """
    client, bus = server.client(), open_redis()
    for number, report in enumerate(REPORTS_POISON):
        client.hset(
            REPORTS,
            f"p{number}",
            b"99999999999999 " + (report if isinstance(report, bytes) else report.encode()),
        )
    for number, end in enumerate([b"nan", b"inf", b"9" * 400, b"", b"-1"]):
        client.hset(REPORTS, f"e{number}", end + b' {"streams": 5}')
    client.hset(
        REPORTS,
        "good",
        json.dumps({"process": "p", "streams": 3, "channels": {"a": 3}, "news": [[1]]}).join(
            ["99999999999999 ", ""]
        ),
    )
    assert bus.inspect().reports == [{"process": "p", "streams": 3, "channels": {"a": 3}}]
    assert json.loads(json.dumps(summarize("redis", bus.inspect())))["streams"] == 3


@pytest.mark.parametrize("key", ["log", "meta", "keys", "reports"])
def test_keys_of_another_kind_are_told_by_whoever_needs_them(server, open_redis, key):
    """
    A key that is no stream or no hash makes publish and inspect raise BusUnavailable with the cure, or does
    not matter.
    """
    bus = open_redis()
    server.client().set(f"{{sse_push}}:{key}", "x")
    for call in (lambda: publish(bus, "x", "key"), bus.inspect):
        try:
            call()
        except BusUnavailable as error:
            assert "?prefix=shop" in str(error)


class Fuzz:
    """
    A server that knows the commands of the bus, and answers some of them with anything at all.

    Args:
        seed (int): Which answers.
        share (float): How many of them are wrong.
        always (dict): What some commands answer every time, by their names.
    """

    def __init__(self, seed, share, always=None):
        from flask_sse_push.bus.redis import script as redis_script

        self.random, self.share, self.always = random.Random(seed), share, always or {}
        self.head = 0
        self.names = {
            getattr(redis_script, name).digest.encode(): name for name in ("PUBLISH", "TOUCH", "REPORT")
        }

    def serve(self, connection):
        buffer = connection.makefile("rb")
        while line := buffer.readline():
            words = []
            for _ in range(int(line[1:])):
                size = int(buffer.readline()[1:])
                words.append(buffer.read(size + 2)[:-2])
            answer = self.good(words)
            if self.random.random() < self.share:
                answer = self.wrong(answer)
                if answer is None:
                    return connection.shutdown(2)
            connection.sendall(answer)

    def good(self, words):
        command = self.names.get(words[1], "EVAL") if words[0] == b"EVALSHA" else words[0].decode()
        now = int(time.time() * 1000)
        if command in self.always:
            return resp(self.always[command])
        if command == "PUBLISH":
            self.head += 1
            return resp([b"abc", self.head, 0])
        entry = [
            b"5-%d" % self.head,
            [b"v", b"1", b"c", b"a", b"b", b"data: x\n\n", b"t", b"%d" % now, b"s", b"500"],
        ]
        entries = [entry] if self.head else []
        return resp(
            {
                "TOUCH": [b"abc", b"5-", self.head, now, b""],
                "REPORT": now,
                "XRANGE": entries,
                "XREAD": [[b"log", entries]] if words[-1] == b"5-%d" % (self.head - 1) else None,
                "HMGET": [b"abc", b"%d" % self.head, b"7", None, None],
                "XLEN": len(entries),
                "HVALS": [b'%d {"streams": 1}' % (now + 5000)],
                "TIME": [b"%d" % (now // 1000), b"0"],
                "HDEL": 1,
            }.get(command)
        )

    def wrong(self, good):
        kind = self.random.randrange(12)
        if kind == 0:
            return (
                None if self.random.random() < 0.5 else good[: self.random.randrange(1, len(good))] + b"\r\n"
            )
        if kind == 1:
            return self.random.randbytes(self.random.randrange(1, 40)) + b"\r\n"
        if kind == 2:
            return b"*1\r\n" * 5000 + b":1\r\n"
        if kind == 3:
            return (
                self.random.choice(
                    [
                        b":" + b"9" * 400,
                        b":-1",
                        b":x",
                        b"$x",
                        b"$-7",
                        b"*x",
                        b"*-9",
                        b"*" + b"9" * 30,
                        b"$" + b"9" * 30,
                        b"+OK",
                        b"-",
                        b"-ERR no",
                        b"-NOSCRIPT x",
                        b"-MOVED 1 x",
                        b"-ASK",
                        b"-LOADING",
                        b"-READONLY no",
                    ]
                )
                + b"\r\n"
            )
        if kind < 8:
            return resp(self.anything(0))
        # The right answer with one thing changed.
        lines = good.split(b"\r\n")
        index = self.random.randrange(len(lines))
        lines[index] = self.random.choice(
            [
                b":7",
                b"$-1",
                b"*0",
                b"+x",
                b":-5",
                b":" + b"9" * 25,
                b"-ERR x",
                b"$1\r\n\n",
                b"$3\r\na\nb",
                lines[index] + b"0",
            ]
        )
        return b"\r\n".join(lines)

    def anything(self, depth):
        kind = self.random.randrange(9 if depth < 4 else 6)
        if kind > 5:
            return [self.anything(depth + 1) for _ in range(self.random.randrange(6))]
        return [
            None,
            self.random.randrange(-9, 1 << 70),
            b"x\nid: forged",
            self.random.randbytes(5),
            b"5-1",
            b"1",
        ][kind]


def resp(value):
    """Write a value as a server would."""
    if value is None:
        return b"$-1\r\n"
    if isinstance(value, int):
        return b":%d\r\n" % value
    if isinstance(value, bytes):
        return b"$%d\r\n%s\r\n" % (len(value), value)
    return b"*%d\r\n" % len(value) + b"".join(map(resp, value))


@pytest.fixture
def fuzzed():
    """Return a bus on a server with wrong answers."""
    needs(modules=["redis"])
    toys, buses = [], []

    def fuzzed(seed, share, always=None, **options):
        fuzz = Fuzz(seed, share, always)
        toy = Toy(fuzz.serve)
        toys.append(toy)
        bus = open_bus(
            f"redis://127.0.0.1:{toy.port}/0", BusOptions(Retention(300, 1 << 24), 0.3 * FACTOR, **options)
        )
        buses.append(bus)
        return bus

    yield fuzzed
    for bus in buses:
        bus.close()
    for toy in toys:
        toy.__exit__()


@pytest.mark.parametrize("epoch", [b"x\nid: forged", b"", b"x" * 41, b"\xff", b"a-b", 7, [b"x"]])
def test_epoch_that_is_none_is_refused_wherever_it_comes_from(fuzzed, epoch):
    """
    An epoch is copied into every id: one that would begin another line, or that no client could send back,
    is no answer.
    """
    from flask_sse_push.bus.redis.faults import FAULTS

    bus = fuzzed(
        0,
        0,
        {
            "PUBLISH": [epoch, 1, 0],
            "TOUCH": [epoch, b"5-", 1, 1, b""],
            "HMGET": [epoch, b"1", b"7", None, None],
        },
    )
    for call in (lambda: bus.publish(("a",), b"data: x\n\n"), bus.inspect):
        with pytest.raises(BusUnavailable):
            call()
    with contextlib.closing(bus._open_reader()) as reader, pytest.raises(FAULTS):
        reader.epoch()


def _page(*ids):
    return [[id, [b"v", b"1", b"c", b"a", b"b", b"data: x\n\n", b"t", b"1700000000000"]] for id in ids]


@pytest.mark.parametrize(
    "entries",
    [
        _page(b"5-4", b"5-3"),
        _page(b"5-4", b"5-4"),
        _page(*[b"5-%d" % number for number in range(1, 1001)]),
        _page(b"6-1"),
        _page(b"5--1"),
        _page(b"5-" + b"9" * 20),
        _page(b"5"),
        _page(b""),
    ],
    ids=[
        "falling",
        "twice",
        "the same page for ever",
        "another log for ever",
        "below zero",
        "endless",
        "half",
        "nothing",
    ],
)
def test_entries_in_no_order_are_a_fault(fuzzed, entries):
    """
    Entries that do not rise, repeat themselves or belong to another log each time are told as a fault, and
    end every loop.
    """
    from flask_sse_push.bus.redis.faults import FAULTS

    bus = fuzzed(
        0,
        0,
        {"TOUCH": [b"abc", b"5-", 2000, 1700000000000, b""], "XRANGE": entries, "XREAD": [[b"log", entries]]},
    )
    with contextlib.closing(bus._open_reader()) as reader:
        reader.epoch()
        with pytest.raises(FAULTS):
            reader.tail()
    with contextlib.closing(bus._open_reader()) as reader, pytest.raises(FAULTS):
        reader.read(reader.epoch(), 1000, 0)


@pytest.mark.parametrize("seed", range(3))
def test_answers_of_every_shape_are_answers_or_bus_unavailable(fuzzed, seed):
    """
    publish() and inspect() return what is one, or raise BusUnavailable (or that the log is another app's),
    whatever the server says.
    """
    bus = fuzzed(seed, 0.6, identity=(lambda: Identity("shop", frozenset())) if seed % 2 else None)
    came = {"right": 0, "wrong": 0}
    end = time.monotonic() + 0.8
    for number in range(400):
        try:
            if number % 2:
                id = bus.publish(("a",), block(number)).id
                assert parse(id) is not None
            else:
                snapshot = bus.inspect()
                assert snapshot.epoch == "" or parse(f"{snapshot.epoch}-{snapshot.head}") is not None
                json.dumps(summarize("redis", snapshot))
            came["right"] += 1
        except (BusUnavailable, ConfigurationError):
            came["wrong"] += 1
        if time.monotonic() > end and min(came.values()) > 10:
            break
    assert min(came.values()) > 10


@pytest.mark.parametrize("seed", range(3))
def test_reader_meets_faults_and_nothing_else(fuzzed, seed):
    """Following hands on entries that are some, or fails with what the follower knows as a fault."""
    from flask_sse_push.bus.redis.faults import FAULTS

    bus = fuzzed(seed, 0.4)
    came = {"entries": 0, "faults": 0}
    end = time.monotonic() + 1
    while time.monotonic() < end or min(came.values()) < 5:
        assert time.monotonic() < end + 20 * FACTOR, came
        try:
            bus.publish(("a",), b"data: x\n\n")
        except BusUnavailable:
            pass
        try:
            reader = bus._open_reader()
            reader._connection.set_patience(0.2 * FACTOR)  # a length of which half came
            try:
                epoch = reader.epoch()
                tail = reader.tail()
                entries = [*tail.entries, *reader.read(epoch, tail.position, 0)]
                reader.report({})
            finally:
                reader.close()
        except (*FAULTS, ConfigurationError, LogChanged):
            came["faults"] += 1
            continue
        for entry in entries:
            id, _, rest = entry.wire.partition(b"\n")
            assert parse(id.removeprefix(b"id: ").decode()) is not None
            check_stored("\n".join(entry.channels), rest, 65_536)
            came["entries"] += 1


@pytest.mark.parametrize("command", ["SENTINEL", "CLUSTER"])
def test_sentinel_and_cluster_that_answer_anything_are_faults(fuzzed, command):
    """What a Sentinel or a node says of the master's address is an address, or the bus is not available."""
    needs(modules=["redis"])
    for answer in ([b"h"], [b"a\nb", b"6379"], [[0, 16383, [b"h", 1 << 70]]], [None, None], 7):

        def serve(connection, answer=answer):
            while connection.recv(65_536):
                connection.sendall(resp(answer))

        with Toy(serve) as toy:
            url = (
                f"redis+{command.lower()}://127.0.0.1:{toy.port}/{'shop/0' if command == 'SENTINEL' else ''}"
            )
            bus = open_bus(url, BusOptions(Retention(300, 1 << 24), 0.3 * FACTOR))
            with pytest.raises(BusUnavailable):
                publish(bus)
            bus.close()


class TimeLimitError(Exception):
    """What a task queue raises out of a signal handler."""


def test_exceptions_of_others_are_not_taken_for_answers(open_redis):
    """An exception that a signal handler raises in the middle of an answer comes out as it is."""
    import signal

    from tests.support import alarms

    def strike(*_):
        raise TimeLimitError

    with Toy(lambda connection: connection.recv(65_536) and threading.Event().wait(1)) as toy:
        bus = open_redis(f"redis://127.0.0.1:{toy.port}/0", OPTIONS._replace(publish_timeout_seconds=5))
        with alarms(strike):
            signal.setitimer(signal.ITIMER_REAL, 0.1)
            with pytest.raises(TimeLimitError):
                publish(bus)
