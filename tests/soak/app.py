"""The servers' app for this suite: publishing says how it went."""

from flask import request

from flask_sse_push import publish
from flask_sse_push.errors import BusUnavailable
from tests.servers.app import app

__all__ = ["app"]


@app.post("/soak/publish")
def soak_publish():
    """Publish one event: its id, or 503 with the words of the error."""
    order = request.get_json()
    try:
        return {"id": publish(order["data"], channel=order["channel"], idempotency_key=order["key"])}
    except BusUnavailable as error:
        return {"error": str(error)}, 503
