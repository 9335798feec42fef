"""The servers' app for this suite: publishing says how it went."""

import time

from flask import request

from flask_sse_push import publish, sse
from flask_sse_push.errors import BusUnavailable, ChannelClosed
from tests.servers.app import app

__all__ = ["app"]


@app.post("/soak/publish")
def soak_publish():
    """Do what is asked for: the id, or 503 or 409 with the words of the error, and how long it took."""
    begin = time.monotonic()
    try:
        answer, status = {"id": _do(request.get_json())}, 200
    except (BusUnavailable, ChannelClosed) as error:
        answer, status = {"error": str(error)}, 503 if isinstance(error, BusUnavailable) else 409
    return {**answer, "seconds": time.monotonic() - begin}, status


def _do(order):
    match order.pop("do"):
        case "publish":
            return publish(**order)
        case "close":
            return sse.close(*order["channel"])
        case "forget":
            return sse.forget(order["channel"], order["key"])


@app.get("/soak/cursor")
def soak_cursor():
    """What a page is made with."""
    try:
        return sse.cursor(*request.args.getlist("channel"))
    except BusUnavailable as error:
        return {"error": str(error)}, 503
