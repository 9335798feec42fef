"""The pauses between tries to reach a server that is away."""

from __future__ import annotations

import random
from collections.abc import Iterator

__all__ = ["backoff"]

_FIRST_SECONDS = 0.05
_LONGEST_SECONDS = 5.0


def backoff() -> Iterator[float]:
    """
    Return ever longer pauses in seconds, from 0.05 to 5, without end.

    Each is random, in the upper half of its length: processes that lost the same server at the same time come
    back apart.
    """
    pause = _FIRST_SECONDS
    while True:
        yield random.uniform(pause / 2, pause)
        pause = min(pause * 2, _LONGEST_SECONDS)
