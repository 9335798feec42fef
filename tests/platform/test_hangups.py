"""Clients that hang up are noticed by the kernel's word, or by looking."""

import select
import socket

import pytest

from flask_sse_push.platform.hangups import Hangups, is_gone
from flask_sse_push.platform.threads import THREADS
from tests.support import MS, eventually


@pytest.fixture(params=["epoll", "looking"])
def hangups(request, monkeypatch):
    """The watch of a process, with the kernel's set and without."""
    if request.param == "looking":
        monkeypatch.delattr(select, "epoll", raising=False)
    hangups = Hangups()
    yield hangups
    hangups.close()


@pytest.fixture
def pair():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def owners(hangups):
    return hangups.wait(THREADS, 1 * MS)


@pytest.mark.parametrize("how", ["close", "half-close"])
def test_client_that_hangs_up_is_named(hangups, pair, how):
    """By what it was added with, whether it closed the connection or its sending half alone."""
    ours, theirs = pair
    hangups.add(ours, "stream", 10)
    assert owners(hangups) == []
    theirs.close() if how == "close" else theirs.shutdown(socket.SHUT_WR)
    assert eventually(lambda: owners(hangups)) == ["stream"]


def test_client_that_sends_during_its_stream_has_not_hung_up(hangups, pair):
    """What it sends wakes nobody and is not read."""
    ours, theirs = pair
    hangups.add(ours, "stream", 10)
    theirs.send(b"GET")
    assert owners(hangups) == []
    assert ours.recv(10) == b"GET"


def test_client_that_was_removed_is_not_named(hangups, pair):
    """Also when it hung up before that; and once more is harmless."""
    ours, theirs = pair
    hangups.add(ours, "stream", 10)
    theirs.close()
    hangups.remove("stream")
    hangups.remove("stream")
    assert owners(hangups) == []


def test_closed_watch_takes_a_stream_all_the_same(hangups, pair):
    """
    A stream that comes while the watch is given up, because no thread can be started for it, is not refused
    and holds nothing there: its writes find out that its client is gone.
    """
    hangups.close()
    hangups.add(pair[0], "stream", 10)
    hangups.remove("stream")


def test_closed_socket_is_not_watched(hangups, pair):
    """A stream whose client is gone before the watch begins is no error; its first write finds out."""
    ours, _ = pair
    ours.close()
    hangups.add(ours, "stream", 10)
    assert owners(hangups) == []


def test_number_of_a_socket_may_become_that_of_another(hangups, pair):
    """A stream that ends late does not take the watch from the one that has its number now."""
    ours, theirs = pair
    hangups.add(ours, "old", 10)
    number = ours.detach()
    again = socket.socket(fileno=number)
    with again:
        hangups.add(again, "new", 10)
        hangups.remove("old")
        theirs.close()
        assert eventually(lambda: owners(hangups)) == ["new"]


def test_each_hang_up_is_named_once_by_the_kernel(pair):
    """The set forgets whom it has named."""
    hangups = Hangups()
    ours, theirs = pair
    hangups.add(ours, "stream", 10)
    theirs.close()
    assert eventually(lambda: owners(hangups)) == ["stream"]
    assert owners(hangups) == []
    hangups.close()


def test_reset_connection_looks_gone():
    """An error on the socket counts as gone, silence does not."""
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as ours,
    ):
        theirs, _ = server.accept()
        assert not is_gone(ours)
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        theirs.close()
        eventually(lambda: is_gone(ours))
