"""The reader of a Redis, on a server that answers what a Redis would, up to where the test has it stop."""

import contextlib
import threading
import time

import pytest

from flask_sse_push.bus.store import Wanted
from tests.bus.redis_server import Toy
from tests.support import FACTOR, MS

redis = pytest.importorskip("redis")

from flask_sse_push.bus.redis.script import TOUCH  # noqa: E402
from flask_sse_push.bus.redis.tail_script import TAIL  # noqa: E402

HALF = b">3\r\n$7\r\nmessage\r\n$15\r\n{sse_push}:to:a\r\n$20\r\nabc 8 17"


class Hesitating:
    """A Redis whose log has seven entries, and that says of the next one only the half, or nothing at all."""

    def __init__(self, said, head=b":7\r\n"):
        self.said, self.head, self.reading = said, head, threading.Event()

    def serve(self, connection):
        buffer = connection.makefile("rb")
        while line := buffer.readline():
            words = []
            for _ in range(int(line[1:])):
                words.append(buffer.read(int(buffer.readline()[1:]) + 2)[:-2])
            if words[:2] == [b"EVALSHA", TOUCH.digest.encode()]:
                connection.sendall(b"*4\r\n$3\r\nabc\r\n:7\r\n:1700000000000\r\n$0\r\n\r\n")
            elif words[:2] == [b"EVALSHA", TAIL.digest.encode()]:
                tail = b"*8\r\n:7\r\n:0\r\n:0\r\n:0\r\n*0\r\n*0\r\n:0\r\n*0\r\n"
                connection.sendall(b"*4\r\n$3\r\nabc\r\n:7\r\n:1700000000000\r\n" + tail + self.said)
                self.reading.set()
            elif words[0] in (b"HELLO", b"HDEL"):
                connection.sendall(b":1\r\n")
            # A subscription needs no answer, and the question for the head gets none.


@pytest.mark.parametrize("said", [b"", HALF], ids=["nothing", "half"])
def test_reader_that_is_woken_returns_at_once(open_redis, said):
    """
    wake() ends a read wherever it waits, without an entry and without a fault, and the connection serves on.
    """
    with Toy(Hesitating(said).serve) as toy:
        bus = open_redis(f"redis://127.0.0.1:{toy.port}/0")
        with contextlib.closing(bus._open_reader()) as reader:
            head = reader.tail([Wanted("a", None)], reader.begin().head).head
            came = []
            thread = threading.Thread(target=lambda: came.append(reader.read(head, 1.0)))
            thread.start()
            time.sleep(50 * MS)  # so that it waits for the second half; it is woken before that too
            begun = time.monotonic()
            reader.wake()
            thread.join(5 * FACTOR)
            assert time.monotonic() - begun < 0.5 * FACTOR
            assert came == [([], 7, ())]
            if not said:
                reader.withdraw()


def test_server_that_answers_no_question_is_a_fault(open_redis):
    """A connection on which nothing comes any more is left within about three seconds."""
    from flask_sse_push.bus.redis.faults import FAULTS

    with Toy(Hesitating(b"").serve) as toy:
        bus = open_redis(f"redis://127.0.0.1:{toy.port}/0")
        with contextlib.closing(bus._open_reader()) as reader:
            head = reader.tail([Wanted("a", None)], reader.begin().head).head
            begun = time.monotonic()
            with pytest.raises(FAULTS):
                while True:
                    assert not reader.read(head, 1.0).entries
            assert 2 < time.monotonic() - begun < 3 + 2 * FACTOR
