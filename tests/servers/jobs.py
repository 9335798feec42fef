"""An app whose jobs make the app again, as they must not."""

import os

from tests.servers.app import app, create_app, native_thread, publish


@app.post("/job")
def job():
    def work():
        with create_app().app_context():
            publish("from the job")

    native_thread(work)
    return {"pid": os.getpid()}
