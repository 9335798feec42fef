"""Apps and streams for the tests of the app in-process."""

import json

from flask import Flask

from flask_sse_push import SSEPush
from flask_sse_push.core.decoder import Decoder

__all__ = ["first_bytes", "make_app", "read_events", "read_whole", "reset_of"]


def make_app(name="shop", blueprint=None, url_prefix="/events", **settings):
    """Return an app with a blueprint of its own; settings are given without their prefix, in lower case."""
    app = Flask(name)
    app.config.update(TESTING=True, SECRET_KEY="a key for the tests")
    app.config.update({f"SSE_PUSH_{key.upper()}": value for key, value in settings.items()})
    app.register_blueprint(blueprint or SSEPush(), url_prefix=url_prefix)
    return app


def first_bytes(response):
    """The first chunk of a streamed response."""
    return next(iter(response.response))


def read_events(response):
    """What the first chunk dispatches, and its decoder."""
    decoder = Decoder()
    return decoder.feed(first_bytes(response)), decoder


def read_whole(response):
    """All events of a stream that ends by itself, and its decoder."""
    decoder = Decoder()
    events = [event for chunk in response.response for event in decoder.feed(chunk)]
    decoder.close()
    return events, decoder


def reset_of(event):
    """The reason and channels of a reset."""
    assert event.type == "sse.reset"
    told = json.loads(event.data)
    assert set(told) == {"reason", "channels"}
    return told["reason"], told["channels"]
