"""The way of each client through the log, and what is wrong with it."""

import json
from collections import defaultdict
from typing import NamedTuple

from tests.soak.published import Place, place_of
from tests.soak.record import MARKER

__all__ = ["NO_LOG", "Client", "Reset", "walks"]

NO_LOG = "0"
"""The epoch of an id that tells only that its client stands nowhere."""


class Reset(NamedTuple):
    index: int
    channels: frozenset
    before: Place | None
    """Where the client was; ``None`` when it had no place yet."""
    place: Place | None
    """Where it puts the client, which is told behind what a new client gets; ``None`` until then."""
    at: float
    reason: str

    @property
    def end(self):
        """
        What it tells of lies up to here; ``None`` when it lies before the next events, which follow at once:
        then the client is told that it is where it was.
        """
        return None if self.place == self.before else self.place


def walks(lines):
    """Return per client what came to it, in order, with its joining first."""
    found = {}
    for line in lines:
        client = line.get("client")
        if client is not None:
            found.setdefault(client, []).append(line)
    for walked in found.values():
        walked.sort(key=lambda line: line["at"])
    return found


class Client:
    """
    One client's way through the log: what came to it, and what of that must not be.
    """

    def __init__(self, name, walked, published, rules, report):
        self.name = name
        self._published, self._rules, self._report = published, rules, report
        self.walked = walked
        self.channels = frozenset(walked[0]["channels"])
        self.joined_at = walked[0]["at"]
        self.left_at = next((line["at"] for line in walked if line["kind"] == "leave"), None)
        self.resets = []
        """Those behind which the client was told where it is: one that was cut off before comes again."""
        self.repeats = self.reconnects = self.received = 0
        self.latencies = []
        """Of what was published while it was connected."""
        self._opened_at = self.joined_at
        self.marked = False
        self.finished_at = None
        self.last_place = None
        # By index into the walk: where the place changes, and where events of each channel came.
        self.places = []
        self.began = None  # (time, epoch, number, whether it got what a new client gets)
        self.got = defaultdict(list)
        """
        Indices and places of the events that came by each channel alone. One of several channels may still be
        there for the sake of another.
        """
        self.got_names = set()
        self._values = []  # what came by its key to a new client, until it is told where it is
        self._reset = None  # the same for a reset
        self.rewound = None  # (what was asked for, where it began, when)
        self.seen = set()
        self._walk()

    def __str__(self):
        return f"client {self.name}"

    def _walk(self):
        here, may_change, opened = None, False, None
        in_connection, most_in_connection, most = set(), {}, {}
        for index, line in enumerate(self.walked):
            kind = line["kind"]
            if kind == "open":
                self.reconnects += line["connection"] > 0
                in_connection, most_in_connection = set(), {}
                self._values, self._reset, may_change, opened = [], None, False, line
                self._opened_at = line["at"]
                if here is None and line.get("last_event_id"):
                    # A page whose data was read at this place.
                    here = place_of(line["last_event_id"])
                    self.began = line["at"], *here, False
                    self.places.append((index, here))
                continue
            if kind == "finished":
                self.finished_at = line["at"]
            if kind == "value":
                self._take_value(line)
            if kind not in ("place", "got"):
                continue
            place = place_of(line["id"]) if line.get("id") else None
            is_reset = kind == "got" and line["type"].startswith("sse.")
            if is_reset:
                told = json.loads(line["data"])
                self._reset = Reset(
                    index, frozenset(told["channels"]), here, None, line["at"], told["reason"]
                )
                if self._rules.reset_reasons is not None and told["reason"] not in self._rules.reset_reasons:
                    self._report.add("unwanted", f"{self} was reset: {told}")
                may_change, most = True, {}
                if place is None or place.epoch == NO_LOG or self._is_followed_by_value(index):
                    continue  # where it puts the client is told behind what a new client gets
            elif place is None:
                self._report.add("phantom", f"{self} got {line.get('data')!r} without an id")
                continue
            is_event = kind == "got" and not is_reset
            stands = Place(place.epoch, place.number - 1) if is_event else place
            self._note_place(here, stands, line, opened)
            if (
                here is not None
                and place.epoch == here.epoch
                and not is_event
                and place.number < here.number
                and not may_change
            ):
                self._report.add("reordered", f"{self} was put back from {here} to {place}")
            if here is not None and place.epoch != here.epoch and not may_change:
                self._report.add("silent", f"{self} went from {here} to {place}")
            if here != place:
                self.places.append((index, place))
            here, may_change = place, False
            if is_event:
                self._take(index, line, place, in_connection, most_in_connection, most)
        self.last_place = here

    def _is_followed_by_value(self, index):
        return index + 1 < len(self.walked) and self.walked[index + 1]["kind"] == "value"

    def _note_place(self, here, stands, line, opened):
        """The client is told where it is: a reset and the values before have a place now."""
        if self._reset is not None:
            self.resets.append(self._reset._replace(place=stands))
            self._reset = None
        if here is None:
            self.began = line["at"], *stands, True
            if opened is not None and opened.get("rewind"):
                self.rewound = opened, stands, line["at"]
        for event in self._values:
            self._check_value(event, stands)
        self._values = []

    def _take_value(self, line):
        event = self._published.by_data.get(line["data"])
        if (
            event is None
            or not event.may_be_stored
            or event.key is None
            or not self.channels.intersection(event.channels)
        ):
            self._report.add("phantom", f"{self} got {line['data'][:80]!r} as a kept value, which it is not")
            return
        newer = self._newer_of(event)
        if all(any(later.name in self.got_names for later in found) for found in newer):
            self._report.add("reordered", f"{self} got the value {event.name} behind a newer one")
        self.got_names.add(event.name)
        self._values.append(event)

    def _check_value(self, event, place):
        """A kept value is the newest of its key at the place that follows."""
        if event.places and all(other.epoch != place.epoch for other in event.places):
            self._report.add("phantom", f"{self} got the value {event.name} of another log, at {place}")
            return
        if all(any(self._is_behind(later, place) for later in found) for found in self._newer_of(event)):
            self._report.add("phantom", f"{self} got the value {event.name} at {place}, which is older")

    def _newer_of(self, event):
        """Return for each channel that brought a kept value what came behind it with its key."""
        return [
            self._published.newer_than(event, channel)
            for channel in self.channels.intersection(event.channels)
        ]

    def _is_behind(self, event, place):
        """Say whether an event, or that a value was forgotten, certainly comes before a place."""
        if event.do != "forget":
            return any(other.epoch == place.epoch and other.number <= place.number for other in event.places)
        # It has no number of its own. What began to be published when it was done has a higher one.
        done = [outcome["end"] for outcome in event.outcomes.values() if outcome["stored"] == "yes"]
        return bool(done) and any(
            self._published.latest_begin(place.epoch, channel, place.number) > min(done)
            for channel in event.channels
        )

    def _take(self, index, line, place, in_connection, most_in_connection, most):
        self.received += 1
        event = self._published.by_data.get(line["data"])
        if event is None or not event.may_be_stored:
            why = "nobody published" if event is None else "was refused"
            self._report.add("phantom", f"{self} got {line['data'][:80]!r} as {place}, which {why}")
        elif not self.channels.intersection(event.channels):
            self._report.add(
                "phantom", f"{self} got {event.name} of {event.channels}, to which it does not listen"
            )
        else:
            known = self._published.by_place.get(place)
            if known is not None and known is not event:
                self._report.add("phantom", f"{self} got {event.name} as {place}, which is {known.name}")
            else:
                self._published.stored_at(event, place, self._report)
            mine = self.channels.intersection(event.channels)
            if len(mine) == 1:
                self.got[min(mine)].append((index, place))
            self.got_names.add(event.name)
            self.marked = self.marked or event.publisher == MARKER
            if event.begin > self._opened_at:
                self.latencies.append(line["at"] - event.begin)
        if place in in_connection:
            self._report.add("duplicated", f"{self} got {place} twice on one connection")
        elif place.number < most_in_connection.get(place.epoch, 0) or (
            place not in self.seen and place.number < most.get(place.epoch, 0)
        ):
            self._report.add(
                "reordered",
                f"{self} got {place} after "
                f"{max(most.get(place.epoch, 0), most_in_connection.get(place.epoch, 0))}",
            )
        elif place in self.seen:
            self.repeats += 1
        in_connection.add(place)
        self.seen.add(place)
        for highest in (most_in_connection, most):
            highest[place.epoch] = max(highest.get(place.epoch, 0), place.number)
