"""What a gunicorn says that cannot start, and how."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.servers.harness import FACTOR, ROOT, Server, command, free_port

# gunicorn's own closing lines, whichever of them come.
CLOSING = (
    "Worker exiting",
    "exited with code 4.",
    "was sent SIGTERM!",
    "Shutting down: Master",
    "Reason: App failed to load.",
)

# The server, its options, its environment, what the line begins with, and its cure.
REFUSED = {
    "sync": ("gunicorn-sync", ["-w", "4"], {}, "SSE001: ", "gunicorn -k gevent app:app"),
    "memory": (
        "gunicorn-gevent",
        ["-w", "2"],
        {"TEST_APP_SSE_PUSH_BUS_URL": '"memory://"'},
        "SSE002: ",
        "Leave it out",
    ),
    "one-thread": ("gunicorn-gthread", ["--threads", "1"], {}, "SSE006: ", "--threads"),
    "setting": (
        "gunicorn-gevent",
        [],
        {"TEST_APP_SSE_PUSH_HEARTBEAT_SECONDS": "-1"},
        "SSE_PUSH_HEARTBEAT_SECONDS must be",
        "got -1",
    ),
    "folder": (
        "gunicorn-gevent",
        ["-w", "2"],
        {},
        "The workers of this server cannot share events: the folder '{folder}' must belong to",
        "--worker-tmp-dir",
    ),
    "long-folder": (
        "gunicorn-gevent",
        ["-w", "2", "--worker-tmp-dir", "{folder}/" + "/".join(["long" * 50] * 2)],
        {},
        "The path of a SQLite bus must have at most 504 bytes",
        "shorter --worker-tmp-dir",
    ),
    "publisher": (
        "gunicorn-gevent",
        [],
        {"TEST_APP_PUBLISHER": "memory://"},
        '"url" must name a bus that other',
        "redis://",
    ),
    "error-log": (
        "gunicorn-sync",
        ["--error-logfile", "{folder}/errors.log", "--log-level", "critical"],
        {},
        "SSE001: ",
        "gevent",
    ),
    "preload": (
        "gunicorn-gthread",
        ["--preload"],
        {"TEST_APP_SSE_PUSH_RETRY_MILLISECONDS": "-1"},
        "Error: SSE_PUSH_RETRY_MILLISECONDS",
        "got -1",
    ),
}


@pytest.fixture(scope="module")
def refused(tmp_path_factory):
    """
    What became of all servers that cannot start, tried at the same time: the exit code, and all that was
    printed.
    """
    processes, folders = {}, {}
    for case, (kind, options, environ, *_) in REFUSED.items():
        folder = folders[case] = tmp_path_factory.mktemp(case)
        options = [option.format(folder=folder) for option in options]
        environment = {**os.environ, **environ, "TMPDIR": str(folder), "PYTHONPATH": str(ROOT)}
        if case == "long-folder":
            Path(options[-1]).mkdir(parents=True)
        if case == "folder":
            folder.chmod(0o777)
        with (folder / "stderr").open("wb") as file:
            processes[case] = subprocess.Popen(
                command(kind, free_port(), *options), cwd=ROOT, env=environment, stdout=file, stderr=file
            )
    for process in processes.values():
        try:
            process.wait(40 * FACTOR)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    return {
        case: (process.returncode, (folders[case] / "stderr").read_text(), folders[case])
        for case, process in processes.items()
    }


@pytest.mark.parametrize("case", REFUSED)
def test_server_that_cannot_work_says_why_in_its_last_line(refused, case):
    """
    gunicorn does not start. One line for all workers says why and ends with the cure; nothing but gunicorn's
    closing lines comes after it.
    """
    *_, words, cure = REFUSED[case]
    code, printed, folder = refused[case]
    words = words.format(folder=folder)
    assert "Traceback" not in printed
    lines = [line for line in printed.splitlines() if line]
    (line,) = [line for line in lines if words in line]
    assert cure in line
    assert code == (1 if case == "preload" else 4), printed
    for after in lines[lines.index(line) + 1 :]:
        assert after.endswith(CLOSING) or "Worker exiting" in after, printed
    if case not in ("error-log", "preload"):
        assert f"] [CRITICAL] {words}" in line


def test_server_that_cannot_work_says_why_in_the_error_log_too(refused):
    """
    With --error-logfile the line is in the file, whatever --log-level says, and on stderr for who started the
    server.
    """
    _, printed, folder = refused["error-log"]
    (line,) = (folder / "errors.log").read_text().splitlines()
    assert "] [CRITICAL] SSE001: " in line
    assert printed.startswith("SSE001: ")


def test_refusal_can_be_caught():
    """
    An app may catch UnsupportedServer and serve its pages; nothing is printed then, and no worker ends.
    """
    with Server("gunicorn-sync", "-w", "2", app="tests.servers.catching:app") as server:
        name, message = server.get("/ping")["caught"]
        assert name == "UnsupportedServer"
        assert message.startswith("SSE001: ")
        assert "SSE001" not in server.log


def test_wrong_setting_elsewhere_is_an_ordinary_exception():
    """
    In a plain Python process the traceback shows where the blueprint is registered.
    """
    environment = {**os.environ, "TEST_APP_SSE_PUSH_HEARTBEAT_SECONDS": "-1"}
    done = subprocess.run(
        [sys.executable, "-c", "import tests.servers.app"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=30 * FACTOR,
    )
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert done.stderr.splitlines()[-1].startswith(
        "flask_sse_push.errors.ConfigurationError: SSE_PUSH_HEARTBEAT_SECONDS"
    )
