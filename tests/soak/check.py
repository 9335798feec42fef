"""
The judge: reads the record of a run and counts what must not be. ``python -m tests.soak.check RECORD``

It knows nothing of the package but what is promised of it: ids are ``epoch-number``, numbers count from 1 in
each epoch and stand in
one order, and a client that may have missed something gets ``sse.reset`` before any later event.
"""

import json
import statistics
import sys
from bisect import bisect_left
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import NamedTuple

from tests.soak.record import MARKER, load

__all__ = ["FAULTS", "Report", "Rules", "check"]

FAULTS = {
    "lost": "an acknowledged event that a client should have got and did not, and no reset covers it",
    "duplicated": "one id twice on one connection",
    "reordered": "a number below one that came before",
    "silent": "another epoch without a reset before it",
    "phantom": "an event that nobody published, or other than it was published, or that was refused",
    "twice": "one event under two ids of an epoch, or one id for two events",
    "slow": "a publish that took longer than its time-out, or never returned",
    "dead": "a client that got none of the last events",
    "unwanted": "a reset for a reason that this fault does not have",
    "grown": "a worker whose memory grew",
}

_SHOWN = 5


class Rules(NamedTuple):
    """What a run allows."""

    publish_timeout_seconds: float = 2.0
    margin_seconds: float = 1.0
    """For the way to the server and a busy machine."""
    reset_reasons: tuple | None = None
    """For what clients may be reset; ``None`` for anything."""
    growth_factor: float = 1.3
    growth_bytes: int = 32 * 1024 * 1024
    """
    How much memory workers may have at the end: the factor times what they had after warming up, and this.
    """


@dataclass
class Report:
    """What was found."""

    faults: Counter = field(default_factory=Counter)
    examples: dict = field(default_factory=lambda: defaultdict(list))
    figures: dict = field(default_factory=dict)

    def add(self, fault, text):
        """Count a fault; the first few are kept as sentences."""
        assert fault in FAULTS
        self.faults[fault] += 1
        if len(self.examples[fault]) < _SHOWN:
            self.examples[fault].append(text)

    @property
    def passed(self):
        return not self.faults

    def __str__(self):
        lines = [f"{fault}: {self.faults[fault]}, {FAULTS[fault]}" for fault in FAULTS if self.faults[fault]]
        for fault, texts in self.examples.items():
            lines += [f"  {fault}: {text}" for text in texts]
        lines.append(", ".join(f"{name} {_shown(value)}" for name, value in self.figures.items()))
        return "\n".join(lines)


class _Place(NamedTuple):
    epoch: str
    number: int


class _Event:
    """What was published once, in one or several tries."""

    def __init__(self, publisher, n, channel, data):
        self.name = f"{publisher}:{n}"
        self.channel, self.data = channel, data
        self.tries = {}
        self.outcomes = {}
        self.places = set()

    @property
    def may_be_stored(self):
        return any(self.outcomes.get(number, {}).get("stored", "unknown") != "no" for number in self.tries)


class _Acknowledged(NamedTuple):
    number: int
    event: _Event
    begin: float
    end: float


def check(lines):
    """Return the :class:`Report` of a record."""
    report = Report()
    rules = Rules()
    for line in lines:
        if line["kind"] == "run":
            rules = Rules(**{**line["rules"], "reset_reasons": line["rules"].get("reset_reasons")})
    published = _Published(lines, rules, report)
    clients = [_Client(client, walked, published, rules, report) for client, walked in _walks(lines).items()]
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
        resets=sum(len(client.resets) for client in clients),
        repeats=sum(client.repeats for client in clients),
        reconnects=sum(client.reconnects for client in clients),
        longest_publish=published.longest,
        latency_median=statistics.median(latencies) if latencies else 0.0,
        latency_p99=latencies[int(len(latencies) * 0.99)] if latencies else 0.0,
    )
    reasons = Counter(reset.reason for client in clients for reset in client.resets)
    report.figures.update({f"reset {reason}": count for reason, count in sorted(reasons.items())})
    return report


