"""The names in a stream's query: two are ours, and one that nearly is ours is a slip of the pen."""

from __future__ import annotations

import difflib
from functools import lru_cache
from itertools import islice

from flask import Request

from ..core.values import shown
from .refusals import Refusal

__all__ = ["NAMES", "find_misspelt"]

NAMES = frozenset({"channel", "last_event_id"})
"""What a stream's query may name."""

_MOST_NAMES = 16  # that are looked at: a query holds hundreds, and to compare one takes as long as opening half a stream

_MOST_LETTERS = 32  # of a name that are compared; longer ones are like none of ours


def find_misspelt(request: Request) -> Refusal | None:
    """
    Return what is wrong with a name in the query that nearly is one of ours, for instance ``?channels=``.

    Any other is somebody else's: Datastar and cache busters add their own. Only the first 16 names are looked at.
    """
    for name in islice(request.args, _MOST_NAMES):
        if name not in NAMES and (meant := _nearest(name[:_MOST_LETTERS])) is not None:
            several = ", once for each channel" if meant == "channel" else ""
            return Refusal(
                400,
                "A name in the query is not known.",
                f"the query has {shown(name)}, which nothing reads",
                f"Write {meant}={several}.",
                "query",
                name[:_MOST_LETTERS],
            )
    return None


@lru_cache(maxsize=256)  # a page always sends the same few names
def _nearest(name: str) -> str | None:
    """Return which of our names is meant by one that is none of them."""
    ours = {name.replace("_", ""): name for name in NAMES}
    flat = name.lower().replace("-", "").replace("_", "").replace("[]", "")
    near = difflib.get_close_matches(flat, ours, 1, 0.8)
    return ours[near[0]] if near else None
