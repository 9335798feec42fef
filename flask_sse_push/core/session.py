"""
The life of one stream, as a state machine that is told the time.

Two deliveries drive it: :mod:`flask_sse_push.streams.stream` by way of the server's response, and
:mod:`flask_sse_push.streams.direct` straight to the client's socket. Neither decides anything by itself.
"""

from __future__ import annotations

from enum import Enum

__all__ = ["ABANDONED_SECONDS", "LAST_WORDS_SECONDS", "Action", "Cause", "Session", "State"]

LAST_WORDS_SECONDS = 1.0
"""
How long a draining stream goes on sending what is ready: a busy channel must not keep a worker from stopping.
"""

ABANDONED_SECONDS = 5.0
"""How long after a stream has stalled what it holds is taken back, where the server has not closed it."""


class State(Enum):
    """
    Where a stream is in its life. The values of the last six are the reasons that ``stream_closed`` tells.
    """

    OPENED = "opened"
    """The server asked for the first bytes, and they are not sent yet."""
    READING = "reading"
    """The client gets what is published."""
    SILENT = "silent"
    """The client has heard nothing for long: it gets a sign of life, unless there is an event."""
    DRAINING = "draining"
    """The server stops: what is ready is sent, then the client is asked to come back."""
    STALLED = "stalled"
    """The client took nothing for too long. Nothing can be sent any more."""
    GONE = "gone"
    """The client has hung up. Nothing can be sent any more."""
    REFUSED = "refused"
    """The stream never began: the client was asked to come back later."""
    FINISHED = "finished"
    """The source has given everything that it had."""
    CLOSED = "closed"
    """The server closed the stream, for a reason that it did not tell."""


class Cause(Enum):
    """What can happen to a stream."""

    BEGUN = "begun"
    """The first bytes were made."""
    SILENCE = "silence"
    """The heartbeat found that the client has heard nothing for its time."""
    SENT = "sent"
    """Bytes were handed over."""
    STOP = "stop"
    """The server was told to stop."""
    STALL = "stall"
    """The client has taken nothing of a write for longer than it may."""
    HANG_UP = "hang up"
    """The client's end of the connection is closed."""
    REFUSAL = "refusal"
    """There is no place for the stream."""
    END = "end"
    """The source has nothing more to give."""
    CLOSE = "close"
    """The server closed the stream."""


_BEGINNING = (State.OPENED, State.READING, State.SILENT)

# What is not in the table changes nothing. A client that was cut off looks as if it had hung up too, so
# STALLED stays. One that is asked to come back may go before it is, so DRAINING becomes GONE; and a source
# may end before it must, so DRAINING becomes FINISHED.
_NEXT: dict[tuple[State, Cause], State] = {
    (State.OPENED, Cause.BEGUN): State.READING,
    (State.OPENED, Cause.REFUSAL): State.REFUSED,
    (State.READING, Cause.SILENCE): State.SILENT,
    (State.SILENT, Cause.SENT): State.READING,
    **{(state, Cause.STOP): State.DRAINING for state in _BEGINNING},
    **{(state, Cause.CLOSE): State.CLOSED for state in _BEGINNING},
    **{(state, Cause.END): State.FINISHED for state in (*_BEGINNING, State.DRAINING)},
    **{(state, Cause.HANG_UP): State.GONE for state in (*_BEGINNING, State.DRAINING)},
    **{(state, Cause.STALL): State.STALLED for state in (*_BEGINNING, State.DRAINING, State.GONE)},
}


class Action(Enum):
    """What a delivery does next."""

    SEND = "send"
    """Send the events that were read."""
    BEAT = "beat"
    """Send a sign of life."""
    SAY_GOODBYE = "say goodbye"
    """Send the last words and end."""
    WAIT = "wait"
    """Wait until there is something to do."""
    END = "end"
    """End without another byte."""