class _Published:
    """What the publishers say."""

    def __init__(self, lines, rules, report):
        self.by_data = {}
        self.by_place = {}
        self.by_epoch = defaultdict(lambda: defaultdict(list))
        self.markers = []
        self.refused = self.unknown = self.acknowledged_count = 0
        self.longest = 0.0
        events, killed = {}, set()
        for line in lines:
            if line["kind"] == "attempt":
                key = line["publisher"], line["n"]
                event = events.get(key)
                if event is None:
                    event = events[key] = self.by_data[line["data"]] = _Event(
                        *key, line["channel"], line["data"]
                    )
                event.tries[line["try"]] = line
            elif line["kind"] == "killed":
                killed.add(line["publisher"])
        for line in lines:
            if line["kind"] == "outcome":
                events[line["publisher"], line["n"]].outcomes[line["try"]] = line
        limit = rules.publish_timeout_seconds + rules.margin_seconds
        for (publisher, _), event in events.items():
            for number, attempt in event.tries.items():
                outcome = event.outcomes.get(number)
                if outcome is None:
                    self.unknown += 1
                    if publisher not in killed:
                        report.add("slow", f"{event.name} never returned")
                    continue
                seconds = outcome["end"] - attempt["begin"]
                self.longest = max(self.longest, seconds)
                if seconds > limit:
                    report.add(
                        "slow",
                        f"{event.name} took {seconds:.2f} s ({outcome.get('error') or outcome.get('id')})",
                    )
                if outcome.get("id") is None:
                    self.refused += outcome["stored"] == "no"
                    self.unknown += outcome["stored"] != "no"
                    continue
                self._acknowledge(event, outcome, report)
        for channels in self.by_epoch.values():
            for acknowledged in channels.values():
                acknowledged.sort(key=lambda one: one.number)
        self._check_order(report)

    def _acknowledge(self, event, outcome, report):
        place = _place(outcome["id"])
        if place in event.places:
            return  # repeated with its key
        self.acknowledged_count += 1
        self.stored_at(event, place, report)
        begin = event.tries[min(event.tries)]["begin"]
        acknowledged = _Acknowledged(place.number, event, begin, outcome["end"])
        self.by_epoch[place.epoch][event.channel].append(acknowledged)
        if event.name.startswith(f"{MARKER}:"):
            self.markers.append(acknowledged)

    def _check_order(self, report):
        """A publisher waits for one event before the next: their numbers rise."""
        for epoch, channels in self.by_epoch.items():
            highest = {}
            for one in sorted(
                (one for acknowledged in channels.values() for one in acknowledged), key=lambda one: one.begin
            ):
                publisher = one.event.name.rpartition(":")[0]
                before = highest.get(publisher, 0)
                if one.number < before:
                    report.add(
                        "reordered",
                        f"{one.event.name} was published as {_Place(epoch, one.number)}, after {before}",
                    )
                highest[publisher] = max(before, one.number)

    def stored_at(self, event, place, report):
        """An event was seen to have a place."""
        if place in event.places:
            return
        if any(other.epoch == place.epoch for other in event.places):
            report.add("twice", f"{event.name} has the numbers {sorted(event.places | {place})}")
        event.places.add(place)
        other = self.by_place.setdefault(place, event)
        if other is not event:
            report.add("twice", f"{place} is {other.name} and {event.name}")


class _Reset(NamedTuple):
    index: int
    channels: frozenset
    place: _Place | None
    """Where it puts the client; ``None`` when events follow at once."""
    at: float
    reason: str


def _walks(lines):
    """Return per client what came to it, in order, with its joining first."""
    walks = {}
    for line in lines:
        client = line.get("client")
        if client is not None:
            walks.setdefault(client, []).append(line)
    for walked in walks.values():
        walked.sort(key=lambda line: line["at"])
    return walks


