"""The answer to a client that is to come later."""

from __future__ import annotations

import random

__all__ = ["soft_refusal"]


def soft_refusal(reason: str, low_ms: int, high_ms: int) -> bytes:
    """
    Return the whole body of an answer, with status 200, that asks a client to come back.

    Any other status would stop an ``EventSource`` for ever.

    Args:
        reason (str): One line of plain text for people, sent as a comment.
        low_ms (int): The client waits for a time between this, in milliseconds, and ``high_ms``: a different one
            for each, so that clients refused together come back apart.
        high_ms (int): At least ``low_ms``.

    See:
        WHATWG HTML, 9.2.6 "Interpreting an event stream"
        https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
    """
    # One line feed ends the line, a second one a block. At a blank line "set the last event ID string of the event
    # source to the value of the last event ID buffer", which is empty on a connection that had no "id" yet: the client
    # would forget where it stands.
    return b": %b\nretry: %d\n" % (reason.encode(), random.uniform(low_ms, high_ms))
