"""
A worker whose first event comes from a thread, after its SIGTERM was taken: nothing of gunicorn is on the
thread's stack.
"""

import signal
import threading

control_socket_disable = True


def post_worker_init(worker):
    from tests.servers.app import publish

    before = signal.getsignal(signal.SIGTERM)
    signal.signal(signal.SIGTERM, lambda number, frame: before(number, frame))
    thread = threading.Thread(target=publish, args=("early",))
    thread.start()
    thread.join()
