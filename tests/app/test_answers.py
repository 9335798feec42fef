"""What every answer says beside its body, also those that open no stream."""

import pytest
from flask import abort

from flask_sse_push import SSEPush
from flask_sse_push.testing import open_stream

from .helpers import make_app

THERE = "https://app.example.com"


@pytest.fixture
def client():
    """A client of an app that answers in every way that there is."""
    sse = SSEPush()
    app = make_app(blueprint=sse, max_streams=1, cors_origins=[THERE], public_channels=["news"])
    app.add_url_rule(
        "/answer", view_func=lambda: sse.response(["a"]), endpoint="answer", methods=["GET", "POST"]
    )
    app.add_url_rule("/mine", view_func=lambda: sse.stream("not a name"), endpoint="mine")

    @sse.authorize("login")
    def may_read(channel):
        abort(401)

    return app.test_client()


ANSWERS = {
    "stream": ("GET", "/events", {}, 200),
    "head": ("HEAD", "/events", {}, 200),
    "response": ("GET", "/answer", {}, 200),
    "response to post": ("POST", "/answer", {}, 200),
    "finished": ("GET", "/answer", {"Last-Event-ID": "end"}, 204),
    "bad channel": ("GET", "/events?channel=*", {}, 400),
    "bad channel of a view": ("GET", "/mine", {}, 400),
    "not logged in": ("GET", "/events?channel=login", {}, 401),
    "forbidden": ("GET", "/events?channel=closed", {}, 403),
    "forbidden head": ("HEAD", "/events?channel=closed", {}, 403),
    "foreign": ("GET", "/events", {"Origin": "https://evil.example"}, 403),
    "foreign to a view": ("POST", "/answer", {"Sec-Fetch-Site": "cross-site"}, 403),
    "full": ("GET", "/events", {}, 200),
    "response when full": ("GET", "/answer", {}, 200),
    "response to post when full": ("POST", "/answer", {}, 503),
}


@pytest.mark.parametrize("answer", ANSWERS)
def test_answer_is_kept_by_no_cache_and_is_what_it_says(client, answer):
    """
    No answer of this package may be given to another visitor, and none be taken for something else than it
    says.
    """
    method, path, headers, status = ANSWERS[answer]

    def check():
        with client.open(path, method=method, headers=headers) as response:
            assert response.status_code == status
            assert response.headers.getlist("Cache-Control") in (["no-store"], ["no-store, no-transform"])
            assert response.headers.getlist("X-Content-Type-Options") == ["nosniff"]
            assert (response.mimetype or None) == {200: "text/event-stream", 204: None}.get(
                status, "application/json"
            )

    if "full" in answer:
        with open_stream(client, "/events?channel=news"):
            check()
    else:
        check()
