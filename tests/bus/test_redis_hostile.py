"""A Redis that was written to by somebody else, and a server that is no Redis at all."""

import contextlib
import json
import logging
import random
import threading
import time

import pytest

from flask_sse_push.bus import BusOptions, Identity, open_bus
from flask_sse_push.bus.reports import summarize
from flask_sse_push.bus.store import LogChanged, Wanted
from flask_sse_push.core.messages import check_stored
from flask_sse_push.core.positions import parse
from flask_sse_push.errors import BusUnavailable, ChannelClosed, ConfigurationError, TooManyKept
from tests.bus.redis_server import EVENTS, LEASES, META, OPTIONS, Toy, publish
from tests.bus.stores import Follower, keep
from tests.needs import needs
from tests.support import FACTOR, MS, eventually


def text_of(number, milliseconds, before, /, **fields):
    """Return the text of an event as the script writes it, but for some fields."""
    values = {"number": f"{number}", "time": f"{milliseconds}", "cost": "470", "before": f"{before}"}
    values = {**values, "names": "a", "key": "", "block": "data: x\n\n", **fields}
    values = {name: value if isinstance(value, bytes) else value.encode() for name, value in values.items()}
    line = b" ".join(values[name] for name in ("number", "time", "cost", "before"))
    return b"\n".join([line, values["names"], values["key"], values["block"]])


def poison(server, bus, **fields):
    """Publish an event, and write another one in its place, as it is kept. Return its number."""
    id, client = publish(bus), server.client()
    now = 1000 * client.time()[0]
    client.lset(EVENTS, -1, text_of(id.sequence, now, id.sequence - 1, **fields))
    client.close()
    return id.sequence


POISON = {
    "a second event": {"block": "data: x\n\ndata: y\n\n"},
    "an id": {"block": "id: e-9\ndata: x\n\n"},
    "no blank line": {"block": "data: x\n"},
    "a carriage return": {"block": "data: x\rid: e-9\n\n"},
    "a signal of ours": {"block": 'event: sse.reset\ndata: {"reason": "epoch"}\n\n'},
    "a hostile retry": {"block": "retry: 0\ndata: x\n\n"},
    "no UTF-8": {"block": b"data: \xff\n\n"},
    "nothing": {"block": ""},
    "no channels": {"names": ""},
    "a channel that is no name": {"names": "a ,b"},
    "another channel": {"names": "b"},
    "channels in no UTF-8": {"names": b"a \xff"},
    "too much": {"block": b"data: " + b"x" * 70_000 + b"\n\n"},
    "no time": {"time": ""},
    "an absurd time": {"time": "9" * 400},
    "a time that is none": {"time": "nan"},
    "a field too many": {"before": "0 ?"},
    "a number before that is none": {"before": "-1"},
    "a number before that comes later": {"before": "99999"},
    "too many numbers before": {"before": "0,0"},
    "a key that is none": {"key": b"\xff"},
    "a key": {"key": "k"},
    "another number": {"number": "1"},
    "no number": {"number": "x"},
    "a number past counting": {"number": "9" * 30},
}


def test_poison_is_a_told_loss_and_no_outage(server, open_redis, caplog):
    """
    What publish() cannot have written in the place of an event is left out, told as a loss and once in the
    log, and everything behind it is read.
    """
    bus = open_redis()
    first = publish(bus).sequence
    for fields in POISON.values():
        number = poison(server, bus, **fields)
        late = Follower(open_redis()).up()
        assert late.lost() == number, fields
        assert number not in late.numbers(), fields
    last = publish(bus, "last").sequence
    follower = Follower(bus).up()
    assert follower.numbers() == [last]
    assert first < follower.lost() == last - 1
    assert caplog.text.count("are left out") == len(POISON) + 1  # once in each process
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


