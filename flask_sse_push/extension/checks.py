"""Start-up checks: finds why a server cannot stream, or not well, and says how to cure it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from ..platform.server import Server
from .settings import Settings

__all__ = ["Finding", "find_problems", "find_rate_limits"]

_CURE_FOR_SEVERAL = 'Leave it out: "auto" shares events between the workers of a gunicorn'
_CURE_FOR_OTHERS = "Set it to sqlite:// and a path, or to redis://"
_RUN = "Run: gunicorn -k gevent app:app"

_LONGEST_KEEPALIVE_SECONDS = (
    3  # gunicorn's worker looks once a second: with 3 it is gone 5 s after it was told
)

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
    yield from _any_server(server, settings, bus_is_shared)
    if server.worker is not None:
        yield from _gunicorn(server, imported_unpatched)
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


def _any_server(server: Server, settings: Settings, bus_is_shared: bool) -> Iterator[Finding]:
    name = f"The {server.name}" if server.name.endswith(("server", "worker")) else server.name
    is_alone = server.capacity == 1 and server.kind != "SyncWorker"
    if server.flaw is not None:
        yield Finding("SSE011", True, f"{name} {server.flaw}. {_RUN}")
    elif is_alone:
        cure = f"Give it threads ({server.more_threads}), or run" if server.more_threads else "Run"
        yield Finding(
            "SSE006",
            True,
            f"{name} answers one request at a time, so one open stream blocks the site. "
            f"{cure}: gunicorn -k gevent app:app",
        )
    # Servers that are refused in any case say that they have several processes where they have one.
    is_refused = settings.strict and server.worker is None and (server.flaw is not None or is_alone)
    if server.several_processes and not bus_is_shared and not is_refused:
        if server.worker is not None:
            several, cure = "gunicorn runs several workers", _CURE_FOR_SEVERAL
        else:
            several = f"{name} runs several processes, or does not say that it runs one"
            one = f", or run one process ({server.one_process})" if server.one_process else ""
            cure = _CURE_FOR_OTHERS + one
        # In a worker that was added to a running server an error would stop all of it.
        was_added = server.worker is not None and server.worker.cfg.workers < 2
        alone = Finding(
            "SSE002",
            True,
            f"{several}, and an event published in one would reach only that one's clients, "
            f"because SSE_PUSH_BUS_URL keeps it in memory. {cure}.",
        )
        yield alone._replace(is_error=not was_added)
    if server.is_capacity_guessed and settings.max_streams is None and not is_refused:
        yield Finding(
            "SSE012",
            False,
            f"{name} does not say how many threads it has, so a process has at most "
            f"{server.default_max_streams()} streams. "
            "Set SSE_PUSH_MAX_STREAMS to fewer than it has threads, or run: gunicorn -k gevent app:app",
        )
    if (
        settings.max_streams is not None
        and server.capacity is not None
        and not server.is_capacity_guessed
        and settings.max_streams >= server.capacity > 1
    ):
        more = f"Give it more ({server.more_threads})" if server.more_threads else "Give it more threads"
        yield Finding(
            "SSE007",
            False,
            f"SSE_PUSH_MAX_STREAMS is {settings.max_streams}, but {name} handles {server.capacity} "
            f"requests at a time, so streams can lock out ordinary pages. {more}, or allow fewer streams.",
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


def _gunicorn(server: Server, imported_unpatched: bool) -> Iterator[Finding]:
    cfg = server.worker.cfg
    if server.kind == "SyncWorker":
        yield Finding(
            "SSE001",
            True,
            f"gunicorn's sync worker holds one stream per process, and kills it after --timeout. {_RUN}",
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
    if cfg.graceful_timeout < 5:
        yield Finding(
            "SSE008",
            False,
            f"gunicorn kills the worker {cfg.graceful_timeout} s after it was told to stop, "
            "before its streams have ended. "
            "Set --graceful-timeout to 5 or more.",
        )
    if server.kind == "GeventWorker" and cfg.keepalive > _LONGEST_KEEPALIVE_SECONDS:
        yield Finding(
            "SSE009",
            False,
            f"gunicorn's --keep-alive is {cfg.keepalive} s, and a worker that stops waits that long for "
            "connections on which nothing happens. "
            f"Set it to {_LONGEST_KEEPALIVE_SECONDS} or less. If a load balancer needs more, let what starts "
            "gunicorn wait longer.",
        )
