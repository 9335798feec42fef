"""Registration: once per app, anywhere in its URLs, on any number of apps."""

import gc

import pytest
from flask import Blueprint, Flask, request, url_for

from flask_sse_push import ConfigurationError, SSEPush
from flask_sse_push.testing import open_stream

from .helpers import make_app


def test_blueprint_is_registered_once_per_app():
    """A second registration is refused with the app's name and the cure, whichever blueprint tries."""
    sse = SSEPush()
    app = make_app("shop", sse)
    for again, options in (
        (sse, {}),
        (sse, {"name": "second"}),
        (SSEPush("other"), {"url_prefix": "/other"}),
    ):
        with pytest.raises(
            ConfigurationError,
            match=r"^This blueprint is already registered on app 'shop'\. Import and use it instead of "
            r"registering another\.$",
        ):
            app.register_blueprint(again, **options)


def test_blueprint_in_an_app_factory():
    """One module-level blueprint serves each app that a factory makes, and each has its own events."""
    sse = SSEPush()
    first, second = make_app("first", sse), make_app("second", sse)
    with (
        open_stream(first.test_client(), "/events") as one,
        open_stream(second.test_client(), "/events") as two,
    ):
        with first.app_context():
            id = sse.publish("for the first")
            assert sse.stats()["streams"] == 1
        with second.app_context():
            other_id = sse.publish("for the second")
        assert [event.data for event in one.read(1)] == ["for the first"]
        assert [event.data for event in two.read(1)] == ["for the second"]
    assert id.split("-")[0] != other_id.split("-")[0]


def test_rules_are_of_one_import_name():
    """
    A blueprint with rules on an app is refused to an app of another import name, whose channels they would
    open.
    """
    sse = SSEPush()
    first = make_app("first", sse)
    sse.authorize("*")(lambda channel: True)
    with pytest.raises(
        ConfigurationError,
        match=r"rules of the app 'first', and they would open channels of the app 'second' too\. Give each "
        r"app an SSEPush\(\) of its own",
    ):
        make_app("second", sse)
    del first
    gc.collect()
    with pytest.raises(ConfigurationError, match="'second'"):
        make_app("second", sse)


def test_rules_before_the_first_app_are_of_that_app():
    """Rules that stand at the blueprint, before any app, belong to the first that registers it."""
    sse = SSEPush()
    sse.authorize("*")(lambda channel: True)
    first = make_app("first", sse)
    with pytest.raises(ConfigurationError, match="rules of the app 'first'"):
        make_app("second", sse)
    with first.test_client().get("/events?channel=x") as response:
        assert response.status_code == 200


def test_rules_are_not_of_an_app_that_refused_the_blueprint():
    """Where the registration fails, the next app of whatever name gets the rules."""
    sse = SSEPush()
    sse.authorize("orders")(lambda channel: True)
    first = Flask("first")
    first.register_blueprint(Blueprint("sse", "another"))
    with pytest.raises(ValueError, match="already registered"):
        first.register_blueprint(sse)
    second = Flask("second")
    second.register_blueprint(sse)
    assert "flask_sse_push" in second.extensions


def test_rules_cannot_be_added_on_several_apps():
    """
    A rule for a blueprint that is on apps of different import names is refused; when one of them is gone, it
    is not.
    """
    sse = SSEPush()
    first, second = make_app("first", sse), make_app("second", sse)
    with pytest.raises(
        ConfigurationError,
        match=r"may_read would count for every app of this blueprint, got apps of 'first', 'second'\. Give "
        r"each app an SSEPush\(\)",
    ):

        @sse.authorize("orders")
        def may_read(channel):
            return True

    assert first.test_client().get("/events?channel=orders").status_code == 403
    del first
    gc.collect()
    sse.authorize("orders")(lambda channel: True)
    with second.test_client().get("/events?channel=orders") as response:
        assert response.status_code == 200


def test_rules_serve_all_apps_of_a_factory():
    """A factory that is called again makes an app of the same import name, with the same rules."""
    sse = SSEPush()
    sse.authorize("orders")(lambda channel: True)
    for app in [make_app("shop", sse), make_app("shop", sse)]:
        with app.test_client().get("/events?channel=orders") as response:
            assert response.status_code == 200
    sse.authorize("invoices")(lambda channel: True)
    make_app("shop", sse)