def test_messages_of_strangers_are_no_events(server, open_redis):
    """
    Messages that publish() cannot have sent are passed over: in the channel of an event, by number, epoch and
    form; and the next event comes.
    """
    bus, client = open_redis(), server.client()
    follower = Follower(bus).up()
    id = publish(bus)
    follower.wait(1)
    now, epoch = 1000 * client.time()[0], id.epoch.encode()
    forms = [fields for fields in POISON.values() if fields.get("key") != "k"]  # which is one of a message
    forged = [text_of(id.sequence + 1, now, id.sequence, **fields) for fields in forms]
    messages = [epoch + b" " + text for text in forged]
    messages += [b"", b" ", b"x", epoch, epoch + b" x", b"another " + text_of(9, now, 0), b"\xff" * 100]
    messages += [epoch + b" " + text_of(id.sequence, now, 0, block="data: again\n\n")]
    for message in messages:
        client.publish("{sse_push}:to:a", message)
    last = publish(bus, "last")
    eventually(lambda: follower.entries[-1].wire.endswith(b"last\n\n"), 5000 * MS)
    assert follower.numbers() == [id.sequence, last.sequence]
    assert follower.begun == [(id.epoch, 0)]
    assert follower.lost() == 0


def test_message_with_a_number_that_was_never_given_begins_anew(server, open_redis):
    """
    Who has been told of numbers that the server does not know reads nothing as if it were whole: a new log
    begins within seconds.
    """
    bus, client = open_redis(), server.client()
    follower = Follower(bus).up()
    id = publish(bus)
    text = text_of(1000, 1000 * client.time()[0], id.sequence)
    client.publish("{sse_push}:to:a", id.epoch.encode() + b" " + text)
    eventually(lambda: len(follower.begun) == 2, 10_000 * MS)
    assert publish(bus, "new").epoch != id.epoch
    eventually(lambda: follower.entries[-1].wire.endswith(b"new\n\n"), 5000 * MS)


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
    "a head at the end of counting": {"head": 10**14 - 1},
    "a head that was given before": {"head": 0},
    "a format that is none": {"format": "x"},
    "no format": {"format": None},
    "sums that are none": {"sums": "x"},
    "endless sums": {"sums": "nan " * 7},
    "large sums": {"sums": " ".join(["9" * 400] * 7)},
    "no sums": {"sums": None},
    "rules that are none": {"rules": "x", "digest": "y"},
    "nested rules": {"rules": "[" * 100_000, "digest": "y"},
    "no rules": {"rules": None, "digest": "y"},
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
    publish(bus, "before")
    client = server.client()
    for name, value in fields.items():
        client.hdel(META, name) if value is None else client.hset(META, name, value)
    id = publish(bus, "after")
    assert parse(str(id)) == id
    eventually(lambda: follower.texts()[-1:] == ["after"], 10_000 * MS)
    assert bus.inspect().head >= 1
    late = Follower(open_redis()).up()
    publish(bus, "late")
    eventually(lambda: late.entries[-1:] and late.entries[-1].wire.endswith(b"late\n\n"), 5000 * MS)


KEYS = [
    "channels",
    "events:a",
    "kept:a",
    "shared",
    "expiries",
    "oldest",
    "ended",
    "once",
    "once_ends",
    "leases",
]


@pytest.mark.parametrize("key", KEYS)
def test_key_of_another_kind_begins_a_new_log(server, open_redis, key):
    """A stranger's string in the place of one of our keys ends the log, and refuses no publisher."""
    bus = open_redis(options=OPTIONS._replace(retention=keep(length=1)))
    follower = Follower(bus, channels=("a", "b")).up()

    def use_all():
        publish(bus, "both", channel=("a", "b"))
        publish(bus, "both", once="once", channel=("a", "b"))
        publish(bus, "kept", key="key")
        publish(bus, None, key="key")
        publish(bus, "kept", key="key", channel="c")
        publish(bus, None, key="key", channel="c")
        bus.put_lease("lease", "x", 9)
        return publish(bus, "last")

    use_all()
    server.client().set(f"{{sse_push}}:{key}", "a stranger's")
    use_all()
    last = use_all()
    assert last == use_all()._replace(sequence=last.sequence) or key == "once_ends"
    eventually(lambda: follower.entries[-1].wire.endswith(b"last\n\n"), 5000 * MS)
    assert bus.leases("lease") == {"lease": "x"}


