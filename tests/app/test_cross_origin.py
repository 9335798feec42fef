"""Views of one's own that pages of other origins call, and Flask-CORS beside this package."""

import functools

import pytest
from flask import Blueprint, Flask, abort, request
from flask.views import MethodView
from flask_cors import CORS
from flask_cors import cross_origin as flask_cors_cross_origin

from flask_sse_push import ConfigurationError, SSEPush

from .helpers import make_app
from .test_cors import THERE, cors_of, preflight

EVIL = "https://evil.example"


@pytest.fixture
def app(sse):
    return make_app(blueprint=sse, cors_origins=[THERE], max_streams=1)


def call(app, path, origin=THERE, method="POST", **options):
    """The answer to the request itself, and what it allows."""
    with app.test_client().open(path, method=method, headers={"Origin": origin}, **options) as response:
        assert len(response.headers.getlist("Access-Control-Allow-Origin")) <= 1
        assert len(response.headers.getlist("Vary")) <= 1
        return response.status_code, cors_of(response)


ALLOWED = {"Access-Control-Allow-Origin": THERE}


def noted(view):
    """A decorator as most are: it wraps."""

    @functools.wraps(view)
    def wrapper(*args, **kwargs):
        return view(*args, **kwargs)

    return wrapper


def function_view(app, sse, place):
    @place.post("/ask")
    @sse.cross_origin
    def ask():
        return sse.response(["a"])


def mark_on_top(app, sse, place):
    @sse.cross_origin
    @place.route("/ask", methods=["POST"])
    def ask():
        return sse.response(["a"])


def decorator_above(app, sse, place):
    @place.post("/ask")
    @noted
    @sse.cross_origin
    def ask():
        return sse.response(["a"])


def decorator_below(app, sse, place):
    @place.post("/ask")
    @sse.cross_origin
    @noted
    def ask():
        return sse.response(["a"])


def marked_class(app, sse, place):
    @sse.cross_origin
    class Ask(MethodView):
        def post(self):
            return sse.response(["a"])

    place.add_url_rule("/ask", view_func=Ask.as_view("ask"))


def marked_in_decorators(app, sse, place):
    class Ask(MethodView):
        decorators = (sse.cross_origin, noted)

        def post(self):
            return sse.response(["a"])

    place.add_url_rule("/ask", view_func=Ask.as_view("ask"))


def marked_method(app, sse, place):
    class Ask(MethodView):
        @sse.cross_origin
        def post(self):
            return sse.response(["a"])

    place.add_url_rule("/ask", view_func=Ask.as_view("ask"))


def without_options(app, sse, place):
    @place.post("/ask", provide_automatic_options=False)
    @sse.cross_origin
    def ask():
        return sse.response(["a"])


def beside_another_view(app, sse, place):
    @place.get("/ask")
    def form():
        return "a form"

    function_view(app, sse, place)


MARKED = [
    function_view,
    mark_on_top,
    decorator_above,
    decorator_below,
    marked_class,
    marked_in_decorators,
    marked_method,
    without_options,
    beside_another_view,
]


@pytest.mark.parametrize("is_nested", [False, True], ids=["app", "blueprint"])
@pytest.mark.parametrize("mark", MARKED)
def test_marked_view_is_called_by_a_configured_origin(app, sse, mark, is_nested):
    """Its preflight is answered with the methods of its own rule, and the request itself can be read."""
    place = Blueprint("api", __name__, url_prefix="/api") if is_nested else app
    mark(app, sse, place)
    if is_nested:
        app.register_blueprint(place)
    path = "/api/ask" if is_nested else "/ask"
    answer = preflight(app.test_client(), path, "POST", names="content-type,traceparent")
    assert answer.status_code == 204
    methods = cors_of(answer).pop("Access-Control-Allow-Methods").split(", ")
    assert set(methods) - {"OPTIONS"} == {"POST"}
    assert cors_of(answer)["Access-Control-Allow-Origin"] == THERE
    assert cors_of(answer)["Access-Control-Allow-Headers"] == "content-type,traceparent"
    assert call(app, path) == (200, ALLOWED)


@pytest.mark.parametrize("mark", MARKED)
def test_marked_view_is_closed_to_other_origins(app, sse, mark):
    """Another origin's preflight grants nothing, and its request is refused."""
    mark(app, sse, app)
    answer = preflight(app.test_client(), "/ask", "POST", EVIL)
    assert answer.status_code in (200, 405)  # as Flask answers OPTIONS by itself
    assert cors_of(answer) == {}
    assert call(app, "/ask", EVIL) == (403, {})


