"""What the judge says of a run, and what a run allows."""

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import NamedTuple

__all__ = ["FAULTS", "Report", "Rules", "shown"]

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
    "false": "a reset where nothing was lost, of a kind that nobody has explained",
    "early": "an event that was lost with a reset, and that the history still had to hold",
    "reopened": "an event that was taken by a channel behind its end",
    "ended": "a client that was told not to come back although one of its channels was open",
    "endless": "a client that was not told that all of its channels had ended",
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
    false_resets: list | None = None
    """
    The kinds of resets, each a reason and a cause, that clients may get where nothing was lost; ``None`` for
    any.
    """
    history: list | None = None
    """
    How much of the past each channel has: patterns that end in ``*`` or not, with a length and seconds, of
    which the first that fits counts. ``None`` where that is not judged, and how long an end is remembered
    neither.
    """
    growth_factor: float = 1.3
    growth_bytes: int = 32 * 1024 * 1024
    """
    How much memory workers may have at the end: the factor times what they had after warming up, and this.
    """

    def history_of(self, channel):
        """Return the length and the seconds of a channel's history; ``None`` where that is not judged."""
        for pattern, length, seconds in self.history or ():
            if channel == pattern or (pattern.endswith("*") and channel.startswith(pattern[:-1])):
                return length, seconds
        return None


@dataclass
class Report:
    """What was found."""

    faults: Counter = field(default_factory=Counter)
    examples: dict = field(default_factory=lambda: defaultdict(list))
    figures: dict = field(default_factory=dict)
    false_resets: Counter = field(default_factory=Counter)
    """How many resets came although nothing was lost, by reason and cause."""

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
        for (reason, cause), count in sorted(self.false_resets.items()):
            lines.append(f"  reset where nothing was lost: {count} for {reason!r}, behind {cause!r}")
        lines.append(", ".join(f"{name} {shown(value)}" for name, value in self.figures.items()))
        return "\n".join(lines)


def shown(value):
    """Return a figure for people."""
    if isinstance(value, float):
        return f"{value:.3f} s"
    return f"{value / 1024**2:.0f} MiB" if value > 1024**2 * 4 else f"{value:,}"
