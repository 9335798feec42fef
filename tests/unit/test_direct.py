"""Delivery straight to the client's socket, in greenlets of a real loop and over real sockets."""

import gc
import os
import socket
import tempfile
import threading
import time
from types import SimpleNamespace

import pytest

from flask_sse_push.core.session import Cause
from flask_sse_push.platform.server import Connection, Server
from flask_sse_push.streams.registry import process_registry
from flask_sse_push.streams.stream import StreamInfo
from tests.needs import needs
from tests.support import MS

from .parts import HandSource, Observed, stream_options

INFO = StreamInfo(("news",), None, "127.0.0.1")


class Site:
    """
    A stream that a greenlet sends as gunicorn's worker does, with gunicorn's own response, and its client's
    end.

    The worker is one that was never started: nothing of it runs but the question whether it is to stop.
    """

    def __init__(self, *chunks, source=None, version=(1, 1), asks=True, headers=(), **options):
        import gevent
        import gevent.socket
        from gunicorn.config import Config
        from gunicorn.http.wsgi import Response
        from gunicorn.workers.ggevent import GeventWorker

        from flask_sse_push.streams.direct import DirectStream

        self.gevent = gevent
        self.ours, self.theirs = gevent.socket.socketpair()
        self.ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        self.source, self.observed, self.raw = source or HandSource(*chunks), Observed(), b""
        self.worker = GeventWorker.__new__(GeventWorker)
        self.worker.cfg, self.worker.alive, self.worker.sockets = Config(), True, []
        self.worker.pid, self.worker.ppid = os.getpid(), os.getppid()
        self.worker.tmp = tempfile.TemporaryFile()
        request = SimpleNamespace(version=version, method="GET", should_close=lambda: True)
        self.response = Response(request, self.ours, self.worker.cfg)
        self.response.start_response("200 OK", list(headers))
        self.stream = DirectStream(self.source, stream_options(**options), INFO, self.observed, 100)
        self.stream.connection = Connection(
            Server("a test", self.worker), self.ours, self.response.start_response, lambda: None
        )
        self.asks = asks
        self.server = gevent.spawn(self.serve)
        gevent.sleep(0)

    def serve(self):
        if self.asks:
            self.worker.is_already_handled(self.stream)
        try:
            for chunk in self.stream:
                self.response.write(chunk)
        except OSError:
            pass  # the client has gone, or was cut off
        finally:
            self.stream.close()
            self.ours.close()

    def arrived(self):
        """What the client has got, without letting anybody else run."""
        try:
            while chunk := self.theirs._sock.recv(1_000_000):
                self.raw += chunk
        except BlockingIOError:
            pass
        body = self.raw.partition(b"\r\n\r\n")[2]
        return dechunked(body) if self.response.chunked else body

    def until(self, condition):
        """Let the loop run until something holds."""
        end = time.monotonic() + 5_000 * MS
        while not condition():
            assert time.monotonic() < end, f"not in time; arrived: {self.arrived()[-100:]}"
            self.gevent.sleep(0.001)

    def close(self):
        self.theirs.close()
        self.server.kill()
        self.worker.tmp.close()


def dechunked(raw):
    """The body in a chunked one, as far as it has come; no byte between the chunks is anything else."""
    body = b""
    while raw:
        size, _, rest = raw.partition(b"\r\n")
        body += rest[: int(size, 16)]
        raw = rest[int(size, 16) :]
        assert raw[:2] in (b"\r\n", b"\r", b"")
        raw = raw[2:]
    return body


@pytest.fixture
def site(monkeypatch):
    """Make sites in a greenlet: ``run(test)`` calls it with a function that makes them."""
    needs(modules=["gevent", "gunicorn"])
    import gevent

    for module in ("registry", "drain"):
        monkeypatch.setattr(f"flask_sse_push.streams.{module}.TICK_SECONDS", 0.01)
    sites = []

    def make(*chunks, **options):
        sites.append(Site(*chunks, **options))
        return sites[-1]

    def run(test):
        def work():
            try:
                test(make)
            finally:
                for site in sites:
                    site.close()
                end = time.monotonic() + 5_000 * MS
                while process_registry.get()._hangups is not None:  # until the heartbeat has ended
                    assert time.monotonic() < end
                    gevent.sleep(0.005)

        gevent.spawn(work).get()

    yield run
    gc.collect()


def test_who_wakes_a_stream_writes_its_bytes(site):
    """What is published is in the socket when wake() returns: no other greenlet has run."""

    def test(make):
        site = make(b"data: first\n\n")
        site.until(lambda: b"first" in site.arrived())
        assert site.stream.is_direct
        site.source.give(b"data: one\n\n", b"data: two\n\n")
        assert site.arrived().endswith(b"data: first\n\ndata: one\n\ndata: two\n\n")
        assert site.observed == [("opened", True)]

    site(test)


