"""The names in the query of a stream: a few are known, and a name that is nearly one of them is a mistake."""

from __future__ import annotations

import difflib
from functools import lru_cache
from itertools import islice

from flask import Request

from ..core.values import shown
from .refusals import Refusal

__all__ = ["NAMES", "find_misspelt"]

NAMES = frozenset({"channel", "heartbeat", "last_event_id"})
"""What a stream's query may name."""

_MAX_NAMES = 16  # a query may hold hundreds, and comparing one takes as long as opening half a stream

_MAX_LETTERS = 32  # a longer name is like none of them


def find_misspelt(request: Request) -> Refusal | None:
    """
    Return a refusal for a query with a name that is nearly a known one, for instance ``?channels=``, or with
    an unknown kind of heartbeat.

    Any other unknown name is allowed: Datastar and cache busters add theirs. Only the first 16 names are
    read.
    """
    if request.args.get("heartbeat", "event") != "event":
        sent = shown(request.args["heartbeat"], 80)
        return Refusal(
            400,
            "The heartbeat in the query must be 'event'.",
            f"the query has heartbeat={sent}, and there is no such kind",
            "Write heartbeat=event, or leave it out for comments.",
            "query",
            "heartbeat",
        )
    for name in islice(request.args, _MAX_NAMES):
        if name not in NAMES and (meant := _nearest(name[:_MAX_LETTERS])) is not None:
            several = ", once for each channel" if meant == "channel" else ""
            return Refusal(
                400,
                "A name in the query is not known.",
                f"the query has {shown(name)}, which nothing reads",
                f"Write {meant}={several}.",
                "query",
                name[:_MAX_LETTERS],
            )
    return None


@lru_cache(maxsize=256)  # a page always sends the same few names
def _nearest(name: str) -> str | None:
    """Return the known name that an unknown one is like; ``None`` when it is like none."""
    ours = {name.replace("_", ""): name for name in NAMES}
    flat = name.lower().replace("-", "").replace("_", "").replace("[]", "")
    near = difflib.get_close_matches(flat, ours, 1, 0.8)
    return ours[near[0]] if near else None
