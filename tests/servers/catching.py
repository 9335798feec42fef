"""An app that does without streams where the server cannot hold them."""

import os

from flask import Flask

from flask_sse_push import ConfigurationError, UnsupportedServer, sse

app = Flask(__name__)
try:
    app.register_blueprint(sse)
    caught = None
except UnsupportedServer as error:
    assert isinstance(error, ConfigurationError)
    caught = [type(error).__name__, str(error)]


@app.get("/ping")
def ping():
    return {"pid": os.getpid(), "caught": caught}
