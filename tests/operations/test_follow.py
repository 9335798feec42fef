"""Following a stream of a server that means no good, or knows no better."""

import gzip
import socket
import ssl
import subprocess
import threading
import time
from contextlib import suppress

import pytest
from hypothesis import given, settings

from flask_sse_push.operations.address import parse_address, parse_header
from flask_sse_push.operations.connection import RefusedStream
from flask_sse_push.operations.follow import _BrowserDecoder, follow
from tests.core.test_decoder import any_stream, by_the_letter, cuts, pieces_of
from tests.needs import needs
from tests.support import FACTOR, MS

HOSTILE = "\x1b]0;owned\x07\x9b2J\x7f\u202e\u2028\u200f"
"""Sequences that steer a terminal, in 7 and in 8 bits, and marks that turn or break a line."""

STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"


class Lost(Exception):
    """Raised by who is told: the test has seen enough."""


def dribble(*parts):
    """An answer that comes in whole parts, and then one byte after the other until the test ends."""

    def pieces(closing):
        yield from parts
        while not closing.wait(20 * MS):
            yield b"x"

    return pieces


class Answers:
    """A server on a socket: each connection gets the next answer, and the last one again and again."""

    def __init__(self, *answers, context=None):
        self.requests = []
        self._context = context
        self._answers = [*answers[:-1], *[answers[-1]] * 100]
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()
        self.address = parse_address(f"http://127.0.0.1:{self._listener.getsockname()[1]}/events")

    def _serve(self):
        for answer in self._answers:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            with sock:
                if self._closing.is_set():
                    return
                with suppress(OSError):  # the client has gone
                    self._answer(sock, answer)

    def _answer(self, sock, answer):
        if self._context is not None:
            sock = self._context.wrap_socket(sock, server_side=True)
        with sock:
            request = b""
            while b"\r\n\r\n" not in request:
                request += sock.recv(65_536)
            self.requests.append(request.decode("latin-1"))
            for piece in [answer] if isinstance(answer, bytes) else answer(self._closing):
                sock.sendall(piece)
                if self._closing.is_set():
                    return

    def sent(self, number, name):
        """The value of a header of a request, or None."""
        found = [
            line.partition(": ")[2]
            for line in self.requests[number].split("\r\n")
            if line.lower().startswith(name.lower() + ":")
        ]
        return found[0] if found else None

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self._closing.set()
        socket.create_connection(self._listener.getsockname()).close()
        self._thread.join()
        self._listener.close()


def followed(answers, events=1, headers=(), timeout=20.0, ends_with_loss=True, last_event_id=""):
    """So many events, what was said, and what a refusal said."""
    said, got = [], []

    def say(text):
        said.append(text)
        if ends_with_loss and "lost" in text:
            raise Lost

    chunks = follow(answers.address, headers, last_event_id, timeout * FACTOR, say)
    try:
        for _, come in chunks:
            got += come
            if len(got) >= events:
                break
    except Lost:
        pass
    except RefusedStream as refusal:
        said.append(str(refusal))
    finally:
        chunks.close()
    return got, said


