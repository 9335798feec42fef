"""What is done to the socket of a client."""

import contextlib
import errno
import socket
import sys
import threading

import pytest

from flask_sse_push.platform import hangups, server, sockets
from tests.support import eventually


@pytest.fixture
def connection():
    """Both ends of a TCP connection: the server's, and the client's."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = socket.create_connection(server.getsockname())
        ours, _ = server.accept()
        with ours, client:
            yield ours, client


class Handler:
    """What gives ``start_response`` in a server."""

    def __init__(self, sock):
        self.socket = sock
        self.close_connection = False

    def start_response(self):
        pass


Handler.__module__ = "gevent.pywsgi"


@pytest.mark.parametrize("key", ["gunicorn.socket", "werkzeug.socket"])
def test_socket_is_found_where_the_server_shows_it(connection, key):
    """In the environment of the request, or at the object behind ``start_response``."""
    ours, _ = connection
    assert server.client_socket({key: ours}, None) is ours
    assert server.client_socket({}, Handler(ours).start_response) is ours
    assert server.client_socket({}, None) is None
    assert server.client_socket({key: object()}, None) is None


def test_socket_of_http2_is_not_the_streams(connection):
    """It carries other requests too."""
    ours, _ = connection
    assert server.client_socket({"gunicorn.socket": ours, "SERVER_PROTOCOL": "HTTP/2.0"}, None) is None


def test_connection_of_a_request_with_a_body_is_left_open():
    """To close it before all was read would reset it, and may take the answer with it."""
    handler = Handler(None)
    for environ in ({"CONTENT_LENGTH": "5"}, {"HTTP_TRANSFER_ENCODING": "chunked"}):
        server.close_after_answer(environ, handler.start_response)
        assert not handler.close_connection
    server.close_after_answer({"CONTENT_LENGTH": "0"}, None)
    server.close_after_answer({"CONTENT_LENGTH": "0"}, handler.start_response)
    assert handler.close_connection


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="needs Linux")
def test_kernel_bounds_how_long_a_client_may_be_away(connection):
    """It asks after 5 s, and gives a blocked write up a little later than our own watchdog."""
    ours, _ = connection
    hangups._bound_waits(ours, 20)
    assert ours.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    assert ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == hangups.KEEPALIVE_SECONDS
    limit = ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
    assert limit == 1000 * (20 + hangups.USER_TIMEOUT_MARGIN_SECONDS)


def test_kernel_holds_little_for_a_client(connection):
    """The buffer for what a client does not take has a bound of its own."""
    ours, _ = connection
    hangups._bound_buffer(ours)
    assert ours.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) <= 2 * 64 * 1024


def test_closed_socket_can_be_bounded_and_ended(connection):
    """The client may leave at any moment: nothing raises."""
    ours, _ = connection
    ours.close()
    hangups._bound_buffer(ours)
    hangups._bound_waits(ours, 20)
    hangups._forget_error(ours)
    sockets.cut(ours)
    sockets.hang_up(ours)


def test_unix_socket_has_no_kernels_clock():
    """Only TCP has one: anything else is left alone."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        hangups._bound_waits(ours, 20)
        assert not ours.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)


def test_write_that_waits_for_a_client_ends_when_it_is_cut_off(connection):
    """With EPIPE, which servers take for a client that left."""
    ours, _ = connection
    raised = []

    def write():
        try:
            while True:
                ours.sendall(b"x" * 1_000_000)
        except OSError as error:
            raised.append(error.errno)

    thread = threading.Thread(target=write)
    thread.start()
    sockets.cut(ours)
    thread.join()
    assert raised == [errno.EPIPE]


def test_client_gets_what_was_sent_before_it_is_hung_up(connection):
    """And then the end."""
    ours, client = connection
    ours.sendall(b"last words")
    sockets.hang_up(ours)
    assert client.recv(100) == b"last words"
    assert client.recv(100) == b""


def test_error_of_the_kernels_is_taken_off(connection):
    """A reset that nobody has met yet does not come out of the next look at the socket."""
    ours, client = connection
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.close()

    def has_error():
        hangups._forget_error(ours)
        return ours.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0

    eventually(has_error)


@pytest.mark.parametrize("through", ["plainly", "generator"])
def test_timeout_of_the_kernels_becomes_a_client_that_left(through):
    """Where a body is closed while ETIMEDOUT is on its way, also through a middleware that is a generator."""

    def body():
        try:
            yield
        finally:
            sockets.hush_timeout()

    def fail():
        raise TimeoutError(errno.ETIMEDOUT, "timed out")

    with pytest.raises(BrokenPipeError) as raised:
        try:
            fail()
        finally:
            if through == "plainly":
                sockets.hush_timeout()
            else:
                middleware = body()
                next(middleware)
                middleware.close()
    assert raised.value.errno == errno.EPIPE
    assert isinstance(raised.value.__cause__, TimeoutError)


def test_other_errors_go_on():
    """A fault is a fault."""
    with pytest.raises(ValueError, match="a fault"):
        try:
            raise ValueError("a fault")
        finally:
            sockets.hush_timeout()
    assert sys.exc_info()[1] is None
    sockets.hush_timeout()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems do not say it")
def test_bytes_that_the_client_has_taken_are_counted(connection):
    """What was sent counts when the other end's kernel has it, and what waits here does not."""
    ours, client = connection
    before = sockets.taken_bytes(ours)
    ours.sendall(b"x" * 1000)
    eventually(lambda: sockets.taken_bytes(ours) == before + 1000)
    ours.setblocking(False)
    sent = 1000
    with contextlib.suppress(BlockingIOError):
        while True:
            sent += ours.send(b"x" * 65_536)
    assert before <= sockets.taken_bytes(ours) < before + sent


def test_bytes_that_were_taken_are_unknown_where_the_kernel_does_not_say_it(connection):
    """Of a closed socket, and of one that is not TCP, nothing is known."""
    ours, _ = connection
    ours.close()
    assert sockets.taken_bytes(ours) is None
    pair = socket.socketpair()
    with pair[0], pair[1]:
        assert sockets.taken_bytes(pair[0]) is None
