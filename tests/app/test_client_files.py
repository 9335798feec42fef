"""The files of the browser's half, and the tag that loads them."""

import gzip
import re

import pytest
from flask import Blueprint, render_template_string, session

from flask_sse_push import SSEPush
from flask_sse_push.extension.client import assets

from .helpers import make_app

NAMES = ["sse-push.js", "sse-push.mjs", "sse-push.d.ts", "sse-status.js", "react.mjs", "react.d.ts"]
SCRIPTS = [name for name in NAMES if name.endswith(("js", "mjs"))]


def tag_of(app, text="{{ sse_push_script() }}", **request):
    """Return the attributes of the tag that a template writes."""
    with app.test_request_context("/", **request):
        tag = render_template_string(text)
    assert re.fullmatch(r"<script( [\w-]+=\"[^\"]*\")+></script>", tag), tag
    return dict(re.findall(r' ([\w-]+)="([^"]*)"', tag))


@pytest.mark.parametrize("name", NAMES)
def test_file_has_the_right_type_everywhere(name, monkeypatch):
    """A script is text/javascript, whatever the system's table of types says."""
    monkeypatch.setattr("mimetypes.guess_type", lambda *args, **kwargs: ("text/plain", None))
    response = make_app().test_client().get(f"/events/client/{name}")
    assert response.status_code == 200
    assert response.mimetype == ("text/javascript" if name in SCRIPTS else "text/plain")
    assert response.headers["X-Content-Type-Options"] == "nosniff"


def test_file_is_kept_for_ever_under_its_version_alone():
    """A URL with the version of the bytes never changes; without it, or with another, browsers ask again."""
    app = make_app()
    client, url = app.test_client(), tag_of(app)["src"]
    assert client.get(url).headers["Cache-Control"] == "public, max-age=31536000, immutable"
    for other in (url.partition("?")[0], url[:-1], url + "0"):
        response = client.get(other)
        assert response.headers["Cache-Control"] == "no-cache"
        again = client.get(other, headers={"If-None-Match": response.headers["ETag"]})
        assert (again.status_code, again.data) == (304, b"")


def test_file_is_compressed_where_that_is_accepted():
    """gzip gives the same bytes, and caches keep the two apart."""
    client = make_app().test_client()
    plain = client.get("/events/client/sse-push.js")
    packed = client.get("/events/client/sse-push.js", headers={"Accept-Encoding": "gzip, br"})
    assert "Content-Encoding" not in plain.headers
    assert packed.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(packed.data) == plain.data
    assert plain.headers["ETag"] != packed.headers["ETag"]
    assert plain.headers["Vary"] == packed.headers["Vary"] == "Accept-Encoding"


def test_debug_mode_serves_the_source():
    """What a developer reads in the browser is the source; everybody else gets the minified file."""
    app = make_app()
    minified, url = app.test_client().get("/events/client/sse-push.js").data, tag_of(app)["src"]
    app.debug = True
    source = app.test_client().get("/events/client/sse-push.js").data
    assert b"class Connection {" in source
    assert b"class Connection {" not in minified
    assert tag_of(app)["src"] != url


@pytest.mark.parametrize(
    "name", ["nothing.js", "assets.py", "../blueprint.py", "sse-push.min.js", "package.json"]
)
def test_other_file_is_not_found(name):
    """Nothing else of the folder is served."""
    assert make_app().test_client().get(f"/events/client/{name}").status_code == 404


def test_tag_leads_to_the_file_wherever_the_blueprint_is():
    """The URL is right under another prefix, another name, and in a blueprint within a blueprint."""
    outer = Blueprint("api", __name__, url_prefix="/api")
    app = make_app(blueprint=SSEPush("push"), url_prefix="/live")
    assert app.test_client().get(tag_of(app)["src"]).status_code == 200
    nested = SSEPush()
    outer.register_blueprint(nested)
    app = make_app(blueprint=SSEPush("unused"))
    app = type(app)("nested")
    app.register_blueprint(outer)
    src = tag_of(app)["src"]
    assert src.startswith("/api/events/client/sse-push.js?v=")
    assert app.test_client().get(src).status_code == 200


def test_tag_keeps_the_variables_of_the_prefix():
    """Where the prefix has a variable, the tag of a page below it leads to the file of the same tenant."""
    app = make_app(url_prefix="/<tenant>/events")
    app.add_url_rule("/<tenant>/", view_func=lambda tenant: render_template_string("{{ sse_push_script() }}"))
    page = app.test_client().get("/acme/").text
    src = re.search(r'src="([^"]*)"', page)[1]
    assert src.startswith("/acme/events/client/sse-push.js?v=")
    assert app.test_client().get(src).status_code == 200


@pytest.mark.parametrize("variable", ["name", "v", "nonce", "channel"])
def test_prefix_may_have_any_variable(variable):
    """A variable of the app's own collides with none of the blueprint's."""
    app = make_app(url_prefix=f"/<{variable}>/events")
    app.add_url_rule(
        f"/<{variable}>/", view_func=lambda **_: render_template_string("{{ sse_push_script() }}")
    )
    client = app.test_client()
    src = re.search(r'src="([^"]*)"', client.get("/acme/").text)[1]
    assert src.startswith("/acme/events/client/sse-push.js?v=")
    assert "immutable" in client.get(src).headers["Cache-Control"]


def test_file_that_caches_keep_carries_no_cookie():
    """An app that renews its session with each request does not give it away by a shared cache."""
    app = make_app()

    @app.before_request
    def renew():
        session.permanent = True
        session["user"] = "ann"

    response = app.test_client().get(tag_of(app)["src"])
    assert response.headers["Cache-Control"].startswith("public")
    assert "Set-Cookie" not in response.headers


def test_names_that_are_none_are_not_remembered():
    """Whoever asks for a million names fills no memory."""
    client = make_app().test_client()
    client.get("/events/client/sse-push.js")  # what a request leaves behind anyway
    remembered = [value for value in vars(assets).values() if hasattr(value, "cache_info")]
    before = [each.cache_info().currsize for each in remembered]
    for number in range(20):
        assert client.get(f"/events/client/{number}.js").status_code == 404
    assert [each.cache_info().currsize for each in remembered] == before


def test_tag_has_the_nonce_and_escapes_it():
    """A strict policy allows the script by its nonce, and no value can end the attribute."""
    app = make_app()
    assert tag_of(app, "{{ sse_push_script(nonce='abc') }}")["nonce"] == "abc"
    with app.test_request_context("/"):
        tag = render_template_string("{{ sse_push_script(nonce=x) }}", x='"><script>')
    assert tag.count("<script") == 1
    assert "nonce" not in tag_of(app)


def test_tag_of_the_status_element_carries_no_identity():
    """Only the script that opens streams needs to know whose page it is."""
    attributes = tag_of(make_app(), "{{ sse_push_script('sse-status.js') }}")
    assert set(attributes) == {"src"}


def test_tag_of_an_unknown_file_says_what_to_do():
    """A wrong name is told to the developer."""
    with pytest.raises(ValueError, match=r"got 'sse.js'\. Leave it out for sse-push\.js"):
        tag_of(make_app(), "{{ sse_push_script('sse.js') }}")