@pytest.mark.parametrize("last", [(), (b"data: last\n\n",), (b"data: one\n\n", b"data: last\n\n")], ids=len)
def test_stream_that_is_written_to_directly_ends_with_its_source(site, last):
    """
    What wakes a stream for the last time writes the last event, if there is one; the server ends the body.
    """

    def test(make):
        site = make(b"data: first\n\n")
        site.until(lambda: b"first" in site.arrived())
        assert site.stream.is_direct
        site.source.outcome_at_end = "finished"
        site.source.give(*last)
        assert site.arrived().endswith((b"data: first\n\n", *last)[-1])
        site.until(lambda: site.server.dead)
        assert site.arrived().endswith((b"data: first\n\n", *last)[-1])
        assert site.observed == [("opened", True), ("finished", True)]

    site(test)


def test_body_without_chunks_is_written_as_it_is(site):
    """An HTTP/1.0 client gets the bytes without frames."""

    def test(make):
        site = make(version=(1, 0))
        site.until(site.arrived)
        before = site.arrived()
        site.source.give(b"data: one\n\n")
        assert site.arrived() == before + b"data: one\n\n"

    site(test)


@pytest.mark.parametrize(
    "options", [{"asks": False}, {"headers": [("Content-Length", "1000")]}], ids=["middleware", "length"]
)
def test_stream_is_sent_by_the_server_where_it_must_see_the_bytes(site, options):
    """
    A body that something stands before, or whose length was announced, is never written beside the server.
    """

    def test(make):
        site = make(**options)
        site.until(site.arrived)
        before = site.arrived()
        site.source.give(b"data: one\n\n")
        assert site.arrived() == before
        site.until(lambda: site.arrived() == before + b"data: one\n\n")
        assert not site.stream.is_direct
        assert site.observed == [("opened", False)]

    site(test)


def test_what_the_socket_does_not_take_is_sent_before_anything_else(site):
    """A slow client gets every byte, once and in order; then its stream is written to directly again."""

    def test(make):
        site = make()
        site.until(site.arrived)
        begun = site.arrived()
        large = b"data: " + b"x" * 1_000_000 + b"\n\n"
        site.source.give(large)
        assert site.stream.unsent
        assert site.stream.session.writing_since is not None
        site.source.give(b"data: one\n\n")
        site.gevent.sleep(0.01)
        site.source.give(b"data: two\n\n")
        expected = begun + large + b"data: one\n\ndata: two\n\n"
        site.until(lambda: len(site.arrived()) >= len(expected))
        assert site.arrived() == expected
        site.until(lambda: site.stream.session.writing_since is None or not site.stream.unsent)
        site.gevent.sleep(0.01)
        site.source.give(b"data: three\n\n")
        site.until(lambda: site.arrived() == expected + b"data: three\n\n")

    site(test)


def test_nobody_overtakes_a_write(site):
    """
    A finalizer may give way in the middle of a read, and what another greenlet then has for this stream comes
    behind.
    """

    class Slow(HandSource):
        """Its first chunk comes while others run."""

        def read(self):
            import gevent

            chunk = super().read()
            if b"one" in chunk:
                gevent.sleep(0.01)
            return chunk

    def test(make):
        site = make(source=Slow())
        site.until(site.arrived)
        begun = site.arrived()
        writer = site.gevent.spawn(site.source.give, b"data: one\n\n")
        site.gevent.sleep(0)
        site.source.give(b"data: two\n\n")
        assert site.arrived() == begun
        site.until(lambda: site.arrived() == begun + b"data: one\n\ndata: two\n\n")
        writer.get()
        site.source.give(b"data: three\n\n")  # parked again
        assert site.arrived().endswith(b"two\n\ndata: three\n\n")

    site(test)


def test_wake_that_comes_during_a_write_is_not_lost(site):
    """The stream reads once more behind a write in whose middle it was woken."""

    class Slow(HandSource):
        def read(self):
            import gevent

            chunk = super().read()
            if b"one" in chunk:
                gevent.sleep(0.01)
                self.has_more = False  # as if the second had not been there when this was read
            return chunk

    def test(make):
        site = make(source=Slow())
        site.until(site.arrived)
        writer = site.gevent.spawn(site.source.give, b"data: one\n\n")
        site.gevent.sleep(0)
        site.source.give(b"data: two\n\n")
        site.until(lambda: site.arrived().endswith(b"data: one\n\ndata: two\n\n"))
        writer.get()

    site(test)


def test_source_that_fails_ends_its_stream_and_no_byte_follows(site):
    """Nobody knows how far a broken write came: the client is cut off, comes back, and resumes."""

    class Broken(HandSource):
        def read(self):
            if super().read():
                raise ValueError("no")
            return b""

    def test(make):
        site = make(source=Broken())
        site.until(site.arrived)
        before = site.arrived()
        with pytest.raises(ValueError, match="no"):
            site.source.give(b"data: one\n\n")
        site.until(lambda: site.server.dead)
        assert site.arrived() == before
        assert site.observed[-1] == ("stalled", True)

    site(test)


