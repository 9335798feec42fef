"""The network between two ends is as slow, as silent and as broken as a test wants it."""

import socket
import threading
import time

import pytest

from tests.soak.proxy import Proxy
from tests.support import MS

PIECE = b"x" * 100_000


@pytest.fixture
def echo():
    """A server that sends back what it gets; its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threads = []

        def serve():
            while True:
                try:
                    sock, _ = listener.accept()
                except OSError:
                    return
                threads.append(threading.Thread(target=answer, args=(sock,)))
                threads[-1].start()

        def answer(sock):
            with sock:
                while piece := sock.recv(65536):
                    sock.sendall(piece)

        threads.append(threading.Thread(target=serve))
        threads[0].start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
    for thread in threads:
        thread.join(5)


def ask(sock, data):
    sock.sendall(data)
    return receive(sock, len(data))


def receive(sock, count):
    got = b""
    while len(got) < count:
        piece = sock.recv(65536)
        assert piece, "it was closed"
        got += piece
    return got


@pytest.mark.parametrize("delay_seconds", [0.0, 0.05])
def test_proxy_delays_each_way(echo, delay_seconds):
    """Both ways take their time, and what follows does not add to it."""
    with (
        Proxy(echo, delay_seconds=delay_seconds) as proxy,
        socket.create_connection(("127.0.0.1", proxy.port), 5) as sock,
    ):
        begin = time.monotonic()
        assert ask(sock, PIECE) == PIECE
        seconds = time.monotonic() - begin
        assert 2 * delay_seconds <= seconds < 2 * delay_seconds + 1000 * MS


def test_proxy_that_holds_closes_nothing(echo):
    """What was sent meanwhile comes when it flows again."""
    with Proxy(echo) as proxy, socket.create_connection(("127.0.0.1", proxy.port), 5) as sock:
        assert ask(sock, b"a") == b"a"
        proxy.hold()
        sock.sendall(b"b")
        sock.settimeout(100 * MS)
        with pytest.raises(TimeoutError):
            sock.recv(1)
        proxy.flow()
        sock.settimeout(5000 * MS)
        assert receive(sock, 1) == b"b"


def test_proxy_that_cuts_closes_what_is_open(echo):
    """Who connects again gets through."""
    with Proxy(echo) as proxy:
        with socket.create_connection(("127.0.0.1", proxy.port), 5) as sock:
            assert ask(sock, b"a") == b"a"
            proxy.cut()
            assert sock.recv(1) == b""
        with socket.create_connection(("127.0.0.1", proxy.port), 5) as sock:
            assert ask(sock, b"b") == b"b"


def test_proxy_cuts_inside_of_something(echo):
    """Before what follows the last bytes."""
    with Proxy(echo) as proxy, socket.create_connection(("127.0.0.1", proxy.port), 5) as sock:
        proxy.cut_after(b"last")
        sock.sendall(b"the last one")
        got = b""
        while piece := sock.recv(100):
            got += piece
        assert b"the last".startswith(got)


def test_end_of_the_other_side_comes_through(echo):
    """Who hangs up is noticed behind the proxy, and nothing is left open."""
    with Proxy(echo) as proxy:
        with socket.create_connection(("127.0.0.1", proxy.port), 5) as sock:
            assert ask(sock, b"a") == b"a"
            sock.shutdown(socket.SHUT_WR)
            assert sock.recv(1) == b""
    assert not [thread for thread in threading.enumerate() if thread.name == "proxy"]
