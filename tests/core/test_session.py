"""The life of one stream: what happens to it, what is to be done, and why it ended."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_sse_push.core.session import (
    ABANDONED_SECONDS,
    LAST_WORDS_SECONDS,
    Action,
    Cause,
    Session,
    State,
)

BEGINNING = [State.OPENED, State.READING, State.SILENT]
OVER = [State.STALLED, State.GONE, State.REFUSED, State.FINISHED, State.CLOSED]

CHANGES = {
    (State.OPENED, Cause.BEGUN): State.READING,
    (State.OPENED, Cause.REFUSAL): State.REFUSED,
    (State.READING, Cause.SILENCE): State.SILENT,
    (State.SILENT, Cause.SENT): State.READING,
    **{(state, Cause.STOP): State.DRAINING for state in BEGINNING},
    **{(state, Cause.CLOSE): State.CLOSED for state in BEGINNING},
    **{(state, Cause.END): State.FINISHED for state in [*BEGINNING, State.DRAINING]},
    **{(state, Cause.HANG_UP): State.GONE for state in [*BEGINNING, State.DRAINING]},
    **{(state, Cause.STALL): State.STALLED for state in [*BEGINNING, State.DRAINING, State.GONE]},
}


def session_in(state, now=100.0):
    """A session that came into a state as streams do."""
    session = Session(heartbeat_seconds=8, write_timeout_seconds=10)
    ways = {
        State.OPENED: [],
        State.READING: [Cause.BEGUN],
        State.SILENT: [Cause.BEGUN, Cause.SILENCE],
        State.DRAINING: [Cause.BEGUN, Cause.STOP],
        State.STALLED: [Cause.BEGUN, Cause.STALL],
        State.GONE: [Cause.BEGUN, Cause.HANG_UP],
        State.REFUSED: [Cause.REFUSAL],
        State.FINISHED: [Cause.BEGUN, Cause.END],
        State.CLOSED: [Cause.BEGUN, Cause.CLOSE],
    }
    for cause in ways[state]:
        session.happen(cause, now)
    assert session.state is state
    return session


@pytest.mark.parametrize("cause", Cause, ids=lambda cause: cause.name)
@pytest.mark.parametrize("state", State, ids=lambda state: state.name)
def test_cause_changes_the_state_by_the_table(state, cause):
    """
    Each cause leads from each state to the one in the table, and what is not in the table changes nothing.
    """
    session = session_in(state)
    session.happen(cause, 100.0)
    assert session.state is CHANGES.get((state, cause), state)


@pytest.mark.parametrize("state", State, ids=lambda state: state.name)
def test_only_stalled_and_gone_streams_have_nobody_to_send_to(state):
    """A stream is over when its client was cut off or has hung up."""
    assert session_in(state).is_over == (state in (State.STALLED, State.GONE))


@pytest.mark.parametrize(
    ("state", "has_events", "has_ended", "action"),
    [
        (State.READING, False, False, Action.WAIT),
        (State.READING, True, False, Action.SEND),
        (State.READING, True, True, Action.SEND),
        (State.READING, False, True, Action.END),
        (State.SILENT, False, False, Action.BEAT),
        (State.SILENT, True, False, Action.SEND),
        (State.SILENT, False, True, Action.END),
        (State.DRAINING, False, False, Action.SAY_GOODBYE),
        (State.DRAINING, True, False, Action.SEND),
        (State.DRAINING, True, True, Action.SEND),
        (State.DRAINING, False, True, Action.END),
        (State.STALLED, True, False, Action.END),
        (State.STALLED, True, True, Action.END),
        (State.GONE, True, False, Action.END),
        (State.GONE, False, False, Action.END),
    ],
    ids=str,
)
def test_state_and_source_say_what_is_next(state, has_events, has_ended, action):
    """What is to be done follows from the state and from what the source gave."""
    assert session_in(state).next(has_events, has_ended, 100.0) is action


@pytest.mark.parametrize("has_events", [True, False])
def test_silence_is_over_when_something_was_sent(has_events):
    """One sign of life is enough, and an event is one."""
    session = session_in(State.SILENT)
    session.next(has_events, False, 100.0)
    assert session.state is State.READING
    assert session.next(False, False, 100.0) is Action.WAIT


def test_last_words_have_a_bound():
    """A draining stream sends what is ready for a second, then says goodbye though there is more."""
    session = session_in(State.DRAINING, now=100.0)
    assert session.next(True, False, 100.0 + LAST_WORDS_SECONDS - 0.01) is Action.SEND
    assert session.next(True, False, 100.0 + LAST_WORDS_SECONDS) is Action.SAY_GOODBYE


def test_last_words_are_not_prolonged():
    """Being told to stop once more gives no more time."""
    session = session_in(State.DRAINING, now=100.0)
    session.happen(Cause.STOP, 100.9)
    assert session.next(True, False, 101.1) is Action.SAY_GOODBYE


def test_source_that_has_ended_is_sent_whole():
    """The last event of a source goes out also behind the bound of the last words."""
    session = session_in(State.DRAINING, now=100.0)
    assert session.next(True, True, 200.0) is Action.SEND
    assert session.next(False, True, 200.0) is Action.END


@pytest.mark.parametrize(
    ("after", "margin", "found"),
    [
        (0.0, 1.0, None),
        (6.9, 1.0, None),
        (7.0, 1.0, Cause.SILENCE),
        (7.0, 0.5, None),
        (7.5, 0.5, Cause.SILENCE),
        (80.0, 1.0, Cause.SILENCE),
    ],
)
def test_look_finds_who_is_due_for_a_sign_of_life(after, margin, found):
    """A client that would be silent for too long by the next look gets a sign of life now."""
    session = session_in(State.READING)
    session.silent_since = 100.0
    assert session.look(100.0 + after, margin) is found


@pytest.mark.parametrize(
    ("after", "found"),
    [
        (0.0, None),
        (9.9, None),
        (10.0, Cause.STALL),
        (10.0 + ABANDONED_SECONDS - 0.1, Cause.STALL),
        (10.0 + ABANDONED_SECONDS, Cause.CLOSE),
        (1_000.0, Cause.CLOSE),
    ],
)
def test_look_finds_who_takes_nothing(after, found):
    """A write that waits longer than it may is cut off, and later what the stream holds is taken back."""
    session = session_in(State.READING)
    session.silent_since = session.writing_since = 100.0
    assert session.look(100.0 + after, 1.0) is found


def test_look_leaves_alone_who_takes_bytes_slowly():
    """A write may wait for ever, as long as the client takes some of it each time."""
    session = session_in(State.READING)
    session.writing_since, session.taken_at = 100.0, 180.0
    assert session.look(189.9, 1.0) is None
    assert session.look(190.0, 1.0) is Cause.STALL


def test_handing_over_ends_the_silence():
    """Bytes that the server took count as heard, once it asks for more."""
    session = session_in(State.READING)
    session.silent_since = session.writing_since = 100.0
    session.writing_since = None
    assert session.look(106.9, 1.0) is None
    assert session.look(107.0, 1.0) is Cause.SILENCE


@pytest.mark.parametrize(
    ("state", "is_writing", "outcome", "reason"),
    [
        (State.READING, False, None, "closed"),
        (State.READING, True, None, "gone"),  # the bytes are there because their write failed
        (State.SILENT, False, None, "closed"),
        (State.OPENED, False, None, "closed"),
        (State.OPENED, True, None, "gone"),
        (State.READING, False, "finished", "finished"),
        (State.READING, True, "failed", "failed"),
        (State.DRAINING, False, None, "draining"),
        (State.DRAINING, True, None, "draining"),
        (State.DRAINING, False, "finished", "finished"),
        (State.DRAINING, True, "failed", "failed"),
        (State.STALLED, True, None, "stalled"),
        (State.STALLED, False, "finished", "stalled"),
        (State.GONE, False, None, "gone"),
        (State.GONE, True, "failed", "gone"),
    ],
    ids=str,
)
def test_close_says_why_the_stream_ended(state, is_writing, outcome, reason):
    """
    What came first is the reason: a client that left heard no end, and a source's own end says how it was.
    """
    session = session_in(state)
    session.writing_since = 100.0 if is_writing else None
    assert session.close(outcome) == reason


REASONS = {"closed", "gone", "stalled", "draining", "finished", "failed", "refused"}


@given(
    events=st.lists(
        st.one_of(
            st.sampled_from(list(Cause)),
            st.sampled_from(["next", "handed over", "asked"]),
            st.tuples(st.just("look"), st.floats(0, 5)),
        ),
        max_size=40,
    ),
    source=st.lists(st.tuples(st.booleans(), st.booleans()), max_size=10),
    outcome=st.sampled_from([None, "finished", "failed"]),
)
def test_stream_whose_client_is_lost_never_sends_again(events, source, outcome):
    """
    Whatever happens in whatever order: behind STALLED and GONE nothing is sent, a stream that was told to
    stop ends, and closing gives one reason, the same when it is asked for again.
    """
    session, now, given_ = Session(8, 10), 100.0, list(source)
    for event in events:
        now += 0.1
        was_over = session.is_over
        if isinstance(event, Cause):
            session.happen(event, now)
        elif event == "next":
            action = session.next(*(given_.pop() if given_ else (False, False)), now)
            assert not was_over or action is Action.END
        elif event == "handed over":
            session.silent_since = session.writing_since = now
        elif event == "asked":
            session.writing_since = None
        else:
            assert session.look(now, event[1]) in (None, Cause.SILENCE, Cause.STALL, Cause.CLOSE)
        assert not was_over or session.is_over
    session.happen(Cause.STOP, now)
    now += LAST_WORDS_SECONDS
    if session.state in (State.DRAINING, State.STALLED, State.GONE):
        assert session.next(True, False, now) in (Action.END, Action.SAY_GOODBYE)
        assert session.next(False, True, now) is Action.END
    reason = session.close(outcome)
    assert reason in REASONS
    assert session.close(outcome) == reason