class _Client:
    """One client's way through the log."""

    def __init__(self, name, walked, published, rules, report):
        self.name = name
        self._published, self._report = published, report
        self.channels = frozenset(walked[0]["channels"])
        self.joined_at = walked[0]["at"]
        self.left_at = next((line["at"] for line in walked if line["kind"] == "leave"), None)
        self.resets = []
        self.repeats = self.reconnects = self.received = 0
        self.latencies = []
        self.marked = False
        # By index into the walk: where the place changes, and where events of each channel came.
        self._places = []
        self._began = None  # (time, epoch, number) of the first place
        self._got = defaultdict(list)
        self._seen = set()
        self._walk(walked, rules)
        self._check_lost()

    def _walk(self, walked, rules):
        here, may_change = None, False
        in_connection, most_in_connection, most = set(), {}, {}
        for index, line in enumerate(walked):
            kind = line["kind"]
            if kind == "open":
                self.reconnects += line["connection"] > 0
                in_connection, most_in_connection = set(), {}
                continue
            if kind not in ("place", "got"):
                continue
            place = _place(line["id"]) if line.get("id") else None
            if kind == "got" and line["type"].startswith("sse."):
                told = json.loads(line["data"])
                moved = place if place != here else None
                self.resets.append(
                    _Reset(index, frozenset(told["channels"]), moved, line["at"], told["reason"])
                )
                if rules.reset_reasons is not None and told["reason"] not in rules.reset_reasons:
                    self._report.add("unwanted", f"client {self.name} was reset: {told}")
                may_change, most = True, {}
                if moved is None:
                    continue
                place = moved
            elif place is None:
                self._report.add("phantom", f"client {self.name} got {line.get('data')!r} without an id")
                continue
            if here is None:
                # An event is behind the place before it.
                self._began = line["at"], place.epoch, place.number - (kind == "got" and not may_change)
            elif place.epoch != here.epoch and not may_change:
                self._report.add("silent", f"client {self.name} went from {here} to {place}")
            elif (
                place.epoch == here.epoch
                and kind == "place"
                and place.number < here.number
                and not may_change
            ):
                self._report.add("reordered", f"client {self.name} was put back from {here} to {place}")
            if here != place:
                self._places.append((index, place))
            here, may_change = place, line.get("type", "").startswith("sse.")
            if kind == "got" and not may_change:
                self._take(index, line, place, in_connection, most_in_connection, most)

    def _take(self, index, line, place, in_connection, most_in_connection, most):
        self.received += 1
        event = self._published.by_data.get(line["data"])
        if event is None or not event.may_be_stored:
            why = "nobody published" if event is None else "was refused"
            self._report.add(
                "phantom", f"client {self.name} got {line['data'][:80]!r} as {place}, which {why}"
            )
        elif event.channel not in self.channels:
            self._report.add(
                "phantom",
                f"client {self.name} got {event.name} of {event.channel!r}, to which it does not listen",
            )
        else:
            known = self._published.by_place.get(place)
            if known is not None and known is not event:
                self._report.add(
                    "phantom", f"client {self.name} got {event.name} as {place}, which is {known.name}"
                )
            else:
                self._published.stored_at(event, place, self._report)
            self._got[event.channel].append(index)
            self.marked = self.marked or event.name.startswith(f"{MARKER}:")
            if place not in self._seen:
                self.latencies.append(line["at"] - event.tries[min(event.tries)]["begin"])
        if place in in_connection:
            self._report.add("duplicated", f"client {self.name} got {place} twice on one connection")
        elif place.number < most_in_connection.get(place.epoch, 0) or (
            place not in self._seen and place.number < most.get(place.epoch, 0)
        ):
            self._report.add(
                "reordered",
                f"client {self.name} got {place} after "
                f"{max(most.get(place.epoch, 0), most_in_connection.get(place.epoch, 0))}",
            )
        elif place in self._seen:
            self.repeats += 1
        in_connection.add(place)
        self._seen.add(place)
        for highest in (most_in_connection, most):
            highest[place.epoch] = max(highest.get(place.epoch, 0), place.number)

    def _check_lost(self):
        if not self._places:
            return
        began_at, first_epoch, first_number = self._began
        last_epoch = self._places[-1][1].epoch
        for epoch, channels in self._published.by_epoch.items():
            way = self._way(epoch)
            for channel in self.channels & channels.keys():
                for one in channels[channel]:
                    if _Place(epoch, one.number) in self._seen or (
                        epoch == first_epoch and one.number <= first_number
                    ):
                        continue
                    if way is None:
                        lost = one.begin >= began_at and not self._is_told_of(channel, one)
                    else:
                        passed = self._passed(way, one.number, epoch == last_epoch)
                        lost = passed is not None and not self._is_covered(epoch, channel, one, passed)
                    if lost:
                        self._report.add(
                            "lost",
                            f"client {self.name} did not get {one.event.name} of {channel!r}, "
                            f"{_Place(epoch, one.number)}",
                        )

    def _way(self, epoch):
        """
        Return the places in an epoch, as two lists: indices, and the highest number by then; and the index at
        which it was left for good.
        """
        indices, highest, left = [], [], None
        for index, place in self._places:
            if place.epoch == epoch:
                indices.append(index)
                highest.append(max(highest[-1], place.number) if highest else place.number)
                left = None
            elif indices and left is None:
                left = index
        return (indices, highest, left) if indices else None

    def _passed(self, way, number, is_last):
        """Return the index at which the client had to have it; ``None`` when it had not come so far."""
        indices, highest, left = way
        found = bisect_left(highest, number)
        if found < len(indices):
            return indices[found]
        return None if is_last else left

    def _is_told_of(self, channel, one):
        """
        Say whether a client got a reset since an event was published into a log that it was never in.

        Who left before the end may have left before it could be told.
        """
        return not self.marked or any(
            channel in reset.channels and reset.at >= one.begin for reset in self.resets
        )

    def _is_covered(self, epoch, channel, one, passed):
        """
        Say whether a reset told of it.

        It names the channel, nothing of the channel came between it and the place behind the event (from the
        next event of the channel on
        there may be no hole any more), and it came when the event was being published or later. One with a
        place covers all before the place.
        """
        for reset in reversed(self.resets):
            if reset.index > passed or channel not in reset.channels or one.begin > reset.at:
                continue
            if reset.place is not None and reset.place.epoch == epoch and one.number > reset.place.number:
                continue
            got = self._got[channel]
            following = bisect_left(got, reset.index)
            return following == len(got) or got[following] >= passed
        return False