@pytest.mark.parametrize(
    "answer",
    [
        lambda text: b"HTTP/1.1 403 No" + text + b"\r\nContent-Length: 0\r\n\r\n",
        lambda text: b"HTTP/1.1 503 No" + text + b"\r\nContent-Length: 0\r\n\r\n",
        lambda text: b"HTTP/1.1 301 Moved\r\nLocation: http://x/" + text + b"\r\nContent-Length: 0\r\n\r\n",
        lambda text: b"HTTP/1.1 200 OK\r\nContent-Type: text/" + text + b"\r\nContent-Length: 0\r\n\r\n",
        lambda text: (
            b'HTTP/1.1 403 No\r\nConnection: close\r\n\r\n{"message": "'
            + text.replace(b"\x1b", b"\\u001b").replace(b"\x07", b"\\u0007")
            + b'"}'
        ),
        lambda text: b"HTTP/1.1 2" + text + b"\r\n\r\n",
        lambda text: text + b"\r\n\r\n",
        lambda text: STREAM + b"color" + text + b": x\n\n",
        lambda text: STREAM + b"retry: " + text + b"\n\n",
        lambda text: STREAM + b"id: \0" + text + b"\n\n",
        lambda text: STREAM + text + b"\xff\n\n",
    ],
    ids=[
        "reason",
        "reason of a failure",
        "location",
        "content type",
        "message",
        "status",
        "no http",
        "field",
        "retry",
        "id",
        "broken",
    ],
)
@pytest.mark.parametrize("length", [1, 100])
def test_follow_says_nothing_that_steers_a_terminal(answer, length):
    """Whatever a server puts into its answer, what is said of it is printable and short."""
    with Answers(answer(HOSTILE.encode() * length)) as answers:
        _, said = followed(answers)
    assert said
    for text in said:
        assert text.isprintable()
        assert len(text) < 1000


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 4096,
        b'{"message": ' * 300,
        b'{"message": ["a"]}',
        b"[1]",
        b"<html>",
        b"\xff",
        b"",
        b'{"message": ""}',
    ],
)
def test_follow_takes_any_body_of_a_refusal(body):
    """A body that says nothing for people is left out, however deep its JSON is."""
    with Answers(b"HTTP/1.1 403 Forbidden\r\nContent-Type: application/json\r\n\r\n" + body) as answers:
        _, (said,) = followed(answers)
    assert said.endswith("answers 403 Forbidden. Look at the address, and at who may read it.")


