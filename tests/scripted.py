"""
A backend that a test steps by hand: no thread, no real time, one order of everything.

Each function that the package spawns becomes a task. A task runs until it waits, and goes on when the test
says so. Time is a number that the test moves. The fixture ``script`` puts it in place for a whole test:

    def test_hub_wakes_its_listener(script):
        hub = Hub(...)
        wakeup = script.backend.wakeup()
        hub.attach(("news",), wakeup)
        publish(...)
        assert not wakeup.is_rung       # the fan-out has not run yet
        script.step()                   # it runs until it waits
        assert wakeup.is_rung
        hub.detach(("news",), wakeup)
        script.settle()                 # it sees that nobody listens, and ends

The test itself is no task. Where it calls something that waits (``Hub.wait_until_ready``, ``time.sleep``),
the
tasks run meanwhile and the clock moves, up to the end of that wait.

To drive a stream, let a task iterate it, as a server does: ``client = script.reader(stream)``, then
``client.chunks`` is what it has sent.
"""

from __future__ import annotations

import contextlib
import importlib
import pkgutil
import select
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import greenlet

import flask_sse_push
from flask_sse_push.platform import backends, threads

__all__ = ["Reader", "Script", "ScriptedBackend", "ScriptedWakeup", "Task", "install"]

MAX_STEPS = 10_000
"""After so many steps without rest, the tasks wake each other for ever."""

LOOK_SECONDS = 1e-9
"""
By how much each look at the clock moves it: no clock stands still, and code that waits for "the rest" relies
on it.
"""

T = TypeVar("T")


class Task:
    """One function that was spawned."""

    def __init__(self, script: Script, run: Callable[[], None], name: str) -> None:
        self.name = name
        """What it was called when it was spawned, such as ``"flask_sse_push.streams.fanout"``."""
        self.waits_for: ScriptedWakeup | int | None = None
        """
        The wakeup or the file number that it waits for; ``None`` when it is ready, or only waits for a time.
        """
        self.until: float | None = None
        """When its wait is over in any case; ``None`` for never, and when it is ready."""
        self.is_ready = True
        """Whether the next steps run it."""
        self.is_interrupted = False
        self.greenlet = greenlet.greenlet(run, script.test)

    def __repr__(self) -> str:
        if self.has_ended:
            state = "ended"
        elif self.is_ready:
            state = "ready"
        else:
            state = f"waits for {self.waits_for!r} until {self.until}"
        return f"<{self.name}: {state}>"

    @property
    def has_ended(self) -> bool:
        """Whether its function has returned."""
        return self.greenlet.dead


class ScriptedWakeup:
    """A wakeup: ``is_rung`` can be looked at, ``count`` says how often it was rung."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self._task: Task | None = None
        self.is_rung = False
        """Whether it was rung since the last wait ended."""
        self.count = 0
        """How often it was rung in its life."""

    @property
    def is_pending(self) -> bool:
        return self.is_rung and self._task is not None

    def wake(self) -> None:
        self.is_rung = True
        self.count += 1
        if self._task is not None:
            self._script.make_ready(self._task)

    def wait(self, timeout: float | None = None) -> bool:
        if not self.is_rung:
            self._task = self._script.current
            try:
                self._script.pause(timeout, self, lambda: self.is_rung)
            finally:
                self._task = None
        rung, self.is_rung = self.is_rung, False
        return rung


class ScriptedBackend:
    """The backend of a script; ``is_preemptive`` says whether it plays threads or greenlets."""

    def __init__(self, script: Script, *, is_preemptive: bool) -> None:
        self._script = script
        self.is_preemptive = is_preemptive

    def wakeup(self) -> ScriptedWakeup:
        return ScriptedWakeup(self._script)

    def spawn(self, run: Callable[[], None], name: str) -> Callable[[], None]:
        script = self._script
        if script.cannot_spawn:
            raise RuntimeError("can't start new thread")
        task = Task(script, run, name)
        script.tasks.append(task)
        script.ready.append(task)
        return _nothing if self.is_preemptive else lambda: script.interrupt(task)

    def give_way(self) -> bool:
        if self._script.cannot_give_way:
            return False
        self._script.turn()
        return True

    def in_turns(self, items: Sequence[T]) -> Iterator[T]:
        """
        Give way after each ``script.items_per_turn`` items; play of greenlets only, as the real ones do.
        """
        for number, item in enumerate(items, 1):
            yield item
            if not self.is_preemptive and number % self._script.items_per_turn == 0:
                self.give_way()

    def wait_readable(self, filenos: Sequence[int], timeout: float) -> None:
        self._script.pause(timeout, filenos[0], lambda: any(map(is_readable, filenos)))


class Reader:
    """A task that iterates a stream, as the server's greenlet for one client does."""

    def __init__(self, script: Script, chunks: Iterable[bytes]) -> None:
        self.chunks: list[bytes] = []
        """What was sent, chunk by chunk."""
        self.is_writing = True
        """
        Set to False by the test for a client that takes nothing: the reader then waits behind its next chunk.
        """
        self._resumed = script.backend.wakeup()
        self._iterable = chunks
        script.backend.spawn(self._run, "reader")

    @property
    def body(self) -> bytes:
        """Everything that was sent."""
        return b"".join(self.chunks)

    def go_on(self) -> None:
        """Let a client that took nothing take everything."""
        self.is_writing = True
        self._resumed.wake()

    def _run(self) -> None:
        iterable: Any = self._iterable
        try:
            for chunk in iterable:
                self.chunks.append(chunk)
                while not self.is_writing:
                    self._resumed.wait()
        finally:
            if hasattr(iterable, "close"):
                iterable.close()


