"""Code that comes in between: finalizers, signal handlers, hooks that wrap the body."""

import gzip
import signal
import subprocess
import sys

import pytest

from flask_sse_push.core import positions
from flask_sse_push.testing import open_stream
from tests.support import FACTOR, alarms, eventually

main_thread_only = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs signals by timer")


def run_script(script):
    """Run Python code in a process of its own; it prints "fine" at its end."""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=20 * FACTOR, check=False
    )
    assert done.stdout == "fine\n", done.stderr


@main_thread_only
def test_signal_handler_can_publish(app, sse, client):
    """
    A signal handler publishes in the middle of publishing: nothing hangs, every number is given once, and a
    stream has them in order.
    """
    numbers = []

    def handle(*_):
        numbers.append(positions.parse(sse.publish("tick", channel="news")).sequence)
        if len(numbers) < 100:
            signal.setitimer(signal.ITIMER_REAL, 0.0002)

    with alarms(handle), app.app_context(), open_stream(client, "/events?channel=news") as stream:
        signal.setitimer(signal.ITIMER_REAL, 0.0002)
        while len(numbers) < 100:
            numbers.append(positions.parse(sse.publish("x", channel="news")).sequence)
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_IGN)
        count = len(numbers)
        seen = stream.read(count)
    assert sorted(numbers) == list(range(1, count + 1))
    assert [positions.parse(event.last_event_id).sequence for event in seen] == list(range(1, count + 1))


@main_thread_only
def test_publish_goes_on_after_an_interruption():
    """An exception that a signal handler raises within publish leaves a bus that works."""
    # In a process of its own: here the exception could also come out of a callback that hypothesis has given
    # to the collector.
    run_script(
        """
import signal
from flask import Flask
from flask_sse_push import publish, sse

class Interrupted(Exception):
    pass

def handle(*_):
    raise Interrupted

app = Flask("interrupted")
app.register_blueprint(sse)
signal.signal(signal.SIGALRM, handle)
for attempt in range(300):
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.00002 + attempt * 0.000001)
        for _ in range(40):
            publish("x")
        signal.setitimer(signal.ITIMER_REAL, 0)
    except Interrupted:
        pass
signal.signal(signal.SIGALRM, signal.SIG_IGN)
first = int(publish("again").rpartition("-")[2])
assert int(publish("again").rpartition("-")[2]) == first + 1
assert sse.stats()["last_event_id"].endswith(f"-{first + 1}")
print("fine")
"""
    )


def test_finalizer_can_publish(app, sse):
    """The collector runs a finalizer that publishes, wherever it finds the time: nothing hangs."""

    class Cycle:
        def __init__(self):
            self.me = self

        def __del__(self):
            with app.app_context():
                sse.publish("gone")

    with app.app_context():
        for number in range(3_000):
            Cycle()
            sse.publish(number)
        eventually(lambda: sse.stats()["published"] > 3_000)


def test_hook_that_wraps_the_body_is_honoured(app, sse, client):
    """
    What an after_request hook makes of the body is what is sent, and the stream within is closed all the
    same.
    """

    @app.after_request
    def compress(response):
        if response.mimetype == "text/event-stream":
            response.response = (gzip.compress(chunk) for chunk in response.response)
            response.headers["Content-Encoding"] = "gzip"
        return response

    with client.get("/events") as response:
        assert gzip.decompress(next(iter(response.response))).startswith(b"retry: ")
        with app.app_context():
            assert sse.stats()["streams"] == 1
    with app.app_context():
        assert sse.stats()["streams"] == 0


def test_hook_cannot_replace_the_body_of_a_stream(app, client):
    """
    A hook that sets the data of an endless body is told so: its length would be announced for what never
    ends.
    """
    app.testing = True
    app.after_request(lambda response: response.set_data("x") or response)
    with pytest.raises(RuntimeError, match="cannot be replaced"):
        client.get("/events")


@main_thread_only
def test_signal_handler_can_ask_for_statistics():
    """A handler that counts, in the middle of publishing, of listening and of counting, hangs nowhere."""
    run_script("""
import faulthandler, signal
from flask import Flask
from flask_sse_push import publish, sse
from flask_sse_push.testing import open_stream
app = Flask("shop")
app.register_blueprint(sse)
client = app.test_client()
faulthandler.dump_traceback_later(15, exit=True)
seen = []
def handle(*_):
    seen.append(sse.stats()["published"])
signal.signal(signal.SIGALRM, handle)
signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.00031)
for _ in range(60):
    with open_stream(client, "/events") as stream:
        for _ in range(50):
            publish("x")
        stream.read(50)
        sse.stats()
signal.setitimer(signal.ITIMER_REAL, 0)
assert seen == sorted(seen) and seen[-1] > 0
print("fine")
""")


def test_position_is_not_told_before_the_reset(app, client):
    """A client cut off in the first bytes of a reset has no new position, so the next try tells it again."""
    with open_stream(client, "/events", headers={"Last-Event-ID": "feedbeef-7"}) as stream:
        first = next(iter(stream.response.response))
    before, found, _ = first.partition(b"event: sse.reset")
    assert found
    assert b"\n\n" not in before


@pytest.mark.parametrize("iterable", [7, None, "abc", b"abc"], ids=repr)
def test_response_refuses_what_gives_no_items(app, sse, iterable):
    """What is no iterable, or one of letters, is an error in the view and not in the stream."""
    with app.test_request_context(), pytest.raises(TypeError, match="one item after the other"):
        sse.response(iterable)


def test_stream_without_files_left_holds_no_place():
    """
    Where no file is left for the hang-up watch, the stream opens all the same, and its place is given back.
    """
    script = """
import os, resource
from flask import Flask
from flask_sse_push import sse
from flask_sse_push.streams.registry import process_registry
from flask_sse_push.testing import open_stream
app = Flask("full")
app.register_blueprint(sse)
client = app.test_client()
client.get("/nothing")  # imports what a request needs
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) - 1, hard))
with open_stream(client, "/events") as stream:
    assert stream.response.status_code == 200
    assert len(process_registry.get()) == 1
assert len(process_registry.get()) == 0
print("fine")
"""
    run_script(script)