def test_random_bytes_in_any_key_are_a_fault_a_loss_or_a_new_log(server, open_redis):
    """
    Some thousand rounds of random writes into our keys: publishing and reading give what is right, or say
    that the bus is not available or begins anew; and in the end both work.
    """
    seed = random.randrange(1 << 30)
    rnd, client = random.Random(seed), server.client()
    bus = open_redis(options=OPTIONS._replace(retention=keep(length=5, max_bytes=20_000)))
    came = {"right": 0, "wrong": 0}
    reader = None
    for _ in range(2000):
        _spoil(client, rnd)
        try:
            name = rnd.choice("abc")
            publish(bus, rnd.choice(["x", "y" * 300]), channel=rnd.choice([name, ("a", "b", "c")]))
            publish(bus, rnd.choice(["v", None]), key=rnd.choice("kl"), channel=name)
            if rnd.random() < 0.1:
                publish(bus, None, closes=True, channel=name)
            json.dumps(summarize("redis", bus.inspect()))
            if reader is None:
                reader = bus._open_reader()
                head = reader.begin().head
            news = reader.tail([Wanted(channel, rnd.choice([None, 0, head])) for channel in "abc"], head)
            head = reader.read(news.head, 0).head
            for tail in news.tails:
                for entry in (*tail.past.entries, *tail.past.kept):
                    assert tail.past.channel in entry.channels, seed
            came["right"] += 1
        except (BusUnavailable, ChannelClosed, TooManyKept, LogChanged, *bus.faults):
            came["wrong"] += 1
            if reader is not None:
                reader.close()
                reader = None
    if reader is not None:
        reader.close()
    assert min(came.values()) > 100, (seed, came)
    client.delete(META)  # of which somebody may have made a string
    last = publish(bus, "last", channel="d")
    follower = Follower(bus, channels=("d",)).up()
    assert follower.numbers() == [last.sequence], seed


def _spoil(client, rnd):
    """Write something random into one of our keys, of the right kind or of another."""
    key = b"{sse_push}:" + rnd.choice(["meta", *KEYS]).encode()
    kind, noise = (
        client.type(key),
        rnd.choice([rnd.randbytes(rnd.randrange(20)), b"%d" % rnd.randrange(1 << 62), b""]),
    )
    if rnd.random() < 0.05:
        client.set(key, noise)
    elif rnd.random() < 0.1:
        client.delete(key)
    elif kind == b"hash":
        client.hset(key, rnd.choice(client.hkeys(key)) if rnd.random() < 0.8 else noise, noise)
    elif kind == b"list":
        client.lset(key, rnd.randrange(client.llen(key)), noise)
    elif kind == b"zset":
        client.zadd(key, {rnd.choice([b"a", noise]): rnd.choice([0, 1, 1e300, float("inf"), -5])})
    if rnd.random() < 0.2:
        client.publish("{sse_push}:to:a", noise)


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
            LEASES,
            f"report/p{number}",
            b"99999999999999 " + (report if isinstance(report, bytes) else report.encode()),
        )
    for number, end in enumerate([b"nan", b"inf", b"9" * 400, b"", b"-1"]):
        client.hset(LEASES, f"report/e{number}", end + b' {"streams": 5}')
    client.hset(
        LEASES,
        "report/good",
        json.dumps({"process": "p", "streams": 3, "channels": {"a": 3}, "news": [[1]]}).join(
            ["99999999999999 ", ""]
        ),
    )
    assert bus.inspect().reports == [{"process": "p", "streams": 3, "channels": {"a": 3}}]
    assert json.loads(json.dumps(summarize("redis", bus.inspect())))["streams"] == 3


