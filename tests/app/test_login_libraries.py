"""Rules under the decorators of login libraries: nobody reads a channel who is not logged in."""

import importlib

import pytest

from flask_sse_push import ConfigurationError, SSEPush
from tests.needs import needs

from .helpers import make_app


class Login:
    """
    Flask-Login: its decorator returns a redirect to ``login_view``, or raises a 401 where there is none.
    """

    module = "flask_login"

    def __init__(self, app, view=None):
        from flask_login import LoginManager, UserMixin, login_required, login_user

        user = type("User", (UserMixin,), {"id": "ann"})()
        manager = LoginManager(app)
        manager.login_view = view
        manager.user_loader(lambda id: user if id == "ann" else None)
        app.add_url_rule("/login", "login", lambda: {"granted": login_user(user)})
        self.decorator = login_required

    def log_in(self, client):
        assert client.get("/login").json == {"granted": True}
        return {}


class LoginWithPage(Login):
    def __init__(self, app):
        super().__init__(app, "login")


class BasicAuth:
    """Flask-HTTPAuth: its decorator returns a response that asks for a password."""

    module = "flask_httpauth"

    def __init__(self, app):
        from flask_httpauth import HTTPBasicAuth

        auth = HTTPBasicAuth()
        auth.verify_password(lambda user, password: user if password == "right" else None)
        self.decorator = auth.login_required

    def log_in(self, client):
        from werkzeug.datastructures import Authorization

        return {"auth": Authorization("basic", {"username": "ann", "password": "right"})}


class TokenAuth:
    """Flask-HTTPAuth: with tokens, and its decorator called with arguments."""

    module = "flask_httpauth"

    def __init__(self, app):
        from flask_httpauth import HTTPTokenAuth

        auth = HTTPTokenAuth()
        auth.verify_token(lambda token: "ann" if token == "right" else None)
        auth.get_user_roles(lambda user: ["reader"])
        self.decorator = auth.login_required(role="reader")

    def log_in(self, client):
        return {"headers": {"Authorization": "Bearer right"}}


class Jwt:
    """Flask-JWT-Extended: its decorator raises errors of its own, for which it gives the app handlers."""

    module = "flask_jwt_extended"

    def __init__(self, app):
        from flask_jwt_extended import JWTManager, create_access_token, jwt_required

        app.config["JWT_SECRET_KEY"] = "a long enough key for the tests of tokens"
        JWTManager(app)
        with app.app_context():
            self._token = create_access_token("ann")
        self.decorator = jwt_required()

    def log_in(self, client):
        return {"headers": {"Authorization": f"Bearer {self._token}"}}


class Security:
    """Flask-Security: its decorator returns a redirect or a 401, as the client wants."""

    module = "flask_security"

    def __init__(self, app):
        from flask_security import RoleMixin, Security, UserDatastore, UserMixin, auth_required, login_user

        user = type(
            "User",
            (UserMixin,),
            {
                "id": 1,
                "email": "ann@example.com",
                "active": True,
                "fs_uniquifier": "ann",
                "roles": (),
                "password": None,
            },
        )()

        class Users(UserDatastore):
            def __init__(self):
                super().__init__(type(user), RoleMixin)

            def find_user(self, case_insensitive=False, **by):
                return user if by.get("fs_uniquifier") == "ann" else None

            def find_role(self, role):
                return None

            def commit(self):
                pass

            def put(self, model):
                return model

        app.config.update(SECRET_KEY="k" * 40, SECURITY_PASSWORD_SALT="s" * 40)
        Security(app, Users())
        app.add_url_rule("/let-me-in", "let_me_in", lambda: {"granted": login_user(user)})
        self.decorator = auth_required()

    def log_in(self, client):
        assert client.get("/let-me-in").json == {"granted": True}
        return {}


LIBRARIES = [Login, LoginWithPage, BasicAuth, TokenAuth, Jwt, Security]


@pytest.fixture(params=LIBRARIES)
def library(request):
    needs(modules=[request.param.module])
    importlib.import_module(request.param.module)
    return request.param


def test_rule_under_a_login_decorator(library):
    """
    With @sse.authorize on top, nobody gets 401 and no stream, and who is logged in gets what the rule grants.
    """
    sse = SSEPush()
    app = make_app(blueprint=sse)
    login = library(app)

    @sse.authorize("orders.*")
    @login.decorator
    def may_read(channel):
        return channel == "orders.7"

    client = app.test_client()
    for accept in ("text/event-stream", "*/*", "application/json"):
        response = client.get("/events?channel=orders.7", headers={"Accept": accept})
        assert response.status_code == 401
        assert response.json["error"] == "unauthorized"
        assert ("WWW-Authenticate" in response.headers) == (library.module == "flask_httpauth")
    assert sse.stats()["opened"] == 0
    known = login.log_in(client)
    with client.get("/events?channel=orders.7", **known) as response:
        assert (response.status_code, response.mimetype) == (200, "text/event-stream")
    assert client.get("/events?channel=orders.8", **known).status_code == 403


def test_login_decorator_above_a_rule_is_refused(library):
    """
    Their decorator above @sse.authorize would never be asked, so that order does not start: the error says
    which one does.
    """
    sse = SSEPush()
    login = library(make_app(blueprint=sse))
    with pytest.raises(
        ConfigurationError, match=r"Put @sse\.authorize on top and the other decorator below it\.$"
    ):

        @login.decorator
        @sse.authorize("orders")
        def may_read(channel):
            return True


def test_own_view_under_a_login_decorator(library):
    """
    A view that returns sse.stream() is guarded as any other: the library's own answer reaches the client.
    """
    sse = SSEPush()
    app = make_app(blueprint=sse)
    login = library(app)
    app.add_url_rule("/inbox", "inbox", login.decorator(lambda: sse.stream("inbox")))
    client = app.test_client()
    assert client.get("/inbox").status_code in (302, 401)
    with client.get("/inbox", **login.log_in(client)) as response:
        assert (response.status_code, response.mimetype) == (200, "text/event-stream")
