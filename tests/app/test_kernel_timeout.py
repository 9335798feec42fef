"""A write of the server's that the kernel has given up."""

import errno

import pytest
from werkzeug.test import create_environ

from flask_sse_push import SSEPush

from .helpers import make_app


def generator(app):
    def wrapped(environ, start_response):
        yield from app(environ, start_response)

    return wrapped


def careful_generator(app):
    def wrapped(environ, start_response):
        body = app(environ, start_response)
        try:
            for chunk in body:  # noqa: UP028 ("yield from" would close it by itself)
                yield chunk
        finally:
            body.close()

    return wrapped


WAYS = {
    "bare": (None, False),
    "hook": (None, True),
    "generator": (generator, False),
    "careful generator": (careful_generator, True),
}


@pytest.fixture(params=WAYS)
def serve(request):
    """
    A function that sends a stream as a server does, whose second write fails; and what a hook was told of the
    end.
    """
    middleware, is_hooked = WAYS[request.param]
    app = make_app(blueprint=SSEPush())
    told = []
    if is_hooked:

        @app.after_request
        def watch(response):
            response.call_on_close(lambda: told.append("closed"))
            return response

    wsgi = middleware(app) if middleware else app

    def send(error=None):
        body = wsgi(create_environ("/events"), lambda status, headers, exc_info=None: None)
        try:
            next(iter(body))
            if error is not None:
                raise error
        finally:
            body.close()
        assert told == ["closed"] * is_hooked

    send.told, send.is_hooked = told, is_hooked
    return send


def test_timeout_of_the_kernel_ends_as_a_client_that_left(serve):
    """
    What reaches the server is EPIPE, which it takes quietly, from the time-out; all that wants to know of the
    end was told before.
    """
    timeout = TimeoutError(errno.ETIMEDOUT, "Connection timed out")
    with pytest.raises(BrokenPipeError) as raised:
        serve(timeout)
    assert raised.value.errno == errno.EPIPE
    assert raised.value.__cause__ is timeout
    assert serve.told == ["closed"] * serve.is_hooked


@pytest.mark.parametrize(
    "error",
    [
        ConnectionResetError(errno.ECONNRESET, "reset"),
        OSError(errno.ENOSPC, "full"),
        TimeoutError("of somebody"),
        ValueError("x"),
    ],
)
def test_other_errors_reach_the_server_as_they_are(serve, error):
    """Only the kernel's time-out is turned into another error."""
    with pytest.raises(type(error)) as raised:
        serve(error)
    assert raised.value is error


def test_whole_stream_is_closed_without_an_error(serve):
    """Where nothing failed nothing is raised."""
    serve()
