"""The Flask response that carries a stream."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NoReturn

from flask import Response
from werkzeug.datastructures import Headers
from werkzeug.wsgi import ClosingIterator

from ..platform.server import Server, close_after_answer, connect
from ..platform.sockets import hush_timeout
from ..streams.stream import Stream

__all__ = ["ENVIRON_KEY", "STREAM_HEADERS", "EventStreamResponse", "RefusalResponse"]

ENVIRON_KEY = "flask_sse_push.streams.stream"
"""Where the WSGI environment of a test holds a list, to which the stream that answers is added."""

_ENDLESS = (
    "An event stream has no end, so its body cannot be {}. "
    "Leave responses with is_streamed alone, in after_request as in middleware."
)


_NOSNIFF = ("X-Content-Type-Options", "nosniff")

STREAM_HEADERS = (
    ("Content-Type", "text/event-stream; charset=utf-8"),
    (
        "Cache-Control",
        "no-store, no-transform",
    ),  # no-transform is for proxies that compress, and thereby hold back
    ("X-Accel-Buffering", "no"),  # turns off nginx' buffer for this response
    _NOSNIFF,
)
"""What every stream's response says."""


class EventStreamResponse(Response):
    """
    A response whose body is a :class:`Stream`, with the headers that proxies and browsers need.

    Args:
        stream (Stream): What is sent.
        server (Server): What sends it.
        headers (tuple[tuple[str, str], ...]): Its headers: ``STREAM_HEADERS``, and those of one stream.
    """

    implicit_sequence_conversion = False

    def __init__(self, stream: Stream, server: Server, headers: tuple[tuple[str, str], ...]) -> None:
        super().__init__(stream, headers=headers)
        self._stream = stream
        self._server = server

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Answer as a WSGI application."""
        connection = connect(self._server, environ, start_response)
        self._stream.connection = connection
        if ENVIRON_KEY in environ:
            environ[ENVIRON_KEY].append(self._stream)
        return super().__call__(environ, start_response)

    def get_wsgi_headers(self, environ: dict[str, Any]) -> Headers:
        """
        Return the headers as they are: of what Werkzeug looks for in them, a stream has nothing. (It was a
        twentieth of opening one.)
        """
        return self.headers

    def get_app_iter(self, environ: dict[str, Any]) -> Iterable[bytes]:
        """Return what the server sends: the stream itself where nothing else wants to know of its end."""
        if environ["REQUEST_METHOD"] == "HEAD":
            return ClosingIterator((), self.close)
        if self.response is not self._stream:
            # Somebody wrapped the body: theirs is sent, and the stream within is closed too, which a
            # generator around it would forget.
            return _Body(super().get_app_iter(environ), self._stream.close)
        if self._on_close:
            return _Body(self._stream, self.close)
        self._stream.is_bare = True
        return self._stream

    def get_data(self, as_text: bool = False) -> NoReturn:
        """Refuse: it would wait for ever."""
        raise RuntimeError(_ENDLESS.format("read as a whole"))

    data = property(get_data)

    def set_data(self, value: bytes | str) -> None:
        """Refuse: its length would be announced for an endless body."""
        if not hasattr(self, "_stream"):
            return super().set_data(value)
        raise RuntimeError(_ENDLESS.format("replaced"))

    def make_sequence(self) -> NoReturn:
        """Refuse: it would wait for ever."""
        raise RuntimeError(_ENDLESS.format("made a sequence"))

    def freeze(self) -> NoReturn:
        """Refuse: it would wait for ever."""
        raise RuntimeError(_ENDLESS.format("frozen"))


class _Body(ClosingIterator):
    """A stream, and others that want to know of its end."""

    def close(self) -> None:
        super().close()
        hush_timeout()


class RefusalResponse(Response):
    """
    An answer that opens no stream. It is this client's alone, and the last one on its connection.

    A cache that kept a 204 would stop the ``EventSource`` of the next visitor for ever; and a client that was
    refused and keeps its connection open would hold one that ordinary pages need.

    Args:
        status (int): 204, 400 and above, or 200 with a body that asks the client to come back.
        body (str | bytes | None): ``None`` for no body.
        content_type (str): Of the body.
    """

    def __init__(
        self, status: int, body: str | bytes | None = None, content_type: str = "application/json"
    ) -> None:
        super().__init__(
            body, status, headers=[("Cache-Control", "no-store"), _NOSNIFF], content_type=content_type
        )
        if body is None:
            del self.headers["Content-Type"]

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Answer as a WSGI application."""
        close_after_answer(environ, start_response)
        return super().__call__(environ, start_response)
