"""Who rings the bells: one thread that nothing ends but the last listener's leaving."""

from flask_sse_push.platform.threads import THREADS
from flask_sse_push.streams.fanout import Fanout
from tests.support import MS, eventually, own_threads


def test_fanout_goes_on_behind_a_failure(caplog):
    """When it cannot be told whom to wake, that is logged, and what is announced next wakes its listeners."""
    bell, failures = THREADS.wakeup(), [ValueError("entry 1 comes after 1")]

    def take_bells():
        if failures:
            raise failures.pop()
        return [bell]

    fanout = Fanout(take_bells)
    fanout.join()
    try:
        eventually(lambda: not failures)
        fanout.announce(False)
        assert bell.wait(3000 * MS)
        assert "entry 1 comes after 1" in caplog.text
    finally:
        fanout.leave()
    eventually(lambda: not own_threads())
