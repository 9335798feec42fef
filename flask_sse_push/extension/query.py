"""The names in the query of a stream: a few are known, and a name that is nearly one of them is a mistake."""

from __future__ import annotations

import difflib
from functools import lru_cache
from itertools import islice

from flask import Request

from ..core.log import ALL
from ..core.values import number_of, shown, text_of
from .refusals import Refusal

__all__ = ["NAMES", "find_misspelt", "read_rewind"]

NAMES = frozenset({"channel", "heartbeat", "last_event_id", "rewind"})
"""What a stream's query may name."""

_MAX_REWIND_DIGITS = 18

_MAX_NAMES = 16  # a query may hold hundreds, and comparing one takes as long as opening half a stream

_MAX_LETTERS = 32  # a longer name is like none of them


def read_rewind(value: object) -> int | None:
    """
    Return how many of the newest events a stream is to begin with.

    Args:
        value (object): A whole number from 0, as an ``int`` or in decimal digits, or ``"all"``; from a client
            it may be any text.

    Returns:
        int | None: ``None`` for a value that is neither.
    """
    text, number = text_of(value), number_of(value)
    if text == "all":
        return ALL
    if text is not None and text.isascii() and text.isdigit() and len(text) <= _MAX_REWIND_DIGITS:
        return int(text)
    return min(number, ALL) if number is not None and number >= 0 else None


def find_misspelt(request: Request) -> Refusal | None:
    """
    Return a refusal for a query with a name that is nearly a known one, for instance ``?channels=``, with
    an unknown kind of heartbeat, or with a rewind that says nothing.

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
    if "rewind" in request.args and read_rewind(request.args["rewind"]) is None:
        sent = shown(request.args["rewind"], 80)
        return Refusal(
            400,
            "The rewind in the query must be a number of events, or 'all'.",
            f"the query has rewind={sent}, which is neither a whole number nor all",
            "Write for instance rewind=20, or rewind=all, or leave it out for what comes from now on.",
            "query",
            "rewind",
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
