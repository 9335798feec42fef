"""The app: one page, one stream that feeds it, a board to write on, and a plug to pull."""

from __future__ import annotations

import ipaddress
import mimetypes
import os
import re
from typing import Any
from urllib.parse import urlsplit

from flask import Flask, Response, abort, jsonify, render_template, request
from werkzeug.exceptions import BadRequest, HTTPException
from werkzeug.wrappers import Response as BaseResponse

from flask_sse_push import publish, sse, stream_closed, stream_opened

from .board import MAX_TEXT_LENGTH, Board, check_note
from .machine import INTERVAL_SECONDS, Meter
from .plug import CUT_SECONDS, Plug
from .store import Store

__all__ = ["app"]

CONTENT_SECURITY_POLICY = "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"

# Windows takes types from its registry, where some editors leave text/plain for .js; browsers run no module
# of that type.
mimetypes.add_type("text/javascript", ".js")

app = Flask(__name__)
# A browser makes up the name of its own channel, too long to be guessed: who knows it is the visitor.
app.config["SSE_PUSH_PUBLIC_CHANNELS"] = ["machine", "board", "visitor.*"]
app.config["MAX_CONTENT_LENGTH"] = 8 * 1024  # a note of emoji, each written as two \uXXXX, is half of this
app.register_blueprint(sse, url_prefix="/events")

store = Store()
plug = Plug(store)
meter = Meter(
    store,
    publish=lambda sample: publish(sample, type="sample", channel="machine"),
    count_streams=plug.count_streams,
)
board = Board(store, publish=lambda note: publish(note, type="note", channel="board"))

_VISITOR = re.compile(r"[a-z0-9]{20,40}")


@app.before_request
def admit() -> tuple[Response, int, dict[str, str]] | None:
    """Begin to measure with the first request, and refuse the stream of a visitor whose plug is pulled."""
    meter.start()
    plug.start()
    visitor = None
    if request.endpoint == "sse.stream":
        visitor = find_visitor(request.args.getlist("channel"))
    seconds = plug.admit(visitor, request.environ)
    if not seconds:
        return None
    return jsonify(message="The plug is pulled."), 503, {"Retry-After": str(seconds)}


@stream_opened.connect_via(app)
def tell_process(_sender: Flask, stream: Any, **_: Any) -> None:
    """Tell a visitor which process serves the stream."""
    visitor = find_visitor(stream.channels)
    if visitor is not None:
        plug.note_opened(visitor)
        publish({"pid": os.getpid()}, type="process", channel=f"visitor.{visitor}")


@stream_closed.connect_via(app)
def forget_process(_sender: Flask, stream: Any, **_: Any) -> None:
    """Note that this process no longer serves a visitor."""
    visitor = find_visitor(stream.channels)
    if visitor is not None:
        plug.note_closed(visitor)


@app.get("/")
def page() -> str:
    """Return the page. It is empty; the state and the stream fill it."""
    return render_template(
        "page.html",
        interval_seconds=INTERVAL_SECONDS,
        max_text_length=MAX_TEXT_LENGTH,
        cut_seconds=CUT_SECONDS,
        may_restart=may_restart(),
    )


@app.get("/state")
def state() -> Response:
    """Return what stands now. A page asks when its stream has opened, and after ``sse.reset``."""
    visitor = request.args.get("visitor", "")
    return jsonify(samples=meter.samples, note=board.note, pid=plug.find_process(visitor))


@app.post("/board")
def write_on_board() -> tuple[str, int]:
    """Put a text on the board, in every open tab at once."""
    # JSON alone is taken: a page of another site cannot send it without asking first, and is not allowed to.
    try:
        note = check_note(request.get_json())
    except ValueError as error:
        raise BadRequest(str(error)) from error
    board.write(note)
    return "", 204


@app.post("/plug")
def pull_plug() -> tuple[str, int]:
    """Cut the streams of the visitor who asks; the events go on."""
    value = request.get_json()
    visitor = check_visitor(value, {"visitor", "loses_history"})
    if not isinstance(value["loses_history"], bool):
        raise BadRequest('"loses_history" must be true or false.')
    plug.pull(visitor, loses_history=value["loses_history"])
    return "", 204


@app.post("/restart")
def restart_worker() -> tuple[str, int]:
    """End the worker that serves the visitor who asks; gunicorn starts another."""
    if not may_restart():
        abort(403, "Workers are restarted only from the machine that they run on.")
    if not plug.restart_worker(check_visitor(request.get_json(), {"visitor"})):
        abort(409, "No worker serves this visitor now.")
    return "", 204


def find_visitor(channels: Any) -> str | None:
    """Return whose channel is among some."""
    names = (name.removeprefix("visitor.") for name in channels if name.startswith("visitor."))
    return next((name for name in names if _VISITOR.fullmatch(name)), None)


def check_visitor(value: Any, fields: set[str]) -> str:
    """
    Return the visitor that a request names.

    Raises:
        BadRequest: It is not an object with these fields, or names nobody.
    """
    if not isinstance(value, dict) or set(value) != fields:
        raise BadRequest(f"Send a JSON object with {' and '.join(sorted(fields))}.")
    visitor = value["visitor"]
    if not isinstance(visitor, str) or not _VISITOR.fullmatch(visitor):
        raise BadRequest('"visitor" must be 20 to 40 small letters and digits.')
    return visitor


def may_restart() -> bool:
    """Say whether a gunicorn serves this request, to a browser on the same machine."""
    # A proxy on this machine says for whom it asks, or passes on the name by which it was reached.
    is_forwarded = any(name in request.headers for name in ("Forwarded", "X-Forwarded-For", "Via"))
    is_gunicorn = "gunicorn.socket" in request.environ
    names = (request.remote_addr, urlsplit(request.host_url).hostname)
    return is_gunicorn and not is_forwarded and all(map(is_loopback, names))


def is_loopback(name: str | None) -> bool:
    """Say whether a name or an address is that of the machine itself."""
    try:
        return name == "localhost" or ipaddress.ip_address(name or "").is_loopback
    except ValueError:
        return False


@app.errorhandler(HTTPException)
def refuse_as_json(error: HTTPException) -> BaseResponse:
    """Return every refusal in the one shape that the page reads."""
    response = error.get_response()
    response.set_data(app.json.dumps({"message": error.description or error.name}))
    response.content_type = "application/json"
    return response


@app.after_request
def add_security_headers(response: Response) -> Response:
    """Allow nothing on the page but files of this app."""
    response.headers["Content-Security-Policy"] = CONTENT_SECURITY_POLICY
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "no-referrer"
    return response
