"""Clients that stop reading, slowly enough for the kernel to give them up first."""

import time

import pytest

from tests.servers.harness import FACTOR, Client, Server


@pytest.mark.parametrize("kind", ["gunicorn-gevent", "gunicorn-gevent-portable", "gunicorn-gthread"])
def test_clients_that_stop_reading_are_missed_without_a_traceback(kind):
    """
    Whoever notices first, our watchdog or the kernel in the middle of a write: twenty clients are missed in
    time, and the log says nothing of it.
    """
    with Server(kind, write_timeout_seconds=1, heartbeat_seconds=0.5) as server:
        clients = [Client(server, receive_buffer=4096).begun() for _ in range(20)]
        began = time.monotonic()
        # The kernel's buffer is full, so that a write waits, only when its clock has run for two of its three
        # seconds.
        while server.streams():
            assert time.monotonic() - began < 10 * FACTOR
            server.publish("x" * 8000)
            time.sleep(0.2)
        assert set(server.stats()["closed"]) <= {"gone", "stalled"}
        assert len(server.stats()["closed"]) == len(clients)
        assert "Traceback" not in server.log, server.log


@pytest.mark.parametrize("kind", ["gunicorn-gevent", "gunicorn-gthread"])
def test_slow_client_gets_an_event_that_takes_longer_than_a_write_may_wait(kind):
    """
    Who takes bytes all the time is not cut off, however long an event needs: cut off, it would come back,
    begin with the same event, and never get past it.
    """
    size = 3_000_000
    with Server(kind, write_timeout_seconds=1, max_event_bytes=2 * size) as server:
        client = Client(server, receive_buffer=65_536).begun()
        server.publish("x" * size)
        while not client.events:
            assert client.read(5 * FACTOR)
            assert not client.ended, "it was cut off"
            time.sleep(0.1)
        assert len(client.events[0].data) == size
        assert server.streams() == 1
