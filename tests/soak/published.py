"""What the publishers of a run say, and what is wrong with that already."""

from bisect import bisect_right
from collections import defaultdict
from itertools import accumulate, islice
from typing import NamedTuple

from tests.soak.record import MARKER

__all__ = ["Acknowledged", "Event", "Place", "Published", "place_of"]


class Place(NamedTuple):
    epoch: str
    number: int


def place_of(id):
    """Return an id, taken apart."""
    epoch, _, number = id.rpartition("-")
    return Place(epoch, int(number))


class Event:
    """What was published once, in one or several tries."""

    def __init__(self, line):
        self.publisher, self.n, self.do = line["publisher"], line["n"], line["do"]
        self.name = f"{self.publisher}:{self.n}"
        self.channels, self.data = tuple(line["channels"]), line.get("data")
        self.key = line.get("key")
        self.closes = self.do == "close" or bool(line.get("close"))
        self.begin = line["begin"]
        """When its first try began."""
        self.tries = {}
        self.outcomes = {}
        self.places = set()

    @property
    def may_be_stored(self):
        return any(self.outcomes.get(number, {}).get("stored", "unknown") != "no" for number in self.tries)


class Acknowledged(NamedTuple):
    number: int
    event: Event
    begin: float
    end: float


class Published:
    """All that was published; ``report`` gets the faults."""

    def __init__(self, lines, rules, report):
        self.by_data = {}
        self.by_place = {}
        self.by_epoch = defaultdict(lambda: defaultdict(list))
        """The acknowledged events of each epoch and channel, in the order of their numbers."""
        self.by_key = defaultdict(list)
        """The events and calls of ``forget`` for each channel and key, in the order of their beginning."""
        self.closings = defaultdict(list)
        """What may have closed each channel."""
        self.markers = []
        self.refused = self.unknown = self.acknowledged_count = 0
        self.longest = 0.0
        self._ends = defaultdict(dict)
        events, killed = {}, set()
        for line in lines:
            if line["kind"] == "attempt":
                name = line["publisher"], line["n"]
                event = events.get(name)
                if event is None:
                    event = events[name] = Event(line)
                    if event.data is not None:
                        self.by_data[event.data] = event
                event.tries[line["try"]] = line
            elif line["kind"] == "killed":
                killed.add(line["publisher"])
        for line in lines:
            if line["kind"] == "outcome":
                events[line["publisher"], line["n"]].outcomes[line["try"]] = line
        self._read(events.values(), killed, rules.publish_timeout_seconds + rules.margin_seconds, report)
        self._latest = {}
        for epoch, channels in self.by_epoch.items():
            for channel, acknowledged in channels.items():
                acknowledged.sort(key=lambda one: one.number)
                self._latest[epoch, channel] = list(accumulate((one.begin for one in acknowledged), max))
        for event in sorted(events.values(), key=lambda event: event.begin):
            for channel in event.channels if event.may_be_stored else ():
                if event.key is not None:
                    self.by_key[channel, event.key].append(event)
                if event.closes:
                    self.closings[channel].append(event)
        self._check_order(report)
        if rules.history is not None:
            self._check_ends(report)

    def _read(self, events, killed, limit, report):
        for event in events:
            for number, attempt in event.tries.items():
                outcome = event.outcomes.get(number)
                if outcome is None:
                    self.unknown += 1
                    if event.publisher not in killed:
                        report.add("slow", f"{event.name} never returned")
                    continue
                seconds = outcome.get("seconds") or outcome["end"] - attempt["begin"]
                self.longest = max(self.longest, seconds)
                if seconds > limit:
                    report.add(
                        "slow",
                        f"{event.name} took {seconds:.2f} s ({outcome.get('error') or outcome.get('id')})",
                    )
                if outcome["stored"] != "yes":
                    self.refused += outcome["stored"] == "no"
                    self.unknown += outcome["stored"] != "no"
                elif event.do != "forget":
                    self._acknowledge(event, outcome, report)

    def _acknowledge(self, event, outcome, report):
        place = place_of(outcome["id"])
        if event.closes:
            ends = self._ends[place.epoch]
            for channel in event.channels:
                end = place.number, outcome["end"]
                ends[channel] = min(end, ends.get(channel, end))
        if event.do == "close":
            return  # it may get the id of what had closed its channels before
        if place in event.places:
            return  # repeated with its idempotency key
        self.acknowledged_count += 1
        self.stored_at(event, place, report)
        acknowledged = Acknowledged(place.number, event, event.begin, outcome["end"])
        for channel in event.channels:
            self.by_epoch[place.epoch][channel].append(acknowledged)
        if event.publisher == MARKER:
            self.markers.append(acknowledged)

    def _check_order(self, report):
        """A publisher waits for one event before the next: their numbers rise."""
        for epoch, channels in self.by_epoch.items():
            highest = {}
            for one in sorted(
                {one for acknowledged in channels.values() for one in acknowledged}, key=lambda one: one.begin
            ):
                before = highest.get(one.event.publisher, 0)
                if one.number < before:
                    report.add(
                        "reordered",
                        f"{one.event.name} was published as {Place(epoch, one.number)}, after {before}",
                    )
                highest[one.event.publisher] = max(before, one.number)

    def _check_ends(self, report):
        """Nothing comes behind the end of a channel, which is remembered for longer than a run takes."""
        for epoch, ends in self._ends.items():
            for channel, (end, _) in ends.items():
                for one in self.by_epoch[epoch][channel]:
                    if one.number > end:
                        report.add(
                            "reopened",
                            f"{one.event.name} is {Place(epoch, one.number)}, {channel!r} ended at {end}",
                        )

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

    def latest_begin(self, epoch, channel, number):
        """Return when the last of a channel's acknowledged events up to a number began, and 0 for none."""
        found = bisect_right(
            self.by_epoch.get(epoch, {}).get(channel, ()), number, key=lambda one: one.number
        )
        return self._latest[epoch, channel][found - 1] if found else 0.0

    def newer_than(self, event, channel):
        """Give what came behind an event with its key, in order."""
        events = self.by_key[channel, event.key]
        return islice(events, bisect_right(events, event.begin, key=lambda one: one.begin), None)

    def ended_at(self, epoch, channels):
        """Return when the last of some channels was closed for sure; ``None`` where one may be open."""
        ends = self._ends.get(epoch, {})
        return max(ends[channel][1] for channel in channels) if ends.keys() >= set(channels) else None
