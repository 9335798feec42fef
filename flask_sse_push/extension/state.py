"""What one app has of this package: its settings, its rules, and in each process a :class:`Process`."""

from __future__ import annotations

import logging
from collections import Counter

from flask import Flask, Response, request

from ..bus.auto import AUTO, open_auto
from ..bus.base import Bus, Identity
from ..bus.urls import open_bus
from ..platform.fork import PerProcess
from ..platform.locks import ReentrantLock
from ..platform.server import inspect_server, is_gevent_patched
from .access import Rules
from .cors import answer_preflight, calls_marked_view, find_marked, set_cors_headers
from .identity import Identities
from .process import Process
from .refusals import RefusalLog
from .response import EventStreamResponse, RefusalResponse
from .settings import Settings, key_of_flask_sse, read_settings, snapshot
from .snapshot import SnapshotFunctions
from .unheard import Audience

__all__ = ["AppState"]

_apps: Counter[tuple[str, str]] = Counter()  # how many of the same name this process has made

logger = logging.getLogger("flask_sse_push")


class AppState:
    """
    The extension's state on one app: ``app.extensions["flask_sse_push"]``. Thread-safe.

    Args:
        app (Flask): Its config is read and checked here, to meet a mistake early, and by :meth:`freeze`.
        rules (Rules): Who may read what.
        identities (Identities): Say who a request is from.
        functions (SnapshotFunctions): Say what a channel shows first.

    Raises:
        ConfigurationError: A setting is wrong.
        UnsupportedServer: This is a worker of a server that cannot work.
    """

    def __init__(
        self, app: Flask, rules: Rules, identities: Identities, functions: SnapshotFunctions
    ) -> None:
        self.app = app
        """Whose state this is."""
        self.refusals = RefusalLog()
        """Says each reason for a refusal once."""
        self.audience = Audience(app)
        """Says when nobody can hear what is published."""
        self.is_frozen = False
        """Whether the settings are those that count: they may change until the first use, or a shutdown."""
        self._configured = snapshot(app.config)
        self.settings = _read_settings(app)
        """What was configured at the registration; after the first use, what was configured then."""
        self._lock = ReentrantLock()
        _apps[app.import_name, app.name] += 1
        self._number = _apps[app.import_name, app.name]
        imported_unpatched = not is_gevent_patched()
        self.processes: PerProcess[Process] = PerProcess(
            lambda: Process(
                app,
                self.settings,
                self.open_bus(),
                rules,
                identities,
                functions,
                self.refusals,
                self.audience,
                imported_unpatched,
            )
        )
        """What the app has in this process; once the settings are frozen."""
        server = inspect_server()
        if server.worker is not None:
            self.processes.get().host.check(server)

    def freeze(self) -> None:
        """
        Read the config again where it has changed since the registration. From now on the settings stay.

        Called with the first request, event or question. Thread-safe.

        Raises:
            ConfigurationError: A setting is wrong. The next call reads again.
        """
        configured = snapshot(self.app.config)
        fresh = None if configured == self._configured else _read_settings(self.app)
        with self._lock:  # who comes second must not throw away what the first has begun to use
            if self.is_frozen:
                return
            if fresh is not None:
                self._configured, self.settings = configured, fresh
                self.processes.forget()  # the check at the registration made a bus, which nobody has used
            self.is_frozen = True
        if (key := key_of_flask_sse(self.app.config)) is not None and self.refusals.count("config", key) == 1:
            logger.warning(
                "%s is a setting of Flask-SSE, and nothing here reads it. To carry events by that Redis set "
                "SSE_PUSH_BUS_URL to the same URL; if it is for something else, set SSE_PUSH_BUS_URL to "
                '"auto", and this is not said again.',
                key,
            )

    def settings_in_use(self) -> Settings:
        """Return the settings, which stay from now on; see :meth:`freeze`."""
        if not self.is_frozen:
            self.freeze()
        return self.settings

    def warn_of_late_settings(self) -> None:
        """Say once which settings have changed since the first use, and so have no effect."""
        before, configured = self._configured, snapshot(self.app.config)
        late = [key for key in sorted({**before, **configured}) if configured.get(key) != before.get(key)]
        fresh = [key for key in late if self.refusals.count("config", key) == 1]
        if fresh:
            logger.warning(
                "%s changed in app.config after the first use, and has no effect: settings are fixed by the "
                "first request, event or call of stats(). Set it before, best before register_blueprint().",
                ", ".join(fresh),
            )

    def open_bus(self) -> Bus:
        """Return a new bus for this process; ``"auto"`` is what fits its server."""
        url = self.settings.bus_url
        options = self.settings.bus_options()._replace(identity=lambda: _identify(self.app))
        if url == AUTO:
            return open_auto(options, f"{self.app.import_name}:{self.app.name}:{self._number}")
        return open_bus(url, options)

    def process(self) -> Process:
        """Return what the app has in this process. This is a use of the settings."""
        self.settings_in_use()
        return self.processes.get()

    def shutdown(self) -> None:
        """Let go of what the app has in this process; see :meth:`SSEPush.shutdown`."""
        with self._lock:
            process, self.is_frozen = self.processes.take(), False
        if process is not None:
            process.shutdown()

    def request_came(self) -> Response | None:
        """Note that the app is served by this process, and answer preflights; called before each request."""
        process = self.processes.made.get(None)
        if process is None or not process.is_served:
            self.audience.request_came()
            if process is not None:
                process.is_served = True
        if "HTTP_ACCESS_CONTROL_REQUEST_METHOD" not in request.environ:
            return None
        rule = find_marked(self.app, request)
        return None if rule is None else answer_preflight(rule, request, self.settings_in_use())

    def response_goes(self, response: Response) -> Response:
        """
        Say which pages of other origins may read a response; called after each request, as the last.

        On marked views the settings of this package decide. On other views that stream, whoever allowed a
        page before (Flask-CORS) is not overruled: browsers refuse a response that allows twice.
        """
        if self.is_frozen and not self.settings.cors_origins:
            return response
        is_marked = calls_marked_view(self.app, request)
        is_ours = is_marked or (
            isinstance(response, EventStreamResponse | RefusalResponse)
            and "Access-Control-Allow-Origin" not in response.headers
        )
        if is_ours and (settings := self.settings_in_use()).cors_origins:
            set_cors_headers(response.headers, request, settings)
        return response


def _read_settings(app: Flask) -> Settings:
    settings = read_settings(app.config)
    if settings.bus_url != AUTO:
        open_bus(settings.bus_url, settings.bus_options())  # a wrong URL is met here
    return settings


def _identify(app: Flask) -> Identity:
    """
    Return the name and the routes of an app, which are the same under every server and on every machine.

    The name alone is not enough, because tutorials call every app ``app``. The routes alone are not, because
    each deployment may change some. Routes that all apps have, of static files and of this package, are left
    out.
    """
    rules = [rule for rule in app.url_map.iter_rules() if not _is_common(app, str(rule.endpoint))]
    return Identity(app.name, frozenset(f"{rule.rule} {rule.endpoint}" for rule in rules))


def _is_common(app: Flask, endpoint: str) -> bool:
    if endpoint.rpartition(".")[2] == "static":
        return True
    module = getattr(app.view_functions.get(endpoint), "__module__", None) or ""
    return module.partition(".")[0] == __package__.partition(".")[0]
