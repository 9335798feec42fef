"""An app whose jobs make the app again, as they must not."""

import os

from flask import request

from tests.servers.app import app, create_app, native_thread, pause, publish


@app.post("/job")
def job():
    ended = []

    def work():
        try:
            with create_app().app_context():
                publish("from the job")
        finally:
            ended.append(True)

    native_thread(work)
    while not ended:  # a process that is forked beside a thread inherits the locks which that holds, for ever
        pause(0.005)
    return {"pid": os.getpid()}


@app.post("/apps")
def apps():
    """Make the app as often as the request says, and say how many files are open."""
    for _ in range(request.get_json()["count"]):
        create_app()
    return {"files": len(os.listdir("/proc/self/fd"))}