@pytest.mark.parametrize(
    ("url_prefix", "path"),
    [("/events", "/events"), ("/api/v1/push", "/api/v1/push"), ("/events/", "/events/"), ("/", "/")],
)
def test_blueprint_answers_at_its_prefix(url_prefix, path):
    """The stream is the prefix itself."""
    app = make_app(url_prefix=url_prefix)
    with app.test_request_context():
        assert url_for("sse.stream", channel="news") == f"{path}?channel=news"
    with app.test_client().get(path) as response:
        assert response.mimetype == "text/event-stream"


def test_blueprint_has_a_prefix_of_its_own():
    """Without url_prefix it answers at /events, or where it was made to."""
    app = Flask("shop")
    app.register_blueprint(SSEPush())
    with app.test_client().get("/events") as response:
        assert response.mimetype == "text/event-stream"
    app = Flask("shop")
    app.register_blueprint(SSEPush("push", url_prefix="/push"))
    with app.test_client().get("/push") as response:
        assert response.mimetype == "text/event-stream"
    with app.test_request_context():
        assert url_for("push.stream") == "/push"


@pytest.mark.parametrize("url_prefix", ["", "events", 7])
def test_prefix_that_makes_no_route_is_refused(url_prefix):
    """Wherever it was given: the registration says what to write, and leaves the app as it was."""
    app = Flask("shop")
    for register in (
        lambda: app.register_blueprint(SSEPush(), url_prefix=url_prefix),
        lambda: SSEPush(url_prefix=url_prefix).init_app(app),
        lambda: SSEPush(app, url_prefix=url_prefix),
    ):
        with pytest.raises(
            ConfigurationError, match=f'^"url_prefix" must .* got {url_prefix!r}. Write url_pre'
        ):
            register()
    SSEPush(app, url_prefix="/")
    with open_stream(app.test_client(), "/"):
        pass


@pytest.mark.parametrize("host", ["live.example.com", "<host>"])
def test_app_that_matches_hosts_says_where_the_blueprint_answers(host):
    """Without "host" no request would find the route, which is refused; with it, the route is there."""
    app = Flask("shop", host_matching=True, static_folder=None)
    with pytest.raises(ConfigurationError, match=r'^"host" must .* Write: app\.register_blueprint\(.*host='):
        SSEPush(app)
    app.register_blueprint(SSEPush(), host=host)
    there = {"base_url": "http://live.example.com"}
    assert app.test_client().head("/events", **there).status_code == 200
    elsewhere = app.test_client().head("/events", base_url="http://www.example.com").status_code
    assert elsewhere == (404 if host == "live.example.com" else 200)


def test_prefix_may_have_a_variable():
    """A rule reads it from request.view_args."""
    sse = SSEPush()
    app = make_app("shop", sse, url_prefix="/<tenant>/events")

    @sse.authorize("orders")
    def may_read(channel):
        return request.view_args == {"tenant": "ada"}

    client = app.test_client()
    assert client.head("/ada/events?channel=orders").status_code == 200
    assert client.head("/bob/events?channel=orders").status_code == 403


