"""The reader of a Redis, on a server that answers what a Redis would, up to where the test has it stop."""

import contextlib
import threading
import time

import pytest

from tests.bus.redis_server import Toy
from tests.support import FACTOR, MS, eventually

redis = pytest.importorskip("redis")

from flask_sse_push.bus.redis.script import TOUCH  # noqa: E402

HALF = b"*1\r\n*2\r\n$3\r\nlog\r\n*1\r\n*2\r\n$3\r\n5-8\r\n"


class Hesitating:
    """A Redis whose log has seven entries, and that says of the next one only the half, or nothing at all."""

    def __init__(self, said):
        self.said, self.asked, self.connections = said, threading.Event(), 0

    def serve(self, connection):
        self.connections += 1
        buffer = connection.makefile("rb")
        while line := buffer.readline():
            words = []
            for _ in range(int(line[1:])):
                words.append(buffer.read(int(buffer.readline()[1:]) + 2)[:-2])
            if words[0] == b"XREAD":
                self.asked.set()
                connection.sendall(self.said)
            elif words[:2] == [b"EVALSHA", TOUCH.digest.encode()]:
                connection.sendall(b"*5\r\n$3\r\nabc\r\n$2\r\n5-\r\n:7\r\n:1700000000000\r\n$0\r\n\r\n")
            else:
                connection.sendall(b":1\r\n")


@pytest.mark.parametrize("said", [b"", HALF], ids=["nothing", "half"])
def test_reader_that_is_woken_returns_at_once(open_redis, said):
    """
    wake() ends a read wherever it waits, without an entry and without a fault, and the report is taken back
    after it.
    """
    server = Hesitating(said)
    with Toy(server.serve) as toy:
        bus = open_redis(f"redis://127.0.0.1:{toy.port}/0")
        with contextlib.closing(bus._open_reader()) as reader:
            epoch, came = reader.epoch(), []
            thread = threading.Thread(target=lambda: came.append(reader.read(epoch, 7, 1.0)))
            thread.start()
            assert server.asked.wait(5 * FACTOR)
            eventually(lambda: reader._is_reading)
            time.sleep(50 * MS)  # so that it waits for the second half; it is woken before that too
            begun = time.monotonic()
            reader.wake()
            thread.join(5 * FACTOR)
            assert time.monotonic() - begun < 0.5 * FACTOR
            assert came == [[]]
            reader.withdraw()
            assert server.connections == 2


def test_reader_that_is_woken_first_does_not_wait(open_redis):
    """A read that begins after wake() returns at once."""
    server = Hesitating(b"")
    with Toy(server.serve) as toy:
        bus = open_redis(f"redis://127.0.0.1:{toy.port}/0")
        with contextlib.closing(bus._open_reader()) as reader:
            epoch = reader.epoch()
            reader.wake()
            begun = time.monotonic()
            assert reader.read(epoch, 7, 1.0) == []
            assert time.monotonic() - begun < 0.5 * FACTOR


def test_reader_without_an_answer_meets_a_fault(open_redis):
    """A server that says nothing within the time of a read and a margin is a fault."""
    server = Hesitating(HALF)
    with Toy(server.serve) as toy:
        bus = open_redis(f"redis://127.0.0.1:{toy.port}/0")
        with contextlib.closing(bus._open_reader()) as reader:
            epoch = reader.epoch()
            begun = time.monotonic()
            with pytest.raises(redis.TimeoutError):
                reader.read(epoch, 7, 1.0)
            assert time.monotonic() - begun < 3 + FACTOR
