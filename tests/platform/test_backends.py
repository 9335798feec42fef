"""Waiting and running beside, in threads and in greenlets: both keep the same promises."""

import socket
import threading
import time

import pytest

from flask_sse_push.platform.backends import current_backend
from flask_sse_push.platform.threads import THREADS
from tests.needs import needs
from tests.platform.scripts import run_script
from tests.support import MS, eventually

# What each backend must do, run where ``backend`` is current and ``native`` starts a thread of the system's.
PROMISES = """
def beside(run):
    done = []
    backend.spawn(lambda: done.append(run()), "flask_sse_push.test")
    end = time.monotonic() + 30
    while not done and time.monotonic() < end:
        backend.wakeup().wait(0.005)
    return done[0]

# Woken before it waits, however often, it does not wait, once.
wakeup = backend.wakeup()
wakeup.wake()
wakeup.wake()
assert wakeup.wait(30)
assert not wakeup.is_pending

# Nobody wakes it: it waits as long as it was told.
began = time.monotonic()
assert not wakeup.wait(0.02)
assert time.monotonic() - began >= 0.015

# Woken by a thread of the system's while it waits; and it wakes from a wait that nothing else ends.
native(lambda: (sleep(0.02), wakeup.wake()))
assert wakeup.wait(30)
native(lambda: (sleep(0.02), wakeup.wake()))
assert wakeup.wait()

# Woken by another one of its kind, which sees that it has not come to run yet.
def wake():
    for _ in range(1000):
        backend.give_way()
        if waits:
            break
    wakeup.wake()
waits = []
backend.spawn(wake, "flask_sse_push.test")
waits.append(1)
assert wakeup.wait(30)

# A file that becomes readable ends the wait for it; and none lasts longer than it was told.
ours, theirs = socket.socketpair()
began = time.monotonic()
backend.wait_readable((ours.fileno(),), 0.02)
assert time.monotonic() - began >= 0.015
native(lambda: (sleep(0.02), theirs.send(b"x")))
backend.wait_readable((ours.fileno(),), 30)
assert ours.recv(1) == b"x"

# So does each of several.
others = socket.socketpair()
for pair in [(theirs, ours), others]:
    native(lambda: (sleep(0.02), pair[0].send(b"x")))
    backend.wait_readable((ours.fileno(), others[1].fileno()), 30)
    assert pair[1].recv(1) == b"x"
for sock in others:
    sock.close()
ours.close()
theirs.close()

# Items come one after the other, and others come to run in between.
ran = []
backend.spawn(lambda: ran.append(1), "flask_sse_push.test")
def slow():
    for item in backend.in_turns(range(400)):
        until = time.perf_counter() + 0.0002
        while time.perf_counter() < until:
            pass
        yield item, bool(ran)
seen = list(slow())
assert [item for item, _ in seen] == list(range(400))
assert seen[-1][1]
assert list(backend.in_turns([1, 2])) == [1, 2]

assert beside(lambda: current_backend() is backend)
assert backend.give_way()
print("fine")
"""

THREADS_SCRIPT = """
import socket, threading, time
from time import sleep
from flask_sse_push.platform.backends import current_backend

def native(run):
    threading.Thread(target=run, daemon=True).start()

backend = current_backend()
assert backend.is_preemptive
"""

GREENLETS_SCRIPT = """
import gevent, socket, time
from gevent.monkey import get_original
from flask_sse_push.platform.backends import current_backend

sleep, start = get_original("time", "sleep"), get_original("_thread", "start_new_thread")
gevent.spawn(gevent.sleep, 60)  # a loop without anything to wait for ends

def native(run):
    start(run, ())

def main():
    backend = current_backend()
    assert not backend.is_preemptive
    {promises}

gevent.spawn(main).get()
"""


def test_threads_keep_the_promises_of_a_backend():
    """Waking, waiting with an end, running beside, taking turns."""
    run_script(THREADS_SCRIPT + PROMISES)


@pytest.mark.parametrize("patched", [False, True])
def test_greenlets_keep_the_promises_of_a_backend(patched):
    """The same, where gevent has patched the standard library and where it has not."""
    needs(modules=["gevent"])
    patch = "from gevent import monkey; monkey.patch_all()\n" if patched else ""
    run_script(patch + GREENLETS_SCRIPT.replace("{promises}", PROMISES.replace("\n", "\n    ")))


def test_native_thread_is_no_greenlet():
    """Beside a loop of greenlets, code in a thread of the system's waits as threads do."""
    needs(modules=["gevent"])
    run_script(
        """
import gevent
from gevent.monkey import get_original
from flask_sse_push.platform.backends import current_backend
from flask_sse_push.platform.threads import THREADS

seen = []
get_original("_thread", "start_new_thread")(lambda: seen.append(current_backend()), ())
while not seen:
    gevent.sleep(0.001)
assert seen == [THREADS] and current_backend() is THREADS
print("fine")
"""
    )


def test_wakeup_of_a_thread_can_be_waited_for_by_another_thread():
    """A wakeup that nobody waits for is not pending."""
    wakeup = THREADS.wakeup()
    assert current_backend() is THREADS
    thread = threading.Thread(target=wakeup.wait)
    thread.start()
    eventually(lambda: not wakeup.is_pending)
    wakeup.wake()
    thread.join()
    assert not wakeup.is_pending


def test_wait_for_a_file_above_the_limit_of_select():
    """A process with thousands of streams has files of any number."""
    resource = pytest.importorskip("resource")
    if resource.getrlimit(resource.RLIMIT_NOFILE)[0] < 2_000:
        pytest.skip("needs 2,000 files")
    import fcntl

    ours, theirs = socket.socketpair()
    with ours, theirs, socket.socket(fileno=fcntl.fcntl(ours, fcntl.F_DUPFD_CLOEXEC, 1_500)) as high:
        theirs.send(b"x")
        began = time.monotonic()
        THREADS.wait_readable((high.fileno(),), 30)
        assert time.monotonic() - began < 3000 * MS
