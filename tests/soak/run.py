"""One run: a server, its clients and publishers, a fault, and what is left when it is over."""

import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path

from tests.servers.harness import ROOT, Server
from tests.soak.channels import CHANNELS
from tests.soak.check import check
from tests.soak.publishers import Target, publish
from tests.soak.record import MARKER, Recorder, load
from tests.soak.report import Rules
from tests.soak.resets import EXPECTED_FALSE_RESETS
from tests.support import FACTOR, eventually

__all__ = ["Run"]

_WAIT_SECONDS = 20.0
_ROUNDS = 10
_HISTORY = 256, 300.0  # what the package has by default


class _Process:
    """A process of this suite; it ends with its standard input."""

    def __init__(self, module, *options, environ=None, **pipes):
        argv = [sys.executable, "-m", f"tests.soak.{module}", *map(str, options)]
        self.process = subprocess.Popen(
            argv, cwd=ROOT, env={**os.environ, **(environ or {})}, stdin=subprocess.PIPE, text=True, **pipes
        )

    def end(self):
        """Let it finish what it does. A process that hangs is killed; the record shows what it was at."""
        if self.process.stdin:
            self.process.stdin.close()
        try:
            self.process.wait(30 * FACTOR)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.process.stdout:
            self.process.stdout.close()


class _Crowd(_Process):
    def ask(self, command):
        self.process.stdin.write(f"{command}\n")
        self.process.stdin.flush()

    def status(self):
        self.ask("status")
        return json.loads(self.process.stdout.readline())


