"""What a worker sees of its master: real processes, without a server."""

import pytest

from tests.needs import needs
from tests.platform.scripts import run_script

# The parent listens and is told what to do; the child is its worker.
MASTER = """
import os, signal, socket, sys, time
import gunicorn.config, gunicorn.workers.sync
from flask_sse_push.platform.gunicorn import MasterWatch, gunicorn_worker, lost_master, nearest_worker

listener = socket.create_server(("127.0.0.1", 0))
orders, tell = os.pipe()
done, say = os.pipe()

def order(word):
    os.write(tell, word)
    if word != b"q":
        assert os.read(done, 1)

master = os.getpid()
child = os.fork()
if child:
    while (word := os.read(orders, 1)) == b"c":
        listener.close()
        os.write(say, b".")
    if word == b"k":
        os.kill(master, signal.SIGKILL)
    os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))

worker = gunicorn.workers.sync.SyncWorker(
    0, master, [listener], None, 30, gunicorn.config.Config(), None
)
worker.pid = os.getpid()
watch = MasterWatch(worker)

def end():
    print("fine", flush=True)
    os.write(tell, b"q")
    os._exit(0)

try:
"""


def run_worker(script):
    """Run the script in a worker whose master listens; order(b"c") lets the master close its socket."""
    needs(modules=["gunicorn"])
    body = "".join(f"    {line}\n" for line in script.strip().splitlines())
    run_script(
        MASTER + body + "    end()\nfinally:\n"
        "    import traceback; traceback.print_exc(); os.write(tell, b'q'); os._exit(1)\n"
    )


def test_worker_goes_on_while_its_master_listens():
    """However often it looks."""
    run_worker("assert not any(watch.look() for _ in range(5)) and worker.alive")


def test_worker_is_told_at_the_second_look_that_misses_its_master():
    """
    Not at the first: a master closes its sockets a moment before it sends the signal, and an app that passes
    the signal on must not be blamed.
    """
    run_worker(
        """
assert not watch.look()
order(b"c")
assert not watch.look() and worker.alive
assert watch.look() and not worker.alive
assert watch.look()
"""
    )


def test_master_that_was_never_seen_is_not_missed():
    """What cannot be seen is no sign: the files of another user's master, for instance."""
    run_worker(
        """
order(b"c")
assert not any(watch.look() for _ in range(5)) and worker.alive
"""
    )


def test_worker_without_a_master_ends():
    """Though nobody told it."""
    run_worker(
        """
assert not watch.look() and not lost_master(worker)
os.write(tell, b"k")
while os.getppid() == master:
    time.sleep(0.001)
assert lost_master(worker) and watch.look() and not worker.alive
"""
    )


def test_worker_that_has_left_its_loop_ends_its_streams():
    """As when the app's handler raises SystemExit: gunicorn closes a file of the worker's at the very end."""
    run_worker(
        """
worker.tmp.close()
assert watch.look() and not worker.alive
"""
    )


@pytest.mark.parametrize("name", ["SIGTERM", "SIGQUIT", "SIGUSR1"])
def test_worker_is_found_by_any_of_its_handlers(name):
    """An app may have replaced the others. In a child of the worker it is the nearest one, not its own."""
    run_worker(
        f"""
assert nearest_worker() is None
signal.signal(signal.{name}, worker.handle_exit)
assert nearest_worker() is worker and gunicorn_worker() is worker
signal.signal(signal.{name}, signal.SIG_DFL)
assert gunicorn_worker() is worker
child = os.fork()
if child == 0:
    os._exit(0 if gunicorn_worker() is None and nearest_worker() is worker else 1)
assert os.waitpid(child, 0)[1] == 0
"""
    )
