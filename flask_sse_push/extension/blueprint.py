"""The extension: a blueprint that streams, and the helpers around it."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterable
from typing import Any, Literal, TypeVar

from flask import Blueprint, Flask, Request, Response, current_app, has_app_context, request
from flask.blueprints import BlueprintSetupState

from ..core.channels import DEFAULT_CHANNEL, Pattern, check_channels
from ..core.values import shown
from ..errors import ConfigurationError, InvalidChannel, NotRegistered
from ..platform.boot import told_in_one_line
from ..streams.iterable import FINAL_ID, close_iterable
from .access import Rules, check_access
from .answers import answer_full, answer_refusal, refuse
from .client.routes import add_client
from .cors import cross_origin, find_foreign
from .identity import Identify, Identities
from .process import Process
from .query import NAMES, find_misspelt, read_rewind
from .refusals import Refusal
from .response import RefusalResponse
from .rule import Rule
from .snapshot import SnapshotFunction, SnapshotFunctions
from .state import AppState

__all__ = ["EXTENSION_KEY", "SSEPush", "publish", "sse"]

EXTENSION_KEY = "flask_sse_push"
"""Where an app keeps its state of this extension, in ``app.extensions``."""

_USUAL = NAMES - {"heartbeat", "rewind"}  # whose values need no look

RuleT = TypeVar("RuleT", bound=Rule)
SnapshotT = TypeVar("SnapshotT", bound=SnapshotFunction)


class SSEPush(Blueprint):
    """
    Server-Sent Events for Flask. Registering it sets up the app::

        app.register_blueprint(sse, url_prefix="/events")    # GET /events?channel=news

    One instance serves any number of apps; when it has rules, only apps of one import name. Nothing is opened
    before the first stream or event. Settings are read from ``app.config`` when it is registered, so that a
    mistake is met early, and again at the first use (a request, an event, a call of :meth:`stats`). Then they
    stay. See :class:`flask_sse_push.extension.settings.Settings` for all of them.

    Args:
        name (str | Flask): The blueprint's name; the endpoint is ``name.stream``. Or an app, which it is
            registered on at once, as ``"sse"``.
        url_prefix (str): Where it answers unless ``register_blueprint`` says otherwise.

    Raises:
        ConfigurationError: ``name`` is neither; or it is an app, and that has one already, or a wrong
            setting.
        UnsupportedServer: ``name`` is an app, and this is a worker of a server that cannot stream.
    """

    @told_in_one_line
    def __init__(self, name: str | Flask = "sse", *, url_prefix: str = "/events") -> None:
        if not isinstance(name, str | Flask):
            raise ConfigurationError(
                f'"name" must be a str or a Flask app, got {name!r}. Write SSEPush(), and register it on '
                "the app."
            )
        super().__init__(name if isinstance(name, str) else "sse", __name__, url_prefix=url_prefix)
        self._rules = Rules()
        self._identities = Identities()
        self._snapshots = SnapshotFunctions()
        self._states: weakref.WeakSet[AppState] = weakref.WeakSet()
        self.add_url_rule("", endpoint="stream", view_func=self._serve, strict_slashes=False)
        add_client(self, self._identities)
        self.add_app_template_global(self.cursor, "sse_cursor")
        if isinstance(name, Flask):
            self.init_app(name)

    @told_in_one_line
    def init_app(self, app: Flask, url_prefix: str | None = None) -> None:
        """
        Set up an app; the same as ``app.register_blueprint(sse, url_prefix=url_prefix)``.

        Args:
            app (Flask): Not set up yet.
            url_prefix (str | None): Where it answers; ``None`` means where it was made to.

        Raises:
            ConfigurationError: The app has one already, or a setting is wrong; or ``app`` is none.
            UnsupportedServer: This is a worker of a server that cannot stream.
        """
        if not isinstance(app, Flask):
            raise ConfigurationError(
                f'"app" must be a Flask app, got {app!r}. On a blueprint, call its register_blueprint().'
            )
        app.register_blueprint(self, url_prefix=url_prefix)

    @told_in_one_line
    def register(self, app: Flask, options: dict[str, Any]) -> None:  # type: ignore[override]
        """
        Set up an app. Called by ``app.register_blueprint``, which passes its options on. Where
        ``app.url_map.host_matching`` is on, ``host`` must be one of them.

        Raises:
            ConfigurationError: The app has one already, a setting or the place of the route is wrong, or the
                blueprint has rules of an app of another import name.
            UnsupportedServer: This is a worker of a server that cannot stream.
        """
        if EXTENSION_KEY in app.extensions:
            raise ConfigurationError(
                f"This blueprint is already registered on app {app.name!r}. Import and use it instead of "
                "registering another."
            )
        self._check_place(app, options)
        state = AppState(app, self._rules, self._identities, self._snapshots)
        self._rules.refuse_unless_free(app)
        super().register(app, options)
        self._rules.claim(app)
        # Before the app's own: they may publish, or answer in the view's place.
        app.before_request_funcs.setdefault(None, []).insert(0, state.request_came)
        # Behind those of the app and of Flask-CORS, also later ones: Flask calls the first one last.
        app.after_request_funcs.setdefault(None, []).insert(0, state.response_goes)
        app.extensions[EXTENSION_KEY] = state
        self._states.add(state)

    def make_setup_state(
        self, app: Any, options: dict[str, Any], first_registration: bool = False
    ) -> BlueprintSetupState:
        """Return what adds the route to an app. Called by Flask."""
        return _Setup(self, app, options, first_registration)

    def publish(
        self,
        data: Any,
        type: str | None = None,
        id: None = None,
        retry: int | None = None,
        channel: str | Iterable[str] = DEFAULT_CHANNEL,
        *,
        idempotency_key: str | None = None,
        key: str | None = None,
        keep: bool = False,
        close: bool = False,
    ) -> str:
        """
        Send an event to everybody who listens to a channel, or will resume within the history.

        Works in a view, in any thread (native ones too) or greenlet, and outside of an app context when the
        blueprint is registered on exactly one app. Thread-safe. It returns when the event is stored, and
        waits for no client.

        Args:
            data (Any): A ``str`` is sent as it is, everything else as JSON by ``app.json``.
            type (str | None): The name to listen for in the browser; ``None`` is ``message``.
            id (None): Refused: browsers resume by ids, so the bus gives them.
            retry (int | None): Milliseconds (500 to 3,600,000) that browsers are to wait before reconnecting,
                from now on.
            channel (str | Iterable[str]): One name, or up to 1,000; who listens to several gets the event
                once.
            idempotency_key (str | None): Names the event among those of the same set of channels (1 to 200
                bytes). While an event with the same key is kept, publishing again stores nothing and returns
                the id of the first: a task that is repeated can publish without doubt.
            key (str | None): Names the value that the event brings (1 to 200 bytes of printable text), such
                as a price. Each channel keeps the newest event of each key beyond its history, and a new
                stream gets these first. A reader that is behind gets the newest of each key alone.
            keep (bool): Must be ``True`` where ``key`` is given, and only there.
            close (bool): Whether the channels are closed behind this event, in the same step; see
                :meth:`close`.

        Returns:
            str: The event's id, as clients see it in ``event.lastEventId``.

        Raises:
            InvalidEvent: The event cannot be sent as it is; nothing was stored.
            InvalidChannel: A name is not one; nothing was stored.
            ChannelClosed: One of the channels is closed; nothing was stored.
            TooManyKept: A channel keeps ``SSE_PUSH_KEPT_VALUES`` values, or all channels together
                ``SSE_PUSH_KEPT_BYTES``; nothing was stored.
            BusUnavailable: The bus did not take it within ``SSE_PUSH_PUBLISH_TIMEOUT_SECONDS``. The scheduler
                of a busy machine comes on top, and without gevent the look for the name of a Redis' host.
            ConfigurationError: The log of the Redis belongs to another app; nothing was stored.
            NotRegistered: The app cannot be told.
        """
        return _process_of(self._state()).publish(
            data, type, id, retry, channel, idempotency_key, key, keep, close
        )

    def close(self, *channels: str) -> str:
        """
        Close channels behind their last event, in all processes: no more comes.

        Their streams end, a stream of several channels when all of them are closed. A client that comes back
        with everything is answered 204, which stops a browser; one that missed something gets that first. To
        publish to a closed channel is an error for as long as its history is kept (``history_seconds``); then
        the channel is forgotten, and takes events again. Thread-safe; once more is harmless.

        Args:
            *channels (str): 1 to 1,000 names. A channel that has had no event can be closed too.

        Returns:
            str: The id of the mark that closes them; of the newest one where all were closed before.

        Raises:
            InvalidChannel: There is no name, or one is not allowed; nothing was closed.
            BusUnavailable: As for :meth:`publish`.
            ConfigurationError: The log of the Redis belongs to another app; nothing was closed.
            NotRegistered: The app cannot be told.
        """
        return _process_of(self._state()).close_channels(channels)

    def forget(self, channel: str | Iterable[str], key: str) -> None:
        """
        Forget the value that a channel keeps by a key: new streams get it no more.

        Readers that have the value are told nothing; publish an event of your own for them. A key without a
        value is no error. Thread-safe.

        Args:
            channel (str | Iterable[str]): One name, or up to 1,000.
            key (str): What :meth:`publish` was given.

        Raises:
            InvalidEvent: The key is not 1 to 200 bytes of printable text.
            InvalidChannel: A name is not one.
            ChannelClosed: One of the channels is closed; its values are forgotten with it.
            BusUnavailable: As for :meth:`publish`.
            ConfigurationError: The log of the Redis belongs to another app.
            NotRegistered: The app cannot be told.
        """
        _process_of(self._state()).forget(channel, key)

    def cursor(self, *channels: str) -> str:
        """
        Return the place where the log ends now: a stream with it as ``?last_event_id=`` brings what comes
        later.

        Take it before the view reads its data: then the page misses no event. An event whose data the view
        read already may come again, unless the view does both in one step that writers exclude (a lock, or a
        transaction). ``{{ sse_cursor("orders") }}`` is the same in a template. Thread-safe.

        Args:
            *channels (str): What the page will read; nothing means ``"sse"``.

        Returns:
            str: An id as those of events, good for as long as the channels' history.

        Raises:
            InvalidChannel: A name is not one, or there are more than ``SSE_PUSH_MAX_CHANNELS``.
            BusUnavailable: The bus cannot be asked within ``SSE_PUSH_PUBLISH_TIMEOUT_SECONDS``.
            ConfigurationError: The log of the Redis belongs to another app.
            NotRegistered: The app cannot be told.
        """
        state = self._state()
        check_channels(channels or DEFAULT_CHANNEL, state.settings.max_channels)
        return str(_process_of(state).bus.head())

    def stream(self, *channels: str, rewind: int | Literal["all"] | None = None) -> Response:
        """
        Return a stream of some channels, for a view of your own.

        What the view lets through is granted: its decorators and checks are the access control. The client
        resumes by the header ``Last-Event-ID`` or by ``?last_event_id=``. A name that cannot be a channel's
        answers 400, and a page of an origin that ``SSE_PUSH_CORS_ORIGINS`` does not list 403. A client that
        has everything of channels that are all closed is answered 204.

        Args:
            *channels (str): What to read; nothing means ``"sse"``.
            rewind (int | str | None): How many of the newest events a client without an id gets first, or
                ``"all"`` for what is kept; ``None`` for what its ``?rewind=`` asks for, and without one for
                none.

        Returns:
            Response: It ends when all channels are closed; leave its body alone.

        Raises:
            ValueError: ``rewind`` is something else.
            NotRegistered: The blueprint is not registered on this app.
            UnsupportedServer: The server cannot stream.
        """
        rewound = None if rewind is None else read_rewind(rewind)
        if rewound is None is not rewind:
            raise ValueError(
                f'"rewind" must be a whole number from 0, or "all", got {shown(rewind)}. '
                "Leave it out for what the client asks for."
            )
        state, asked = self._state(), _current_request()
        foreign = _find_foreign(state, asked)
        if foreign is not None:
            return refuse(state, foreign)
        try:
            names = check_channels(channels or DEFAULT_CHANNEL, state.settings.max_channels)
        except InvalidChannel as error:
            return refuse(state, _no_name(error, channels))
        process = state.processes.get()
        if DEFAULT_CHANNEL in names:
            process.serves_default = True
        return process.subscribe(asked, names, rewound)

    def response(self, iterable: Iterable[Any]) -> Response:
        """
        Return a stream of this request's own: the tokens of a model, the progress of what it asked for.

        The iterable runs beside the response, so heartbeats go out while it thinks, and never far ahead of
        its reader. When it ends, the event ``done`` follows, with what a generator returned as JSON data;
        when it raises, the error is logged and the event ``failed`` follows, with ``{"reason": "error"}``.
        When the client leaves, the iterable is closed: in greenlets where it waits, in threads after its
        current item. A thread that waits for ever stays, so give what it waits for a time-out; while as many
        stay as ``SSE_PUSH_MAX_STREAMS`` allows streams, further responses are refused as when the server is
        full. No Flask context is there while it runs: take what you need from the request before.

        Clean-up in the generator that waits must therefore be brief, or shielded.

        An ``EventSource`` comes back after the end by itself; it is told not to (204). Any method works,
        ``POST`` for instance with ``fetch``; when the server is full, other methods than GET answer 503.

        Args:
            iterable (Iterable): Items are ``str`` (sent as they are), :class:`Event`, or anything that
                ``app.json`` can encode.

        Raises:
            TypeError: It is no iterable, or a ``str`` or ``bytes``.
            NotRegistered: The blueprint is not registered on this app.
            UnsupportedServer: The server cannot stream.
        """
        if isinstance(iterable, str | bytes | bytearray) or not isinstance(iterable, Iterable):
            raise TypeError(
                f'"iterable" must give one item after the other, got {iterable!r}. Put a single item into a '
                "list."
            )
        try:
            state, asked = self._state(), _current_request()
            foreign = _find_foreign(state, asked)
            refusal = _refuse_response(state, asked) if foreign is None else refuse(state, foreign)
            if refusal is None:
                return _process_of(state).respond(asked, iterable)
        except BaseException:
            close_iterable(iterable)  # nobody else will
            raise
        close_iterable(iterable)
        return refusal

    def authorize(self, pattern: str) -> Callable[[RuleT], RuleT]:
        """
        Decorate a rule: who may read the channels that fit a pattern.

        The rule is called with the channel's name inside the request, so ``current_user``, ``session`` and
        ``request`` work. Only ``True`` grants. ``False`` and ``None`` refuse with 403; ``abort(401)`` and
        what a login library returns or raises instead (a redirect, a 401) refuse with 401; anything else
        refuses, and is logged. A rule that breaks, or answers 5xx or 429, asks the client to come back. Where
        several rules fit, one that grants is enough. ``SSE_PUSH_PUBLIC_CHANNELS`` and
        ``SSE_PUSH_DEFAULT_CHANNEL_PUBLIC`` count only for channels that no rule is about. ::

            @sse.authorize("orders.*")
            @login_required
            def may_read_orders(channel):
                return True

        Args:
            pattern (str): A channel's name; ``*`` stands for any characters.

        Raises:
            InvalidChannel: It is no pattern.
            ConfigurationError: The rule is asynchronous, a generator or no function of one argument; a
                decorator stands above this one, where it would not be asked; or the blueprint is on apps of
                several import names.
        """
        checked = Pattern(pattern)

        def add(rule: RuleT) -> RuleT:
            self._rules.add(checked, rule, {state.app.import_name for state in self._live_states()})
            return rule

        return add

    def snapshot(self, pattern: str, type: str | None = "snapshot") -> Callable[[SnapshotT], SnapshotT]:
        """
        Decorate a function that says what the channels that fit a pattern show first: to a client that opens
        a stream without an id, and after each ``sse.reset``. ::

            @sse.snapshot("prices")
            def all_prices(channel):
                return {price.symbol: price.value for price in db.session.scalars(select(Price))}

        It is called when the stream has its place in the log, and what it returns is sent before the events
        behind that place. So a change that is stored before it is published is in the snapshot, in an event
        or in both. A value of the snapshot may be newer than that of an event behind it.

        It runs in an app context and in no request, in a greenlet or thread of its own. The context is gone
        before the first byte is sent. All streams of a process that ask for a channel at one time share one
        call: what it returns is for everybody who may read the channel. At most 8 calls of one function run
        at once. Streams wait for it, with heartbeats, and after 10 seconds a warning says so: give what it
        waits for a time-out. When it raises, or returns what cannot be sent, the error is logged, and the
        streams that waited ask their clients to come back in 5 to 15 seconds.

        It returns

        - a ``str``, which is sent as it is, or anything that ``app.json`` can encode: one event of ``type``;
        - an :class:`Event`, or a list or tuple of them: these events, which must have no ids;
        - ``None``: nothing.

        Each event has ``SSE_PUSH_MAX_EVENT_BYTES`` at most. Where the history of the channel lasts for less
        time than the function takes, clients are told of a gap again and again.

        Args:
            pattern (str): A channel's name; ``*`` stands for any characters. Where several fit, the one that
                was registered first counts.
            type (str | None): The name to listen for in the browser; ``None`` is ``message``.

        Raises:
            InvalidChannel: ``pattern`` is none.
            InvalidEvent: ``type`` is none.
            ConfigurationError: The function is asynchronous, a generator or no function of one argument; or a
                decorator stands above this one, where it would not be called.
        """
        checked = Pattern(pattern)

        def add(function: SnapshotT) -> SnapshotT:
            self._snapshots.add(checked, function, type)
            return function

        return add

    cross_origin = staticmethod(cross_origin)

    def identify(self, function: Identify) -> Identify:
        """
        Say who a request is from, so that tabs of different visitors never share a stream.

        Decorate a function that takes nothing, runs in a request, and returns the id of its user, a str or an
        int, or ``None`` for nobody. Without one Flask-Login's user counts, where that is in use. ::

            @sse.identify
            def current_user_id():
                return session.get("user_id")

        A page that ``{{ sse_push_script() }}`` loads carries a proof of it, an HMAC under ``SECRET_KEY``; its
        stream sends the proof back.
        """
        self._identities.identify = function
        return function

    def stats(self, *, all_processes: bool = False) -> dict[str, Any]:
        """
        Return what can be counted for the app, JSON-able.

        Args:
            all_processes (bool): Ask the bus for what every process that has listeners said of itself, within
                the last 7 seconds.

        Returns:
            dict: Of this process: ``streams`` (open now), ``direct_streams`` (those of them that are written
                to directly), ``max_streams``, ``abandoned_responses`` (iterables of :meth:`response` that
                still run though their response is over), ``opened``, ``refused`` and ``published`` (since
                the start),
                ``bus`` (its name), ``bus_state`` (``"idle"`` without listeners, ``"starting"``, ``"up"`` or
                ``"down"``), ``bus_error`` (why it is down), ``last_event_id`` (of the newest event here),
                ``channels`` (name to number of listeners), ``history`` (``events``, the ``channels`` that
                have some, their ``bytes``, and ``kept``, the values that are kept by a key; with a shared
                bus, of the channels that are listened to here), ``entries_read`` (events that a shared bus
                brought to this process since its start: those of the channels that are listened to here).

                Of all: ``streams``, ``channels``, ``events_per_second``, ``lag`` (how many events the slowest
                process had not got yet), ``last_event_id``, ``history`` (of the whole bus), ``entries_read``
                (added up), ``bus``, ``more_channels`` (not named, because a process names its 1,000 most
                heard), and ``processes``, a list with the like of each and its ``host``, ``pid``,
                ``uptime_seconds``, ``published``.

        Raises:
            NotRegistered: The app cannot be told.
            BusUnavailable: With ``all_processes``: the bus cannot be asked.
            ConfigurationError: With ``all_processes``: the log of the Redis belongs to another app.
        """
        state = self._state()
        state.warn_of_late_settings()
        process = state.processes.get()
        return process.stats_of_all() if all_processes else process.stats()

    def shutdown(self) -> None:
        """
        Let go of everything that the app has in this process: for the end of a test, or of an app that is
        one of several.

        Its streams end and ask their clients to come back; a client that takes nothing for a second is cut
        off. Then the bus is no longer followed, and its files and connections are closed. What other
        processes have, and what a bus stores outside of this process, stays.

        To use the app again is no error: the next request, event or question begins as the first one did. It
        reads the settings again, counts from zero, and on a memory bus begins without a history. Thread-safe;
        once more is harmless.

        Without it, an app that nobody holds any more lets go by itself: of its files at once, or within 30
        seconds of its last stream, as long as its bus is followed.

        Raises:
            NotRegistered: The app cannot be told.
        """
        self._find_state().shutdown()

    def _check_place(self, app: Flask, options: dict[str, Any]) -> None:
        """Refuse what would be no route, or one that no request can reach."""
        prefix = options.get("url_prefix")
        prefix = self.url_prefix if prefix is None else prefix
        if not isinstance(prefix, str) or not prefix.startswith("/"):
            raise ConfigurationError(
                f'"url_prefix" must begin with "/", got {prefix!r}. Write url_prefix="/events", or "/" for '
                "the front page."
            )
        if app.url_map.host_matching and options.get("host") is None:
            raise ConfigurationError(
                '"host" must name the host that answers where url_map.host_matching is on, got None. '
                'Write: app.register_blueprint(sse, url_prefix="/events", host="www.example.com")'
            )

    def _live_states(self) -> list[AppState]:
        if len(self._states) > 1:
            gc.collect()  # an app that was dropped, as tests drop them, is in a cycle with itself
        return list(self._states)

    def _state(self) -> AppState:
        """Return the state of the app that is meant, with the settings that stay."""
        state = self._find_state()
        if not state.is_frozen:
            state.freeze()
        return state

    def _find_state(self) -> AppState:
        if has_app_context():
            # once, and not with each attribute
            app = current_app._get_current_object()  # type: ignore[attr-defined]  # noqa: SLF001
            state = app.extensions.get(EXTENSION_KEY)
            if state is None:
                raise NotRegistered(
                    f"flask_sse_push is not registered on app {app.name!r}. "
                    "Call app.register_blueprint(sse, url_prefix='/events') where the app is made."
                )
            return state  # type: ignore[no-any-return]
        states = self._live_states()
        if len(states) == 1:
            return states[0]
        if not states:
            raise NotRegistered(
                "flask_sse_push is not registered on any app yet. Call app.register_blueprint(sse, "
                "url_prefix='/events') first. In a process that makes no app (Celery, RQ, cron, "
                "multiprocessing), make it and publish in its context (with create_app().app_context(): "
                "...), or publish without one, by Publisher(). Both need SSE_PUSH_BUS_URL."
            )
        names = ", ".join(sorted(repr(state.app.name) for state in states))
        raise NotRegistered(
            f"flask_sse_push is registered on {len(states)} apps ({names}), and no app context says which is "
            "meant. Use: with app.app_context(): ..."
        )

    @cross_origin
    def _serve(self, **_: Any) -> Response:
        """Answer GET and HEAD of the blueprint's own route."""
        state, asked = self._state(), _current_request()
        foreign = _find_foreign(state, asked)
        if foreign is not None:
            return refuse(state, foreign)
        is_usual = asked.args.keys() <= _USUAL
        if not is_usual and (misspelt := find_misspelt(asked)) is not None:
            if current_app.debug:
                return refuse(state, misspelt)
            state.refusals.note_passed(misspelt)
        listed = asked.args.getlist("channel")
        try:
            channels = check_channels(listed or DEFAULT_CHANNEL, state.settings.max_channels)
        except InvalidChannel as error:
            return refuse(state, _no_name(error, listed))
        refusal = check_access(channels, state.settings, self._rules, state.refusals)
        if refusal is not None:
            return answer_refusal(state, refusal)
        return _process_of(state).subscribe(asked, channels)


