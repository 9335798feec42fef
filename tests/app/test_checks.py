"""What is said at the start about a server that cannot work, or not well."""

import logging
import os
from types import SimpleNamespace

import pytest

from flask_sse_push import SSEPush, UnsupportedServer
from flask_sse_push.extension.checks import Finding, find_problems
from flask_sse_push.extension.settings import read_settings
from flask_sse_push.platform import gunicorn
from flask_sse_push.platform.server import Server

from .helpers import make_app

GOOD = {
    "workers": 1,
    "threads": 100,
    "worker_connections": 1000,
    "preload_app": False,
    "graceful_timeout": 30,
    "keepalive": 2,
    "http_protocols": ["h1"],
}


def worker(kind, **cfg):
    """What gunicorn's worker of this class shows: its configuration and that it is alive."""
    return type(kind, (), {"cfg": SimpleNamespace(**{**GOOD, **cfg}), "alive": True})()


def gevent(capacity=1000, **cfg):
    return Server(
        "gunicorn gevent worker", worker("GeventWorker", **cfg), capacity, cfg.get("workers", 1) > 1
    )


def gthread(capacity=100, **cfg):
    return Server(
        "gunicorn thread worker", worker("ThreadWorker", **cfg), capacity, more_threads="--threads 100"
    )


def sync(**cfg):
    return Server("gunicorn sync worker", worker("SyncWorker", **cfg), 1, cfg.get("workers", 1) > 1)


BRIDGE = Server("a bridge", None, 4, True, is_capacity_guessed=True, flaw="tells nothing")
GRANIAN = Server("Granian", None, 4, True, is_capacity_guessed=True)
UWSGI = Server("uWSGI", None, 4, True, more_threads="--threads 100", one_process="--processes 1")


def problems(server, settings=None, config=None, imported_unpatched=False, bus_is_shared=False):
    """What is found with these settings, given without their prefix."""
    read = read_settings({f"SSE_PUSH_{key}": value for key, value in (settings or {}).items()})
    return list(
        find_problems(
            server, read, config or {}, imported_unpatched=imported_unpatched, bus_is_shared=bus_is_shared
        )
    )


@pytest.mark.parametrize(
    ("server", "settings", "config", "imported_unpatched", "codes"),
    [
        (Server("unknown server"), {}, {}, True, []),
        (Server("Werkzeug development server (3)"), {}, {}, True, []),
        (Server("Werkzeug development server (3)", capacity=1), {}, {}, True, ["SSE006"]),
        (gevent(), {}, {}, False, []),
        (gevent(), {}, {}, True, []),
        (gthread(), {}, {}, True, []),
        (sync(), {}, {}, True, ["SSE001"]),
        (gevent(workers=2), {}, {}, False, ["SSE002"]),
        (sync(workers=4), {}, {}, True, ["SSE002", "SSE001"]),
        (Server("uwsgi server", several_processes=True), {}, {}, True, ["SSE002"]),
        (Server("bjoern", None, 1, True), {}, {}, True, ["SSE006"]),
        (Server("bjoern", None, 1, True), {"STRICT": False}, {}, True, ["SSE006", "SSE002"]),
        (UWSGI, {}, {}, True, ["SSE002"]),
        (UWSGI, {"MAX_STREAMS": 3}, {}, True, ["SSE002"]),
        (UWSGI, {"MAX_STREAMS": 4}, {}, True, ["SSE002", "SSE007"]),
        (BRIDGE, {}, {}, True, ["SSE011"]),
        (BRIDGE, {"STRICT": False}, {}, True, ["SSE011", "SSE002", "SSE012"]),
        (GRANIAN, {}, {}, True, ["SSE002", "SSE012"]),
        (GRANIAN, {"MAX_STREAMS": 20}, {}, True, ["SSE002"]),
        (gevent(http_protocols=["h1", "h2"]), {}, {}, False, ["SSE003"]),
        (gevent(http_protocols=("h2",)), {}, {}, False, ["SSE003"]),
        (gevent(preload_app=True), {}, {}, True, ["SSE004"]),
        (gevent(preload_app=True), {}, {}, False, []),
        (gthread(preload_app=True), {}, {}, True, []),
        (gthread(threads=1, capacity=1), {}, {}, True, ["SSE006"]),
        (gevent(), {"HEARTBEAT_SECONDS": 45}, {}, False, []),
        (gevent(), {"HEARTBEAT_SECONDS": 46}, {}, False, ["SSE005"]),
        (Server("unknown server"), {"HEARTBEAT_SECONDS": 60}, {}, True, ["SSE005"]),
        (gevent(), {"MAX_STREAMS": 999}, {}, False, []),
        (gevent(), {"MAX_STREAMS": 1000}, {}, False, ["SSE007"]),
        (gthread(), {"MAX_STREAMS": 100}, {}, False, ["SSE007"]),
        (gevent(capacity=None), {"MAX_STREAMS": 1000}, {}, False, []),
        (sync(), {"MAX_STREAMS": 1}, {}, False, ["SSE001"]),
        (gevent(graceful_timeout=4), {}, {}, False, ["SSE008"]),
        (gevent(graceful_timeout=5), {}, {}, False, []),
        (gevent(keepalive=3), {}, {}, False, []),
        (gevent(keepalive=4), {}, {}, False, ["SSE009"]),
        (gthread(keepalive=75), {}, {}, False, []),  # it closes idle connections when it stops
        (gevent(), {}, {"COMPRESS_MIMETYPES": ["text/html", "text/event-stream"]}, False, ["SSE010"]),
        (gevent(), {}, {"COMPRESS_MIMETYPES": ["text/event-stream"], "COMPRESS_STREAMS": False}, False, []),
        (gevent(), {}, {"COMPRESS_MIMETYPES": ["text/html"]}, False, []),
        (gevent(), {}, {"COMPRESS_MIMETYPES": None}, False, []),
    ],
)
def test_problems_are_found(server, settings, config, imported_unpatched, codes):
    """Each thing that cannot work has a code, and what works has none."""
    findings = problems(server, settings, config, imported_unpatched)
    assert [finding.code for finding in findings] == codes
    for finding in findings:
        assert str(finding) == f"{finding.code}: {finding.message}"
        assert finding.message.endswith((".", "app:app", "patch_all()"))
        assert finding.is_error == (finding.code in ("SSE001", "SSE002", "SSE003", "SSE006", "SSE011"))


