"""This package, by its public surface alone. ``FLASK_SSE_PUSH_…`` in the environment sets ``SSE_PUSH_…``."""

from __future__ import annotations

from typing import Any

from flask import Flask, request

from flask_sse_push import publish, sse

from .events import publish_in_a_loop

app = Flask(__name__)
app.config["SSE_PUSH_PUBLIC_CHANNELS"] = ["*"]
app.config["SSE_PUSH_MAX_STREAMS"] = 15_000
app.config.from_prefixed_env()
app.register_blueprint(sse, url_prefix="/events")


@app.post("/publish")
def publish_events() -> dict[str, Any]:
    """Publish as the query says."""
    return publish_in_a_loop(lambda data, channel: publish(data, channel=channel), request.args)