class Script:
    """The scheduler of one test, and its clock."""

    def __init__(self, *, is_preemptive: bool = False, now: float = 1_000.0) -> None:
        self.test = greenlet.getcurrent()
        self.now = now
        """Seconds on the clock of ``time.monotonic``; the test may set it."""
        self.look_seconds = LOOK_SECONDS
        """
        By how much each look at the clock moves it; more for tests of code that loops until a time is over.
        """
        self.items_per_turn = 16
        """After how many items ``in_turns`` gives way."""
        self.cannot_spawn = False
        """Set by the test: no thread can be started."""
        self.cannot_give_way = False
        """Set by the test: who asks is the loop itself."""
        self.tasks: list[Task] = []
        """What was spawned and has not ended, in order."""
        self.ready: deque[Task] = deque()
        self.threads = ScriptedBackend(self, is_preemptive=True)
        """What stands in the place of ``THREADS``."""
        self.backend = self.threads if is_preemptive else ScriptedBackend(self, is_preemptive=False)
        """What ``current_backend()`` returns."""

    @property
    def current(self) -> Task | None:
        """The task that runs; ``None`` in the test itself."""
        here = greenlet.getcurrent()
        return next((task for task in self.tasks if task.greenlet is here), None)

    def named(self, part: str) -> list[Task]:
        """Return the tasks that have not ended and have ``part`` in their name."""
        return [task for task in self.tasks if part in task.name]

    def reader(self, chunks: Iterable[bytes]) -> Reader:
        """Iterate a stream in a task of its own."""
        return Reader(self, chunks)

    def step(self) -> Task | None:
        """
        Run the next ready task until it waits or ends.

        Returns:
            Task | None: Which one; ``None`` when none is ready.

        Raises:
            Exception: What the task raised.
        """
        assert greenlet.getcurrent() is self.test, "a task cannot step the others"
        self._find_readable()
        if not self.ready:
            return None
        task = self.ready.popleft()
        task.is_ready = True
        try:
            if task.is_interrupted:
                task.is_interrupted = False
                task.greenlet.throw(greenlet.GreenletExit)
            else:
                task.greenlet.switch()
        finally:
            if task.has_ended:
                self.tasks.remove(task)
        return task

    def settle(self) -> int:
        """Step until every task waits; return how many steps that were. The clock stands still."""
        for steps in range(MAX_STEPS):
            if self.step() is None:
                return steps
        raise AssertionError(f"the tasks wake each other for ever: {self.tasks}")

    def advance(self, seconds: float) -> None:
        """Move the clock, and run what is ready before, on the way, and at the end."""
        end = self.now + seconds
        self.settle()
        while (until := self._next_until()) is not None and until <= end:
            self._move_to(until)
            self.settle()
        self._move_to(end)
        self.settle()

    def spend(self, seconds: float) -> None:
        """
        Move the clock as code does that computes: whose time is over becomes ready, and runs when it has its
        turn.
        """
        self._move_to(self.now + seconds)

    def turn(self) -> None:
        """Let all others that are ready run once: called by whoever gives way."""
        task = self.current
        if task is not None:
            self._switch_out(task, ready=True)
            return
        for _ in range(len(self.ready)):
            if self.step() is None:
                return

    def pause(self, timeout: float | None, what: Any, is_over: Callable[[], bool]) -> None:
        """Wait for something, at most ``timeout`` seconds: called by whoever waits."""
        until = None if timeout is None else self.now + max(0.0, timeout)
        task = self.current
        if task is not None:
            if not is_over() and (until is None or until > self.now):
                task.waits_for, task.until = what, until
                self._switch_out(task, ready=False)
            return
        for _ in range(MAX_STEPS):
            if is_over():
                return
            if self.step() is None and not self._move_on(until):
                return
        raise AssertionError(f"the test waits, and the tasks wake each other for ever: {self.tasks}")

    def make_ready(self, task: Task) -> None:
        """Let a task that waits run in one of the next steps."""
        if not task.is_ready:
            task.is_ready, task.waits_for, task.until = True, None, None
            self.ready.append(task)

    def interrupt(self, task: Task) -> None:
        """Raise GreenletExit in a task where it waits, as ``Greenlet.kill(block=False)`` does."""
        if not task.has_ended:
            task.is_interrupted = True
            self.make_ready(task)

    def end(self) -> None:
        """Interrupt what is left; for tests of code that never ends by itself."""
        for task in list(self.tasks):
            self.interrupt(task)
        self.settle()

    def monotonic(self) -> float:
        """Return the time; this is the package's ``time.monotonic``."""
        self.now += self.look_seconds
        return self.now

    def sleep(self, seconds: float) -> None:
        """Wait; this is the package's ``time.sleep``."""
        self.pause(seconds, None, _never)

    def time(self) -> float:
        """Return a wall clock that goes like the other one; this is the package's ``time.time``."""
        return 1_700_000_000.0 + self.monotonic()

    def _switch_out(self, task: Task, *, ready: bool) -> None:
        task.is_ready = ready
        if ready:
            self.ready.append(task)
        try:
            self.test.switch()
        finally:
            task.is_ready, task.waits_for, task.until = True, None, None

    def _find_readable(self) -> None:
        for task in self.tasks:
            if isinstance(task.waits_for, int) and is_readable(task.waits_for):
                self.make_ready(task)

    def _next_until(self) -> float | None:
        return min((task.until for task in self.tasks if task.until is not None), default=None)

    def _move_to(self, now: float) -> None:
        self.now = max(self.now, now)
        for task in self.tasks:
            if task.until is not None and task.until <= self.now:
                self.make_ready(task)

    def _move_on(self, until: float | None) -> bool:
        """Move the clock to what comes next. False when that is the end of the test's own wait."""
        following = self._next_until()
        if until is not None and (following is None or following >= until):
            self._move_to(until)
            return False
        assert following is not None, f"the test waits for ever, and so do all tasks: {self.tasks}"
        self._move_to(following)
        return True


