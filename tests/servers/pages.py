"""
Pages whose data changes a thousand times a second: the app of the tests of cursors and of channels that end.

The data is a number in a file. Writers and pages have it to themselves, one at a time, in all processes.
"""

import fcntl
import os
import threading
import time
from contextlib import contextmanager

from flask import Flask

from flask_sse_push import ChannelClosed, publish, sse

WRITES_PER_SECOND = 1_000
MOST_AT_ONCE = 10  # where the writer had to wait for pages

app = Flask(__name__)
app.config["SSE_PUSH_PUBLIC_CHANNELS"] = ["*"]
app.config.from_prefixed_env("TEST_APP")
app.register_blueprint(sse, url_prefix="/events")


@contextmanager
def alone():
    """Have the file to oneself, and let other greenlets run while another one has it."""
    with open(os.environ["TEST_DATA"], "r+") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(0.0002)
        yield file


def write(times):
    """Change the data, and tell of it: no page sees the one without the other."""
    with alone() as file:
        before = int(file.read())
        for number in range(before + 1, before + times + 1):
            file.seek(0)
            file.write(str(number))
            file.flush()
            publish(number, channel="numbers")


def write_on():
    """Write so often, until the test has seen enough and makes a file that says so."""
    began, written = time.monotonic(), 0
    while not os.path.exists(os.environ["TEST_DATA"] + ".enough"):
        due = int((time.monotonic() - began) * WRITES_PER_SECOND) - written
        if due > 0:
            write(min(due, MOST_AT_ONCE))
            written += min(due, MOST_AT_ONCE)
        time.sleep(0.001)


@app.get("/ping")
def ping():
    return {"pid": os.getpid()}


@app.post("/writer")
def start_writer():
    threading.Thread(target=write_on, daemon=True).start()
    return {}


@app.get("/page")
def page():
    with alone() as file:
        return {"cursor": sse.cursor("numbers"), "number": int(file.read())}


@app.post("/runs/<name>")
def run(name):
    """A job that is over before anybody can listen."""
    for number in range(300):
        publish(number, channel=name)
    return {"mark": publish("done", channel=name, close=True), "pid": os.getpid()}


@app.post("/late/<name>")
def late(name):
    try:
        publish("late", channel=name)
    except ChannelClosed as error:
        return {"pid": os.getpid(), "refused": str(error)}
    return {"pid": os.getpid(), "refused": None}


@app.post("/close/<name>")
def close(name):
    return {"mark": sse.close(name), "pid": os.getpid()}
