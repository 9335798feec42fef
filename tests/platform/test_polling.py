"""The kernel's own poll, also where a library has taken it away."""

import os

import pytest

from flask_sse_push.platform import polling
from tests.needs import needs
from tests.platform.scripts import run_script

LOOK = """
import os, resource, select, sys, time, warnings
if "{library}" == "gevent":
    from gevent import monkey
    monkey.patch_all()
elif "{library}" == "eventlet":
    warnings.simplefilter("ignore")
    import eventlet
    eventlet.monkey_patch()
    assert not hasattr(select, "poll")
    warnings.simplefilter("error")
from flask_sse_push.platform.polling import HANG_UP, READABLE, is_ready, kernel, wait_readable

resource.setrlimit(resource.RLIMIT_NOFILE, (1100, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
reading, writing = os.pipe()
os.dup2(reading, 1050)  # no select() takes it
os.dup2(writing, 1051)
for number in (reading, 1050):
    assert not is_ready(number, READABLE)
assert not is_ready(1051, HANG_UP)
begun = time.monotonic()
wait_readable((1050,), 0.05)
assert time.monotonic() - begun >= 0.04
os.write(writing, b"x")
for number in (reading, 1050):
    assert is_ready(number, READABLE)
wait_readable((1050,), 60)
reading, writing = os.pipe()
assert not is_ready(writing, HANG_UP)
os.close(reading)
while not is_ready(writing, HANG_UP):
    time.sleep(0.001)  # gevent closes files by its loop
kernel("epoll")().close()
assert kernel("no such function") is None
print("fine")
"""


@pytest.mark.parametrize("library", ["nothing", "gevent", "eventlet"])
def test_file_of_any_number_is_looked_at(library):
    """Readable files and hang-ups are seen without a wait, whatever has patched select; epoll is there."""
    if library != "nothing":
        needs(modules=[library])
    run_script(LOOK.replace("{library}", library))


def test_wait_under_eventlet_lets_others_run():
    """A wait for a file holds up no other greenlet of eventlet's loop."""
    needs(modules=["eventlet"])
    run_script(
        """
import os, warnings
warnings.simplefilter("ignore")
import eventlet
eventlet.monkey_patch()
from flask_sse_push.platform.polling import wait_readable

reading, writing = os.pipe()
eventlet.spawn_after(0.01, os.write, writing, b"x")
wait_readable((reading,), 60)
print("fine")
"""
    )


def test_without_poll_select_looks(monkeypatch):
    """Where the system has no poll, as on Windows, select() does what it can: it knows no hang-ups."""
    monkeypatch.delattr(polling.select, "poll")
    reading, writing = os.pipe()
    try:
        assert not polling.is_ready(reading, polling.READABLE)
        os.write(writing, b"x")
        assert polling.is_ready(reading, polling.READABLE)
        assert not polling.is_ready(writing, polling.HANG_UP)
    finally:
        os.close(reading)
        os.close(writing)