class Session:
    """
    One stream's life. Not thread-safe as a whole: each attribute is set by one assignment, and what another
    thread sees late it acts on at its next look.

    Args:
        heartbeat_seconds (float): How long the client may hear nothing.
        write_timeout_seconds (float): How long a client may take nothing of what is being written.
    """

    __slots__ = (
        "_drained_at",
        "_heartbeat_seconds",
        "_write_timeout_seconds",
        "silent_since",
        "state",
        "taken_at",
        "writing_since",
    )

    def __init__(self, heartbeat_seconds: float, write_timeout_seconds: float) -> None:
        self.state = State.OPENED
        """Where the stream is."""
        self.silent_since = 0.0
        """When the client heard something last, in seconds on the caller's clock."""
        self.writing_since: float | None = None
        """Since when the server has bytes of the stream, on the same clock; ``None`` when it has none."""
        self.taken_at = 0.0
        """When the client was last seen to take some of these bytes; 0 where that cannot be seen."""
        self._heartbeat_seconds = heartbeat_seconds
        self._write_timeout_seconds = write_timeout_seconds
        self._drained_at = 0.0

    @property
    def is_over(self) -> bool:
        """Whether there is nobody to send anything to."""
        return self.state is State.STALLED or self.state is State.GONE

    def happen(self, cause: Cause, now: float = 0.0) -> None:
        """
        Change the state, where the cause changes it.

        Args:
            cause (Cause): What happened.
            now (float): When; only :attr:`Cause.STOP` needs it.
        """
        state = _NEXT.get((self.state, cause))
        if state is not None:
            if state is State.DRAINING:
                self._drained_at = now + LAST_WORDS_SECONDS
            self.state = state

    def next(self, has_events: bool, has_ended: bool, now: float) -> Action:
        """
        Return what is to be done.

        Args:
            has_events (bool): Whether reading the source gave any.
            has_ended (bool): Whether the source will give nothing more.
            now (float): Seconds on the same clock as everywhere.
        """
        state = self.state
        if self.is_over:
            return Action.END
        if has_events and (state is not State.DRAINING or has_ended or now < self._drained_at):
            self.happen(Cause.SENT)
            return Action.SEND
        if has_ended:
            return Action.END
        if state is State.DRAINING:
            return Action.SAY_GOODBYE
        if state is State.SILENT:
            self.happen(Cause.SENT)
            return Action.BEAT
        return Action.WAIT

    def look(self, now: float, margin_seconds: float) -> Cause | None:
        """
        Return what the heartbeat finds and is to let happen.

        Args:
            now (float): Seconds on the same clock as everywhere.
            margin_seconds (float): How long until the next look, at most: a sign of life that is due by then
                is sent now.

        Returns:
            Cause | None: :attr:`Cause.SILENCE`, when a sign of life is due; :attr:`Cause.STALL`, when the
                client takes nothing and is to be cut off; :attr:`Cause.CLOSE`, when it was cut off long ago
                and its server has not closed the stream; ``None``, when nothing is to be done.
        """
        writing_since = self.writing_since  # once: the thread that writes may be done at any moment
        if writing_since is not None:
            # A slow client is none that takes nothing: a large event may need minutes.
            waited = now - max(writing_since, self.taken_at) - self._write_timeout_seconds
            if waited >= ABANDONED_SECONDS:
                return Cause.CLOSE
            return Cause.STALL if waited >= 0 else None
        due = now - self.silent_since >= self._heartbeat_seconds - margin_seconds
        return Cause.SILENCE if due else None

    def close(self, outcome: str | None) -> str:
        """
        Note that the server is done with the stream, and return why, as ``stream_closed`` tells it.

        Args:
            outcome (str | None): Why the source ended, if it did: ``"finished"`` or ``"failed"``.
        """
        if outcome is not None:
            self.happen(Cause.END)
        elif self.state is not State.DRAINING:
            # Bytes that the server still has are bytes whose write failed.
            self.happen(Cause.CLOSE if self.writing_since is None else Cause.HANG_UP)
        return outcome if outcome is not None and self.state is State.FINISHED else str(self.state.value)
