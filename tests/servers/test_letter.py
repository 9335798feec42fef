"""Clients that follow the standard by the letter resume across every planned end."""

import os
import signal

import pytest

from tests.letter import LetterClient
from tests.servers.harness import Client, Server, eventually


def stop_by_hup(server):
    server.process.send_signal(signal.SIGHUP)


def stop_by_requests(server):
    old = server.worker_pid()
    for _ in range(30):
        if server.worker_pid() != old:
            break


def is_new(server, old):
    try:
        return server.worker_pid() != old
    except OSError:
        return False


@pytest.mark.parametrize(
    ("kind", "stop"), [("gunicorn-gevent", stop_by_hup), ("gunicorn-gevent-portable", stop_by_requests)]
)
def test_letter_client_resumes_across_a_planned_end(kind, stop, tmp_path):
    """The last words of a stream leave its client the id, which has moved on with the last event."""
    with Server(
        kind,
        *(["--max-requests", "20"] if stop is stop_by_requests else []),
        bus_url=f"sqlite:///{tmp_path}/events.db",
    ) as server:
        letter = LetterClient()
        old = server.worker_pid()
        first = Client(server).begun()
        server.publish("seen")
        first.wait(1)
        stop(server)
        first.until(lambda client: client.clean)
        letter.connect(first.body)
        eventually(lambda: is_new(server, old))
        server.publish("missed")
        with Client(server, headers=letter.headers()) as back:
            back.wait(1)
            letter.connect(back.body)
        assert [data for _, data, _ in letter.events] == ["seen", "missed"]


def test_letter_client_of_a_stopping_worker_that_never_saw_its_bus_keeps_its_id(tmp_path):
    """Neither heartbeats nor the last words take an id that could not be looked up."""
    with Server(
        "gunicorn-gevent",
        bus_url=f"sqlite:///{tmp_path}/later/events.db",
        heartbeat_seconds=0.3,
        publish_timeout_seconds=0.1,
    ) as server:
        letter = LetterClient()
        letter.last_event_id = "of-another-log"
        client = Client(server, headers=letter.headers()).until(lambda client: client.body.count(b":\n") > 2)
        server.process.send_signal(signal.SIGHUP)
        client.until(lambda client: client.clean)
        letter.connect(client.body)
        assert (letter.last_event_id, letter.events) == ("of-another-log", [])


def test_letter_client_refused_by_a_stopping_worker_resumes(tmp_path):
    """Who asks a worker that stops, over a connection that it had, is sent away with its id."""
    with Server("gunicorn-gevent", bus_url=f"sqlite:///{tmp_path}/events.db") as server:
        letter = LetterClient()
        with Client(server).begun() as client:
            letter.connect(client.body)
        holder = Client(server, "/tokens?count=1000&pause=0.1").begun()
        late = Client(server, "/ping")
        late.until(lambda client: client.raw or client.body)
        old = server.worker_pid()
        os.kill(old, signal.SIGTERM)
        refused = Client(server, "/events", letter.headers(), sock=late.sock).until(
            lambda client: client.clean, 3
        )
        letter.connect(refused.body)
        holder.close()
        eventually(lambda: is_new(server, old))
        server.publish("missed")
        with Client(server, headers=letter.headers()) as back:
            back.wait(1)
            letter.connect(back.body)
        assert [data for _, data, _ in letter.events] == ["missed"]
