"""Events that nobody can hear, because they stay with an app or in a process that has no clients."""

import logging
import multiprocessing
import os
import threading
import urllib.request

import pytest
from flask import Flask, current_app
from werkzeug.serving import make_server

from flask_sse_push import NotRegistered, SSEPush
from flask_sse_push.testing import open_stream
from tests.support import MS, eventually

from .helpers import make_app


@pytest.fixture
def factory(request):
    """An app factory with one blueprint, as applications have it; its apps are not for tests."""
    sse = SSEPush()
    name = f"shop-{request.node.name}"

    def create_app(**settings):
        app = make_app(name, sse, **settings)
        app.testing = False
        app.add_url_rule("/ping", view_func=lambda: "pong", endpoint="ping")
        app.add_url_rule("/publish", view_func=lambda: sse.publish("from a view"), endpoint="publish")
        return app

    create_app.sse = sse
    create_app.app_name = name
    return create_app


def warnings(caplog):
    return [
        record.getMessage()
        for record in caplog.records
        if record.name == "flask_sse_push" and record.levelno == logging.WARNING
    ]


def test_second_app_of_a_factory_says_that_clients_are_elsewhere(factory, caplog):
    """
    A job that calls create_app() again and publishes there gets one warning, with the app, its bus and the
    cure; the first app works.
    """
    app = factory()
    with open_stream(app.test_client(), "/events") as stream:
        for _ in range(3):
            job = factory()
            with job.app_context():
                factory.sse.publish("nobody hears this")
                factory.sse.publish("nor this")
        with app.app_context():
            factory.sse.publish("heard")
        assert [event.data for event in stream.read(1)] == ["heard"]
    (warning,) = warnings(caplog)
    for piece in (
        f"process {os.getpid()}",
        repr(factory.app_name),
        "(memory)",
        "current_app._get_current_object()",
        "SSE_PUSH_BUS_URL",
    ):
        assert piece in warning


def test_function_before_requests_may_publish_and_answer(caplog):
    """
    An app is served as soon as a request comes: also where a function of its own, set before the blueprint,
    publishes then or answers in the view's place.
    """
    app, sse = Flask("early"), SSEPush()

    @app.before_request
    def count():
        sse.publish("a visit")
        return "closed today"

    sse.init_app(app)
    assert app.test_client().get("/").text == "closed today"
    assert warnings(caplog) == []


def test_thread_that_was_handed_the_app_is_heard(factory, caplog):
    """What the warning says to do works: a thread that has the app that serves reaches its clients."""
    app = factory()
    handed = []
    app.add_url_rule(
        "/start", view_func=lambda: handed.append(current_app._get_current_object()) or "", endpoint="start"
    )
    client = app.test_client()
    client.get("/start")

    def work():
        with handed[0].app_context():
            factory.sse.publish("from the thread")

    with open_stream(client, "/events") as stream:
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        assert stream.read(1)[0].data == "from the thread"
    assert warnings(caplog) == []


def test_apps_of_a_factory_that_are_served_side_by_side_stay_apart(factory, caplog):
    """Two tenants of one factory have a log each and get no warning, whoever of them publishes."""
    first, second = factory(), factory()
    with (
        open_stream(first.test_client(), "/events") as one,
        open_stream(second.test_client(), "/events") as two,
    ):
        first.test_client().get("/publish")
        for app, text in ((first, "for the first"), (second, "for the second")):
            with app.app_context():
                factory.sse.publish(text)
        assert [event.data for event in one.read(2)] == ["from a view", "for the first"]
        assert [event.data for event in two.read(1)] == ["for the second"]
    assert warnings(caplog) == []


def test_second_app_with_a_named_bus_is_not_warned_of(factory, caplog, tmp_path):
    """With a bus that both name the second app reaches the clients of the first, and nothing is said."""
    url = f"sqlite:///{tmp_path}/events.db"
    app, job = factory(bus_url=url), factory(bus_url=url)
    app.test_client().get("/ping")
    with job.app_context():
        factory.sse.publish("heard")
    job.extensions["flask_sse_push"].process().bus.close()
    assert warnings(caplog) == []


def test_app_that_serves_nobody_says_so_once(factory, caplog):
    """
    A script that publishes with the app's memory gets one warning, and a process that has served a page none.
    """
    with factory().app_context():
        factory.sse.publish("a")
        factory.sse.publish("b")
    (warning,) = warnings(caplog)
    assert warning.startswith("Nobody can hear this event: ")
    caplog.clear()
    served = factory()
    served.test_client().get("/ping")
    with served.app_context():
        factory.sse.publish("c")
    assert warnings(caplog) == []


def serve(app, port):
    """What a child does: serve the app until it is ended."""
    with make_server("127.0.0.1", 0, app, threaded=True) as server:
        port.value = server.port
        server.serve_forever()


def test_app_served_by_a_forked_child_is_told_so(sse, caplog):
    """
    A test that publishes beside a server in a forked child gets one warning, though the app is being tested;
    before, none.
    """
    app = Flask("live")
    app.config["TESTING"] = True
    app.register_blueprint(sse)
    app.add_url_rule("/ping", view_func=lambda: "pong", endpoint="ping")
    context = multiprocessing.get_context("fork")
    port = context.Value("i", 0)
    child = context.Process(target=serve, args=(app, port), daemon=True)
    sse.publish("nobody is there yet")
    child.start()
    try:
        eventually(lambda: port.value, 10_000 * MS)
        sse.publish("the child has not served yet")
        assert warnings(caplog) == []
        with urllib.request.urlopen(f"http://127.0.0.1:{port.value}/ping", timeout=10) as response:
            assert response.read() == b"pong"
        sse.publish("the child's clients do not hear this")
        sse.publish("nor this")
    finally:
        child.terminate()
        child.join()
    (warning,) = warnings(caplog)
    for piece in ("'live'", f"process {os.getpid()}", "live_server", "SSE_PUSH_BUS_URL"):
        assert piece in warning


def test_app_made_after_a_fork_is_not_taken_for_the_childs(sse, caplog):
    """
    What a forked child served says nothing of an app that was made later, nor does a child that only
    publishes.
    """
    served = Flask("served")
    served.config["TESTING"] = True
    served.register_blueprint(sse)
    for work in (lambda: served.test_client().get("/events").close(), lambda: served.app_context().push()):
        child = multiprocessing.get_context("fork").Process(target=work)
        child.start()
        child.join()
        assert child.exitcode == 0
    later = SSEPush()
    make_app("later", later)
    later.publish("x")
    assert warnings(caplog) == []


def test_publish_without_an_app_names_what_to_do():
    """
    In a worker of a task queue that makes no app, the error names both ways: the app's context, and
    Publisher.
    """
    with pytest.raises(
        NotRegistered,
        match=r"Celery.*with create_app\(\)\.app_context\(\).*Publisher\(\).*SSE_PUSH_BUS_URL\.$",
    ):
        SSEPush().publish("x")
