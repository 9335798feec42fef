"""An app whose jobs make the app again, as they must not."""

import os

from flask import request

from tests.servers.app import app, create_app, native_thread, publish


@app.post("/job")
def job():
    def work():
        with create_app().app_context():
            publish("from the job")

    native_thread(work)
    return {"pid": os.getpid()}


@app.post("/apps")
def apps():
    """Make the app as often as the request says, and say how many files are open."""
    for _ in range(request.get_json()["count"]):
        create_app()
    return {"files": len(os.listdir("/proc/self/fd"))}