def install(monkeypatch: Any, *, is_preemptive: bool = False) -> Iterator[Script]:
    """
    Let the whole package wait, spawn and look at the clock by a script, and check that nothing is left of it.

    Args:
        monkeypatch (pytest.MonkeyPatch): Undoes it.
        is_preemptive (bool): Play threads rather than greenlets.
    """
    script = Script(is_preemptive=is_preemptive)
    stand_ins = {
        id(backends.current_backend): lambda: script.backend,
        id(threads.THREADS): script.threads,
        id(sys.modules["time"]): script,
    }
    for module in _modules():
        for name, value in list(vars(module).items()):
            if id(value) in stand_ins:
                monkeypatch.setattr(module, name, stand_ins[id(value)])
    yield script
    left = list(script.tasks)
    script.end()
    assert not left, f"still there at the end of the test: {left}"


def is_readable(fileno: int) -> bool:
    """Look whether a real file can be read without waiting."""
    poll = select.poll()
    poll.register(fileno, select.POLLIN)
    return bool(poll.poll(0))


def _modules() -> Iterator[Any]:
    for info in pkgutil.walk_packages(flask_sse_push.__path__, "flask_sse_push."):
        with contextlib.suppress(ImportError):  # a driver that is not installed
            yield importlib.import_module(info.name)


def _never() -> bool:
    return False


def _nothing() -> None:
    """A thread cannot be interrupted from outside."""
