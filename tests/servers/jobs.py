"""An app whose jobs make the app again, as they must not."""

import os

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
