"""What docs/access.md says: its blocks of code are run, as those of the README are."""

import re

import pytest
from flask import Flask

from flask_sse_push import SSEPush, sse
from flask_sse_push.testing import open_stream
from tests.app.test_login_libraries import BasicAuth, Jwt, LoginWithPage, Security
from tests.docs.pages import ROOT, page
from tests.needs import needs

PAGE = page("docs/access.md")

SECTIONS = [
    "A whole application",
    "Flask-Login",
    "Flask-HTTPAuth",
    "Flask-JWT-Extended",
    "Flask-Security",
    "A view of your own",
    "The channel sse",
    "Several apps in one process",
]
BLOCKS = {section: PAGE.block(section, "python") for section in SECTIONS}


def run(section, **names):
    """Run a section's block as a module of its own, and return what it defined."""
    code = compile(BLOCKS[section], f"docs/access.md: {section}", "exec")
    namespace = {"__name__": "app", **names}
    exec(code, namespace)
    return namespace


def status(client, url, **options):
    """The status of an answer that may be an endless stream."""
    with client.get(url, **options) as response:
        return response.status_code


@pytest.fixture
def own_blueprint(monkeypatch):
    """A blueprint of this test in place of the ready one, whose rules would meet those of other tests."""
    own = SSEPush()
    monkeypatch.setattr("flask_sse_push.sse", own)
    monkeypatch.setattr("flask_sse_push.publish", own.publish)
    assert own is not sse
    return own


def test_docs_access_application_streams_to_who_is_logged_in(own_blueprint, monkeypatch):
    """A visitor gets 401 before the login, 403 for another's channel, and streams his own and public ones."""
    monkeypatch.setenv("SECRET_KEY", "a key for the tests of the page")
    app = run("A whole application")["app"]
    client = app.test_client()
    assert status(client, "/events?channel=news") == 200
    assert status(client, "/events?channel=user.ann") == 401
    assert client.post("/login", data={"user": "ann"}).status_code == 204
    assert status(client, "/events?channel=user.bob") == 403
    with open_stream(client, "/events?channel=user.ann") as stream:
        client.post("/login", data={"user": "ann"})
        assert stream.read(1)[0].data == "You are logged in."


@pytest.mark.parametrize(
    ("section", "library", "channel"),
    [
        ("Flask-Login", LoginWithPage, "orders.ann"),
        ("Flask-HTTPAuth", BasicAuth, "orders.ann"),
        ("Flask-JWT-Extended", Jwt, "orders.ann"),
        ("Flask-Security", Security, "orders.ann"),
    ],
)
def test_docs_access_rule_of_a_library(section, library, channel):
    """The rule answers 401 to nobody, 403 for the channel of another, and streams the own one."""
    needs(modules=[library.module])
    blueprint, app = SSEPush(), Flask("shop")
    app.config.update(TESTING=True, SECRET_KEY="a key for the tests of the page")
    login = library(app)
    names = {"sse": blueprint, "app": app}
    if library is BasicAuth:
        names["auth"] = login.decorator.__self__
    run(section, **names)
    app.register_blueprint(blueprint, url_prefix="/events")
    client = app.test_client()
    assert status(client, f"/events?channel={channel}") == 401
    known = login.log_in(client)
    assert status(client, f"/events?channel={channel}", **known) == 200
    assert status(client, "/events?channel=orders.bob", **known) == 403


def test_docs_access_own_view_and_closed_default_channel():
    """The view streams to who is logged in; the setting closes the channel sse."""
    blueprint, app = SSEPush(), Flask("shop")
    app.secret_key = "a key for the tests of the page"
    app.register_blueprint(blueprint, url_prefix="/events")
    run("The channel sse", app=app, sse=blueprint)
    run("A view of your own", app=app, sse=blueprint)
    client = app.test_client()
    assert status(client, "/events") == 403
    assert status(client, "/inbox") == 401
    with client.session_transaction() as session:
        session["user"] = "ann"
    assert status(client, "/inbox") == 200


def test_docs_access_apps_have_their_own_rules():
    """The rule of one app opens nothing on the other."""
    names = run("Several apps in one process")
    assert status(names["admin"].test_client(), "/events?channel=x") == 200
    assert status(names["shop"].test_client(), "/events?channel=x") == 403


def test_docs_access_quotes_what_the_package_says():
    """Each message that the page quotes is in the package, and the table has each kind of answer."""
    source = "".join(file.read_text(encoding="utf-8") for file in (ROOT / "flask_sse_push").rglob("*.py"))
    for text in re.findall(r'"((?:no rule|Nothing may|must be an)[^"]*)"', PAGE.text):
        assert text in source or text.replace("@sse.authorize", "{decorator}") in source, text
    assert [row[0] for row in PAGE.table("| answer | why |")] == [
        "400",
        "401",
        "403",
        "200, with a comment and `retry:`",
    ]
