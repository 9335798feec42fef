"""What every bus does, what it is told, and what it tells."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple, Protocol

from ..core.entry import ENTRY_OVERHEAD_BYTES, PLACE_OVERHEAD_BYTES, Entry

__all__ = [
    "LEASE_SECONDS",
    "MAX_STORED_EVENTS",
    "REPORT_SECONDS",
    "Bus",
    "BusFactory",
    "BusOptions",
    "Health",
    "Identity",
    "Listener",
    "PublishResult",
    "Report",
    "Retention",
    "Snapshot",
    "overhead_of",
]

REPORT_SECONDS = 2.0
"""How often a process that has listeners stores its report."""

LEASE_SECONDS = 7.0
"""How long a report counts: three may be late before its process counts as gone."""

MAX_STORED_EVENTS = 100_000
"""
The most that a shared bus keeps, unless the history of one channel is longer. A process that starts reads all
of it, in about a second.
"""

Report = dict[str, Any]
"""What a process says of itself, JSON-able; see :meth:`SSEPush.stats`."""


class Retention(NamedTuple):
    """How much of the past a bus keeps, over all channels."""

    seconds: float
    """How long."""
    max_bytes: int
    """Bytes: of the events, and :func:`overhead_of` for each."""
    max_events: int = MAX_STORED_EVENTS
    """Events."""


class Identity(NamedTuple):
    """Which app it is, wherever it runs and in whatever version."""

    name: str
    """``app.name``."""
    routes: frozenset[str]
    """The routes of the app, except those of static files and of this package."""


class BusOptions(NamedTuple):
    """What a bus is told when it is made."""

    retention: Retention
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
    """Whether an earlier event had the same idempotency key: ``id`` is its id, and nothing was stored now."""


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
    """What they count for: their bytes, and :func:`overhead_of` for each."""
    reports: list[Report]
    """The last report of each process that has listeners, younger than :data:`LEASE_SECONDS`."""


@lru_cache(maxsize=1024)
def overhead_of(channels: tuple[str, ...]) -> int:
    """Return what an event counts for in a store beside its bytes; see :attr:`Retention.max_bytes`."""
    return ENTRY_OVERHEAD_BYTES + PLACE_OVERHEAD_BYTES * len(channels) + sum(map(len, channels))


class Listener(Protocol):
    """
    What a bus hands its entries to; the hub is one. A bus object has one listener.

    The bus calls ``log_begun``, ``entries_came`` and ``caught_up`` one at a time, in the order of the log.
    None of them raises. Those of a shared bus may wait a tenth of a second, to give streams a turn.
    """

    def log_begun(self, epoch: str, position: int, entries: Sequence[Entry]) -> None:
        """
        A log begins. None of its entries was handed on before.

        Args:
            epoch (str): Names this life of the log; ``[A-Za-z0-9._~]``, at most 40 characters.
            position (int): The number before the first of ``entries``.
            entries (Sequence[Entry]): All that the bus still keeps, in order.
        """

    def entries_came(self, entries: Sequence[Entry]) -> None:
        """
        Entries were added to the log.

        Args:
            entries (Sequence[Entry]): One or more, in the order of their numbers. Where a number is left out,
                an event was lost.
        """

    def caught_up(self) -> None:
        """
        Everything that was stored until now was handed on. Called when following begins, and after each
        fault.
        """

    def report(self) -> Report:
        """Return what this process says of itself to others."""

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

    - Numbers begin at 1 in each epoch and have no holes. Their order is the order in which events are handed
      on, in every process.
    - An epoch names one life of the log, and no number is given twice in it. A store that may have lost
      events that it had accepted begins a new epoch.
    - What cannot be proved to be complete shows as a hole in the numbers or as a new epoch. Clients are told
      of both.
    """

    name: str
    """How it is called in logs and statistics, such as ``"redis"``."""

    shared: bool
    """Whether other processes can publish and listen too."""

    def publish(self, channels: tuple[str, ...], block: bytes, key: str | None = None) -> PublishResult:
        """
        Number an event, store it and hand it on.

        Args:
            channels (tuple[str, ...]): Checked names, each once.
            block (bytes): The encoded event without its ``id:`` line, blank line included.
            key (str | None): An idempotency key. When an event that is still kept had the same one, its id is
                returned and nothing is stored.

        Raises:
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
