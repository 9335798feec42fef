"""What a forked child inherits."""

import threading

import pytest

from flask_sse_push.platform import fork
from flask_sse_push.platform.fork import Children, PerProcess
from tests.needs import needs
from tests.platform.scripts import run_script


def test_value_is_made_once_and_anew_in_a_child():
    """Each process has a value of its own, made on its first use; forget() makes another."""
    run_script(
        """
import os
from flask_sse_push.platform.fork import PerProcess, forks

value = PerProcess(list)
assert value.get() is value.get()
value.get().append("parent's")
number = forks()
child = os.fork()
if child == 0:
    os._exit(0 if value.get() == [] and forks() != number else 1)
assert os.waitpid(child, 0)[1] == 0
assert value.get() == ["parent's"] and forks() == number
value.forget()
assert value.get() == []
print("fine")
"""
    )


def test_file_is_kept_from_children():
    """A child reads nothing from it and cannot close the connection; a file that was closed is no harm."""
    run_script(
        """
import os, socket
from flask_sse_push.platform.fork import keep_from_children

ours, theirs = socket.socketpair()
closed = socket.socket()
for sock in (ours, closed):
    keep_from_children(sock)
closed.close()
theirs.send(b"for the parent")
child = os.fork()
if child == 0:
    theirs.close()
    ours.setblocking(False)
    try:
        ours.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
    try:
        read = os.read(ours.fileno(), 100)
    except BlockingIOError:
        os._exit(0)
    os._exit(1 if read else 2)
assert os.waitpid(child, 0)[1] == 0
assert ours.recv(100) == b"for the parent"
theirs.send(b"more")
assert ours.recv(100) == b"more"
print("fine")
"""
    )


@pytest.mark.parametrize("patched", [False, True])
def test_what_spawn_started_goes_on_in_no_child(patched):
    """
    Its copy comes back from no wait, by a timer, a file or another greenlet, is not ended by the collector,
    and does not keep the child from ending.
    """
    needs(modules=["gevent"])
    patch = "from gevent import monkey; monkey.patch_all()\n" if patched else ""
    run_script(
        patch
        + """
import gc, gevent, os, socket, sys
from gevent.socket import wait_read
from flask_sse_push.platform.backends import current_backend
from flask_sse_push.platform.threads import THREADS

ours, theirs = socket.socketpair()
parent = os.getpid()
came_back, interrupts = [], []

def waiting(wait):
    def run():
        try:
            while True:
                wait()
                came_back.append(os.getpid())
        finally:
            came_back.append(os.getpid())
    return run

def main():
    backend = current_backend()
    wakeup = backend.wakeup()
    waits = [
        lambda: gevent.sleep(0.01),
        lambda: wait_read(ours.fileno(), timeout=0.3),
        lambda: backend.wakeup().wait(),
        lambda: wakeup.wait(0.01),
        lambda: gevent.get_hub().join(timeout=0) or gevent.sleep(0.01),
    ]
    for wait in waits[:4]:
        interrupts.append(backend.spawn(waiting(wait), "flask_sse_push.test"))
    if """
        + str(patched)
        + """:
        THREADS.spawn(waiting(waits[0]), "flask_sse_push.test")
    gevent.sleep(0.05)
    assert came_back
    child = os.fork()
    if child == 0:
        came_back.clear()
        theirs.send(b"x")
        for interrupt in interrupts:
            interrupt()
        gevent.sleep(0.4)
        gc.collect()
        if came_back:
            os.write(2, repr(came_back).encode())
        os._exit(1 if came_back else 0)
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            break
        gevent.sleep(0.01)
    assert status == 0, status
    came_back.clear()
    gevent.sleep(0.05)
    assert came_back and set(came_back) == {parent}

gevent.spawn(main).get()
print("fine", flush=True)
os._exit(0)
"""
    )


def test_child_that_ends_by_itself_runs_nothing_of_its_parent():
    """Also where the interpreter of the child is taken down in the ordinary way."""
    needs(modules=["gevent"])
    run_script(
        """
import gevent, os, sys
from flask_sse_push.platform.backends import current_backend

def run():
    try:
        gevent.sleep(30)
    finally:
        os.write(1, b"came back")

def main():
    current_backend().spawn(run, "flask_sse_push.test")
    gevent.sleep(0.01)

gevent.spawn(main).get()
child = os.fork()
if child == 0:
    sys.exit(0)
while os.waitpid(child, os.WNOHANG) == (0, 0):
    gevent.sleep(0.01)
print("fine", flush=True)
os._exit(0)
"""
    )


def test_hooks_of_a_fork_run_while_threads_make_apps():
    """An app or a value that another thread makes meanwhile does not break a fork."""
    stop, kept = threading.Event(), []

    def make():
        while not stop.is_set():
            kept.append((Children(), PerProcess(list)))
            if len(kept) > 100:
                kept.clear()

    threads = [threading.Thread(target=make) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(300):
            fork._before_fork()
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_what_is_dropped_is_closed():
    """It is closed with its owner: at once, and in a cycle before anything there warns of its file."""
    run_script(
        """
import functools, gc, socket
from flask_sse_push.platform.fork import close_with

class Owner:
    def __init__(self, log):
        self.sock = socket.socket()
        close_with(self, functools.partial(close, self.sock, log))

def close(sock, log):
    sock.close()
    log.append("closed")

log = []
owner = Owner(log)
del owner
assert log == ["closed"]
for _ in range(50):  # the collector comes to the parts of a cycle in any order
    owner = Owner(log)
    owner.itself = [owner, owner.sock]
    del owner
gc.collect()
assert log == ["closed"] * 51
print("fine")
"""
    )


def test_process_closes_at_its_end_what_it_opened():
    """What still has an owner at the end of a process is closed then, and not at the end of its children."""
    run_script(
        """
import functools, os, sys
from flask_sse_push.platform.fork import close_with

class Owner: pass

reading, writing = os.pipe()
os.set_blocking(reading, False)
process = os.fork()
if process == 0:
    owner = Owner()
    close_with(owner, functools.partial(os.write, writing, b"closed"))
    child = os.fork()
    if child == 0:
        sys.exit()
    assert os.waitpid(child, 0)[1] == 0
    try:
        os._exit(len(os.read(reading, 100)))
    except BlockingIOError:
        sys.exit()
assert os.waitpid(process, 0)[1] == 0
assert os.read(reading, 100) == b"closed"
print("fine")
"""
    )
