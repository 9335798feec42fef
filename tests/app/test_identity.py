"""Whose page it is, and whose stream."""

import logging

import flask_login
import pytest
from flask import Flask, session

from flask_sse_push import SSEPush

from .helpers import make_app
from .test_client_files import tag_of

OTHER = {"SSE-Push-Identity": "other"}
NOT_SHARED = {"SSE-Push-Sharing": "no"}


@pytest.fixture
def sse():
    return SSEPush()


@pytest.fixture
def app(sse):
    app = make_app(blueprint=sse)
    sse.identify(lambda: session.get("user"))
    app.add_url_rule(
        "/login/<user>", view_func=lambda user: session.update(user=user) or "", endpoint="login"
    )
    app.add_url_rule(
        "/number/<int:user>", view_func=lambda user: session.update(user=user) or "", endpoint="number"
    )
    app.add_url_rule("/page", view_func=lambda: tag_text(app), endpoint="page")
    return app


def tag_text(app):
    return app.jinja_env.from_string("{{ sse_push_script() }}").render()


def proof_of(client):
    """Return what a page of this visitor carries, or None."""
    page = client.get("/page").text
    _, found, rest = page.partition('data-identity="')
    return rest.partition('"')[0] if found else None


def verdict(client, proof, **headers):
    """Return what the server says of a stream that carries the proof."""
    with client.get("/events", headers={"SSE-Push-Identity": proof, **headers}) as response:
        assert response.status_code == 200
        names = ("SSE-Push-Identity", "SSE-Push-Sharing")
        return {name: response.headers[name] for name in names if name in response.headers}


def visitor(app, path=None):
    client = app.test_client()
    if path is not None:
        client.get(path)
    return client


def test_page_and_stream_of_one_visitor_are_the_same(app):
    """Ann's page opens Ann's stream: nothing is said, and it may be shared."""
    ann = visitor(app, "/login/ann")
    assert verdict(ann, proof_of(ann)) == {}


def test_stream_of_another_visitor_is_told(app):
    """Bob logged in meanwhile: the page of Ann, or of nobody, hears that the stream is another's."""
    ann, bob = visitor(app, "/login/ann"), visitor(app, "/login/bob")
    assert verdict(bob, proof_of(ann)) == OTHER
    assert verdict(bob, "nobody") == OTHER
    assert verdict(visitor(app), proof_of(ann)) == OTHER


def test_proof_cannot_be_guessed(app, sse):
    """It is an HMAC under SECRET_KEY: of another key, or of no key, it proves nothing."""
    ann = visitor(app, "/login/ann")
    proof = proof_of(ann)
    app.secret_key = "another key"
    ann = visitor(app, "/login/ann")
    assert verdict(ann, proof) == OTHER
    for forged in ("ann", "", "x" * 43, "é", "\xff", proof[:-1]):
        assert verdict(ann, forged.encode().decode("latin-1")) == OTHER


def test_proof_of_a_former_key_counts(app):
    """While SECRET_KEY is exchanged, pages that the former key signed go on."""
    ann = visitor(app, "/login/ann")
    proof = proof_of(ann)
    app.config.update(SECRET_KEY="a new key", SECRET_KEY_FALLBACKS=["a key for the tests"])
    assert verdict(visitor(app, "/login/ann"), proof) == {}


def test_number_is_an_identity(app):
    """7 and "7" are the same user."""
    seven = visitor(app, "/number/7")
    assert verdict(visitor(app, "/login/7"), proof_of(seven)) == {}


def test_nobody_without_a_cookie_shares(app):
    """Where nobody is known and nothing could tell visitors apart, one stream is enough."""
    assert proof_of(visitor(app)) == "nobody"
    assert verdict(visitor(app), "nobody") == {}
    assert verdict(visitor(app), "unknown") == {}


@pytest.mark.parametrize("proof", ["nobody", "unknown"])
def test_nobody_with_a_session_or_authorization_does_not_share(app, proof):
    """Who sends a session or credentials may be somebody, whom identify() does not know."""
    client = visitor(app)
    client.set_cookie(app.config["SESSION_COOKIE_NAME"], "x")
    assert verdict(client, proof) == NOT_SHARED
    assert verdict(visitor(app), proof, Authorization="Bearer x") == NOT_SHARED


def test_nobody_with_a_session_is_kept_apart_from_nobody(app):
    """A page of whom the app may know does not join the stream that a page of nobody has opened."""
    client = visitor(app)
    client.set_cookie(app.config["SESSION_COOKIE_NAME"], "x")
    proof = proof_of(client)
    assert proof not in (proof_of(visitor(app)), proof_of(visitor(app, "/login/ann")))
    assert verdict(client, proof) == NOT_SHARED
    assert verdict(visitor(app), proof) == {}
    assert verdict(visitor(app, "/login/ann"), proof) == OTHER


def test_any_cookie_may_be_a_login_where_nobody_says_who_it_is(app):
    """Without @sse.identify and Flask-Login, a cookie with a token may be a login; with them it is not."""
    for each, expected in ((app, {}), (make_app(), NOT_SHARED)):
        client = visitor(each)
        assert verdict(client, "nobody") == {}
        client.set_cookie("access_token_cookie", "a token of Ann's")
        assert verdict(client, "nobody") == expected


def test_page_without_the_tag_does_not_share_somebodys_stream(app):
    """A page that carries no proof cannot tell whose it is."""
    assert verdict(visitor(app, "/login/ann"), "unknown") == NOT_SHARED


def test_app_without_a_secret_key_shares_nothing_of_somebody(sse):
    """Without a key there is no proof, and no error."""
    app = Flask("keyless")
    app.register_blueprint(sse)
    sse.identify(lambda: "ann")
    assert "data-identity" not in tag_of(app)
    assert verdict(app.test_client(), "unknown") == NOT_SHARED


def test_stream_that_carries_no_proof_hears_nothing(app):
    """A native EventSource is as it was."""
    with visitor(app, "/login/ann").get("/events") as response:
        assert not {"SSE-Push-Identity", "SSE-Push-Sharing"} & set(response.headers.keys())


def test_identify_that_fails_is_said_once_and_shares_nothing(app, sse, caplog):
    """A broken function stops no stream: tabs have streams of their own, and the log says why."""
    sse.identify(lambda: 1 / 0)
    with caplog.at_level(logging.ERROR, "flask_sse_push"):
        assert [verdict(visitor(app), "unknown") for _ in range(3)] == [NOT_SHARED] * 3
    assert [record.message for record in caplog.records] == [
        "Streams are not shared by tabs: the function of @sse.identify failed."
    ]


def test_identify_must_return_an_id(app, sse):
    """An object that is no id would be another one at each request."""
    sse.identify(object)
    with pytest.raises(
        TypeError, match=r"must return a str, an int or None, got <object object .* for nobody\."
    ):
        tag_of(app)


def test_login_of_flask_login_is_understood():
    """Where Flask-Login is in use, its user counts without a function."""
    app = make_app()
    manager = flask_login.LoginManager(app)
    manager.user_loader(lambda user_id: type("User", (flask_login.UserMixin,), {"id": user_id})())
    app.add_url_rule("/page", view_func=lambda: tag_text(app), endpoint="page")

    @app.get("/login/<user>")
    def login(user):
        flask_login.login_user(type("User", (flask_login.UserMixin,), {"id": user})())
        return ""

    ann, bob = visitor(app, "/login/ann"), visitor(app, "/login/bob")
    assert verdict(ann, proof_of(ann)) == {}
    assert verdict(bob, proof_of(ann)) == OTHER
    assert proof_of(visitor(app)) == "nobody"
