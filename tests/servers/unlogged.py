"""
An app that configures no logging, or does so only after the blueprint is registered, as TEST_LOGGING says.
"""

import logging
import os

from flask import Flask

from flask_sse_push import sse

app = Flask(__name__)
app.config["SSE_PUSH_HEARTBEAT_SECONDS"] = 46
app.register_blueprint(sse, url_prefix="/events")
logger = logging.getLogger("flask_sse_push")

if os.environ.get("TEST_LOGGING") == "later":
    logging.basicConfig(level=logging.WARNING, format="theirs %(levelname)s %(message)s")


@app.get("/ping")
def ping():
    return {"pid": os.getpid()}


@app.get("/log")
def log():
    logger.info("an information")
    logger.warning("a warning of %d %%", 100)
    try:
        raise ValueError("what was wrong")
    except ValueError:
        logger.exception("an error")
    return {}
