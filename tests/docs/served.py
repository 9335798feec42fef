"""An application of a page, served by the page's own command, and who listens to it."""

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import httpx

from flask_sse_push.testing import Decoder
from tests.docs.pages import ROOT, page
from tests.needs import needs
from tests.servers.harness import free_port
from tests.support import FACTOR, MS, eventually

__all__ = ["APPLICATION", "PAGE_SCRIPT", "SERVE", "Process", "Served", "environment_for", "listening", "run"]

README = page("README.md")
APPLICATION = README.block("A whole application", "python")
PAGE_SCRIPT = README.block("A whole application", "js")
SERVE = README.block("How to run it", "sh", "gunicorn").strip()


def environment_for(folder, **more):
    """The programs of this Python first, and no file of the servers outside of the test's folder."""
    return {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(folder),
        "XDG_RUNTIME_DIR": str(folder),
        "TMPDIR": str(folder),
        "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}",
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        **more,
    }


def run(argv, folder, seconds=60, **environment):
    """Run a program in a folder until it ends, and return what it printed; a failure is the test's."""
    done = subprocess.run(
        argv,
        cwd=folder,
        env=environment_for(folder, **environment),
        capture_output=True,
        text=True,
        timeout=seconds * FACTOR,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


class Process:
    """A program that runs until the test ends it."""

    def __init__(self, argv, folder, name, **environment):
        self.log_path = folder / f"{name}.log"
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                argv,
                cwd=folder,
                env=environment_for(folder, **environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    @property
    def log(self):
        return self.log_path.read_text(errors="replace")

    def stop(self):
        """End the process group that was started here."""
        if self.process.poll() is None:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(10 * FACTOR)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


class Served:
    """
    An ``app.py`` and its static files in a folder, served by the README's command.

    Args:
        folder (Path): Where the files are written, and all that the server writes.
        source (str): Of the app.
        script (str): Of ``static/orders.js``.
        command (str): Instead of the README's.
        options (str): More options of gunicorn.
        **environment (str): Variables of the server.
    """

    def __init__(self, folder, source, script="", command=SERVE, options="", **environment):
        needs("bash", modules=["gunicorn", "gevent"])
        self.folder, self.port = folder, free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._command = command if "=" in command else f"exec {command}"
        self._environment = {
            "GUNICORN_CMD_ARGS": f"--bind 127.0.0.1:{self.port} {options}",
            **environment,
        }
        (folder / "app.py").write_text(source, encoding="utf-8")
        (folder / "static").mkdir(exist_ok=True)
        (folder / "static/orders.js").write_text(script, encoding="utf-8")
        self.start()

    def start(self):
        self._server = Process(
            ["bash", "-c", self._command], self.folder, f"server-{self.port}", **self._environment
        )
        try:
            eventually(self._answers, 20_000 * MS, "the application answers")
        except BaseException:
            print(self.log)
            self.stop()
            raise

    def _answers(self):
        code = self._server.process.poll()
        assert code is None, f"the server ended with {code}: {self.log}"
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(f"{self.url}/static/orders.js", timeout=5 * FACTOR).status_code == 200

    @property
    def log(self):
        return self._server.log

    def order(self, item, url=None):
        answer = httpx.post(f"{url or self.url}/orders", data={"item": item}, timeout=5 * FACTOR)
        assert answer.status_code == 201

    def orders(self):
        """Return what the README's application has stored: items by the order's number."""
        with contextlib.closing(sqlite3.connect(self.folder / "orders.db")) as db:
            return dict(db.execute("SELECT id, item FROM orders ORDER BY id"))

    def stop(self):
        self._server.stop()


@contextlib.contextmanager
def listening(url, left_out="snapshot", **options):
    """
    Yield a response with its headers, and a function that reads so many events from it.

    What a new stream of the README's application begins with is left out.
    """
    with httpx.Client(timeout=10 * FACTOR) as client, client.stream("GET", url, **options) as response:
        chunks, decoder, ready = response.iter_raw(), Decoder(), []

        def read(count):
            while len(ready) < count:
                chunk = next(chunks, None)
                assert chunk is not None, f"the stream ended after {ready}"
                ready.extend(event for event in decoder.feed(chunk) if event.type != left_out)
            taken, ready[:] = ready[:count], ready[count:]
            return taken

        yield response, read