def _find_foreign(state: AppState, asked: Request) -> Refusal | None:
    environ = asked.environ
    if "HTTP_ORIGIN" not in environ and "HTTP_SEC_FETCH_SITE" not in environ:
        return None  # the most frequent case behind plain HTTP, and find_foreign() would say the same
    return find_foreign(asked, state.settings)


def _refuse_response(state: AppState, asked: Request) -> Response | None:
    if asked.method == "GET":
        return RefusalResponse(204) if asked.headers.get("Last-Event-ID") == FINAL_ID else None
    process = _process_of(state)
    reason = process.why_not(asked)
    if reason is None:
        return None
    process.stream_refused(reason)
    return answer_full(state)


class _Setup(BlueprintSetupState):
    """Adds the route to an app, at the host that was given to ``register_blueprint``."""

    def add_url_rule(self, rule: str, *args: Any, **options: Any) -> None:
        options.setdefault("host", self.options.get("host"))
        super().add_url_rule(rule, *args, **options)


def _process_of(state: AppState) -> Process:
    return state.processes.made.get(None) or state.processes.get()


def _no_name(error: InvalidChannel, names: Iterable[str]) -> Refusal:
    """Why a request's channels are none. The client is told all: it is about what it sent alone."""
    sent = shown(list(names))
    return Refusal(400, str(error), f"the request asks for the channels {sent}", str(error), "name", sent)


def _current_request() -> Request:
    """Return the request itself: the proxy looks it up with each attribute."""
    return request._get_current_object()  # type: ignore[attr-defined, no-any-return]  # noqa: SLF001


sse = SSEPush()
"""A ready blueprint: register it on your app."""

publish = sse.publish
"""The same as ``sse.publish``."""
