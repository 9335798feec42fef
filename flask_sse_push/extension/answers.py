"""The answers to a request that gets no stream."""

from __future__ import annotations

import random

from flask import Request, current_app, request

from ..core import wire
from .refusals import Refusal
from .response import RefusalResponse
from .state import AppState

__all__ = ["answer_full", "answer_refusal", "refuse"]

_SOFT_RETRY_MILLISECONDS = (5_000, 30_000)
"""When clients come back whose rights could not be told: a database may restart, and not all come at once."""

_RETRY_AFTER_SECONDS = "15"

_ERRORS = {400: "bad request", 401: "unauthorized", 403: "forbidden", 503: "unavailable"}


def refuse(state: AppState, refusal: Refusal) -> RefusalResponse:
    """Log a refusal, and answer it."""
    state.refusals.note(refusal)
    return answer_refusal(state, refusal)


def answer_refusal(state: AppState, refusal: Refusal) -> RefusalResponse:
    """Answer a refusal that was logged: for good, or by asking a browser to come back."""
    state.warn_of_late_settings()
    if refusal.status == 503 and _may_be_event_source(request):
        text = f"{refusal.reason}. {refusal.cure}" if current_app.debug else refusal.message
        body = wire.come_back(text, random.randint(*_SOFT_RETRY_MILLISECONDS))
        return RefusalResponse(200, body, "text/event-stream; charset=utf-8")
    json = {"error": _ERRORS[refusal.status], "message": refusal.message}
    if current_app.debug:
        json |= {"reason": refusal.reason, "cure": refusal.cure}
    response = _answer(state, refusal.status, json)
    for challenge in refusal.www_authenticate:
        response.headers.add("WWW-Authenticate", challenge)
    return response


def answer_full(state: AppState) -> RefusalResponse:
    """Answer a client that can read a status, when there is no place for its stream."""
    message = "This server or this client has as many streams as it may have. Try again later."
    return _answer(state, 503, {"error": "full", "message": message})


def _answer(state: AppState, status: int, body: dict[str, str]) -> RefusalResponse:
    """Answer with JSON: a redirect or an HTML page would only say "wrong type" to a browser."""
    response = RefusalResponse(status, state.app.json.dumps(body))
    if status == 503:
        response.headers["Retry-After"] = _RETRY_AFTER_SECONDS
    return response


def _may_be_event_source(asked: Request) -> bool:
    """Say whether any status but 200 would stop this client for ever: it asks by GET, for an event stream."""
    accepts = "Accept" not in asked.headers or asked.accept_mimetypes["text/event-stream"] > 0
    return asked.method == "GET" and accepts
