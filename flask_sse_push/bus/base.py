"""What every bus does, what it is told, and what it tells."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

from ..core.entry import Entry
from ..core.messages import Message
from ..core.past import Past
from ..core.positions import EventId
from ..core.retention import RetentionRules

__all__ = [
    "LEASE_SECONDS",
    "REPORT_SECONDS",
    "Bus",
    "BusFactory",
    "BusOptions",
    "Health",
    "Identity",
    "Listener",
    "PublishResult",
    "Report",
    "Snapshot",
]

REPORT_SECONDS = 2.0
"""How often a process that has listeners stores its report."""

LEASE_SECONDS = 7.0
"""How long a report counts: three may be late before its process counts as gone."""

Report = dict[str, Any]
"""What a process says of itself, JSON-able; see :meth:`SSEPush.stats`."""


class Identity(NamedTuple):
    """Which app it is, wherever it runs and in whatever version."""

    name: str
    """``app.name``."""
    routes: frozenset[str]
    """The routes of the app, except those of static files and of this package."""


class BusOptions(NamedTuple):
    """What a bus is told when it is made."""

    retention: RetentionRules
    """
    How much to keep. A shared bus writes it beside its log when it begins to be followed, and publishers obey
    what is written there.
    """
    publish_timeout_seconds: float
    """When ``publish`` gives up."""
    max_event_bytes: int = 64 * 1024
    """
    The largest event on the wire. A stored event that is larger was not published with this setting: it is
    left out, and clients are told of a gap.
    """
    identity: Callable[[], Identity] | None = None
    """
    Returns which app uses the bus; ``None`` for a publisher without an app. Called late and again, because an
    app gets routes after it got this package. Where several apps may meet by accident, the bus refuses all
    but one.
    """


class PublishResult(NamedTuple):
    """What publishing gave."""

    id: str
    """The position of the event, ``epoch-sequence``."""
    sequence: int
    """The number in ``id``."""
    is_repeated: bool = False
    """
    Whether nothing was stored now: an earlier event had the same idempotency key, or what was to be closed or
    forgotten was that already. ``id`` is then the id of the earlier event.
    """


class Health(NamedTuple):
    """How following a bus goes in this process."""

    state: str
    """
    ``"idle"`` (nobody listens here), ``"starting"`` (what the bus keeps is being read), ``"up"``, or
    ``"down"``.
    """
    since: float
    """When that began, in seconds on the monotonic clock."""
    error: str | None = None
    """Why it is down."""
    is_refused: bool = False
    """
    Whether it is down because this app may not use the bus, see :attr:`BusOptions.identity`. Then ``error``
    is a whole sentence.
    """


class Snapshot(NamedTuple):
    """A bus as a whole, at one moment."""

    epoch: str
    """The life of its log; empty when it has none yet."""
    head: int
    """The number that it gave last."""
    events: int
    """How many events it keeps."""
    size_bytes: int
    """What they count for: their bytes, and an overhead for each and for its place in each channel."""
    channels: int
    """How many channels hold an event."""
    kept: int
    """How many values are kept by a key."""
    reports: list[Report]
    """The last report of each process that has listeners, younger than :data:`LEASE_SECONDS`."""


class Listener(Protocol):
    """
    What a bus hands its entries to; the hub is one. A bus object has one listener.

    The bus calls ``log_begun``, ``past_came``, ``entries_came``, ``channels_left`` and ``caught_up`` one at a
    time, in the order of the log. None of them raises. Those of a shared bus may wait a tenth of a second, to
    give streams a turn.
    """

    def log_begun(self, epoch: str, head: int) -> None:
        """
        A log begins, and no channel of it is followed here yet.

        Args:
            epoch (str): Names this life of the log; ``[A-Za-z0-9._~]``, at most 40 characters.
            head (int): The number that it gave last.
        """

    def past_came(self, pasts: Sequence[Past]) -> None:
        """
        Channels are followed from now on, or more of their past is here, or something in them was lost.

        What comes with a past and lies behind the head of ``entries_came`` is not to be read yet.
        """

    def entries_came(self, entries: Sequence[Entry], head: int) -> None:
        """
        Entries were added to the log.

        Args:
            entries (Sequence[Entry]): Any number of them, in the order of their numbers, each of a channel
                that is followed. One that ``past_came`` has brought may come again.
            head (int): All entries of the followed channels up to this number are here. It never goes back
                in an epoch.
        """

    def channels_left(self, channels: Sequence[str]) -> None:
        """Channels are followed no longer: what is known of them grows old."""

    def caught_up(self) -> None:
        """
        Everything that was stored until now was handed on. Called when following begins, and after each
        fault.
        """

    def report(self) -> Report:
        """Return what this process says of itself to others."""

    def is_heard(self, channel: str) -> bool:
        """Whether anybody listens to a channel in this process."""

    @property
    def is_wanted(self) -> bool:
        """Whether anybody listens in this process."""


class Bus(Protocol):
    """
    Gives events their numbers, and brings them to every process in that order.

    A bus object belongs to one process: it is made there on first use, and made anew after a fork. Making one
    opens nothing. All methods are thread-safe; where gevent has patched the standard library, they let other
    greenlets run while they wait.

    To bring a bus of your own, implement this and give ``SSE_PUSH_BUS_URL`` (or :class:`Publisher`) a
    function that takes :class:`BusOptions` and returns it. All of the package rests on these rules:

    - Numbers begin at 1 in each epoch and rise. Their order is the order in which events are handed on, in
      every process.
    - An epoch names one life of the log, and no number is given twice in it. A store that may have lost
      events that it had accepted begins a new epoch.
    - A bus hands on a head only when it has proved that nothing up to it is missing in the channels that it
      follows. What it cannot prove shows as a loss in a :class:`~flask_sse_push.core.past.Past`, or as a new
      epoch. Clients are told of both.
    """

    name: str
    """How it is called in logs and statistics, such as ``"redis"``."""

    shared: bool
    """Whether other processes can publish and listen too. One that is not shared follows all channels."""

    def publish(self, message: Message) -> PublishResult:
        """
        Number an event, store it and hand it on.

        Args:
            message (Message): What is published. One that closes channels and has no block closes those of
                them that are open; where none is, nothing is stored.

        Raises:
            ChannelClosed: One of the channels is closed; nothing was stored.
            TooManyKept: The value cannot be kept; nothing was stored.
            BusUnavailable: The event was not stored, or the message says that this is not known. Raised
                within ``publish_timeout_seconds``.
            ConfigurationError: The log belongs to another app; nothing was stored.
        """

    def start(self, listener: Listener) -> None:
        """
        Begin to follow, from a greenlet or thread of the bus. Returns at once; once more is harmless.

        After any fault the bus reads on from its place. It stops by itself when nobody has listened for a
        while, and can be started again.

        Args:
            listener (Listener): Gets the entries. The same object each time.
        """

    def follow(self, channels: Sequence[str], *, whole: bool) -> None:
        """
        Follow some channels soon. Never waits; what is followed already is left alone.

        The bus calls ``past_came`` for each channel that it did not follow, or not as a whole. A channel that
        nobody listens to (:meth:`Listener.is_heard`) is left after a while. A bus that is not shared follows
        all channels and does nothing.

        Args:
            channels (Sequence[str]): Checked names.
            whole (bool): Whether to bring all that is kept of them, instead of what comes from now on.
        """

    def head(self) -> EventId:
        """
        Return where the log ends now: each event that was published before this call is up to there.

        Raises:
            BusUnavailable: The bus cannot be reached within ``publish_timeout_seconds``.
            ConfigurationError: The log belongs to another app.
        """

    def put_lease(self, name: str, text: str, seconds: float) -> None:
        """
        Store a text under a name until its time is over, also if this process is killed. Once more renews it.

        Args:
            name (str): 1 to 300 bytes of printable text, the same for all processes of the bus.
            text (str): At most 512 KiB.
            seconds (float): From now on, by the clock of the store.

        Raises:
            BusUnavailable: It was not stored.
            ConfigurationError: The log belongs to another app.
        """

    def drop_lease(self, name: str) -> None:
        """Remove a lease before its time; raises as :meth:`put_lease` does."""

    def leases(self, prefix: str) -> dict[str, str]:
        """Return the living leases of all processes whose names begin so; raises as ``put_lease``."""

    def close(self) -> None:
        """
        Stop following, and let go of everything. Once more is harmless; a later call of another method opens
        the bus anew.
        """

    def health(self) -> Health:
        """Return how following goes. Never waits."""

    def inspect(self) -> Snapshot:
        """
        Return what there is in all processes.

        Raises:
            BusUnavailable: The bus cannot be reached.
            ConfigurationError: The log belongs to another app.
        """


BusFactory = Callable[[BusOptions], Bus]
"""Makes a bus in the process that uses it."""
