"""An app whose channels have snapshots, and whose bus can lose its log."""

import itertools
import os
import secrets
import threading
import time

from flask import Flask, current_app, has_app_context, has_request_context, request

from flask_sse_push import SSEPush
from flask_sse_push.bus.memory import MemoryBus
from tests.servers.app import pause

sse = SSEPush()


class ForgetfulBus(MemoryBus):
    """Begins another log when it is asked to, as a Redis does that came back empty."""

    def forget(self):
        self._epoch, self._head, self._numbers = secrets.token_hex(6), 0, itertools.count(1)
        self._listener.log_begun(self._epoch, 0)


def make_bus(options):
    app.bus = ForgetfulBus(options)
    return app.bus


app = Flask(__name__)
app.config["SSE_PUSH_PUBLIC_CHANNELS"] = ["*"]
app.config.from_prefixed_env("TEST_APP")
app.config["SSE_PUSH_BUS_URL"] = make_bus
app.register_blueprint(sse, url_prefix="/events")
app.calls = {}
app.contexts = set()
app.counter = 0
app.is_held = False


@sse.snapshot("counter*")
def counter(channel):
    app.calls[channel] = app.calls.get(channel, 0) + 1
    app.contexts.add((current_app.name, has_request_context()))
    value = app.counter
    pause(app.config.get("SNAPSHOT_SECONDS", 0))
    return str(value)


@sse.snapshot("held*")
def held(channel):
    app.calls[channel] = app.calls.get(channel, 0) + 1
    while app.is_held:
        pause(0.01)
    return "at last"


@sse.snapshot("failing")
def failing(channel):
    raise ValueError("no database")


@app.get("/ping")
def ping():
    return {"pid": os.getpid()}


@app.get("/calls")
def calls():
    return {"calls": app.calls, "contexts": sorted(app.contexts)}


@app.get("/stats")
def stats():
    return {**sse.stats(), "threads": sorted(thread.name for thread in threading.enumerate())}


@app.post("/hold")
def hold():
    """Let snapshots of "held*" wait, or go on."""
    app.is_held = request.get_json()["is_held"]
    return {}


@app.post("/forget")
def forget():
    app.bus.forget()
    return {}


@app.post("/publish")
def publish():
    order = request.get_json()
    return [sse.publish(order["data"], channel=order["channel"])]


@app.post("/count")
def count():
    """Count, and publish what was counted, about a thousand times a second."""
    order = request.get_json()
    begun = time.monotonic()
    for number in range(1, order["count"] + 1):
        app.counter += 1
        sse.publish(str(app.counter), channel=order["channel"])
        pause(max(0, begun + number / 1_000 - time.monotonic()))
    assert has_app_context()
    return {"counter": app.counter}
