"""The scripted backend keeps the rules of the real ones, and shows what a test asks for."""

import socket

import pytest

from flask_sse_push.platform import backends
from tests.scripted import Script

from .parts import memory_bus


def test_task_runs_when_it_is_stepped(script):
    """Spawning runs nothing; a step runs one task until it waits."""
    wakeup, seen = script.backend.wakeup(), []

    def run():
        seen.append("begun")
        wakeup.wait()
        seen.append("woken")

    script.backend.spawn(run, "a task")
    assert seen == []
    script.settle()
    assert seen == ["begun"]
    assert script.tasks[0].waits_for is wakeup
    wakeup.wake()
    assert seen == ["begun"]
    script.settle()
    assert seen == ["begun", "woken"]
    assert script.tasks == []


def test_wakeup_rung_before_the_wait_ends_it_at_once(script):
    """A wakeup rung once or many times ends one wait, also a later one."""
    wakeup = script.backend.wakeup()
    wakeup.wake()
    wakeup.wake()
    assert wakeup.wait(1)
    assert not wakeup.wait(1)
    assert wakeup.count == 2


def test_wakeup_is_pending_between_the_ring_and_the_run(script):
    """Pending is who waits, was rung for, and has not come to run."""
    wakeup = script.backend.wakeup()
    wakeup.wake()
    assert not wakeup.is_pending
    wakeup.wait(0)
    script.backend.spawn(lambda: wakeup.wait() and None, "a task")
    script.settle()
    assert not wakeup.is_pending
    wakeup.wake()
    assert wakeup.is_pending
    script.settle()
    assert not wakeup.is_pending


def test_advance_wakes_in_the_order_of_time(script):
    """The clock stops at each deadline on the way, so that everybody sees the time that they waited for."""
    seen = []

    def wait(seconds):
        script.backend.wakeup().wait(seconds)
        seen.append((seconds, script.now))

    for seconds in (3, 1, 2):
        script.backend.spawn(lambda seconds=seconds: wait(seconds), "a task")
    begun = script.now
    script.advance(2.5)
    assert seen == [(1, begun + 1), (2, begun + 2)]
    assert script.now == begun + 2.5
    script.advance(10)
    assert seen[-1] == (3, begun + 3)


def test_wait_of_the_test_runs_the_tasks(script):
    """Where the test itself waits, the tasks go on and the clock moves to the end of the wait."""
    wakeup = script.backend.wakeup()

    def ring():
        script.backend.wakeup().wait(2)
        wakeup.wake()

    script.backend.spawn(ring, "a task")
    begun = script.now
    assert wakeup.wait(5)
    assert script.now == begun + 2
    assert not wakeup.wait(5)
    assert script.now == begun + 7


def test_test_that_waits_for_ever_is_told(script):
    """A wait that nothing can end is an error, and no hanging test."""
    with pytest.raises(AssertionError, match="waits for ever"):
        script.backend.wakeup().wait()


def test_tasks_that_wake_each_other_for_ever_are_told(script):
    """A loop without rest is an error, and no hanging test."""

    def spin():
        while True:
            script.backend.give_way()

    script.backend.spawn(spin, "a task")
    with pytest.raises(AssertionError, match="for ever"):
        script.settle()
    script.end()


def test_give_way_lets_each_other_run_once(script):
    """Who gives way is behind all that were ready."""
    seen = []

    def run(name):
        for number in range(2):
            seen.append((name, number))
            script.backend.give_way()

    script.backend.spawn(lambda: run("a"), "a")
    script.backend.spawn(lambda: run("b"), "b")
    script.settle()
    assert seen == [("a", 0), ("b", 0), ("a", 1), ("b", 1)]


def test_turns_are_taken_by_greenlets_alone(script):
    """A loop over many makes way after each so many, where the interpreter does not do it."""
    seen, script.items_per_turn = [], 2

    def loop(backend):
        for item in backend.in_turns(range(4)):
            seen.append(item)

    script.backend.spawn(lambda: loop(script.backend), "a loop")
    script.backend.spawn(lambda: seen.append("another"), "another")
    script.settle()
    assert seen == [0, 1, "another", 2, 3]
    seen.clear()
    script.backend.spawn(lambda: loop(script.threads), "a loop")
    script.backend.spawn(lambda: seen.append("another"), "another")
    script.settle()
    assert seen == [0, 1, 2, 3, "another"]


def test_interrupted_task_ends_where_it_waits(script):
    """What spawn() returns interrupts a greenlet; its finally clauses run."""
    seen = []

    def run():
        try:
            script.backend.wakeup().wait()
        finally:
            seen.append("over")

    interrupt = script.backend.spawn(run, "a task")
    script.settle()
    interrupt()
    assert seen == []
    script.settle()
    assert seen == ["over"]
    assert script.tasks == []
    interrupt()
    script.settle()


def test_real_file_wakes_who_waits_for_it(script):
    """Sockets are real ones: whoever waits for one goes on when it can be read, or when the time is over."""
    seen = []
    ours, theirs = socket.socketpair()
    with ours, theirs:

        def run():
            script.backend.wait_readable((ours.fileno(),), 5)
            seen.append(script.now)

        script.backend.spawn(run, "a task")
        script.settle()
        assert seen == []
        theirs.send(b".")
        script.settle()
        assert seen == [script.now]
        ours.recv(1)
        script.backend.spawn(run, "a task")
        script.advance(10)
        assert seen[1] == script.now - 5


def test_exception_of_a_task_comes_out_of_the_step(script):
    """A task that fails fails the test."""
    script.backend.spawn(lambda: 1 / 0, "a task")
    with pytest.raises(ZeroDivisionError):
        script.settle()
    assert script.tasks == []


def test_machine_without_threads_refuses(script):
    """Tests can ask for a machine that starts no thread more."""
    script.cannot_spawn = True
    with pytest.raises(RuntimeError):
        script.backend.spawn(lambda: None, "a task")


def test_package_waits_by_the_script(script):
    """The fixture stands in for the backend, the threads and the clock of all modules."""
    assert backends.current_backend() is script.backend
    begun = script.now
    assert memory_bus().health().since == script.now > begun


def test_clock_moves_by_looking_where_that_is_asked_for():
    """Code that loops until a time is over ends, when each look takes some."""
    script = Script()
    script.look_seconds = 0.5
    end = script.monotonic() + 2
    looks = 0
    while script.monotonic() < end:
        looks += 1
    assert looks == 3


def test_reader_sends_what_a_stream_gives(script):
    """A reader iterates in its own task, stops behind a chunk for a client that takes nothing, and closes."""
    closed = []

    def stream():
        try:
            yield b"a"
            yield b"b"
        finally:
            closed.append(True)

    reader = script.reader(stream())
    reader.is_writing = False
    script.settle()
    assert reader.body == b"a"
    reader.go_on()
    script.settle()
    assert reader.chunks == [b"a", b"b"]
    assert closed == [True]
