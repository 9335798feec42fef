"""The one lock: threads, greenlets, finalizers and signal handlers meet in its sections."""

import sys
import threading

import pytest

from flask_sse_push.platform.locks import Busy, ReentrantLock
from tests.needs import needs
from tests.platform.scripts import run_script
from tests.support import MS, eventually


@pytest.fixture
def lock():
    return ReentrantLock()


def leave_open(lock):
    """End a section as Python 3.14 may do it: an exception comes right behind ``__enter__``."""
    lock.__enter__()
    raise InterruptedError


def can_be_taken(lock):
    """Whether another thread gets in at once."""
    taken = []

    def work():
        try:
            taken.append(lock.run(lambda: True, seconds=0.0))
        except Busy:
            taken.append(False)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    return taken[0]


@pytest.mark.parametrize("way", ["with", "run", "post"])
def test_sections_of_threads_exclude_each_other(lock, way):
    """However they are begun, two sections never run at the same time, and each runs once."""
    count, inside = 0, []

    def work():
        nonlocal count
        assert not inside
        inside.append(1)
        before = count
        for _ in range(20):
            pass
        count = before + 1
        inside.pop()

    def use():
        for _ in range(500):
            if way == "with":
                with lock:
                    work()
            elif way == "run":
                lock.run(work)
            else:
                lock.post(work)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=use) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert count == 2_000
    assert not lock.is_busy


def test_section_entered_from_within_itself_is_an_error(lock):
    """``with`` inside of ``with`` raises, in place of waiting for itself for ever; the lock works on."""

    def enter():
        with lock:
            pass

    with lock:
        with pytest.raises(RuntimeError, match="within itself"):
            enter()
        assert not can_be_taken(lock)
    assert can_be_taken(lock)


def test_section_run_from_within_itself_is_refused(lock):
    """The refusal says that it is the caller's own stack: there waiting cannot help."""
    with lock, pytest.raises(Busy) as refused:
        lock.run(list)
    assert refused.value.is_own
    assert can_be_taken(lock)


def test_work_posted_from_within_runs_at_the_end_of_the_section(lock):
    """As a finalizer does it, in each kind of section."""
    seen = []
    with lock:
        lock.post(lambda: seen.append("with"))
        assert seen == []
    lock.run(lambda: (lock.post(lambda: seen.append("run")), seen.append("first")))
    lock.post(lambda: (lock.post(lambda: seen.append("post")), seen.append("second")))
    assert seen == ["with", "first", "run", "second", "post"]


def test_posting_waits_for_no_thread(lock):
    """What is posted while another thread's section runs is done by that thread."""
    entered, leave, seen = threading.Event(), threading.Event(), []

    def hold():
        with lock:
            entered.set()
            leave.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    entered.wait()
    lock.post(lambda: seen.append(threading.current_thread()))
    assert seen == []
    leave.set()
    thread.join()
    assert seen == [thread]


def test_running_waits_for_another_thread_as_long_as_it_is_told(lock):
    """Then it is refused, and not as if the section were the caller's own."""
    entered, leave = threading.Event(), threading.Event()

    def hold():
        with lock:
            entered.set()
            leave.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    entered.wait()
    with pytest.raises(Busy) as refused:
        lock.run(list, seconds=10 * MS)
    assert not refused.value.is_own
    leave.set()
    assert lock.run(lambda: "done", seconds=5000 * MS) == "done"
    thread.join()


@pytest.mark.parametrize("way", ["with", "run", "post"])
def test_section_left_open_is_taken_over_by_the_next(lock, way):
    """
    Where an exception came between the taking of the lock and the section, the next caller of the thread goes
    on, and other threads get in after that.
    """
    with pytest.raises(InterruptedError):
        leave_open(lock)
    assert lock.is_busy
    assert not can_be_taken(lock)
    seen = []
    if way == "with":
        with lock:
            seen.append(1)
    elif way == "run":
        lock.run(lambda: seen.append(1))
    else:
        lock.post(lambda: seen.append(1))
    assert seen == [1]
    assert can_be_taken(lock)


def test_function_that_caught_its_interruption_may_enter_again(lock):
    """A frame whose own section was left open takes over from itself."""
    try:
        lock.__enter__()
        raise InterruptedError
    except InterruptedError:
        with lock:
            pass
    assert can_be_taken(lock)


def test_thread_waits_for_a_section_left_open_until_the_lock_is_used_again(lock):
    """No longer than that."""
    with pytest.raises(InterruptedError):
        leave_open(lock)
    seen = []
    thread = threading.Thread(target=lambda: lock.run(lambda: seen.append(1)))
    thread.start()
    with lock:
        pass
    eventually(lambda: seen)
    thread.join()