def test_other_threads_wake_the_greenlet(site):
    """A socket of a loop is written to in that loop alone; what a thread publishes arrives all the same."""

    def test(make):
        site = make()
        site.until(site.arrived)
        thread = threading.Thread(target=site.source.give, args=(b"data: one\n\n",))
        thread.start()
        thread.join()
        site.until(lambda: site.arrived().endswith(b"data: one\n\n"))

    site(test)


def test_sign_of_life_is_written_directly(site):
    """A silent stream is not woken for its heartbeat, and an event that is sent directly ends the silence."""

    def test(make):
        site = make(heartbeat_seconds=8.0)
        site.until(site.arrived)
        begun, stream = site.arrived(), site.stream
        now = stream.session.silent_since
        stream.look(now + 7.9, now + 7.0, 1.0)
        assert site.arrived() == begun + b":\n\n"
        stream.look(now + 8.0, now + 7.9, 1.0)  # learns that it was sent since the look before
        assert site.arrived() == begun + b":\n\n"
        site.source.give(b"data: one\n\n")
        stream.look(now + 20.0, now + 19.0, 1.0)
        stream.look(now + 20.5, now + 20.0, 1.0)
        assert site.arrived() == begun + b":\n\ndata: one\n\n"
        site.source.wakeup.wake()  # for nothing
        assert site.arrived() == begun + b":\n\ndata: one\n\n"

    site(test)


def test_event_that_comes_in_the_place_of_a_sign_of_life_is_one(site):
    """The heartbeat finds an event for which the fan-out has not come yet: nothing follows when it does."""

    def test(make):
        site = make(heartbeat_seconds=8.0)
        site.until(site.arrived)
        begun, stream = site.arrived(), site.stream
        now = stream.session.silent_since
        site.source.chunks.append(b"data: one\n\n")
        stream.look(now + 7.9, now + 7.0, 1.0)
        site.source.wakeup.wake()  # by the fan-out
        assert site.arrived() == begun + b"data: one\n\n"
        stream.look(now + 8.0, now + 7.9, 1.0)
        stream.look(now + 15.9, now + 15.0, 1.0)
        assert site.arrived() == begun + b"data: one\n\n:\n\n"

    site(test)


def test_goodbye_is_the_servers(site):
    """A stream that is told to stop ends by way of its server, behind everything that is ready."""

    def test(make):
        site = make()
        site.until(site.arrived)
        site.source.chunks.append(b"data: one\n\n")
        site.stream.end(Cause.STOP)
        site.source.wakeup.wake()
        site.until(lambda: site.server.dead)
        assert b"data: one\n\nfarewell\nretry: " in site.arrived()
        assert site.observed[-1] == ("draining", True)

    site(test)


def test_access_log_counts_what_was_written_directly(site):
    """The server's own count of the body is right at its end."""

    def test(make):
        site = make()
        site.until(site.arrived)
        for _ in range(3):
            site.source.give(b"data: one\n\n")
        site.stream.end(Cause.STOP)
        site.until(lambda: site.server.dead)
        assert site.response.sent == len(site.arrived())

    site(test)


def test_client_that_takes_nothing_is_cut_off_in_the_middle_of_a_chunk(site):
    """The greenlet that waits to send the rest is ended by the heartbeat."""

    def test(make):
        site = make(write_timeout_seconds=0.05)
        site.until(site.arrived)
        site.source.give(b"data: " + b"x" * 1_000_000 + b"\n\n")
        site.gevent.sleep(0)
        now = time.monotonic()
        site.stream.look(now + 1, now, 0.1)
        site.until(lambda: site.server.dead)
        assert site.observed[-1] == ("stalled", True)

    site(test)


def test_client_that_has_gone_is_found_by_the_write(site):
    """A broken socket wakes the greenlet, where the server expects the error."""

    def test(make):
        site = make()
        site.until(site.arrived)
        site.theirs.close()
        site.source.give(b"data: one\n\n")
        site.until(lambda: site.server.dead)
        assert site.observed[-1][0] == "gone"

    site(test)


def test_streams_at_one_place_share_their_frame(site):
    """The frame of a chunk is made once for streams that are woken one after the other."""

    def test(make):
        from flask_sse_push.streams import direct

        first, second = make(), make()
        first.until(lambda: first.arrived() and second.arrived())
        chunk = b"data: shared\n\n"
        first.source.give(chunk)
        made = direct._last
        second.source.give(chunk)
        assert direct._last is made
        assert first.arrived().endswith(chunk)
        assert second.arrived().endswith(chunk)

    site(test)


def test_stream_is_compared_by_identity(site):
    """The question by which gunicorn shows itself answers what it would for any object."""

    def test(make):
        site = make()
        other = make()
        assert site.stream == site.stream
        assert site.stream != other.stream
        assert len({site.stream, other.stream}) == 2

    site(test)
