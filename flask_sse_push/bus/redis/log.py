"""The log in a Redis: its keys, and the commands that write it and ask about it."""

from __future__ import annotations

import json
import secrets

import redis

from ...core.reports import check_report
from ..base import LEASE_SECONDS, BusOptions, PublishResult, Report, Snapshot, overhead_of
from . import answers
from .connection import Connection
from .owner import Claimant
from .script import PUBLISH, REPORT, TOUCH

__all__ = ["RedisLog"]

_LEASE_MILLISECONDS = int(LEASE_SECONDS * 1000)
_MAX_CLAIMS = 3  # of a log in one publish: it changes hands once in many minutes


class RedisLog:
    """
    One log. Thread-safe.

    Each method runs on the connection that it is given, and raises what that connection raises.

    Args:
        prefix (str): Of all keys.
        options (BusOptions): How much to keep.
        claimant (Claimant): Who uses it.
    """

    def __init__(self, prefix: str, options: BusOptions, claimant: Claimant) -> None:
        seconds, max_bytes, max_events = options.retention
        # With one hash tag, so that a Cluster has all keys on one node, as scripts need it.
        self.key, self._meta, self._reports = (f"{{{prefix}}}:{name}" for name in ("log", "meta", "reports"))
        self._keys = (self.key, self._meta, f"{{{prefix}}}:keys")
        self._retention = (f"{seconds:g}", str(max_bytes), str(max_events))
        self._claimant = claimant

    def publish(
        self, connection: Connection, channels: tuple[str, ...], block: bytes, key: str | None
    ) -> PublishResult:
        """Number an event and add it; see :meth:`Bus.publish`."""
        names = "\n".join(channels)
        size = len(block) + overhead_of(channels)
        event = (names, block, size, key) if key else (names, block, size)
        for _ in range(_MAX_CLAIMS):
            app = self._claimant.claim().digest
            answer = connection.run(PUBLISH, self._keys, secrets.token_hex(6), *self._retention, app, *event)
            if answer is not None or not app:
                return answers.publish_result(answer)
            # The log does not know this app, or not this version of it.
            self.touch(connection, write=True)
        raise redis.InvalidResponse("it gives the log to this app, and does not know it then")

    def touch(self, connection: Connection, *, write: bool) -> answers.Touched:
        """
        Return how the log is, after beginning one where there is none.

        Args:
            connection (Connection): To the server.
            write (bool): Whether to write how much is to be kept, and whose the log is if it is free. The app
                is asked anew then which one it is.

        Raises:
            ConfigurationError: The log is another app's.
        """
        claim = self._claimant.refresh() if write else self._claimant.claim()
        arguments = (*self._retention, *claim, int(write), _LEASE_MILLISECONDS)
        touched = answers.touched(connection.run(TOUCH, self._keys, secrets.token_hex(6), *arguments))
        self._claimant.check_owner(touched.owner)
        return touched

    def inspect(self, connection: Connection) -> Snapshot:
        """Return what there is in all processes; raises also as :meth:`touch` does."""
        meta = connection.call("HMGET", self._meta, "epoch", "head", "bytes", "apps", "owner")
        epoch, head, size, apps, owner = answers.strings(meta, 5)
        if owner is not None and self._claimant.claim().digest.encode() not in (apps or b""):
            self.touch(connection, write=False)
        events = answers.count(connection.call("XLEN", self.key))
        stored = answers.strings(connection.call("HVALS", self._reports))
        now = answers.server_time(connection.call("TIME"))
        reports = (_read_report(report or b"") for report in stored)
        return Snapshot(
            "" if epoch is None else answers.epoch(epoch),
            answers.count(head or b"0"),
            events,
            answers.count(size or b"0"),
            [report for ends_at, report in filter(None, reports) if ends_at >= now],
        )

    def report(self, connection: Connection, process: str, report: Report, *, sweep: bool) -> int:
        """
        Store what a process says of itself, and return the server's time in milliseconds.

        Args:
            connection (Connection): To the server.
            process (str): A name that no other process has.
            report (Report): What it says.
            sweep (bool): Whether to remove the reports that have ended, for which all of them are read.
        """
        app = self._claimant.claim().digest
        answer = connection.run(
            REPORT,
            (self._reports, self._meta),
            process,
            json.dumps(report),
            _LEASE_MILLISECONDS,
            int(sweep),
            app,
        )
        return answers.count(answer)

    def withdraw(self, connection: Connection, process: str) -> None:
        """Remove the report of a process."""
        connection.call("HDEL", self._reports, process)


def _read_report(stored: bytes) -> tuple[int, Report] | None:
    """Return when a report ends, in milliseconds of the server's clock, and itself; ``None`` for garbage."""
    ends_at, _, text = stored.partition(b" ")
    report = check_report(text)
    try:
        return None if report is None else (answers.milliseconds(ends_at), report)
    except ValueError:
        return None