def test_signal_handler_that_raises_anywhere_breaks_nothing():
    """
    Thousands of exceptions at any place: the next caller goes on, what was posted is done once and in order,
    and in the end another thread gets in.
    """
    run_script(
        """
import gc, signal, threading
from flask_sse_push.platform.locks import ReentrantLock

class Interrupted(Exception):
    pass

def interrupt(*_):
    raise Interrupted

gc.disable()  # an exception in a callback of the collector would come out nowhere
signal.signal(signal.SIGALRM, interrupt)
lock, begun, done, hits, number = ReentrantLock(), [], [], 0, 0

def work(number):
    begun.append(number)
    for _ in range(10):
        pass
    done.append(number)

while hits < 800:
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.00001 + number % 200 * 0.0000005)
        for _ in range(20):
            with lock:
                number += 1
            assert lock.run(lambda: number) == number
            lock.post(lambda number=number: work(number))
        signal.setitimer(signal.ITIMER_REAL, 0)
    except Interrupted:
        hits += 1
signal.signal(signal.SIGALRM, signal.SIG_IGN)
with lock:
    pass
assert len(begun) == len(set(begun))  # nothing is done twice
assert done == sorted(done)  # in order
assert 0 < len(begun) - len(done) <= hits  # and ended early only where it was interrupted
thread = threading.Thread(target=lock.run, args=(list,), daemon=True)
thread.start()
thread.join(5)
assert not thread.is_alive()
print("fine")
"""
    )


def test_signal_handler_may_post_anywhere():
    """Nothing that a handler posts is lost or done twice, wherever it comes in between."""
    run_script(
        """
import signal
from flask_sse_push.platform.locks import ReentrantLock

lock, done, count = ReentrantLock(), [], 0

def post(*_):
    global count
    lock.post(lambda number=count: done.append(number))
    count += 1
    if count < 500:
        signal.setitimer(signal.ITIMER_REAL, 0.00003 + count % 50 * 0.000001)

signal.signal(signal.SIGALRM, post)
signal.setitimer(signal.ITIMER_REAL, 0.001)
while count < 500:
    with lock:
        pass
    lock.run(list)
    lock.post(list)
assert done == list(range(500)), (len(done), done[:10])
print("fine")
"""
    )


def test_greenlets_meet_in_a_section():
    """
    A finalizer that switches greenlets in the middle of a section: another greenlet waits for its end, leaves
    its work to it, or is refused; a callback of the loop, which cannot wait, is refused.
    """
    needs(modules=["gevent"])
    run_script(
        """
import gevent
from flask_sse_push.platform.locks import Busy, ReentrantLock

lock, seen = ReentrantLock(), []

class Connection:
    def __del__(self):
        gevent.sleep(0.05)

def switch():
    Connection()

def hold():
    with lock:
        switch()
        seen.append("held")

def enter():
    with lock:
        seen.append("entered")

def run():
    try:
        lock.run(list)
    except Busy as busy:
        seen.append(busy.is_own)

def call_back():
    try:
        enter()
    except RuntimeError:
        seen.append("refused")

def main():
    holder = gevent.spawn(hold)
    others = [gevent.spawn(enter), gevent.spawn(lock.post, lambda: seen.append("posted")), gevent.spawn(run)]
    gevent.sleep(0)
    gevent.get_hub().loop.run_callback(call_back)
    gevent.joinall([holder, *others])
    assert seen == [False, "refused", "held", "posted", "entered"], seen
    assert not lock.is_busy

gevent.spawn(main).get()

# A greenlet that left its section open, and one that goes on behind it.
def leave_open():
    lock.__enter__()
    raise InterruptedError

def outlive():
    try:
        leave_open()
    except InterruptedError:
        gevent.sleep(0.05)

seen.clear()
gevent.joinall([gevent.spawn(outlive), gevent.spawn(enter)])
assert seen == ["entered"]
print("fine")
"""
    )


def test_native_thread_waits_for_a_section_of_a_greenlet():
    """The lock is the interpreter's own also where gevent has patched threading."""
    needs(modules=["gevent"])
    run_script(
        """
from gevent import monkey
monkey.patch_all()
import gevent
from flask_sse_push.platform.locks import ReentrantLock

lock, seen = ReentrantLock(), []
start = monkey.get_original("_thread", "start_new_thread")

def work():
    with lock:
        seen.append("native")

with lock:
    start(work, ())
    monkey.get_original("time", "sleep")(0.05)
    seen.append("greenlet")
while len(seen) < 2:
    gevent.sleep(0.01)
assert seen == ["greenlet", "native"]
print("fine")
"""
    )
