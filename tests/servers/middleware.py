"""The app behind middleware of all kinds, named by TEST_APP_MIDDLEWARE."""

import itertools
import os

from werkzeug.middleware.proxy_fix import ProxyFix

from tests.servers.app import app


def shout(chunk):
    return chunk.replace(b"hello", b"HELLO")


def generator(environ, start_response):
    yield from wrapped(environ, start_response)


def upper(environ, start_response):
    """Transforms each chunk, without a frame of Python's around it."""
    return map(shout, wrapped(environ, start_response))


def chain(environ, start_response):
    """Adds something of its own, in C."""
    return itertools.chain(wrapped(environ, start_response), [b"\n"])


class Proxy:
    """Passes on whatever it is asked, as object proxies of tracers do, and transforms the chunks."""

    def __init__(self, body):
        self.body = body

    def __eq__(self, other):
        return self.body == other

    __hash__ = object.__hash__

    def __iter__(self):
        return map(shout, self.body)

    def __getattr__(self, name):
        return getattr(self.body, name)


def proxy(environ, start_response):
    return Proxy(wrapped(environ, start_response))


class Inheriting(Proxy):
    """The same, with a question of its own before: the body has answered already when the server asks."""

    def __init__(self, body):
        super().__init__(body)
        assert body != object()


def inheriting(environ, start_response):
    return Inheriting(wrapped(environ, start_response))


def headers(environ, start_response):
    """Adds a header, by a ``start_response`` of its own."""

    def start(status, fields, exc_info=None):
        return start_response(status, [*fields, ("X-Middleware", "yes")], exc_info)

    return wrapped(environ, start)


def untouched(environ, start_response):
    return wrapped(environ, start_response)


def length(environ, start_response):
    """Announces a length, which the server keeps to."""

    def announce(response):
        response.headers["Content-Length"] = "60"
        return response

    app.after_request_funcs[None] = [announce]
    return wrapped(environ, start_response)


def no_content(environ, start_response):
    """Takes the body away by its status."""

    def empty(response):
        response.status_code = 204
        return response

    app.after_request_funcs[None] = [empty]
    return wrapped(environ, start_response)


def on_close(environ, start_response):
    """Flask itself wants to know of the end."""

    def watch(response):
        response.call_on_close(lambda: app.closed.append("call_on_close"))
        return response

    app.after_request_funcs[None] = [watch]
    return wrapped(environ, start_response)


def after_request(environ, start_response):
    """A hook that wraps the body."""

    def wrap(response):
        if response.is_streamed:
            response.response = map(shout, response.response)
        return response

    app.after_request_funcs[None] = [wrap]
    return wrapped(environ, start_response)


wrapped = app.wsgi_app
name = os.environ["TEST_APP_MIDDLEWARE"]
app.wsgi_app = ProxyFix(wrapped) if name == "proxy_fix" else globals()[name]
