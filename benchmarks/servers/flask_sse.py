"""
Flask-SSE as its documentation shows it, with a Redis of its own.

``python -m benchmarks.servers.flask_sse PORT`` starts Redis and becomes gunicorn.
"""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

from flask import Flask, request
from flask_sse import sse  # type: ignore[import-untyped]

from ..peers import gunicorn_gevent
from ..run import free_port, wait_for_port
from .events import publish_in_a_loop

app = Flask(__name__)
app.config["REDIS_URL"] = os.environ.get("REDIS_URL")
app.register_blueprint(sse, url_prefix="/events")


@app.post("/publish")
def publish_events() -> dict[str, Any]:
    """Publish as the query says."""
    return publish_in_a_loop(lambda data, channel: sse.publish(data, channel=channel), request.args)


@app.get("/listeners")
def count_listeners() -> dict[str, int]:
    """
    Return how many streams Redis knows: a stream that waits for its first event sends nothing that a client
    could see.
    """
    redis = sse.redis
    names = redis.pubsub_channels("c*")
    return {"listeners": sum(count for _, count in redis.pubsub_numsub(*names)) if names else 0}


def main() -> None:
    """Start Redis in the same process group, wait for it, and become the server."""
    port = free_port()
    # No snapshots, as many clients and waiting connections as there are streams; the rest is Redis' default.
    options = [
        "--bind",
        "127.0.0.1",
        "--port",
        str(port),
        "--save",
        "",
        "--appendonly",
        "no",
        "--maxclients",
        "30000",
        "--tcp-backlog",
        "4096",
    ]
    redis = subprocess.Popen(["redis-server", *options])
    wait_for_port(port, redis)
    os.environ["REDIS_URL"] = f"redis://127.0.0.1:{port}/0"
    command = gunicorn_gevent("flask_sse")(int(sys.argv[1]))
    os.execv(command[0], command)


if __name__ == "__main__":
    main()