def test_preflight_of_other_views_is_left_alone(app, sse):
    """A view without the mark, another method, and an address of no view grant nothing."""
    function_view(app, sse, app)
    app.add_url_rule("/plain", view_func=lambda: "plain", methods=["POST"], endpoint="plain")
    app.add_url_rule("/stream", view_func=lambda: sse.response(["a"]), methods=["POST"], endpoint="stream")
    app.add_url_rule("/folder/", view_func=sse.cross_origin(lambda: "x"), methods=["POST"], endpoint="folder")
    client = app.test_client()
    for path, method, status in [
        ("/plain", "POST", 200),
        ("/stream", "POST", 200),
        ("/ask", "DELETE", 200),
        ("/folder", "POST", 308),
        ("/nowhere", "POST", 404),
    ]:
        answer = preflight(client, path, method)
        assert answer.status_code == status, path
        assert not {"Access-Control-Allow-Methods", "Access-Control-Allow-Headers"} & set(cors_of(answer))
    assert call(app, "/plain") == (200, {})


def test_preflight_comes_before_the_guards_of_the_app(app, sse):
    """A preflight carries no cookie, so a login that the app asks of every request would refuse it."""
    function_view(app, sse, app)

    @app.before_request
    def log_in():
        abort(401)

    assert preflight(app.test_client(), "/ask", "POST").status_code == 204
    assert preflight(app.test_client()).status_code == 204
    assert call(app, "/ask") == (401, ALLOWED)
    assert call(app, "/events", method="GET") == (401, ALLOWED)


def test_marked_view_shows_its_errors_to_a_configured_origin(app, sse):
    """Whatever the view answers, the page can read: its own errors, refusals, and a full server."""

    @app.post("/ask/<how>")
    @sse.cross_origin
    def ask(how):
        if how == "full":
            return sse.response(["a"])
        if how == "raises":
            raise RuntimeError("broken")
        if how == "bad name":
            return sse.stream("not a name")
        abort(int(how))

    app.config["PROPAGATE_EXCEPTIONS"] = False
    for how, status in [("400", 400), ("404", 404), ("raises", 500), ("bad name", 400)]:
        assert call(app, f"/ask/{how}") == (status, ALLOWED), how
    with app.test_client().get("/events"):
        full = app.test_client().post("/ask/full", headers={"Origin": THERE})
    assert (full.status_code, cors_of(full)) == (503, ALLOWED)
    assert full.headers["Access-Control-Expose-Headers"] == "Retry-After"


def test_marked_view_meets_settings_of_the_first_use(sse):
    """A list that is set after the registration counts for the first request, whichever that is."""
    for first in ("preflight", "error"):
        own = SSEPush()
        app = make_app(blueprint=own)
        app.config["SSE_PUSH_CORS_ORIGINS"] = [THERE]
        app.add_url_rule(
            "/ask", view_func=own.cross_origin(lambda: abort(400)), methods=["POST"], endpoint="ask"
        )
        if first == "preflight":
            assert preflight(app.test_client(), "/ask", "POST").status_code == 204
        else:
            assert call(app, "/ask") == (400, ALLOWED)


def test_marked_view_without_configured_origins_is_an_ordinary_view(sse):
    """The mark grants nothing by itself."""
    app = make_app(blueprint=sse)
    function_view(app, sse, app)
    answer = preflight(app.test_client(), "/ask", "POST")
    assert (answer.status_code, cors_of(answer), answer.headers.get("Vary")) == (200, {}, None)


@pytest.mark.parametrize("vary", ["Accept-Encoding", "origin", "*", "Accept, ORIGIN"])
def test_vary_names_each_header_once(app, sse, vary):
    """What the app lets caches tell apart stays, on one line, and the session's Cookie comes to it."""

    @app.post("/ask")
    @sse.cross_origin
    def ask():
        from flask import session

        session["seen"] = 1
        response = sse.response(["a"])
        response.headers.add("Vary", vary)
        return response

    with app.test_client().post("/ask", headers={"Origin": THERE}) as response:
        [line] = response.headers.getlist("Vary")
    names = [name.strip().lower() for name in line.split(",")]
    assert sorted(names) == sorted(
        {*vary.lower().split(", "), "cookie", *(() if vary == "*" else ["origin"])}
    )