def test_follow_waits_for_an_answer_as_long_as_it_was_told():
    """Headers that dribble in are a loss after the time-out, however short the pauses between them are."""
    with Answers(dribble(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nX-Slow: ")) as answers:
        begun = time.monotonic()
        _, said = followed(answers, timeout=0.3)
        assert time.monotonic() - begun < 5 * FACTOR
    assert said == [
        f"The stream is lost (its answer was not complete after {0.3 * FACTOR:g} s); trying again."
    ]


def test_follow_waits_no_longer_over_tls(tmp_path, monkeypatch):
    """
    Inside of TLS the answer has as long, and who has no certificate that is trusted is refused for good.
    """
    needs("openssl")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    make = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=localhost",
    ]
    subprocess.run(
        [*make, "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate],
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with Answers(dribble(b"HTTP/1.1 200 OK\r\nX-Slow: "), context=context) as answers:
        answers.address = parse_address(str(answers.address).replace("http:", "https:"))
        _, (refused,) = followed(answers)
        assert refused.startswith(f"{answers.address} cannot be trusted (")
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        begun = time.monotonic()
        _, said = followed(answers, timeout=0.3)
        assert time.monotonic() - begun < 5 * FACTOR
    assert said == [
        f"The stream is lost (its answer was not complete after {0.3 * FACTOR:g} s); trying again."
    ]


def test_follow_does_not_wait_for_the_body_of_a_refusal():
    """A refusal counts by its status; what it has to say may take as long as the time-out."""
    with Answers(dribble(b'HTTP/1.1 403 Forbidden\r\nContent-Length: 4000\r\n\r\n{"message": "')) as answers:
        begun = time.monotonic()
        _, said = followed(answers, timeout=0.3)
        assert time.monotonic() - begun < 5 * FACTOR
    assert said == [f"{answers.address} answers 403 Forbidden. Look at the address, and at who may read it."]


@pytest.mark.parametrize("piece", [b"x", b"data: " + b"x" * 1017 + b"\n"], ids=["line", "event"])
def test_follow_gives_up_an_event_without_an_end(piece):
    """What cannot be held is told once, and not asked for again."""
    many = piece * ((1 << 20) // len(piece))

    def endless(closing):
        yield STREAM
        while True:
            yield many

    with Answers(endless) as answers:
        _, said = followed(answers)
        assert len(answers.requests) == 1
    assert said == [
        f"{answers.address} sends an event of more than 64 MiB, and no end of it has come. "
        "Look at what answers there."
    ]


def test_follow_keeps_its_place():
    """A blank line before any id leaves the place of the connection before, and an empty id takes it back."""
    retry = STREAM + b"retry: 1\n"
    with Answers(
        retry + b"id: 7\ndata: a\n\n",
        retry + b"\ndata: b\n\n",
        retry + b"id\ndata: c\n\n",
        retry + b"data: d\n\n",
    ) as answers:
        events, said = followed(answers, 4, ends_with_loss=False)
        assert [(event.data, event.last_event_id) for event in events] == [
            ("a", "7"),
            ("b", "7"),
            ("c", ""),
            ("d", ""),
        ]
        assert [answers.sent(number, "Last-Event-ID") for number in range(4)] == [None, "7", "7", None]


def test_follow_tells_of_broken_utf8():
    """Bytes that are not UTF-8 are shown as a browser shows them, and told the first time."""

    def in_two_pieces(closing):
        yield STREAM + b"data: caf\xe9\n\n"
        closing.wait(50 * MS)  # if the client reads both pieces at once, it still tells of the first alone
        yield b": \xff\ndata: 2\n\n"

    with Answers(in_two_pieces) as answers:
        events, said = followed(answers, 2)
    assert [event.data for event in events] == ["caf\ufffd", "2"]
    assert said == [
        "This is not quite an event stream: the stream must be UTF-8, got b'\\xe9'. "
        "A browser would show U+FFFD."
    ]


@settings(max_examples=300)
@given(stream=any_stream, cuts=cuts)
def test_follow_reads_any_bytes_as_a_browser_does(stream, cuts):
    """Any bytes, cut anywhere, give the events of the standard, and what is said of them is printable."""
    seen, last_id, retry, comments, _ = by_the_letter(stream)
    decoder = _BrowserDecoder("")
    got = [
        (event.type, event.data, event.last_event_id)
        for piece in pieces_of(stream, cuts)
        for event in decoder.feed(piece)
    ]
    assert (got, decoder.last_event_id, decoder.retry, decoder.comments) == (seen, last_id, retry, comments)
    assert decoder.complaint.isprintable()


def test_follow_unpacks_nothing():
    """It asks for no compression, and what is packed all the same is read as it is: nothing grows."""
    packed = gzip.compress(b"data: x\n" * (1 << 20))
    with Answers(STREAM[:-2] + b"Content-Encoding: gzip\r\n\r\n" + packed) as answers:
        events, said = followed(answers)
        assert answers.sent(0, "Accept-Encoding") == "identity"
    assert events == []
    assert said[0].startswith("This is not quite an event stream: ")


def test_follow_sends_headers_beside_its_own_and_in_their_place():
    """The caller's headers are sent, in the place of those that it would send itself."""
    given = [
        parse_header(line)
        for line in (
            "authorization:Bearer caf\u00e9",
            "X-A: 1",
            "X-A: 2",
            "Accept: */*",
            "Host: shop.example",
        )
    ]
    with Answers(STREAM + b"data: x\n\n") as answers:
        address = parse_address(str(answers.address).replace("//", "//me:secret@"))
        answers.address = address
        followed(answers, headers=given, last_event_id="7")
        (request,) = answers.requests
    lines = request.split("\r\n")
    assert lines[0] == "GET /events HTTP/1.1"
    names = [line.partition(":")[0].lower() for line in lines[1:] if line]
    assert sorted(names) == [
        "accept",
        "accept-encoding",
        "authorization",
        "cache-control",
        "host",
        "last-event-id",
        "x-a",
        "x-a",
    ]
    assert "authorization: Bearer caf\u00c3\u00a9" in lines
    assert "Host: shop.example" in lines
