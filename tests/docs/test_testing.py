"""The page about testing, and the first lines of all: their programs run as they are printed."""

import os
import sys

from flask import Flask

from flask_sse_push import SSEPush
from tests.docs.pages import page
from tests.docs.served import APPLICATION, run

TESTING = page("docs/testing.md")
TESTS = TESTING.block("Two whole tests", "python")
FIXTURE = TESTING.block("Leave nothing behind", "python")
DECODING = TESTING.block("How it works", "python")
FIRST_LINES = page("docs/index.md").block("", "python")


def test_first_lines_publish():
    """The two lines of the first page register a blueprint and publish an event."""
    app, sse = Flask("shop"), SSEPush()
    exec(FIRST_LINES, {"app": app, "sse": sse, "publish": sse.publish})
    assert sse.stats()["published"] == 1


def test_tests_of_the_application_pass(tmp_path):
    """The tests that the page shows pass against the application of the first page."""
    (tmp_path / "app.py").write_text(APPLICATION, encoding="utf-8")
    (tmp_path / "test_app.py").write_text(TESTS, encoding="utf-8")
    (tmp_path / "test_fixture.py").write_text(FIXTURE, encoding="utf-8")
    options = [
        "-q",
        "-W",
        "error",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:randomly",
        "--rootdir",
        str(tmp_path),
        "-c",
        os.devnull,
    ]
    files = ["test_fixture.py", "test_app.py"]
    assert "4 passed" in run([sys.executable, "-m", "pytest", *options, *files], tmp_path)


def test_decoder_reads_and_refuses(capsys):
    """The lines about the decoder run, and print what the comment says."""
    exec(DECODING, {})
    assert DECODING.splitlines()[-1].partition("# ")[2].removesuffix(" ...") in capsys.readouterr().out
