"""The log in a Redis: its keys, and the commands that write it and ask about it."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import redis

from ...core.entry import ENTRY_OVERHEAD_BYTES
from ...core.messages import Message
from ...core.positions import EventId
from ...core.reports import check_report
from ...core.retention import RetentionRules, read_rules
from ...errors import ConfigurationError
from ..base import LEASE_SECONDS, BusOptions, PublishResult, Snapshot
from ..channel_states import closed_error, too_large_error, too_many_error
from . import answers
from .lease_script import LIST_LEASES, PUT_LEASE
from .owner import Claimant
from .publish_script import PUBLISH
from .script import FORMAT, TOUCH, Script
from .tail_script import TAIL

__all__ = ["REPORT", "RedisLog", "Runner"]

REPORT = "report/"
"""How the names of the leases begin that are reports of processes."""

_LEASE_MILLISECONDS = int(LEASE_SECONDS * 1000)
_MAX_CLAIMS = 3  # of a log in one publish: it changes hands once in many minutes
_NEWER_FORMAT = "NEWERFORMAT"


class Runner(Protocol):
    """A connection, as far as a log needs one."""

    def call(self, *words: Any) -> Any:
        """Run a command and return its answer."""

    def run(self, script: Script, keys: tuple[str, ...], *arguments: Any) -> Any:
        """Run a script and return its answer."""


class _Known(NamedTuple):
    """How much is kept, as a publisher knows it."""

    text: bytes
    """What it allows in all, and its name, as the script PUBLISH takes them."""
    rules: RetentionRules


class RedisLog:
    """
    One log. Thread-safe.

    Each method runs on the connection that it is given, and raises what that connection raises.

    Args:
        prefix (str): Of all keys.
        options (BusOptions): How much to keep.
        claimant (Claimant): Who uses it.
        text (str): Which log it is, for people.
    """

    def __init__(self, prefix: str, options: BusOptions, claimant: Claimant, text: str) -> None:
        # With one hash tag, so that a Cluster has all keys on one node, as scripts need it.
        self._base, self._text = f"{{{prefix}}}:", text
        self.meta = f"{self._base}meta"
        """The key of what all channels have in common."""
        self.messages = f"{self._base}to:"
        """How the names begin by which events are published."""
        self._keys = (self.meta,)
        self._options = options
        self._rules, self._name = options.retention, _name_of(options.retention.text)
        self._known = _known(self._name, options.retention)
        self._claimant = claimant

    def publish(self, connection: Runner, message: Message) -> PublishResult:
        """Number an event and add it; see :meth:`Bus.publish`."""
        channels, block, key, closes, once = message
        event = (block, len(block) + ENTRY_OVERHEAD_BYTES, len(channels))
        is_plain = key is None and not closes and once is None
        special = () if is_plain else (key or "", int(closes), once or "")
        claims = 0
        while claims < _MAX_CLAIMS:
            name, rules = self._known
            places: list[Any] = []
            for channel in channels:
                length, seconds = rules.of(channel)
                places += (channel, length, int(1000 * seconds))
            app = self._claimant.claim().digest
            answer = self._run(
                connection, PUBLISH, secrets.token_hex(6), app, name, *event, *places, *special
            )
            claims += 1
            if answer is None and app:
                # The log does not know this app, or not this version of it.
                self.touch(connection, write=True)
                continue
            published = answers.published(answer)
            if published.reason != "rules":
                return _result(published, message, rules)
            written, text = published.names
            # What stands there may be anybody's.
            self._known = _known(written, read_rules(text) or self._rules)
        raise redis.InvalidResponse("it gives the log to this app, and does not know it then")

    def touch(self, connection: Runner, *, write: bool, known: EventId | None = None) -> answers.Touched:
        """
        Return how the log is, after beginning one where there is none.

        Args:
            connection (Runner): To the server.
            write (bool): Whether to write how much is to be kept, and whose the log is if it is free. The app
                is asked anew then which one it is.
            known (EventId | None): A number that the log has given. Where it has forgotten that, it begins
                anew.

        Raises:
            ConfigurationError: The log is another app's, or of a later version.
        """
        return self.read_touch(self._run(connection, TOUCH, *self.touch_arguments(write=write, known=known)))

    def touch_arguments(self, *, write: bool, known: EventId | None) -> tuple[Any, ...]:
        """Return the arguments of the script TOUCH; see :meth:`touch`."""
        claim = self._claimant.refresh() if write else self._claimant.claim()
        rules = self._rules
        seconds = max([rules.default.seconds, *(retention.seconds for _, retention in rules.patterns)])
        return (
            *(secrets.token_hex(6), claim.digest, claim.name, claim.routes, int(write)),
            *(_LEASE_MILLISECONDS, self._name, rules.text, int(1000 * seconds)),
            *(("", 0) if known is None else known),
        )

    def read_touch(self, answer: object) -> answers.Touched:
        """Return what an answer to the script TOUCH says; raises as :meth:`touch` does."""
        touched = answers.touched(answer)
        self._claimant.check_owner(touched.owner)
        return touched

    def tails(self, connection: Runner, wanted: Sequence[tuple[str, int, int]]) -> answers.Tails:
        """
        Return what there is of some channels, as many as fit into one answer.

        Args:
            connection (Runner): To the server.
            wanted (Sequence): For each channel its name, the number above which its events are asked for (-1
                for none), and the number above which its values are.
        """
        arguments = [argument for place in wanted for argument in place]
        return answers.tails(self._run(connection, TAIL, *arguments), len(wanted))

    def put_lease(
        self, connection: Runner, name: str, text: str, seconds: float, *, sweep: bool = True
    ) -> int:
        """
        Store a lease, and return the server's time in milliseconds; see :meth:`Bus.put_lease`.

        Args:
            connection (Runner): To the server.
            name (str): The name.
            text (str): What it says.
            seconds (float): From now on.
            sweep (bool): Whether to remove the leases that have ended, for which all of them are read.
        """
        for _ in range(_MAX_CLAIMS):
            app = self._claimant.claim().digest
            lease = (name, text, int(1000 * seconds), int(sweep))
            answer = self._run(connection, PUT_LEASE, app, *lease)
            if answer is not None or not app:
                return answers.count(answer)
            self.touch(connection, write=True)
        raise redis.InvalidResponse("it gives the log to this app, and does not know it then")

    def drop_lease(self, connection: Runner, name: str) -> None:
        """Remove a lease; see :meth:`Bus.drop_lease`."""
        connection.call("HDEL", f"{self._base}leases", name)

    def leases(self, connection: Runner, prefix: str) -> dict[str, str]:
        """Return the leases that live; see :meth:`Bus.leases`."""
        app = self._claimant.claim().digest
        answer = self._run(connection, LIST_LEASES, app, prefix)
        if answer is None and app:
            self.touch(connection, write=False)  # which raises where the log is another app's
            answer = []
        return answers.leases(answer)

    def inspect(self, connection: Runner) -> Snapshot:
        """Return what there is in all processes; raises also as :meth:`touch` does."""
        meta = connection.call("HMGET", self.meta, "epoch", "head", "sums", "apps", "owner")
        epoch, head, sums, apps, owner = answers.strings(meta, 5)
        if owner is not None and self._claimant.claim().digest.encode() not in (apps or b""):
            self.touch(connection, write=False)
        size, events, kept = map(answers.count, (sums or b"0 0 0").split(b" ")[:3])
        channels = answers.count(connection.call("ZCARD", f"{self._base}oldest"))
        reports = (check_report(text.encode()) for text in self.leases(connection, REPORT).values())
        return Snapshot(
            "" if epoch is None else answers.epoch(epoch),
            answers.count(head or b"0"),
            events,
            size,
            channels,
            kept,
            [report for report in reports if report is not None],
        )

    def _run(self, connection: Runner, script: Script, *arguments: Any) -> Any:
        try:
            return connection.run(script, self._keys, *arguments)
        except redis.ResponseError as error:
            self.check_format(error)
            raise

    def check_format(self, error: redis.ResponseError) -> None:
        """
        Check what a server refuses.

        Raises:
            ConfigurationError: The log is of a later version.
        """
        found = str(error).partition(_NEWER_FORMAT + " ")[2].partition(" ")[0]
        if found.isdigit():
            raise ConfigurationError(
                f"{self._text[0].upper()}{self._text[1:]} has the format {found}, and this version of "
                f"flask_sse_push knows {FORMAT} at most. Update it here, or give this app a log of its own: "
                'end its SSE_PUSH_BUS_URL with a name, like "?prefix=shop".'
            ) from error


def _known(name: bytes, rules: RetentionRules) -> _Known:
    return _Known(b"%d %d %d %s" % (rules.max_bytes, rules.max_kept, rules.max_kept_bytes, name), rules)


def _name_of(rules: str) -> bytes:
    return hashlib.sha256(rules.encode()).hexdigest()[:16].encode()


def _result(published: answers.Published, message: Message, rules: RetentionRules) -> PublishResult:
    """Return what a publisher is told, or raise it."""
    key, (epoch, sequence, reason, names) = message.key or "", published
    if reason == "closed":
        raise closed_error(names[0].decode("utf-8", "replace"))
    if reason == "values":
        raise too_many_error(names[0].decode("utf-8", "replace"), key, rules.max_kept)
    if reason == "bytes":
        raise too_large_error(key, rules.max_kept_bytes)
    return PublishResult(f"{epoch}-{sequence}", sequence, is_repeated=bool(reason))