OPTIONS_OF_FLASK_CORS = {
    "without options": {},
    "with resources": {"resources": {r"/*": {"origins": [THERE, "https://other.example"]}}},
    "with credentials": {"supports_credentials": True, "origins": [THERE]},
    "with a wildcard": {"send_wildcard": True},
    "of other origins": {"origins": ["https://other.example"]},
}


@pytest.fixture(params=["before", "after"])
def beside(request, sse):
    """An app with Flask-CORS registered before or after this package, and views of each kind."""

    def make(options, **settings):
        app = Flask("shop")
        app.config.update(SSE_PUSH_CORS_ORIGINS=[THERE], **settings)
        if request.param == "before":
            CORS(app, **options)
        app.register_blueprint(sse, url_prefix="/events")
        function_view(app, sse, app)
        app.add_url_rule("/unmarked", view_func=lambda: sse.response(["a"]), methods=["POST"], endpoint="own")
        theirs = {name: value for name, value in options.items() if name != "resources"}
        decorated = flask_cors_cross_origin(**theirs)(lambda: sse.response(["a"]))
        app.add_url_rule("/decorated", view_func=decorated, methods=["POST"], endpoint="decorated")
        if request.param == "after":
            CORS(app, **options)
        return app

    return make


@pytest.mark.parametrize("name", OPTIONS_OF_FLASK_CORS)
def test_flask_cors_beside_never_doubles_what_is_allowed(beside, name):
    """A browser refuses a response that allows an origin twice: each has one, from whomever it comes."""
    app = beside(OPTIONS_OF_FLASK_CORS[name])
    for path, method in [
        ("/events", "GET"),
        ("/events?channel=closed", "GET"),
        ("/ask", "POST"),
        ("/unmarked", "POST"),
        ("/decorated", "POST"),
    ]:
        status, allowed = call(app, path, method=method)
        assert status == (403 if "closed" in path else 200)
        wildcard = name == "with a wildcard" and path in ("/unmarked", "/decorated")
        assert allowed["Access-Control-Allow-Origin"] == ("*" if wildcard else THERE)


@pytest.mark.parametrize("name", OPTIONS_OF_FLASK_CORS)
@pytest.mark.parametrize("credentials", [True, False])
def test_flask_cors_beside_is_overruled_on_the_stream_and_on_marked_views(beside, name, credentials):
    """There the settings of this package decide who may read, and with cookies or without."""
    app = beside(OPTIONS_OF_FLASK_CORS[name], SSE_PUSH_CORS_CREDENTIALS=credentials)
    ours = {**ALLOWED, "Access-Control-Allow-Credentials": "true"} if credentials else ALLOWED
    for path, method in [("/events", "GET"), ("/ask", "POST")]:
        assert call(app, path, method=method) == (200, ours)
        assert call(app, path, EVIL, method=method) == (403, {})
        assert cors_of(preflight(app.test_client(), path, method)) == {
            **ours,
            "Access-Control-Allow-Methods": "GET, HEAD, OPTIONS" if method == "GET" else "OPTIONS, POST",
            "Access-Control-Allow-Headers": "last-event-id",
            "Access-Control-Max-Age": "7200",
        }
        assert "Access-Control-Allow-Origin" not in preflight(app.test_client(), path, method, EVIL).headers


def test_flask_cors_beside_answers_preflights_of_other_views(beside):
    """Where Flask-CORS is, a view without a mark has its preflight from there, and its credentials too."""
    app = beside(OPTIONS_OF_FLASK_CORS["with credentials"])
    theirs = {**ALLOWED, "Access-Control-Allow-Credentials": "true"}
    for path in ("/unmarked", "/decorated"):
        answer = preflight(app.test_client(), path, "POST", names="traceparent")
        assert (answer.status_code, cors_of(answer).items() >= theirs.items()) == (200, True)
        assert call(app, path) == (200, theirs)
        assert call(app, path, EVIL) == (403, {})


@pytest.mark.parametrize("view", ["https://app.example.com", None, [THERE], "".join])
def test_mark_of_what_is_no_view_is_refused(sse, view):
    """Origins as an argument, as Flask-CORS takes them, are answered with the right way to write it."""
    with pytest.raises(ConfigurationError, match=r"SSE_PUSH_CORS_ORIGINS\.$"):
        sse.cross_origin(view)


def test_mark_leaves_the_view_as_it_is(sse):
    """The decorator returns the very function: no call more, and tests can call it."""

    def view():
        return request.path

    assert sse.cross_origin(view) is view
