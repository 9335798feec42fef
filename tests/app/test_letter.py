"""Clients that follow the standard by the letter keep their place through whatever we send."""

import contextlib
import time

import pytest

from flask_sse_push import Event, SSEPush
from flask_sse_push.bus.sqlite import SqliteBus
from flask_sse_push.core.wire import come_back
from flask_sse_push.testing import open_stream
from tests.letter import LetterClient

from .helpers import first_bytes, make_app


@pytest.fixture
def sse():
    return SSEPush()


def connect(letter, client, path="/events", chunks=1):
    """Connect, and read so many chunks before the connection is cut."""
    with client.get(path, headers=dict(line.split(": ") for line in letter.headers())) as response:
        assert response.status_code == 200
        letter.connect()
        for _ in range(chunks):
            letter.feed(first_bytes(response))


def test_letter_client_forgets_its_id_at_a_blank_line():
    """
    The client of these tests is as strict as it has to be: a blank line on a connection without an id empties
    it, one behind an id does not.
    """
    letter = LetterClient()
    letter.connect(b"id: 7\n\n:\n\nretry: 5\n\n")
    assert letter.last_event_id == "7"
    letter.connect(b"retry: 5\n:\n")
    assert letter.last_event_id == "7"
    letter.connect(b"retry: 5\n\n")
    assert letter.last_event_id == ""


@pytest.mark.parametrize("reason", ["This server is stopping. Come back.", "é"])
def test_soft_refusal_takes_no_id(reason):
    """A client that is asked to come later keeps its id and the time; the reason is a comment."""
    letter = LetterClient()
    letter.connect(b"id: 7\n\n")
    letter.connect(come_back(reason, 1000))
    assert (letter.last_event_id, letter.events, letter.retry) == ("7", [], 1000)
    assert come_back(reason, 1000).decode().startswith(f": {reason}\n")


def test_client_refused_by_a_full_server_resumes(sse):
    """Who comes back to a full server, and then again, gets what it missed."""
    client = make_app(blueprint=sse, max_streams=1).test_client()
    letter = LetterClient()
    connect(letter, client)
    missed = sse.publish("missed")
    with open_stream(client, "/events"):
        connect(letter, client)
    connect(letter, client)
    assert letter.events == [("message", "missed", missed)]


def test_client_cut_behind_a_reset_resumes_before_what_follows(sse):
    """
    A client that is told of a gap and cut off in the middle of what is left gets the rest, and not only what
    is new.
    """
    client = make_app(blueprint=sse, history_length=2).test_client()
    letter = LetterClient()
    connect(letter, client)
    ids = [sse.publish(f"{number}") for number in range(4)]
    with client.get("/events", headers={"Last-Event-ID": letter.last_event_id}) as response:
        first, _, _ = first_bytes(response).partition(b"data: 2")  # the event behind the reset never came
    letter.connect(first)
    assert [type for type, _, _ in letter.events] == ["sse.reset"]
    connect(letter, client)
    assert letter.events[-2:] == [("message", "2", ids[2]), ("message", "3", ids[3])]


@pytest.mark.parametrize("last_event_id", ["0badcafe-7", "7", "end", "one of another server"])
def test_client_of_a_bus_that_is_away_keeps_its_id(tmp_path, last_event_id):
    """
    Whatever id it came with, it still has it when it is cut off before the bus is back: with none it would be
    new, and no gap be told.
    """
    made = contextlib.ExitStack()
    app = make_app(
        bus_url=lambda options: made.enter_context(
            contextlib.closing(SqliteBus(str(tmp_path / "away" / "events.db"), options))
        ),
        heartbeat_seconds=0.1,
        publish_timeout_seconds=0.1,
    )
    letter = LetterClient()
    letter.last_event_id = last_event_id
    with made:
        connect(letter, app.test_client(), chunks=3)
    assert (letter.last_event_id, letter.events) == (last_event_id, [])
    assert letter.retry is not None


@pytest.mark.parametrize("pause", [0, 0.3])
def test_response_keeps_the_id_until_an_item_has_one(sse, pause):
    """
    A view that reads Last-Event-ID finds it again when its client was cut off before the first item with an
    id, also after heartbeats.
    """
    app = make_app(blueprint=sse, heartbeat_seconds=0.1)

    @app.get("/answer")
    def answer():
        def items():
            time.sleep(pause)
            yield "no id"
            time.sleep(pause)
            yield Event("one", id="step-2")

        return sse.response(items())

    letter = LetterClient()
    letter.last_event_id = "step-1"
    seen = []
    with app.test_client().get("/answer", headers={"Last-Event-ID": "step-1"}) as response:
        letter.connect()
        for chunk in response.response:
            letter.feed(chunk)
            seen.append(letter.last_event_id)
    assert [id for _, _, id in letter.events] == ["step-1", "step-2", "end"]
    assert "" not in seen


@pytest.mark.parametrize("last_event_id", [None, "", "not an id", "x" * 65, "é", "a: b"])
def test_response_repeats_no_id_that_is_none_of_ours(sse, last_event_id):
    """What no event of ours can have had is not repeated, and the stream is whole."""
    app = make_app(blueprint=sse)
    app.add_url_rule("/answer", view_func=lambda: sse.response(["a"]))
    headers = {} if last_event_id is None else {"Last-Event-ID": last_event_id}
    letter = LetterClient()
    with app.test_client().get("/answer", headers=headers) as response:
        letter.connect(b"".join(response.response))
    assert letter.events == [("message", "a", ""), ("done", "null", "end")]