class Run:
    """
    What a scenario has to work with. Ends everything with the block.

    Args:
        record (Path): The folder of the record; made, and empty.
        seed (int): Of all that is random here.
        quick (bool): Whether this is the short version.
        reset_reasons (tuple | None): See :class:`report.Rules`.
        history_is_kept (bool): Whether everything that is young and new enough must be there.
    """

    def __init__(self, record, seed, *, quick, reset_reasons=None, history_is_kept=True, scenario=""):
        self.record, self.quick = Path(record), quick
        self.record.mkdir(parents=True, exist_ok=True)
        self.random = random.Random(f"{scenario}:{seed}")
        self._seed = seed
        self.ends = ExitStack()
        """What is done at the end of the run."""
        self._recorder = Recorder(self.record / "run.jsonl")
        rules = Rules(
            margin_seconds=1.0 * FACTOR, reset_reasons=reset_reasons, false_resets=list(EXPECTED_FALSE_RESETS)
        )
        self._recorder.write_now("run", scenario=scenario, seed=seed, quick=quick, rules=rules._asdict())
        self.folder = Path(tempfile.mkdtemp(prefix="sse-push-soak-"))
        """For databases and the like; gone with the run."""
        self.ends.callback(shutil.rmtree, self.folder, ignore_errors=True)
        self.servers = []
        self._history_is_kept = history_is_kept
        self._channels = ",".join(CHANNELS)
        self._crowd = None
        self._publishers = {}
        self._numbers = iter(range(1_000_000))
        self._markers = iter(range(1_000_000))

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self.ends.close()
        self._recorder.close()

    def pick(self, long, quick):
        """Return what fits the version."""
        return quick if self.quick else long

    def enter(self, manager):
        """Have something until the end of the run."""
        return self.ends.enter_context(manager)

    @property
    def server(self):
        """The first one."""
        return self.servers[0]

    def serve(
        self,
        kind="gunicorn-gevent",
        *options,
        workers=None,
        environ=None,
        host="127.0.0.1",
        inside=(),
        **config,
    ):
        """
        Start a server, or one more; ``config`` are settings without their prefix, ``inside`` begins its
        command.
        """
        environ = {"TMPDIR": str(self.folder), **(environ or {})}
        options = ["-w", str(workers or self.pick(4, 2)), *options]
        prefix = (*inside, sys.executable, "-m", "tests.soak.serve")
        server = Server(
            kind,
            *options,
            prefix=prefix,
            environ=environ,
            host=host,
            retry_milliseconds=500,
            heartbeat_seconds=2,
            **config,
        )
        self.servers.append(self.enter(server))
        self.ends.callback(shutil.copy, server.log_path, self.record / f"server-{len(self.servers)}.log")
        if self._history_is_kept:
            length, seconds = (
                config.get("history_length", _HISTORY[0]),
                config.get("history_seconds", _HISTORY[1]),
            )
            patterns = [
                (pattern, own.get("history_length", length), own.get("history_seconds", seconds))
                for pattern, own in config.get("channels", {}).items()
            ]
            self._recorder.write_now("history", of=[*patterns, ("*", length, seconds)])

    def begin(self, bus_url=None, *, count=None, channels=None, environ=None, **kinds):
        """
        Let clients and publishers in, and wait until all is under way.

        Args:
            bus_url (str | None): Where a bus has a URL, some publish to it from without.
            count (int | None): How many clients there are.
            channels (list | None): What they listen to, and what is published to; all of them without it.
            environ (dict | None): Of those who publish from without.
            **kinds (int): How many of the clients are ``slow``, ``restless`` or ``visiting``.
        """
        count = count or self.pick(40, 16)
        addresses = [f"{server.host}:{server.port}" for server in self.servers]
        options = {
            "servers": ",".join(addresses),
            "record": self.record / "clients.jsonl",
            "seed": self._seed,
            "count": count,
            "slow": count // 7,
            "restless": count // 4,
            "visiting": count // 5,
            "runs": "p0,p0,p1",
            **kinds,
        }
        if channels:
            self._channels = options["channels"] = ",".join(channels)
        self._crowd = _Crowd(
            "clients", *(f"--{name}={value}" for name, value in options.items()), stdout=subprocess.PIPE
        )
        self.ends.callback(self._crowd.end)
        eventually(self._all_are_open, _WAIT_SECONDS * FACTOR, "all streams are open")
        self.start_publisher(self.publish_url, "--runs")
        self.start_publisher(self._publish_url(self.servers[-1]), "--runs", "--once")
        if bus_url is not None:
            self.start_publisher(bus_url, environ=environ)
            self.start_publisher(bus_url, "--once", environ=environ)
        self.let_publish()
        self.pass_time(self.pick(5, 0.7))
        self._sample("warm")

    @property
    def publish_url(self):
        """Where the first server takes events."""
        return self._publish_url(self.server)

    @staticmethod
    def _publish_url(server):
        return f"http://{server.host}:{server.port}/soak/publish"

    def start_publisher(self, target, *options, rate=15, environ=None, channels=None):
        """Start a process that publishes; returns its name."""
        name = f"p{next(self._numbers)}"
        given = {
            "name": name,
            "target": target,
            "record": self.record / f"{name}.jsonl",
            "channels": ",".join(channels) if channels else self._channels,
            "rate": rate,
            "seed": self._seed,
        }
        self._publishers[name] = publisher = _Process(
            "publishers",
            *(f"--{option}={value}" for option, value in given.items()),
            *options,
            environ=environ,
        )
        self.ends.callback(publisher.end)
        return name

    def let_publish(self):
        """Wait until all publishers have begun."""
        for name in self._publishers:
            eventually(
                lambda name=name: self.has_published(name, 3), _WAIT_SECONDS * FACTOR, f"{name} publishes"
            )

    def kill_publisher(self, name):
        """End it at once."""
        publisher = self._publishers.pop(name)
        publisher.process.kill()
        publisher.process.wait()
        self._recorder.write_now("killed", publisher=name)

    def has_published(self, name, count):
        """Say whether a publisher has been told so many times how it went."""
        path = self.record / f"{name}.jsonl"
        return path.exists() and path.read_bytes().count(b'"outcome"') >= count

    def pass_time(self, seconds):
        """Let it all go on."""
        time.sleep(seconds)

    def fault(self, what, **more):
        """Write down what is done to them: the same words for the same fault."""
        self._recorder.write_now("fault", what=what, **more)

    def workers(self):
        """Return the pids of the servers' workers."""
        pids = [server.process.pid for server in self.servers]
        texts = [Path(f"/proc/{pid}/task/{pid}/children").read_text() for pid in pids]
        return [int(child) for text in texts for child in text.split()]

    def finish(self):
        """Let everybody come to rest, publish the last events, and return the :class:`check.Report`."""
        self._crowd.ask("settle")
        ends = [threading.Thread(target=publisher.end) for publisher in self._publishers.values()]
        for end in ends:
            end.start()
        for end in ends:
            end.join()
        self._wait(self._all_are_open, _WAIT_SECONDS)
        # A process that looks for its store every few seconds may tell with a reset that it missed the first
        # of them.
        for _ in range(_ROUNDS):
            self._publish_markers()
            if self._wait(self._all_are_marked, _WAIT_SECONDS / _ROUNDS):
                break
        self._sample("end")
        self._crowd.end()
        report = check(load(self.record))
        report.figures["tracebacks"] = sum(
            server.log.count("Traceback (most recent call last)") for server in self.servers
        )
        return report

    def _publish_markers(self):
        """Publish one event to all channels that clients listen to."""
        target, give_up_at = Target(self.publish_url), time.monotonic() + _WAIT_SECONDS * FACTOR
        while time.monotonic() < give_up_at:
            n = next(self._markers)
            order = {"do": "publish", "data": f"{MARKER}:{n}:", "channel": self._channels.split(",")}
            if publish(target, self._recorder, MARKER, n, order):
                break
            self.pass_time(0.2)

    def _all_are_open(self):
        status = self._crowd.status()
        return status["open"] + status["stopped"] == status["clients"]

    def _all_are_marked(self):
        status = self._crowd.status()
        return status["marked"] + status["stopped"] == status["clients"]

    def _wait(self, condition, seconds):
        """Wait, and go on in any case: the record shows who was not there. Says whether it came true."""
        end = time.monotonic() + seconds * FACTOR
        while not (found := condition()) and time.monotonic() < end:
            time.sleep(0.02)
        return found

    def _sample(self, phase):
        page = os.sysconf("SC_PAGE_SIZE")
        rss = {}
        for pid in self.workers():
            try:
                rss[pid] = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * page
            except OSError:
                continue  # it has just ended
        self._recorder.write_now("memory", phase=phase, rss=rss)
