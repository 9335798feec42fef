"""What every bus can do, and what it is told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
    "stored_size",
]

REPORT_SECONDS = 2.0
"""How often a process that has listeners says how it is."""

LEASE_SECONDS = 7.0
"""How long that is believed: three reports may be late before a process counts as gone."""

MAX_STORED_EVENTS = 100_000
"""The most that a shared bus keeps, unless one channel's history is to be longer: a process that starts reads all of it, in about a second."""

Report = dict[str, Any]
"""What a process says of itself, JSON-able; see :meth:`SSEPush.stats`."""


class Retention(NamedTuple):
    """How much of the past a bus keeps, over all channels."""

    seconds: float
    """How long."""
    max_bytes: int
    """Bytes, with :data:`core.entry.ENTRY_OVERHEAD_BYTES` for each event."""
    max_events: int = MAX_STORED_EVENTS
    """Events."""


class Identity(NamedTuple):
    """Which app it is, wherever it runs and in whatever version."""

    name: str
    """``app.name``."""
    routes: frozenset[str]
    """Its routes, except static files and this package's own."""


class BusOptions(NamedTuple):
    """What a bus is told when it is made."""

    retention: Retention
    """How much to keep. A shared bus writes it beside its log when it begins to be followed, and publishers obey what is written there."""
    publish_timeout_seconds: float
    """When ``publish`` gives up."""
    max_event_bytes: int = 64 * 1024
    """The largest event on the wire. A stored one that is larger was not published with this setting: it is left out, and told as a gap."""
    identity: Callable[[], Identity] | None = None
    """
    Says which app uses the bus; ``None`` for a publisher without an app. Asked late and again: an app gets routes after it has
    got this package. A bus that several apps may meet in without having said so refuses all but one of them.
    """


class PublishResult(NamedTuple):
    """What publishing gave."""

    id: str
    """The event's position, ``epoch-sequence``."""
    sequence: int
    """The number in it."""
    is_repeated: bool = False
    """Whether an earlier event had the same idempotency key: this is its id, and nothing was stored now."""


class Health(NamedTuple):
    """How a bus is, as this process sees it."""

    state: str
    """``"idle"`` (nobody listens here), ``"starting"`` (the tail is being read), ``"up"``, or ``"down"``."""
    since: float
    """When that began, in seconds on the monotonic clock."""
    error: str | None = None
    """Why it is down."""
    is_refused: bool = False
    """Whether it is down because this app may not use it, see :attr:`BusOptions.identity`: ``error`` is a whole sentence then."""


class Snapshot(NamedTuple):
    """A bus as a whole, at one moment."""

    epoch: str
    """The life of its log; empty when it has none yet."""
    head: int
    """The number it gave last."""
    events: int
    """How many it keeps."""
    size_bytes: int
    """What they count for."""
    reports: list[Report]
    """What each process that has listeners said last, younger than :data:`LEASE_SECONDS`."""


def stored_size(channels: tuple[str, ...], block: bytes) -> int:
    """Return what an event counts for in a store, in bytes; see :attr:`Retention.max_bytes`."""
    return len(block) + ENTRY_OVERHEAD_BYTES + PLACE_OVERHEAD_BYTES * len(channels) + sum(map(len, channels))


class Listener(Protocol):
    """
    What a bus hands its entries to: one object per bus. (The hub is it.)

    The bus calls the first three methods one at a time, and in the order of the log. None of them raises. Where
    the bus is shared they may wait a tenth of a second, to give streams a turn.
    """

    def log_begun(self, epoch: str, position: int, entries: Sequence[Entry]) -> None:
        """
        A log begins, before any of its entries is handed on.

        Args:
            epoch (str): Its life, ``[A-Za-z0-9._~]``, at most 40 characters.
            position (int): The number before the first of ``entries``.
            entries (Sequence[Entry]): All that the bus still keeps, in order.
        """

    def entries_came(self, entries: Sequence[Entry]) -> None:
        """
        Later entries came.

        Args:
            entries (Sequence[Entry]): One or more, in the order of their numbers. A number that is left out was
                lost.
        """

    def caught_up(self) -> None:
        """
        The bus is up: everything that was stored until now was handed on. Called at the start, and again after
        each fault.
        """

    def report(self) -> Report:
        """Return what this process says of itself to others."""

    @property
    def is_wanted(self) -> bool:
        """Whether anybody listens in this process."""


class Bus(Protocol):
    """
    One order of events for everybody who listens.

    A bus object belongs to one process: it is made there on first use, and made anew after a fork. Making one opens nothing. All
    methods are thread-safe, and wait as gevent wants it where the standard library is patched.

    To bring a bus of your own, implement this and give ``SSE_PUSH_BUS_URL`` (or :class:`Publisher`) a function that takes
    :class:`BusOptions` and returns it. The rules that all the package rests on:

    - Numbers begin at 1 in each epoch and have no holes; their order is the order in which events are handed on, in every process.
    - An epoch names one life of the numbers, and no number is ever given twice in it. A store that may have lost
      events that it had accepted begins a new epoch.
    - What cannot be proved to be complete shows as a hole in the numbers, or as a new epoch: both are told to clients.
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
            key (str | None): An idempotency key. When an event that is still kept had the same, its id is returned and nothing is stored.

        Raises:
            BusUnavailable: It was not stored, or the message says that this is unknown. Within ``publish_timeout_seconds``.
            ConfigurationError: The log belongs to another app; nothing was stored.
        """

    def start(self, listener: Listener) -> None:
        """
        Begin to follow, from a greenlet or thread of the bus. Returns at once; once more is harmless.

        After any fault it goes on where it was. It ends by itself when nobody has wanted it for a while, and can be started again.

        Args:
            listener (Listener): Who gets the entries: the same object each time.
        """

    def close(self) -> None:
        """Stop to follow, and let go of everything. Once more is harmless; a later call of another method opens it anew."""

    def health(self) -> Health:
        """Return how it is. Never waits."""

    def inspect(self) -> Snapshot:
        """
        Return what there is in all processes.

        Raises:
            BusUnavailable: It cannot be reached.
            ConfigurationError: The log belongs to another app.
        """


BusFactory = Callable[[BusOptions], Bus]
"""What makes a bus in the process that uses it."""
