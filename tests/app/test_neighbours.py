"""Other extensions on the same app: rate limits, and sessions that the server keeps."""

import logging

import pytest
from flask import Blueprint, Flask, jsonify, session

from flask_sse_push import SSEPush
from tests.needs import needs

from .helpers import first_bytes, make_app, read_whole

FOR_ALL = [{"default_limits": ["2/minute"]}, {"application_limits": ["2/minute"]}]
APPS = ["plain", "renamed", "nested"]


def limited(how, shape="plain", **limits):
    """Return an app of a factory whose Flask-Limiter exempts the blueprint before or after all is set up."""
    needs(modules=["flask_limiter"])
    from flask_limiter import Limiter
    from flask_limiter.util import get_remote_address

    limiter, sse = Limiter(get_remote_address, storage_uri="memory://", **limits), SSEPush()
    app = Flask("shop")
    if how == "exempt before":
        limiter.exempt(sse)
        limiter.init_app(app)
    if shape == "nested":
        outer = Blueprint("outer", __name__, url_prefix="/outer")
        outer.register_blueprint(sse)
        app.register_blueprint(outer)
    else:
        app.register_blueprint(sse, name="push" if shape == "renamed" else "sse")
    if how != "exempt before":
        limiter.init_app(app)
    if how == "exempt after":
        limiter.exempt(sse)
    if how == "limit of its own":
        limiter.limit("60/minute")(sse)
    app.add_url_rule("/own", "own", sse.stream)
    app.add_url_rule("/exempt", "exempt", limiter.exempt(lambda: sse.stream()))
    return app.test_client()


def statuses(client, path, count=4):
    """What so many requests for a stream are answered with."""

    def ask():
        with client.head(path) as response:
            return response.status_code

    return [ask() for _ in range(count)]


def warnings(caplog):
    return [record.getMessage() for record in caplog.records if record.name == "flask_sse_push"]


@pytest.mark.parametrize("limits", FOR_ALL)
@pytest.mark.parametrize("shape", APPS)
def test_limits_for_all_views_refuse_streams(limits, shape, caplog):
    """A limit for all views counts streams too, and the first stream of a process warns of it, once."""
    client = limited("nothing", shape, **limits)
    with caplog.at_level(logging.WARNING, "flask_sse_push"):
        assert statuses(client, "/outer/events" if shape == "nested" else "/events") == [200, 200, 429, 429]
    [warning] = warnings(caplog)
    assert warning.startswith("SSE013: Flask-Limiter counts requests for streams (2 per 1 minute).")
    assert "limiter.exempt(sse)" in warning


@pytest.mark.parametrize("limits", FOR_ALL)
@pytest.mark.parametrize("shape", APPS)
@pytest.mark.parametrize("how", ["exempt before", "exempt after"])
def test_exempt_blueprint_is_not_limited(limits, shape, how, caplog):
    """limiter.exempt(sse) frees the streams, before and after the registration, and then nothing is said."""
    client = limited(how, shape, **limits)
    with caplog.at_level(logging.WARNING, "flask_sse_push"):
        assert statuses(client, "/outer/events" if shape == "nested" else "/events") == [200] * 4
    assert warnings(caplog) == []


def test_own_views_are_exempt_one_by_one(caplog):
    """A view of the app's own that streams is not exempt with the blueprint; its own decorator frees it."""
    client = limited("exempt after", **FOR_ALL[0])
    with caplog.at_level(logging.WARNING, "flask_sse_push"):
        assert statuses(client, "/exempt") == [200] * 4
    assert warnings(caplog) == []
    client = limited("exempt after", **FOR_ALL[0])
    with caplog.at_level(logging.WARNING, "flask_sse_push"):
        assert statuses(client, "/own") == [200, 200, 429, 429]
    assert [warning[:7] for warning in warnings(caplog)] == ["SSE013:"]


