"""Waiting without guessing: what the tests share that is not a fixture."""

import contextlib
import gc
import os
import signal
import threading
import time

__all__ = ["FACTOR", "LONG", "MS", "THREAD_PREFIX", "alarms", "eventually", "own_threads"]

FACTOR = float(os.environ.get("SSE_PUSH_TEST_FACTOR", "1"))
"""How much slower than a quiet laptop this machine is."""

LONG = os.environ.get("SSE_PUSH_TEST_LONG") == "1"
"""Whether tests take their full length: ``nox -s browser`` and ``nox -s pages``."""

MS = 0.001 * FACTOR
"""One millisecond in seconds, scaled: the unit of every timeout in the tests."""

THREAD_PREFIX = "flask_sse_push"
"""How the names of all threads of the package begin."""

_STEP_SECONDS = 0.002


def eventually(condition, timeout=3000 * MS, message=""):
    """
    Wait until a condition holds.

    Args:
        condition (Callable): Called again and again until it returns something true.
        timeout (float): Seconds after which the wait fails.
        message (str): What to say then; the condition's name by default.

    Returns:
        What the condition returned.

    Raises:
        AssertionError: It did not hold in time.
    """
    end = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= end:
            raise AssertionError(
                f"not within {timeout:g} s: {message or getattr(condition, '__name__', condition)}"
            )
        time.sleep(_STEP_SECONDS)


@contextlib.contextmanager
def alarms(handler):
    """
    Set the handler of SIGALRM, and take it away again without letting a late alarm end the tests.

    Meanwhile nothing is collected: an exception that a handler raises in a callback of the collector would
    come out nowhere.
    """
    before = signal.signal(signal.SIGALRM, handler)
    gc.disable()
    try:
        yield
    finally:
        signal.signal(
            signal.SIGALRM, signal.SIG_IGN
        )  # first: the handler may be about to set the timer once more
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        gc.enable()


def own_threads():
    """Return the threads of the package that are alive."""
    return [thread for thread in threading.enumerate() if thread.name.startswith(THREAD_PREFIX)]
