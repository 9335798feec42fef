"""Resets: where nothing was lost to the client, and where what was lost had still to be there."""

from bisect import bisect_right

from tests.soak.published import Place

__all__ = ["EXPECTED_FALSE_RESETS", "check_resets"]

_LOG_IS_GONE = "what the old log held behind the client's place is gone, and nobody knows that it was nothing"

_TIME_IS_OVER = (
    "for the store an hour has passed, so all that it held is too old, also where nothing was held"
)

_CAME_MEANWHILE = "the client came for the first time while the bus was away: it had no place to begin from"

EXPECTED_FALSE_RESETS = {
    ("epoch", "FLUSHALL"): _LOG_IS_GONE,
    ("epoch", "Redis starts"): _LOG_IS_GONE,
    ("epoch", "the replica is promoted"): _LOG_IS_GONE,
    ("epoch", "the database is deleted"): _LOG_IS_GONE,
    ("epoch", "the private folder is removed"): _LOG_IS_GONE,
    ("evicted", "the clock jumps"): _TIME_IS_OVER,
    ("unavailable", "CLIENT KILL"): _CAME_MEANWHILE,
    ("unavailable", "Redis goes on"): _CAME_MEANWHILE,
    ("unavailable", "Redis starts"): _CAME_MEANWHILE,
    ("unavailable", "the network is back"): _CAME_MEANWHILE,
    ("unavailable", "the network is cut"): _CAME_MEANWHILE,
    ("unavailable", "the replica is promoted"): _CAME_MEANWHILE,
    ("unavailable", "the private folder is removed"): _CAME_MEANWHILE,
}
"""
By reason and cause: why a client is reset although nothing was lost to it. Each other kind is a fault.
"""


def check_resets(lines, losses, published, rules, report):
    """Count the resets of all clients by what they were good for."""
    faults = sorted((line["at"], line["what"]) for line in lines if line["kind"] == "fault")
    expected = None if rules.false_resets is None else {tuple(kind) for kind in rules.false_resets}
    for missing in losses:
        client = missing.client
        since = client.joined_at
        for reset in client.resets:
            lost = list(_lost_to(missing, reset, since, published))
            if not lost:
                kind = reset.reason, _cause(faults, since, reset, expected)
                report.false_resets[kind] += 1
                if expected is not None and kind not in expected:
                    report.add("false", f"{client} at {reset.place}, {reset.reason!r}, behind {kind[1]!r}")
            elif reset.reason == "evicted":
                for epoch, one in lost:
                    if missing.was_in_history(one, epoch, reset.at):
                        report.add(
                            "early",
                            f"{client} lost {one.event.name}, {Place(epoch, one.number)}, of "
                            f"{', '.join(sorted(client.channels.intersection(one.event.channels)))}",
                        )
            since = reset.at


def _lost_to(missing, reset, since, published):
    """Give the acknowledged events that are gone for a client with a reset."""
    client, before = missing.client, reset.before
    for epoch, channels in published.by_epoch.items():
        found = set()
        for channel in reset.channels & channels.keys() & client.channels:
            limit = missing.limit_of(reset, channel)
            for one in channels[channel]:
                if one.begin > reset.at or missing.has(epoch, one) or one.number in found:
                    continue
                if missing.is_replaced(channel, one, epoch, reset.at):
                    continue
                if epoch == reset.place.epoch and one.number > limit:
                    continue
                if before is not None and epoch == before.epoch:
                    is_lost = one.number > before.number
                else:
                    is_lost = one.end > since
                if is_lost:
                    found.add(one.number)
                    yield epoch, one


def _cause(faults, since, reset, expected):
    """
    Return the last thing that was done to them before a reset. Where something else was done since the reset
    before that explains this one, it is that: clients come back at times of their own.
    """
    found = bisect_right(faults, (reset.at, "\uffff"))
    if not found:
        return "nothing"
    for at, what in reversed(faults[:found]):
        if at < since:
            break
        if expected and (reset.reason, what) in expected:
            return what
    return faults[found - 1][1]