@pytest.mark.parametrize(
    ("how", "limits"),
    [
        ("nothing", {}),
        ("nothing", {"enabled": False, **FOR_ALL[0]}),
        ("nothing", {"default_limits_exempt_when": lambda: True, **FOR_ALL[0]}),
        ("limit of its own", FOR_ALL[0]),
    ],
    ids=["without limits", "switched off", "exempt by a condition", "with a limit of its own"],
)
def test_limits_that_do_not_count_streams_are_no_problem(how, limits, caplog):
    """Nothing is said where no limit for all views counts the stream."""
    client = limited(how, **limits)
    with caplog.at_level(logging.WARNING, "flask_sse_push"):
        assert statuses(client, "/events") == [200] * 4
    assert warnings(caplog) == []


@pytest.mark.parametrize("found", [object(), {object()}, None])
def test_limiter_of_another_kind_is_no_problem(found, caplog):
    """Whatever else is kept under the name of Flask-Limiter, streams open."""
    app = make_app()
    app.extensions["limiter"] = found
    with caplog.at_level(logging.WARNING, "flask_sse_push"):
        assert statuses(app.test_client(), "/events", 1) == [200]
    assert warnings(caplog) == []


def with_sessions(folder, **config):
    """Return an app whose sessions are files, and the list of what was saved with which kind of answer."""
    needs(modules=["flask_session", "cachelib"])
    from cachelib import FileSystemCache
    from flask_session import Session

    sse, saved = SSEPush(), []
    app = make_app(blueprint=sse)
    app.config.update(SESSION_TYPE="cachelib", SESSION_CACHELIB=FileSystemCache(str(folder)), **config)
    Session(app)
    save = app.session_interface.save_session

    def noted(app, session, response):
        saved.append(response.mimetype)
        save(app, session, response)

    app.session_interface.save_session = noted

    @sse.authorize("touch")
    def touch(channel):
        session["touched"] = channel
        return True

    @sse.authorize("slow")
    def slow(channel):
        """What another request of the same visitor stores while this one is answered."""
        same = app.test_client()
        same.set_cookie("session", session.sid)
        assert same.post("/cart").status_code == 200
        return True

    @app.post("/cart")
    def cart():
        session["cart"] = ["tea"]
        return ""

    @app.post("/tokens")
    def tokens():
        session["asked"] = True

        def items():
            try:
                session["told"] = True
            except RuntimeError as error:
                yield str(error).splitlines()[0]

        return sse.response(items())

    app.add_url_rule("/session", "session", lambda: jsonify(dict(session)))
    return app, saved


def test_stored_session_is_saved_once_before_the_first_byte(tmp_path):
    """What a rule writes into a session is stored when the stream begins, and nothing is saved at its end."""
    app, saved = with_sessions(tmp_path)
    client = app.test_client()
    with client.get("/events?channel=touch") as response:
        assert "session=" in response.headers["Set-Cookie"]
        assert first_bytes(response).startswith(b"retry:")
        assert saved == ["text/event-stream"]
        assert client.get("/session").json["touched"] == "touch"
    assert saved == ["text/event-stream", "application/json"]


def test_stored_session_is_closed_to_what_is_streamed(tmp_path):
    """An iterable that touches the session gets an error; what the view wrote is stored."""
    app, saved = with_sessions(tmp_path)
    client = app.test_client()
    with client.post("/tokens") as response:
        events, _ = read_whole(response)
    assert events[0].data == "Working outside of request context."
    assert saved == ["text/event-stream"]
    assert {"asked", "told"} & client.get("/session").json.keys() == {"asked"}


@pytest.mark.parametrize("refreshes", [True, False])
def test_stored_session_is_written_back_by_a_stream_unless_told(tmp_path, refreshes):
    """
    Flask's default, SESSION_REFRESH_EACH_REQUEST, makes each stream that opens write the session back as it
    was read, over what another request stored meanwhile. Without it a stream that only reads writes nothing.
    """
    app, _ = with_sessions(tmp_path, SESSION_REFRESH_EACH_REQUEST=refreshes)
    client = app.test_client()
    with client.get("/events?channel=touch") as response:
        assert response.status_code == 200
    with client.get("/events?channel=slow") as response:
        assert response.status_code == 200
    assert ("cart" in client.get("/session").json) == (not refreshes)
