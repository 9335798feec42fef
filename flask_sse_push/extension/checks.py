"""Start-up checks: finds why a server cannot stream, or not well, and says how to cure it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from ..platform.server import Server
from .settings import Settings

__all__ = ["Finding", "find_problems", "find_rate_limits"]

_CURE_FOR_SEVERAL = 'Leave it out: "auto" shares events between the workers of a gunicorn.'
_CURE_FOR_OTHERS = "Set it to sqlite:// and a path, or to redis://, or run one process."

_SLOWEST_HEARTBEAT_SECONDS = 45  # nginx and ALB cut silent connections at 60, Heroku at 55


class Finding(NamedTuple):
    """One problem of a server or of its settings."""

    code: str
    """``SSE001`` and so on, which the documentation lists."""
    is_error: bool
    """Whether streams cannot work at all."""
    message: str
    """One sentence says what is wrong, and one how to cure it."""

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


def find_problems(
    server: Server,
    settings: Settings,
    config: Mapping[str, Any],
    *,
    imported_unpatched: bool,
    bus_is_shared: bool,
) -> Iterator[Finding]:
    """
    Yield the problems of a server, as far as they can be seen from inside.

    Args:
        server (Server): What runs this process.
        settings (Settings): The settings of this package.
        config (Mapping[str, Any]): ``app.config``, which shows what other extensions do to responses.
        imported_unpatched (bool): Whether the app was imported before gevent patched the standard library.
        bus_is_shared (bool): Whether the bus carries an event to all processes.
    """
    if server.several_processes and not bus_is_shared:
        yield Finding(
            "SSE002",
            True,
            "An event published in one of the server's processes would reach only that one's clients, "
            "because SSE_PUSH_BUS_URL keeps it in memory. "
            f"{_CURE_FOR_SEVERAL if server.worker is not None else _CURE_FOR_OTHERS}",
        )
    if server.worker is not None:
        yield from _gunicorn(server, settings, imported_unpatched)
    elif server.capacity == 1:
        yield Finding(
            "SSE006",
            True,
            f"The {server.name} answers one request at a time, so one open stream blocks the site. "
            "Start it with threads (flask run without --without-threads).",
        )
    if settings.heartbeat_seconds > _SLOWEST_HEARTBEAT_SECONDS:
        yield Finding(
            "SSE005",
            False,
            f"SSE_PUSH_HEARTBEAT_SECONDS is {settings.heartbeat_seconds:g}, "
            "but most proxies cut connections that are silent for 55 to 60 s. "
            f"Set it to {_SLOWEST_HEARTBEAT_SECONDS} or less.",
        )
    if "text/event-stream" in (config.get("COMPRESS_MIMETYPES") or ()) and config.get(
        "COMPRESS_STREAMS", True
    ):
        yield Finding(
            "SSE010",
            False,
            "Flask-Compress is told to compress event streams, and would hold back hundreds of events. "
            "Take text/event-stream out of COMPRESS_MIMETYPES.",
        )


def find_rate_limits(extensions: Mapping[str, Any]) -> Iterator[Finding]:
    """
    Yield the problem that Flask-Limiter makes when its limits for all views count the request for a stream.

    Asked inside such a request, after the limiter has counted it: only then is it known which limiters the
    app has and what they exempt. Limits that the app has put on the view itself are its own decision.

    Args:
        extensions (Mapping[str, Any]): ``app.extensions``.
    """
    limiters = extensions.get("limiter")
    for limiter in limiters if isinstance(limiters, set) else ():
        try:
            manager = limiter.limit_manager
            for_all = {each.limit for each in (*manager.application_limits, *manager.default_limits)}
            counted = [str(each.limit) for each in limiter.current_limits if each.limit in for_all]
        except AttributeError:  # of a version that is unlike today's: unknown is no problem
            continue
        if counted:
            yield Finding(
                "SSE013",
                False,
                f"Flask-Limiter counts requests for streams ({', '.join(counted)}). "
                "It answers one too many with 429, which stops an EventSource for ever. "
                "Call limiter.exempt(sse), and put @limiter.exempt on views that return sse.stream().",
            )


def _gunicorn(server: Server, settings: Settings, imported_unpatched: bool) -> Iterator[Finding]:
    cfg = server.worker.cfg
    if server.kind == "SyncWorker":
        yield Finding(
            "SSE001",
            True,
            "gunicorn's sync worker holds one stream per process, and kills it after --timeout. "
            "Run: gunicorn -k gevent app:app",
        )
    if "h2" in getattr(cfg, "http_protocols", ()):
        yield Finding(
            "SSE003",
            True,
            "gunicorn's own HTTP/2 serves the requests of a connection one after another, "
            "so an open stream blocks the page. "
            "Leave --http-protocols at h1 and let nginx or Caddy speak HTTP/2.",
        )
    if cfg.preload_app and imported_unpatched and "gevent" in server.name:
        yield Finding(
            "SSE004",
            False,
            "With --preload the app was imported before gevent patched the standard library, "
            "so locks and sockets made at import can stop the worker. "
            "Make this the first line of gunicorn.conf.py: from gevent import monkey; monkey.patch_all()",
        )
    if server.kind == "ThreadWorker" and cfg.threads < 2:
        yield Finding(
            "SSE006",
            True,
            "gunicorn's gthread worker has one thread, so one open stream blocks the site. "
            "Run: gunicorn -k gevent app:app, or give it --threads 100.",
        )
    if (
        settings.max_streams is not None
        and server.capacity is not None
        and server.kind != "SyncWorker"
        and settings.max_streams >= server.capacity
    ):
        yield Finding(
            "SSE007",
            False,
            f"SSE_PUSH_MAX_STREAMS is {settings.max_streams}, but the worker holds {server.capacity} "
            "connections, so streams can lock out ordinary pages. "
            "Raise --worker-connections (gthread: --threads), or allow fewer streams.",
        )
    if cfg.graceful_timeout < 5:
        yield Finding(
            "SSE008",
            False,
            f"gunicorn kills the worker {cfg.graceful_timeout} s after it was told to stop, "
            "before its streams have ended. "
            "Set --graceful-timeout to 5 or more.",
        )