@pytest.mark.parametrize("url_prefix", ["/events", "/events/", "/api/events"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_trailing_slash_never_redirects(url_prefix, method):
    """
    With and without a slash at the end the stream answers itself: a redirect costs a round trip, and across
    origins the permission.
    """
    client = make_app(url_prefix=url_prefix).test_client()
    bare = url_prefix.rstrip("/")
    for path in (bare, bare + "/"):
        with client.open(path, method=method) as response:
            assert response.status_code == 200, path


def test_blueprint_nested_in_another():
    """Registered on a blueprint, it sets up the app that this one is registered on."""
    sse = SSEPush()
    api = Blueprint("api", __name__, url_prefix="/api")
    api.register_blueprint(sse, url_prefix="/events")
    app = Flask("shop")
    app.config["SSE_PUSH_PUBLIC_CHANNELS"] = ["news"]
    app.register_blueprint(api)
    with app.test_request_context():
        assert url_for("api.sse.stream") == "/api/events"
    with open_stream(app.test_client(), "/api/events?channel=news") as stream:
        sse.publish("x", channel="news")
        assert stream.read(1)[0].data == "x"


def test_blueprint_of_the_parent_guards_the_stream():
    """before_request of the app and of the blueprint around it can refuse a stream."""
    sse = SSEPush()
    api = Blueprint("api", __name__, url_prefix="/api")
    api.register_blueprint(sse, url_prefix="/events")
    api.before_request(lambda: ("no", 403))
    app = Flask("shop")
    app.register_blueprint(api)
    assert app.test_client().get("/api/events").status_code == 403
    assert sse.stats()["opened"] == 0


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_other_methods_are_not_allowed(client, method):
    """The stream's own route is for reading."""
    response = client.open("/events", method=method)
    assert response.status_code == 405
    assert set(response.headers["Allow"].split(", ")) == {"GET", "HEAD", "OPTIONS"}


def test_stream_holds_no_context(app, client, sse):
    """
    Teardown runs before the first byte, once: no session or database connection lives as long as a stream.
    """
    torn_down = []
    app.teardown_request(lambda error: torn_down.append("request"))
    app.teardown_appcontext(lambda error: torn_down.append("app"))
    with open_stream(client, "/events") as stream:
        assert torn_down == ["request", "app"]
        sse.publish("x")
        stream.read(1)
    assert torn_down == ["request", "app"]


def test_stream_headers_keep_proxies_from_buffering(client):
    """
    The headers say what it is, that nobody may store, transform, buffer or sniff it, and nothing hop by hop.
    """
    with client.get("/events") as response:
        headers = dict(response.headers)
    assert headers["Content-Type"] == "text/event-stream; charset=utf-8"
    assert headers["Cache-Control"] == "no-store, no-transform"
    assert headers["X-Accel-Buffering"] == "no"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert not {"Connection", "Transfer-Encoding", "Content-Length", "Keep-Alive"} & set(headers)


def test_stats_count_what_happens(app, client, sse):
    """Stats tell of open streams, listeners per channel, events and history, and are JSON."""
    before = sse.stats()
    assert before["streams"] == before["opened"] == before["refused"] == before["published"] == 0
    assert before["channels"] == {}
    with (
        open_stream(client, "/events?channel=news&channel=orders"),
        open_stream(client, "/events?channel=news"),
    ):
        id = sse.publish("x", channel="news")
        stats = sse.stats()
    assert stats["streams"] == stats["opened"] == 2
    assert stats["published"] == 1
    assert stats["channels"] == {"news": 2, "orders": 1}
    assert stats["last_event_id"] == id
    assert stats["history"]["events"] == stats["history"]["channels"] == 1
    assert stats["history"]["bytes"] > 0
    assert stats["bus"] == "memory"
    assert stats["max_streams"] >= 1
    app.json.dumps(stats)
    after = sse.stats()
    assert (after["streams"], after["opened"], after["channels"]) == (0, 2, {})


def test_extension_takes_an_app_at_once():
    """SSEPush(app) sets up the app as register_blueprint does, and rules may follow."""
    app = Flask("shop")
    sse = SSEPush(app, url_prefix="/push")
    sse.authorize("orders")(lambda channel: True)
    with open_stream(app.test_client(), "/push?channel=orders") as stream:
        sse.publish("x", channel="orders")
        assert stream.read(1)[0].data == "x"
    with app.test_request_context():
        assert url_for("sse.stream") == "/push"


@pytest.mark.parametrize(
    ("options", "path"),
    [({}, "/events"), ({"url_prefix": "/push"}, "/push"), ({"url_prefix": None}, "/events")],
)
def test_init_app_sets_up_an_app(options, path):
    """sse.init_app(app) works as with other extensions, once per app and for any number of apps."""
    sse = SSEPush()
    for name in ("first", "second"):
        app = Flask(name)
        sse.init_app(app, **options)
        with app.test_client().get(path) as response:
            assert response.mimetype == "text/event-stream"


@pytest.mark.parametrize(
    "again",
    [
        lambda sse, app: sse.init_app(app),
        lambda sse, app: SSEPush(app),
        lambda sse, app: app.register_blueprint(sse),
    ],
)
@pytest.mark.parametrize(
    "first", [lambda sse, app: sse.init_app(app), lambda sse, app: app.register_blueprint(sse)]
)
def test_init_app_is_refused_on_an_app_that_has_one(first, again):
    """Whichever way an app was set up, a second time is refused with its name and the cure."""
    sse, app = SSEPush(), Flask("shop")
    first(sse, app)
    with pytest.raises(
        ConfigurationError, match=r"^This blueprint is already registered on app 'shop'\. Import and use it"
    ):
        again(sse, app)


def test_what_is_no_app_is_refused():
    """
    A blueprint, a module or nothing in the place of the app is an error that shows the value and what to
    write.
    """
    api = Blueprint("api", __name__)
    with pytest.raises(
        ConfigurationError,
        match=r'^"app" must be a Flask app, got <Blueprint \'api\'>\. On a blueprint, call its '
        r"register_blueprint\(\)\.$",
    ):
        SSEPush().init_app(api)
    for value in (None, 7, api):
        with pytest.raises(
            ConfigurationError, match=r'^"name" must be a str or a Flask app, got .*Write SSEPush\(\)'
        ):
            SSEPush(value)
