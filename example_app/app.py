"""The app: one page, one stream that feeds it, and a board to write on."""

from __future__ import annotations

import mimetypes
from typing import Any

from flask import Flask, Response, jsonify, render_template, request
from werkzeug.exceptions import BadRequest, HTTPException
from werkzeug.wrappers import Response as BaseResponse

from flask_sse_push import publish, sse, stream_closed, stream_opened

from .board import MAX_TEXT_LENGTH, Board, check_note
from .machine import INTERVAL_SECONDS, Meter

__all__ = ["app"]

CONTENT_SECURITY_POLICY = "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"

# Windows takes types from its registry, where some editors leave text/plain for .js; browsers run no module
# of that type.
mimetypes.add_type("text/javascript", ".js")

app = Flask(__name__)
app.config["SSE_PUSH_PUBLIC_CHANNELS"] = ["machine", "board"]
app.config["MAX_CONTENT_LENGTH"] = 8 * 1024  # a note of emoji, each written as two \uXXXX, is half of this
app.register_blueprint(sse, url_prefix="/events")

meter = Meter(
    publish=lambda sample: publish(sample, type="sample", channel="machine"),
    is_wanted=lambda: sse.stats()["channels"].get("machine", 0) > 0,
)
board = Board(publish=lambda note: publish(note, type="note", channel="board"))


@stream_opened.connect_via(app)
def begin_to_measure(sender: Flask, **_: Any) -> None:
    """Measure while somebody looks, and tell all pages of the new one."""
    meter.start()
    publish_streams(sender)


@stream_closed.connect_via(app)
def publish_streams(_sender: Flask, **_: Any) -> None:
    """Tell all pages how many streams are open."""
    publish({"streams": sse.stats()["streams"]}, type="streams", channel="machine")


@app.get("/")
def page() -> str:
    """Return the page. It is empty; the stream fills it."""
    return render_template("page.html", interval_seconds=INTERVAL_SECONDS, max_text_length=MAX_TEXT_LENGTH)


@app.get("/state")
def state() -> Response:
    """Return what a page cannot learn from events to come: it asks when it opens and after ``sse.reset``."""
    return jsonify(
        samples=meter.samples, measuring=meter.running, note=board.note, streams=sse.stats()["streams"]
    )


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
