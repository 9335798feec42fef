"""What every server here publishes, and how fast."""

from __future__ import annotations

import time
from collections.abc import Callable

__all__ = ["payload", "publish_in_a_loop"]

_TEXT = "The quick brown fox jumps over the lazy dog, again and again."


def payload(channel: int, seq: int) -> str:
    """Return about 120 bytes of JSON: whose event it is, its number in its channel, and when it was made (monotonic nanoseconds)."""
    return '{"channel":%d,"seq":%d,"ts":%d,"text":"%s"}' % (channel, seq, time.monotonic_ns(), _TEXT)


def publish_in_a_loop(publish: Callable[[str, str], object], n: int, rate: float, channels: int) -> None:
    """
    Publish events to channels in turn.

    Args:
        publish (Callable): Called with the data and the channel's name, ``c0`` and so on.
        n (int): How many events in all channels together.
        rate (float): Events per second; 0 is flat out, with one turn for everybody else after each event.
        channels (int): How many channels there are.
    """
    began = time.monotonic()
    for number in range(n):
        seq, channel = divmod(number, channels)
        publish(payload(channel, seq), f"c{channel}")
        time.sleep(max(0.0, began + (number + 1) / rate - time.monotonic()) if rate else 0)
