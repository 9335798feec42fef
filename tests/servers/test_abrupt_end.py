"""SSE_PUSH_ABRUPT_END: a planned end that fetch clients take for a fault."""

import signal

import pytest

from tests.servers.harness import Client, Server, eventually


@pytest.mark.parametrize("kind", ["gunicorn-gevent", "gunicorn-gevent-portable", "gunicorn-gthread"])
def test_abrupt_end_cuts_channel_streams_behind_their_last_event(kind):
    """
    On a reload a channel's stream has all its events and a new reconnection time, and no last chunk; a
    response and a refusal end cleanly, and the log has
    nothing to say.
    """
    with Server(kind, abrupt_end=True, max_streams=9) as server:
        clients = [Client(server, "/events?channel=a").begun() for _ in range(8)]
        tokens = Client(server, "/tokens?count=100&pause=1").begun()
        with Client(server) as refused:
            refused.until(lambda client: client.clean)
        server.publish("last", channel="a")
        for client in clients:
            client.wait(1)
        retries = [client.decoder.retry for client in clients]
        server.process.send_signal(signal.SIGHUP)
        for client in clients:
            while not client.ended:
                assert client.read(5)
            assert not client.clean
            assert client.data() == ["last"]
            assert client.body.endswith(b"\n")
        assert [client.decoder.retry for client in clients] != retries
        tokens.until(lambda client: client.clean)
        assert tokens.events[-1].type == "failed"
        eventually(lambda: "Worker exiting" in server.log)
        assert "Traceback" not in server.log, server.log
