"""What there is to listen to and to publish on."""

__all__ = ["CHANNELS", "PRICES", "PRIVATE", "SHARED", "is_kept", "run_of"]

SHARED = ["orders", "news", "room.1", "room.2"]
"""Many listen to these."""

PRIVATE = [f"user.{number}" for number in range(12)]
"""A few listen to each, and now and then nobody."""

PRICES = ["prices", "stocks"]
"""Whose events have a key, and are kept by it."""

CHANNELS = [*SHARED, *PRIVATE, *PRICES]


def is_kept(channel):
    """Say whether the events of a channel are kept by a key."""
    return channel in PRICES


def run_of(publisher, number):
    """Return the channel of one run of a publisher: some events, and its end."""
    return f"run.{publisher}.{number}"
