"""What did not come to a client, and had to."""

import math
from bisect import bisect_left
from itertools import islice

from tests.soak.published import Place

__all__ = ["Losses"]

_COME_BACK_SECONDS = 2.0
"""A client whose channels have ended comes back once, and is told so, in this time."""


class Losses:
    """
    What one client has to have. Known when all clients' ways are: they tell what was stored without having
    been acknowledged.
    """

    def __init__(self, client, published, rules, report):
        self.client = client
        self._published, self._rules, self._report = published, rules, report

    def check(self):
        """Report what is missing."""
        if self.client.rewound is not None:
            self._check_rewound(*self.client.rewound)
        self._check_lost()
        self._check_end()

    def _check_rewound(self, opened, place, at):
        """What was there when the client asked is not passed over, unless enough came meanwhile."""
        published, count = self._published, opened["rewind"]
        found = sorted(
            (other.number, event)
            for other, event in published.by_place.items()
            if other.epoch == place.epoch
            and event.begin < at
            and event.key is None
            and self.client.channels.intersection(event.channels)
        )
        newest = {number for number, _ in (found if count == "all" else found[-count:])}
        missed = {
            one
            for channel in self.client.channels
            for one in published.by_epoch.get(place.epoch, {}).get(channel, ())
            if one.number in newest and one.number <= place.number and one.end < opened["at"]
        }
        for one in missed:
            if self.was_in_history(one, place.epoch, at):
                self._report.add(
                    "lost",
                    f"{self.client} asked for rewind={count} and began at {place}, without {one.event.name}, "
                    f"{Place(place.epoch, one.number)}",
                )

    def _was_gone(self, one, epoch):
        """Say whether an event may have been gone already when the client asked for the past."""
        if self.client.rewound is None or one.event.key is not None:
            return False
        at = self.client.rewound[2]
        return one.begin < at and not self.was_in_history(one, epoch, at)

    def has(self, epoch, one):
        """Say whether an acknowledged event came, as an event or as a kept value."""
        return Place(epoch, one.number) in self.client.seen or (
            one.event.key is not None and one.event.name in self.client.got_names
        )

    def is_replaced(self, channel, one, epoch, at):
        """Say whether a newer event with its key may have come before some time."""
        if one.event.key is None:
            return False
        for later in self._published.newer_than(one.event, channel):
            if later.begin >= at:
                return False
            if not later.places or any(place.epoch == epoch for place in later.places):
                return True
        return False

    def was_in_history(self, one, epoch, at):
        """
        Say whether one of its channels had to hold an event at some time: what came later, or may have come,
        is counted, and so is all the time since publishing it began.
        """
        for channel in self.client.channels.intersection(one.event.channels):
            history = self._rules.history_of(channel)
            if history is None or at - one.begin >= history[1] - self._rules.margin_seconds:
                continue
            newer = self._published.by_epoch[epoch][channel]
            begin = bisect_left(newer, one.number + 1, key=lambda other: other.number)
            came = (True for other in islice(newer, begin, None) if other.begin < at)
            # Acknowledged or not: as many events as may have been stored since.
            if sum(islice(came, history[0])) + self._published.unknown < history[0]:
                return True
        return False

    def _check_lost(self):
        if not self.client.places:
            return
        began_at, first_epoch, first_number, is_new = self.client.began
        last_epoch = self.client.places[-1][1].epoch
        for epoch, channels in self._published.by_epoch.items():
            way = self._way(epoch)
            lost = set()
            for channel in sorted(self.client.channels & channels.keys()):
                for one in channels[channel]:
                    is_kept = one.event.key is not None
                    if self.has(epoch, one) or (
                        epoch == first_epoch and one.number <= first_number and not (is_kept and is_new)
                    ):
                        continue
                    if epoch == first_epoch and self._was_gone(one, epoch):
                        continue
                    if way is None:
                        is_lost = one.begin >= began_at and not self._is_told_of(channel, one)
                    else:
                        passed = self._passed(way, one, epoch == last_epoch)
                        is_lost = (
                            passed is not None
                            and not self.is_replaced(channel, one, epoch, self.client.walked[passed]["at"])
                            and not self._is_covered(epoch, channel, one, passed)
                        )
                    if is_lost and one.number not in lost:
                        lost.add(one.number)
                        self._report.add(
                            "lost",
                            f"{self.client} did not get {one.event.name} of {channel!r}, "
                            f"{Place(epoch, one.number)}",
                        )

    def _way(self, epoch):
        """
        Return the places in an epoch, as two lists: indices, and the highest number by then; and the index at
        which it was left for good.
        """
        indices, highest, left = [], [], None
        for index, place in self.client.places:
            if place.epoch == epoch:
                indices.append(index)
                highest.append(max(highest[-1], place.number) if highest else place.number)
                left = None
            elif indices and left is None:
                left = index
        return (indices, highest, left) if indices else None

    def _passed(self, way, one, is_last):
        """Return the index at which the client had to have it; ``None`` when it had not come so far."""
        indices, highest, left = way
        found = bisect_left(highest, one.number)
        if found < len(indices):
            return indices[found]
        if not is_last:
            return left
        # Who is told that there is nothing more has all that there was.
        is_over = self.client.finished_at is not None and one.begin < self.client.finished_at
        return len(self.client.walked) - 1 if is_over else None

    def _is_told_of(self, channel, one):
        """
        Say whether a client got a reset since an event was published into a log that it was never in.

        Who left before the end may have left before it could be told.
        """
        return not self.client.marked or any(
            channel in reset.channels and reset.at >= one.begin for reset in self.client.resets
        )

    def _is_covered(self, epoch, channel, one, passed):
        """
        Say whether a reset told of it.

        It names the channel, and it came when the event was being published or later, and before the place
        behind the event. What it tells of in its own log ends at :meth:`limit_of`, and kept values come
        behind it. Of another log nothing may have come since.
        """
        for reset in reversed(self.client.resets):
            if reset.index > passed or channel not in reset.channels or one.begin > reset.at:
                continue
            if reset.place.epoch == epoch:
                if one.event.key is None and one.number <= self.limit_of(reset, channel):
                    return True
                continue
            following = self._following(reset, channel)
            return following is None or following[0] >= passed
        return False

    def limit_of(self, reset, channel):
        """
        Return the number up to which a reset tells of losses of a channel in its own log: to where it puts
        the client, or, where it lets the client stand, to the next event of the channel.
        """
        if reset.end is not None:
            return reset.end.number
        following = self._following(reset, channel)
        if following is None or following[1].epoch != reset.place.epoch:
            return math.inf
        return following[1].number - 1

    def _following(self, reset, channel):
        """Return the index and the place of the first event that came by a channel behind a reset."""
        got = self.client.got[channel]
        found = bisect_left(got, (reset.index,))
        return got[found] if found < len(got) else None

    def _check_end(self):
        """A client is told that nothing more comes when all of its channels have ended, and only then."""
        if self.client.finished_at is not None:
            for channel in sorted(self.client.channels):
                if not any(
                    event.begin < self.client.finished_at for event in self._published.closings[channel]
                ):
                    self._report.add("ended", f"{self.client} of {channel!r}")
        elif self.client.last_place is not None and self._published.markers and self._rules.history:
            ended_at = self._published.ended_at(self.client.last_place.epoch, self.client.channels)
            until = max(one.end for one in self._published.markers)
            if self.client.left_at is not None:
                until = min(until, self.client.left_at)
            if ended_at is not None and until - ended_at > _COME_BACK_SECONDS + self._rules.margin_seconds:
                self._report.add("endless", f"{self.client} of {sorted(self.client.channels)}")