def test_gunicorn_without_http_2_is_no_problem():
    """A gunicorn that does not know http_protocols yet is checked all the same."""
    server = gevent()
    del server.worker.cfg.http_protocols
    assert problems(server) == []


def test_worker_that_was_added_to_a_running_server_is_warned():
    """An error in it would stop the whole server."""
    server = Server("gunicorn gevent worker", gevent(workers=1).worker, 1000, several_processes=True)
    assert [(finding.code, finding.is_error) for finding in problems(server)] == [("SSE002", False)]


@pytest.mark.parametrize("server", [gevent(workers=4), Server("uwsgi server", several_processes=True)])
def test_several_processes_with_a_shared_bus_are_no_problem(server):
    """Where an event reaches all processes, there may be several."""
    assert problems(server, bus_is_shared=True) == []


@pytest.mark.parametrize(
    ("server", "cure"),
    [
        (sync(), "gunicorn -k gevent app:app"),
        (gevent(workers=3), "Leave it out"),
        (Server("uwsgi server", several_processes=True), "sqlite://"),
        (UWSGI, "or to redis://, or run one process (--processes 1)."),
        (gthread(capacity=1, threads=1), "--threads 100"),
        (BRIDGE, "gunicorn -k gevent app:app"),
        (gevent(http_protocols=["h2"]), "--http-protocols"),
    ],
)
def test_problem_ends_with_the_cure(server, cure):
    """Who reads the message can copy what to do."""
    (finding,) = problems(server)
    assert isinstance(finding, Finding)
    assert cure in finding.message


SINGLE = {"werkzeug.socket": object(), "SERVER_SOFTWARE": "Werkzeug/3"}


def test_server_that_cannot_work_is_refused():
    """
    A request for a stream on a server of one thread raises with the code, the cure and the way out; ordinary
    pages go on.
    """
    app = make_app()
    app.add_url_rule("/ping", view_func=lambda: "pong", endpoint="ping")
    client = app.test_client()
    with pytest.raises(
        UnsupportedServer,
        match=r"^SSE006: .*\(flask run without --without-threads\), or run: gunicorn -k gevent app:app "
        r"\(SSE_PUSH_STRICT=False makes this a warning\.\)$",
    ):
        client.get("/events", environ_overrides={"wsgi.multithread": False, **SINGLE})
    assert client.get("/ping").data == b"pong"


def test_server_is_not_told_to_run_one_process_where_that_cannot_be_seen():
    """Some servers say that they run several processes where they run one: the cure works for both."""
    (finding,) = problems(Server("Own/1", several_processes=True))
    assert finding.message.startswith("Own/1 runs several processes, or does not say that it runs one")
    assert "one process" not in finding.message
    assert finding.message.endswith("sqlite:// and a path, or to redis://.")


def test_server_that_the_first_request_shows_is_checked(monkeypatch):
    """A worker of gunicorn that is like none of its own was checked at the start, as far as it went."""
    own = worker("UvicornWorker", workers=1)
    own.pid = os.getpid()
    monkeypatch.setattr(gunicorn, "_known", own)  # as if it had been found
    client = make_app().test_client()
    environ = {"wsgi.multithread": False, **SINGLE}
    with pytest.raises(UnsupportedServer, match=r"^SSE006: "):
        client.get("/events", environ_overrides=environ)


def test_server_that_cannot_work_is_a_warning_when_not_strict(caplog):
    """With SSE_PUSH_STRICT=False the same is logged, once, and the stream opens."""
    sse = SSEPush()
    client = make_app(blueprint=sse, strict=False).test_client()
    with caplog.at_level(logging.WARNING, "flask_sse_push"):
        for _ in range(2):
            with client.head("/events", environ_overrides={"wsgi.multithread": False, **SINGLE}) as response:
                assert response.status_code == 200
    assert [record.getMessage()[:7] for record in caplog.records] == ["SSE006:"]


def test_server_is_logged_once_with_what_matters(caplog):
    """The first stream logs the version, the server, the bus, the limit and the heartbeat."""
    client = make_app(max_streams=7, heartbeat_seconds=3).test_client()
    with caplog.at_level(logging.INFO, "flask_sse_push"):
        for _ in range(2):
            client.head("/events")
    (record,) = caplog.records
    for piece in ("flask_sse_push ", "bus memory", "at most 7 streams", "every 3 s"):
        assert piece in record.getMessage()


@pytest.mark.parametrize(
    ("capacity", "most"), [(None, 1000), (1000, 800), (100, 80), (10, 8), (4, 3), (2, 1), (1, 1)]
)
def test_default_limit_leaves_room_for_pages(capacity, most):
    """Streams may take 80 % of a server, at least one, and never all where there is more than one place."""
    import resource

    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if files < 2000:
        pytest.skip(f"only {files} files may be open here")
    assert Server("x", capacity=capacity).default_max_streams() == most
