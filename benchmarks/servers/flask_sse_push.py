"""This package, by its public surface alone."""

from __future__ import annotations

from flask import Flask, request

from flask_sse_push import publish, sse

from .events import publish_in_a_loop

app = Flask(__name__)
app.config["SSE_PUSH_PUBLIC_CHANNELS"] = ["*"]
app.config["SSE_PUSH_MAX_STREAMS"] = 15_000
app.register_blueprint(sse, url_prefix="/events")


@app.post("/publish")
def publish_events():
    """Publish ``n`` events at ``rate`` per second to ``channels`` channels."""
    publish_in_a_loop(
        lambda data, channel: publish(data, channel=channel),
        request.args.get("n", 1, int),
        request.args.get("rate", 0, float),
        request.args.get("channels", 1, int),
    )
    return "", 200
