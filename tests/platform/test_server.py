"""What a server is judged by: its workers' classes, and what its requests say."""

import math
import os
from types import SimpleNamespace

import gevent
import pytest

from flask_sse_push.platform import gunicorn
from flask_sse_push.platform.server import STREAM_SECONDS, inspect_server
from flask_sse_push.platform.server_kinds import GUESSED_THREADS

VISIT = {"REMOTE_ADDR": "127.0.0.1"}


def request(threads, processes=False, **more):
    return {**VISIT, "wsgi.multithread": threads, "wsgi.multiprocess": processes, **more}


@pytest.mark.parametrize(
    ("environ", "name", "capacity", "is_guessed", "several"),
    [
        (request(False), "unknown server", 1, False, False),
        (request(False, True), "unknown server", 1, False, True),
        (request(True), "unknown server", GUESSED_THREADS, True, False),
        (request(True, True, SERVER_SOFTWARE="Own/1"), "Own/1", GUESSED_THREADS, True, True),
        (request(True, **{"werkzeug.socket": None}), "Werkzeug development server", None, False, False),
        (request(False, **{"werkzeug.socket": None}), "Werkzeug development server", 1, False, False),
        # Insides that are not what they were are as if the server said nothing.
        (request(True, **{"uwsgi.version": b"9"}), "uWSGI", GUESSED_THREADS, True, True),
        (request(False, **{"uwsgi.version": b"9"}), "uWSGI", 1, False, True),
        (request(True, **{"mod_wsgi.version": (9,)}), "mod_wsgi", GUESSED_THREADS, True, True),
    ],
)
def test_server_is_what_its_requests_say(environ, name, capacity, is_guessed, several):
    """One thread is one request at a time whatever the server is called; unknown threads are a few."""
    server = inspect_server(environ)
    assert (server.name, server.capacity) == (name, capacity)
    assert (server.is_capacity_guessed, server.several_processes) == (is_guessed, several)


def test_greenlets_are_many_requests_in_one_thread():
    """gevent's servers say that they have no threads, and handle many requests."""
    environ = request(False, **{"uwsgi.version": b"9"})
    assert gevent.spawn(inspect_server, environ).get().capacity == GUESSED_THREADS
    assert inspect_server(environ).capacity == 1


def test_request_of_a_test_is_no_server():
    """What has no client, as test_request_context(), is neither refused nor limited."""
    server = inspect_server({"wsgi.multithread": False, "wsgi.multiprocess": False})
    assert (server.capacity, server.stream_seconds) == (None, None)


def test_stream_on_an_unknown_server_has_an_end():
    """Nobody knows whether such a server tells that a client left: its streams end, and clients come back."""
    assert inspect_server(request(True)).stream_seconds == STREAM_SECONDS < math.inf
    assert inspect_server(request(True, **{"werkzeug.socket": None})).stream_seconds is None


@pytest.mark.parametrize(
    ("bases", "kind", "capacity", "is_flawed"),
    [
        (["GeventWorker"], "GeventWorker", 500, False),
        (["Own", "GeventWorker"], "GeventWorker", 500, False),
        (["GeventPyWSGIWorker", "GeventWorker"], "GeventPyWSGIWorker", 500, False),
        (["Own", "ThreadWorker"], "ThreadWorker", 8, False),
        (["Own", "SyncWorker"], "SyncWorker", 1, False),
        (["EventletWorker"], "EventletWorker", 500, True),
        (["TornadoWorker"], "TornadoWorker", 1, True),
        (["Own"], "Own", None, False),
    ],
)
def test_worker_is_known_by_what_it_is_derived_from(monkeypatch, bases, kind, capacity, is_flawed):
    """gunicorn's worker may be of a user's own class; one that is like none is judged by its requests."""
    cls = object
    for name in reversed(bases):
        cls = type(name, (cls,), {})
    worker = cls()
    worker.cfg = SimpleNamespace(worker_connections=500, threads=8, workers=2)
    worker.pid = os.getpid()
    monkeypatch.setattr(gunicorn, "_known", worker)  # as if it had been found
    server = inspect_server()
    assert (server.kind, server.capacity, server.flaw is not None) == (kind, capacity, is_flawed)
    if kind == "Own":
        served = inspect_server(request(False))
        assert (served.worker, served.capacity, served.several_processes) == (worker, 1, True)
