"""The page about Flask-SSE: its app runs there and here, and what it says of both is so."""

import concurrent.futures
import inspect
import json
import re

import httpx
import pytest
from flask import Flask, abort, request

from flask_sse_push import InvalidChannel, InvalidEvent, SSEPush
from tests.docs.pages import page
from tests.docs.served import listening
from tests.needs import needs
from tests.support import FACTOR, MS, eventually

PAGE = page("docs/flask-sse.md")
MOVE = PAGE.block("A whole application", "diff")
REDIS = "redis://127.0.0.1:6379"
GUNICORN = "gunicorn --worker-class gevent app:app"


def side(sign):
    """The app before the move (``-``) or after it (``+``)."""
    return "".join(line[1:] or "\n" for line in MOVE.splitlines(keepends=True) if line[0] in f" \n{sign}")


@pytest.fixture
def serve_side(serve, redis_server):
    """Serve one side of the move, on the test's Redis."""

    def serve_side(sign):
        source = side(sign)
        assert source.count(REDIS) == 1
        url = f"redis://127.0.0.1:{redis_server.port}"
        assert GUNICORN in PAGE.text
        return serve(
            source.replace(REDIS, url),
            command=GUNICORN,
            options="--graceful-timeout 1",  # Flask-SSE does not notice that a client left
            SECRET_KEY="a key for the tests of the page",
        )

    return serve_side


def first_bell(served):
    """What a client of the stream gets first. It is rung for until then: Flask-SSE is silent before."""

    def listen():
        with listening(f"{served.url}/stream?channel=doors") as (_, read):
            return read(1)[0]

    def ring():
        assert httpx.post(f"{served.url}/bell", timeout=5 * FACTOR).status_code == 204
        return heard.done()

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        heard = pool.submit(listen)
        eventually(ring, 10_000 * MS, "the client hears the bell")
        return heard.result()


@pytest.mark.parametrize(
    ("sign", "module", "data"),
    [("-", "flask_sse", {"door": "front"}), ("+", "flask_sse_push", {"door": "front", "id": "7"})],
)
def test_app_rings_before_and_after_the_move(serve_side, sign, module, data):
    """The same page and client get the event from Flask-SSE, and from this package with the lines changed."""
    needs(modules=[module])
    served = serve_side(sign)
    assert 'EventSource("/stream?channel=doors")' in httpx.get(served.url).text
    event = first_bell(served)
    assert (event.type, json.loads(event.data)) == ("bell", data)
    assert httpx.get(f"{served.url}/stream?channel=alarms").status_code == 403
    if sign == "+":
        assert httpx.get(f"{served.url}/stream?channel=doors&channel=alarms").status_code == 403
        assert "SSE_REDIS_URL" not in served.log and "REDIS_URL is" not in served.log


def test_table_has_each_name_of_flask_sse():
    """Each public name, and each argument of publish(), has a row."""
    needs(modules=["flask_sse"])
    import flask_sse

    classes = [flask_sse.Message, flask_sse.ServerSentEventsBlueprint]
    names = {each.__name__ for each in classes} | {"sse", "SSE_REDIS_URL", "REDIS_URL", "__str__"}
    for each in classes:
        names |= {name for name in vars(each) if not name.startswith("_")}
    names |= set(inspect.signature(flask_sse.sse.publish).parameters)
    cells = " ".join(row[0] for row in PAGE.table("| Flask-SSE | here |"))
    told = set(re.findall(r"\w+", cells)) | ({"__str__"} if "str(message)" in cells else set())
    assert names - told == set()


@pytest.fixture
def app():
    app = Flask("shop")
    app.config["SSE_PUSH_PUBLIC_CHANNELS"] = ["*"]
    return app


def status(app, url):
    with app.test_client().get(url) as response:
        return response.status_code


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"id": "7"}, InvalidEvent),
        ({"retry": 0}, InvalidEvent),
        ({"retry": 499}, InvalidEvent),
        ({"type": "error"}, InvalidEvent),
        ({"type": "open"}, InvalidEvent),
        ({"type": "sse.bell"}, InvalidEvent),
        ({"channel": "two words"}, InvalidChannel),
        ({"channel": "café"}, InvalidChannel),
    ],
)
def test_publish_refuses_what_the_page_says(app, arguments, error):
    """Arguments that Flask-SSE takes, and this package does not."""
    sse = SSEPush(app)
    with pytest.raises(error, match=f'^"{next(iter(arguments))}" '):
        sse.publish("x", **arguments)


def test_channels_of_a_request_are_those_that_the_page_says(app):
    """Without a prefix it answers at /events; an empty channel is an error; a list is read as a whole."""
    SSEPush(app)
    urls = ("/events", "/events?channel=", "/events?channel=doors&channel=news")
    assert [status(app, url) for url in urls] == [200, 400, 200]
    with app.test_request_context():
        assert app.url_for("sse.stream", channel=["doors", "news"]) == urls[2]


def test_own_view_streams_what_it_is_given(app):
    """`sse.stream()` in a view streams the channel sse, whatever the request asks for."""
    sse = SSEPush(app)

    @app.get("/own")
    def own():
        return sse.stream()

    with app.test_client().get("/own?channel=doors"):
        assert sse.stats()["channels"] == {"sse": 1}


def test_check_of_the_first_channel_can_be_passed_by(app):
    """A check of Flask-SSE's kind sees one channel of several; a rule is asked for each."""
    sse = SSEPush()

    @sse.before_request
    def may_read():
        if request.args.get("channel") == "alarms":
            abort(403)

    app.register_blueprint(sse)
    both = "/events?channel=doors&channel=alarms"
    assert [status(app, url) for url in ("/events?channel=alarms", both)] == [403, 200]
    sse.authorize("alarms")(lambda _channel: False)
    assert status(app, both) == 403


def test_blueprint_has_its_route():
    """SSEPush takes a name alone, and a second route for the endpoint is refused by Flask."""
    with pytest.raises(TypeError):
        SSEPush("doors", __name__)
    sse = SSEPush("doors")
    sse.add_url_rule("", endpoint="stream", view_func=sse.stream)
    with pytest.raises(AssertionError, match=r"doors\.stream"):
        Flask("shop").register_blueprint(sse)
