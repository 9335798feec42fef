"""Where our lines go under gunicorn."""

import re

from tests.servers.harness import Client, Server

APP = "tests.servers.unlogged:app"
STAMP = r"^\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d [+-]\d{4}\] "


def lines(log, words):
    return [line for line in log.splitlines() if words in line]


def test_lines_carry_level_and_time_as_gunicorns_do():
    """
    Where the app configures no logging, lines of ours go into gunicorn's error log, with time, process and
    level, and with tracebacks.
    """
    with Server("gunicorn-gevent", app=APP) as server:
        pid = server.worker_pid()
        server.get("/log")
        for words, level in (
            ("SSE005: ", "WARNING"),
            ("flask_sse_push 0", "INFO"),
            ("an information", "INFO"),
            ("a warning of 100 %", "WARNING"),
            ("an error", "ERROR"),
        ):
            (line,) = lines(server.log, words)
            assert re.match(rf"{STAMP}\[{pid}\] \[{level}\] {re.escape(words)}", line)
        assert len(lines(server.log, "ValueError: what was wrong")) == 1


def test_lines_obey_gunicorns_options(tmp_path):
    """
    --log-level, --error-logfile and --logger-class count for lines of ours, under --preload too.
    """
    path = tmp_path / "errors.log"
    options = [
        "--preload",
        "--log-level",
        "warning",
        "--error-logfile",
        str(path),
        "--logger-class",
        "tests.servers.logger_class.Marking",
    ]
    with Server("gunicorn-gthread", *options, app=APP) as server:
        with Client(server, "/events").begun():
            server.get("/log")
        written = path.read_text()
        for words in ("SSE005: ", "a warning of 100 %"):
            (line,) = lines(written, words)
            assert re.match(rf"{STAMP}\[\d+\] \[WARNING\] marked: {re.escape(words)}", line)
        assert "[INFO]" not in written
        assert server.log == ""


def test_lines_follow_the_apps_own_logging():
    """
    Where the app configures logging, also after the blueprint was registered, it gets each line once, and
    none below its own level.
    """
    with Server("gunicorn-gthread", app=APP, environ={"TEST_LOGGING": "later"}) as server:
        server.get("/log")
        assert lines(server.log, "a warning") == ["theirs WARNING a warning of 100 %"]
        assert lines(server.log, "an error") == ["theirs ERROR an error"]
        assert lines(server.log, "an information") == []
        (before,) = lines(server.log, "SSE005: ")
        assert re.match(rf"{STAMP}\[\d+\] \[WARNING\] SSE005: ", before)