def _check_dead(published, clients, report):
    if not published.markers:
        report.add("dead", "no last event was acknowledged: nobody knows who was alive")
        return
    first = min(one.begin for one in published.markers)
    last = max(one.end for one in published.markers)
    marked_channels = {one.event.channel for one in published.markers}
    for client in clients:
        was_there = client.joined_at < first and (client.left_at is None or client.left_at > last)
        if was_there and not client.marked and client.channels & marked_channels:
            report.add("dead", f"client {client.name} on {sorted(client.channels)}")


def _check_memory(lines, rules, report):
    phases = {line["phase"]: line["rss"] for line in lines if line["kind"] == "memory" and line["rss"]}
    if {"warm", "end"} <= phases.keys():
        warm, end = (max(phases[phase].values()) for phase in ("warm", "end"))
        report.figures.update(warm_bytes=warm, end_bytes=end)
        if end > warm * rules.growth_factor + rules.growth_bytes:
            report.add("grown", f"from {_shown(warm)} to {_shown(end)}")


def _place(id):
    epoch, _, number = id.rpartition("-")
    return _Place(epoch, int(number))


def _shown(value):
    if isinstance(value, float):
        return f"{value:.3f} s"
    return f"{value / 1024**2:.0f} MiB" if value > 1024**2 * 4 else f"{value:,}"


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
