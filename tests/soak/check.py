"""
The judge: reads the record of a run and counts what must not be. ``python -m tests.soak.check RECORD``

It knows nothing of the package but what is promised of it: ids are ``epoch-number``, numbers count from 1 in
each epoch and stand in one order, a client that may have missed something gets ``sse.reset`` before any later
event, and the history of a channel holds what it is to hold.
"""

import statistics
import sys
from collections import Counter

from tests.soak.losses import Losses
from tests.soak.published import Published
from tests.soak.record import load
from tests.soak.report import Report, Rules, shown
from tests.soak.resets import check_resets
from tests.soak.walks import Client, walks

__all__ = ["check"]


def check(lines):
    """Return the :class:`Report` of a record."""
    report = Report()
    rules = Rules()
    for line in lines:
        if line["kind"] == "run":
            rules = Rules(**line["rules"])
    for line in lines:
        if line["kind"] == "history":
            rules = rules._replace(history=line["of"])
    published = Published(lines, rules, report)
    clients = [Client(client, walked, published, rules, report) for client, walked in walks(lines).items()]
    losses = [Losses(client, published, rules, report) for client in clients]
    for one in losses:
        one.check()
    check_resets(lines, losses, published, rules, report)
    _check_dead(published, clients, report)
    _check_memory(lines, rules, report)
    latencies = sorted(latency for client in clients for latency in client.latencies)
    report.figures.update(
        published=published.acknowledged_count,
        refused=published.refused,
        unknown=published.unknown,
        clients=len(clients),
        delivered=sum(client.received for client in clients),
        epochs=len(published.by_epoch),
        finished=sum(client.finished_at is not None for client in clients),
        resets=sum(len(client.resets) for client in clients),
        false_resets=report.false_resets.total(),
        repeats=sum(client.repeats for client in clients),
        reconnects=sum(client.reconnects for client in clients),
        longest_publish=published.longest,
        latency_median=statistics.median(latencies) if latencies else 0.0,
        latency_p99=latencies[int(len(latencies) * 0.99)] if latencies else 0.0,
    )
    reasons = Counter(reset.reason for client in clients for reset in client.resets)
    report.figures.update({f"reset {reason}": count for reason, count in sorted(reasons.items())})
    return report


def _check_dead(published, clients, report):
    if not published.markers:
        report.add("dead", "no last event was acknowledged: nobody knows who was alive")
        return
    first = min(one.begin for one in published.markers)
    last = max(one.end for one in published.markers)
    marked_channels = {channel for one in published.markers for channel in one.event.channels}
    for client in clients:
        was_there = client.joined_at < first and (client.left_at is None or client.left_at > last)
        if was_there and not client.marked and client.channels & marked_channels:
            report.add("dead", f"{client} on {sorted(client.channels)}")


def _check_memory(lines, rules, report):
    phases = {line["phase"]: line["rss"] for line in lines if line["kind"] == "memory" and line["rss"]}
    if {"warm", "end"} <= phases.keys():
        warm, end = (max(phases[phase].values()) for phase in ("warm", "end"))
        report.figures.update(warm_bytes=warm, end_bytes=end)
        if end > warm * rules.growth_factor + rules.growth_bytes:
            report.add("grown", f"from {shown(warm)} to {shown(end)}")


def main(arguments):
    """Check records, and say whether all of them pass."""
    passed = True
    for path in arguments:
        report = check(load(path))
        print(f"{path}: {'passed' if report.passed else 'FAILED'}\n{report}")
        passed = passed and report.passed
    return 0 if passed else 1


if __name__ == "__main__":
    if not sys.argv[1:]:
        sys.exit("usage: python -m tests.soak.check RECORD...")
    sys.exit(main(sys.argv[1:]))