class Fuzz:
    """
    A server that knows the commands of the bus, and answers some of them with anything at all.

    Args:
        seed (int): Which answers.
        share (float): How many of them are wrong.
        always (dict): What some commands answer every time, by their names.
    """

    def __init__(self, seed, share, always=None):
        from flask_sse_push.bus.redis.lease_script import LIST_LEASES, PUT_LEASE
        from flask_sse_push.bus.redis.publish_script import PUBLISH
        from flask_sse_push.bus.redis.script import TOUCH
        from flask_sse_push.bus.redis.tail_script import TAIL

        self.random, self.share, self.always = random.Random(seed), share, always or {}
        self.head = 0
        scripts = {"PUBLISH": PUBLISH, "TOUCH": TOUCH, "TAIL": TAIL, "PUT": PUT_LEASE, "LIST": LIST_LEASES}
        self.names = {script.digest.encode(): name for name, script in scripts.items()}
        self.names.update({script.text.encode(): name for name, script in scripts.items()})

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
        is_script = words[0] in (b"EVALSHA", b"EVAL")
        command = self.names[words[1]] if is_script else words[0].decode()
        now = int(time.time() * 1000)
        if command in self.always:
            return resp(self.always[command])
        text = text_of(self.head, now, self.head - 1)
        if command == "PUBLISH":
            self.head += 1
            return resp([b"abc", self.head, b""])
        if command in ("SUBSCRIBE", "UNSUBSCRIBE"):
            pushed = [[command.lower().encode(), name, 1] for name in words[1:] or [None]]
            return b"".join(b">" + resp(push)[1:] for push in pushed)
        told = b">" + resp([b"message", b"{sse_push}:to:a", b"abc " + text])[1:] if self.head else b""
        return told * (command == "TOUCH") + resp(
            {
                "HELLO": [b"proto", 3],
                "TOUCH": [b"abc", self.head, now, b""],
                "TAIL": [
                    b"abc",
                    self.head,
                    now,
                    [self.head, 0, 0, 0, [text] if self.head else [], [], 0, []],
                ],
                "PUT": now,
                "LIST": [b"report/x", b'{"streams": 1}'],
                "HMGET": [b"abc", b"%d" % self.head, b"7 1 0 0 1 0 0", None, None],
                "ZCARD": 1,
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
        bus = open_bus(f"redis://127.0.0.1:{toy.port}/0", BusOptions(keep(), 0.3 * FACTOR, **options))
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
            "PUBLISH": [epoch, 1, b""],
            "TOUCH": [epoch, 1, 1, b""],
            "HMGET": [epoch, b"1", b"7 1 0 0 1 0 0", None, None],
        },
    )
    for call in (lambda: publish(bus), bus.inspect, bus.head):
        with pytest.raises(BusUnavailable):
            call()
    with contextlib.closing(bus._open_reader()) as reader, pytest.raises(FAULTS):
        reader.begin()


def _tail(*numbers, last=9, more=0):
    texts = [text_of(number, 1_700_000_000_000, number - 1) for number in numbers]
    return [b"abc", 9, 1_700_000_000_000, [last, 0, 0, 0, texts, [], more, []]]


def test_tail_that_never_ends_is_a_fault(fuzzed):
    """A server that gives the same entries again and says that there are more, or none, ends every loop."""
    from flask_sse_push.bus.redis.faults import FAULTS

    for tail in (_tail(1, 2, more=1), _tail(more=1), [b"abc", 9, 1], [*_tail(1), *_tail(1)[3:]]):
        bus = fuzzed(0, 0, {"TOUCH": [b"abc", 9, 1_700_000_000_000, b""], "TAIL": tail})
        with contextlib.closing(bus._open_reader()) as reader:
            reader.begin()
            with pytest.raises(FAULTS):
                reader.tail([Wanted("a", 0)], 9)


@pytest.mark.parametrize("numbers", [(3, 2, 4), (4, 4), (5, 1)], ids=["falling", "twice", "back"])
def test_entries_in_no_order_are_a_loss(fuzzed, numbers):
    """Entries that do not rise are left out, and what they stand for counts as lost."""
    bus = fuzzed(0, 0, {"TOUCH": [b"abc", 9, 1_700_000_000_000, b""], "TAIL": _tail(*numbers)})
    with contextlib.closing(bus._open_reader()) as reader:
        reader.begin()
        (tail,) = reader.tail([Wanted("a", 0)], 9).tails
    came = [entry.sequence for entry in tail.past.entries]
    assert came == sorted(set(came))
    assert tail.past.lost_up_to >= numbers[1]


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
                assert publish(bus, number) is not None
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
            publish(bus)
        except BusUnavailable:
            pass
        try:
            reader = bus._open_reader()
            reader._subscriber._connection.set_patience(0.2 * FACTOR)  # a length of which half came
            try:
                head = reader.begin().head
                news = reader.tail([Wanted("a", 0), Wanted("b", None)], head)
                entries = [entry for tail in news.tails for entry in (*tail.past.entries, *tail.past.kept)]
                entries += [stored.entry for stored in reader.read(news.head, 0.02).entries]
                reader.report({})
                reader.ignore(["a"])
                entries += [stored.entry for stored in reader.read(news.head, 0).entries]
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
            bus = open_bus(url, BusOptions(keep(), 0.3 * FACTOR))
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
