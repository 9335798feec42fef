"""The protocol in which a server sends messages between its answers."""

import random

import pytest

redis = pytest.importorskip("redis")

from flask_sse_push.bus.redis.resp3 import Failure, Parser, Push, encode_command  # noqa: E402

SAID = (
    b"+OK\r\n:-7\r\n$3\r\na\r\n\r\n$-1\r\n_\r\n*-1\r\n*0\r\n#t\r\n,1.5\r\n"
    b">3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$0\r\n\r\n"
    b"%1\r\n+a\r\n*2\r\n:1\r\n~1\r\n:2\r\n"
    b"-ERR no\r\n!5\r\nERR x\r\n"
)
MEANT = [
    *(b"OK", -7, b"a\r\n", None, None, None, [], b"t", b"1.5"),
    Push([b"message", b"c", b""]),
    [b"a", [1, [2]]],
    *(Failure("ERR no"), Failure("ERR x")),
]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 1000])
def test_answers_and_messages_are_read_in_pieces_of_any_size(size):
    """What a server says means the same however the network cuts it."""
    parser, found = Parser(), []
    for start in range(0, len(SAID), size):
        found += parser.feed(SAID[start : start + size])
    assert found == MEANT
    assert [type(item) for item in found] == [type(item) for item in MEANT]


def test_message_that_stands_in_thousands_is_read_without_recursion():
    """Ten thousand messages before an answer are ten thousand messages and an answer."""
    message = b">1\r\n:1\r\n"
    assert Parser().feed(message * 10_000 + b":2\r\n") == [Push([1])] * 10_000 + [2]


WRONG = [
    *(b"\r\n", b"x\r\n", b":x\r\n", b":\r\n", b":--1\r\n", b":" + b"9" * 30 + b"\r\n"),
    *(b"$x\r\n", b"$-2\r\n", b"*-7\r\n", b"*" + b"9" * 18 + b"\r\n", b"*1\r\n" * 5000, b"+" + b"x" * 100_000),
]


@pytest.mark.parametrize("said", WRONG, ids=[said[:8].decode() for said in WRONG])
def test_bytes_that_are_no_answer_are_refused(said):
    """What is no Redis is an invalid response, however deep, long or large it says that it is."""
    with pytest.raises(redis.InvalidResponse):
        Parser().feed(said)


def test_random_bytes_are_values_or_an_invalid_response():
    """Some thousand answers with random changes raise nothing else."""
    seed = random.randrange(1 << 30)
    rnd = random.Random(seed)
    refused = 0
    for _ in range(3000):
        said = bytearray(SAID)
        for _ in range(rnd.randrange(1, 4)):
            said[rnd.randrange(len(said))] = rnd.randrange(256)
        try:
            Parser().feed(bytes(said))
        except redis.InvalidResponse:
            refused += 1
    assert refused > 100, seed


def test_command_is_written_in_words_of_any_kind():
    """Texts are UTF-8, numbers their digits, and bytes themselves."""
    assert (
        encode_command("SET", "é", b"\xff", 7)
        == b"*4\r\n$3\r\nSET\r\n$2\r\n\xc3\xa9\r\n$1\r\n\xff\r\n$1\r\n7\r\n"
    )
