"""The recipe that is found everywhere: a queue for each client, and a generator that waits for it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from flask import Flask, Response, request
from gevent.queue import Queue

from .events import publish_in_a_loop

app = Flask(__name__)
listeners: defaultdict[str, list[Queue]] = defaultdict(list)


@app.get("/events")
def events() -> Response:
    """Stream one channel."""
    channel = request.args["channel"]

    def stream() -> Iterator[str]:
        queue = Queue()
        listeners[channel].append(queue)
        try:
            yield ":\n\n"
            while True:
                yield f"data: {queue.get()}\n\n"
        finally:
            listeners[channel].remove(queue)

    return Response(stream(), mimetype="text/event-stream")


def publish(data: str, channel: str) -> None:
    """Hand an event to all who listen now."""
    for queue in list(listeners[channel]):
        queue.put(data)


@app.post("/publish")
def publish_events() -> dict[str, Any]:
    """Publish as the query says."""
    return publish_in_a_loop(publish, request.args)
