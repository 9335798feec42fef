"""
Count the journeys: through how many of our modules an event and a request travel.

Run ``python -m tests.journey [--json] [-v]`` in the root of any version of the project. The script names no
module of the package except its public one, so that two trees are counted by the same file.

What is counted:
    An *entry* is a "call" event of ``sys.setprofile`` in a module of ours whose nearest caller of ours on the
    stack, foreign frames in between skipped, is another module of ours. Where there is no caller of ours (the
    app's view, a WSGI server, the event loop) the entry comes from "outside", and counts too. Callbacks from
    one module of ours into another are entries, whatever foreign code called them. A return is none, and
    neither is a greenlet that goes on where it waited.

    A *hop* is a pair of modules, caller and callee, however often it is entered and by however many
    functions: what loops is counted once. *Functions* is the finer number, of different functions entered by
    each caller. (Python 3.10 knows no qualified names, and takes two lambdas on one line for one function;
    hops and modules are the same on every version.) *Modules* are all that enter or are entered, without
    "outside".

    Everything that happens in the time of a leg counts, in any greenlet of the thread: all greenlets share a
    thread, and what one does before it yields is waited for by the next. So what the follower does between
    waking the next greenlet and its own next wait counts as well. What is there by chance (a report, a tick
    of the heartbeat) is sorted out by repetition: an entry counts when more than half of the repetitions
    have it.

The legs, in two gunicorn gevent workers A and B, on the default bus, with direct writing as by default:
    publish: In A, from the call of ``publish()`` in a view until it returns.
    deliver: In B, from the begin of that ``publish()`` to the first send on the socket of an idle stream, the
        only one.
    open: In B, from the call of the WSGI app to the first send on the client's socket. Another stream is open
        there, on the same channel.
    hang_up: In B, from the close of the client's end until ``stream_closed`` was sent and the server closed
        its socket. The stream has been open for a second at least.

The journey of an event is publish and deliver, that of a request open and hang_up; a hop of both legs counts
once. Each leg is travelled some times uncounted first, so that what is imported or cached late is there.

Greenlets:
    The profile function belongs to the thread, and stays set over switches: it sees greenlets that began
    before it was set or begin later. (Each greenlet has a stack of its own, so no caller is found in another
    one.) It does not see other native threads. A worker that has one is an error here, not a smaller number.
"""

from __future__ import annotations

import _socket
import argparse
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

__all__ = ["Count", "Entry", "count", "create_app", "travel"]

control_socket_disable = True  # gunicorn reads this module as its configuration: no file in the home folder

PACKAGE = "flask_sse_push"
OUTSIDE = "outside"

JOURNEYS = {"event": ("publish", "deliver"), "request": ("open", "hang_up")}
WARM_UPS = 5
REPETITIONS = 9  # odd, so that there is always a majority

SETTLE_SECONDS = 1.0 * float(os.environ.get("SSE_PUSH_TEST_FACTOR", "1"))
TIMEOUT_SECONDS = 10 * SETTLE_SECONDS

SENT, TOLD, CLOSED = "a send on the client's socket", "stream_closed", "a close of the client's socket"
ENDS = {"deliver": {SENT}, "open": {SENT}, "hang_up": {TOLD, CLOSED}}


class Entry(NamedTuple):
    """One module of ours entered by another."""

    caller: str
    """A module without the name of the package, or ``"outside"``."""
    callee: str
    """A module without the name of the package."""
    function: str
    """The qualified name of what was called; before Python 3.11, which has none, the name and its line."""


class Count(NamedTuple):
    """How long a leg or a journey is."""

    hops: int
    """Different pairs of caller and callee."""
    modules: int
    """Different modules of ours in them."""
    functions: int
    """Different entries: one hop may enter several functions."""


def count() -> dict[str, Count]:
    """
    Travel all legs and return how long they and the journeys are. Takes some ten seconds.

    Returns:
        dict[str, Count]: Of ``"event"``, ``"publish"``, ``"deliver"``, ``"request"``, ``"open"``,
            ``"hang_up"``.

    Raises:
        RuntimeError: A leg did not come to its end, or a worker has a second native thread.
    """
    return _count(travel())


def travel() -> dict[str, list[Entry]]:
    """
    Travel all legs and return the entries of each, in order of their first occurrence.

    Raises:
        RuntimeError: A leg did not come to its end, or a worker has a second native thread.
    """
    root = Path(__file__).parents[1]
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        command = [sys.executable, "-m", "gunicorn", "-c", "python:tests.journey", "-k", "gevent", "-w", "2"]
        command += ["--keep-alive", "600", "--log-level", "warning", "-b", f"fd://{listener.fileno()}"]
        server = subprocess.Popen(
            [*command, "tests.journey:create_app()"],
            cwd=root,
            env={**os.environ, "GUNICORN_CMD_ARGS": ""},
            pass_fds=[listener.fileno()],
            start_new_session=True,
        )
    try:
        return _travel(port)
    except OSError as error:
        raise RuntimeError(f"a worker did not answer ({error!r}): see what gunicorn wrote") from error
    finally:
        server.send_signal(signal.SIGQUIT)  # SIGTERM would wait for the connections that are open
        try:
            server.wait(TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()


def _travel(port: int) -> dict[str, list[Entry]]:
    publisher, control, idle, *clients = _connect(port, 2 + WARM_UPS + REPETITIONS)
    runs: dict[str, list[list[Entry]]] = {"publish": [], "deliver": [], "open": [], "hang_up": []}
    idle.open_stream()
    for _ in range(WARM_UPS + REPETITIONS):
        control.ask(f"/recorder/deliver/{idle.port}")
        published = publisher.ask("/publish")
        idle.read_until(b"data: news")
        delivered = control.ask("/recorder/stop")
        runs["publish"].append(_entries(published))
        runs["deliver"].append(_entries(delivered, published["began"]))
    for client in clients:
        client.open_stream()
        runs["open"].append(_entries(control.ask("/recorder/stop")))
    time.sleep(SETTLE_SECONDS)  # hang_up is that of a stream that has been open for a while
    for client in clients:
        control.ask(f"/recorder/hang_up/{client.port}")
        closed_at = time.monotonic()
        client.close()
        runs["hang_up"].append(_entries(control.ask("/recorder/stop"), closed_at))
    for connection in (publisher, control, idle):
        connection.close()
    return {leg: _majority(found[WARM_UPS:]) for leg, found in runs.items()}


def _connect(port: int, number: int) -> list[_Connection]:
    """Return one connection to worker A, and so many to worker B."""
    first = _Connection(port)
    b = first.ask("/recorder")["pid"]
    # Of two idle workers the same one may take every connection: the other one is stopped meanwhile.
    with _stopped(b):
        publisher = _Connection(port)
        a = publisher.ask("/recorder")["pid"]
    others = []
    with _stopped(a):
        for _ in range(number - 1):
            others.append(_Connection(port))
            if others[-1].ask("/recorder")["pid"] != b:
                raise RuntimeError("gunicorn has started a worker anew: see what it wrote")
    return [publisher, first, *others]


@contextlib.contextmanager
def _stopped(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def _entries(answer: dict[str, Any], since: float = 0.0) -> list[Entry]:
    """Return what a recorder found from a moment on, on the clock that all processes of a machine share."""
    if answer["missing"]:
        raise RuntimeError(f"the worker recorded no {' and no '.join(answer['missing'])}")
    if answer["threads"] > 1:
        raise RuntimeError(
            f"the worker has {answer['threads']} native threads, and sys.setprofile sees one of them: "
            "let the recorder watch them all (threading.setprofile_all_threads, since Python 3.12)"
        )
    return [Entry(*names) for at, *names in answer["entries"] if at >= since]


def _majority(runs: list[list[Entry]]) -> list[Entry]:
    """Return the entries that more than half of the runs have, in order of their first occurrence."""
    votes = Counter(entry for run in runs for entry in set(run))
    in_order = dict.fromkeys(entry for run in runs for entry in run)
    return [entry for entry in in_order if votes[entry] * 2 > len(runs)]


def _count(legs: dict[str, list[Entry]]) -> dict[str, Count]:
    counts = {}
    for journey, names in JOURNEYS.items():
        counts[journey] = _length(entry for name in names for entry in legs[name])
        counts.update({name: _length(legs[name]) for name in names})
    return counts


def _length(entries: Iterable[Entry]) -> Count:
    different = set(entries)
    hops = {(entry.caller, entry.callee) for entry in different}
    return Count(len(hops), len({module for hop in hops for module in hop} - {OUTSIDE}), len(different))


class _Connection:
    """A connection that stays with the worker that accepted it."""

    def __init__(self, port: int) -> None:
        self._sock = socket.create_connection(("127.0.0.1", port), TIMEOUT_SECONDS)
        self._received = b""
        self.port: int = self._sock.getsockname()[1]

    def send(self, path: str) -> None:
        self._sock.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())

    def receive(self) -> dict[str, Any]:
        head = self.read_until(b"\r\n\r\n").lower()
        if not head.startswith(b"http/1.1 200 "):
            raise RuntimeError(f"a worker answered {head!r}")
        length = int(head.partition(b"content-length:")[2].split()[0])
        while len(self._received) < length:
            self._read()
        body, self._received = self._received[:length], self._received[length:]
        answer: dict[str, Any] = json.loads(body)
        return answer

    def ask(self, path: str) -> dict[str, Any]:
        self.send(path)
        return self.receive()

    def open_stream(self) -> None:
        """Ask for a stream and read its first bytes."""
        self.send("/events")
        self.read_until(b"\n\n")

    def read_until(self, end: bytes) -> bytes:
        """Take what was received up to an end, and return it without that."""
        while end not in self._received:
            self._read()
        taken, _, self._received = self._received.partition(end)
        return taken

    def _read(self) -> None:
        piece = self._sock.recv(65_536)
        if not piece:
            raise ConnectionResetError("it closed the connection")
        self._received += piece

    def close(self) -> None:
        self._sock.close()


class _Recorder:
    """Writes down the entries of its thread between a start and the end of a leg."""

    def __init__(self) -> None:
        self.began = 0.0
        """When it was started, on the clock of ``time.monotonic``."""
        self._entries: list[tuple[float, str, str, str]] = []
        self._missing: set[str] = set()
        self._fileno = -1

    def start(self, missing: Iterable[str] = (), fileno: int = -1) -> None:
        """
        Write down all entries from now on.

        Args:
            missing (Iterable[str]): What has to happen before the leg is over.
            fileno (int): Of the client's socket.
        """
        self._entries, self._missing, self._fileno = [], set(missing), fileno
        self.began = time.monotonic()
        sys.setprofile(self._profile)

    def stop(self) -> dict[str, Any]:
        """End it now, and return what was found."""
        sys.setprofile(None)
        threads = len(sys._current_frames())
        found = {"began": self.began, "entries": self._entries}
        return {**found, "missing": sorted(self._missing), "threads": threads}

    @property
    def is_over(self) -> bool:
        """Whether all has happened that had to."""
        return not self._missing

    def note(self, what: str) -> None:
        """Say what has happened; the last that was missing ends the leg."""
        if what in self._missing:
            self._missing.remove(what)
            if not self._missing:
                sys.setprofile(None)

    def _profile(self, frame: FrameType, event: str, argument: Any) -> None:
        if event == "call":
            callee = _module(frame)
            if callee is None:
                return
            above = frame.f_back
            while above is not None and _module(above) is None:
                above = above.f_back
            caller = OUTSIDE if above is None else _module(above)
            if caller is not None and caller != callee:
                self._entries.append((time.monotonic(), caller, callee, _function(frame)))
        elif event == "c_call":
            # gevent's socket has this one inside, and direct writing goes to it without gevent's.
            sock = getattr(argument, "__self__", None)
            if isinstance(sock, _socket.socket) and sock.fileno() == self._fileno:
                if argument.__name__ in ("send", "sendall", "sendmsg"):
                    self.note(SENT)
                elif argument.__name__ == "close":
                    self.note(CLOSED)


def _module(frame: FrameType) -> str | None:
    """Return the module of ours that a frame runs in, without the package's name; else ``None``."""
    name: str = frame.f_globals.get("__name__") or ""
    package, _, module = name.partition(".")
    return (module or "__init__") if package == PACKAGE else None


def _function(frame: FrameType) -> str:
    code = frame.f_code
    return getattr(code, "co_qualname", None) or f"{code.co_name}:{code.co_firstlineno}"


def create_app() -> Callable[[dict[str, Any], Any], Iterable[bytes]]:
    """Return the app of the workers: one route that publishes, the streams, and beside Flask the recorder."""
    import gevent
    from flask import Flask

    from flask_sse_push import publish, sse, stream_closed

    app = Flask(__name__)
    app.config.update(SSE_PUSH_PUBLIC_CHANNELS=["*"], SSE_PUSH_HEARTBEAT_SECONDS=45)
    app.register_blueprint(sse, url_prefix="/events")
    recorder = _Recorder()
    filenos: dict[str, int] = {}  # of the streams' sockets, by the port of the client
    stream_closed.connect(lambda *_, **__: recorder.note(TOLD), app, weak=False)

    @app.get("/publish")
    def publish_one() -> dict[str, Any]:
        recorder.start()
        publish("news")
        return recorder.stop()

    def control(path: str) -> dict[str, Any]:
        _, _, order, *port = path.split("/")
        if order == "stop":
            end = time.monotonic() + TIMEOUT_SECONDS / 2
            while not recorder.is_over and time.monotonic() < end:
                gevent.sleep(0.005)
            return recorder.stop()
        recorder.start(ENDS[order], filenos[port[0]])
        return {}

    def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if path.startswith("/recorder"):
            # Not through Flask: what this package does before and after each request is on no leg.
            body = json.dumps(control(path) if path != "/recorder" else {"pid": os.getpid()}).encode()
            start_response("200 OK", [("Content-Length", str(len(body)))])
            return [body]
        if path == "/events":
            fileno = filenos[environ["REMOTE_PORT"]] = environ["gunicorn.socket"].fileno()
            recorder.start(ENDS["open"], fileno)
        return app(environ, start_response)

    return application


def main() -> None:
    """Print the counts, and with ``-v`` the hops of each leg with the functions that they enter."""
    parser = argparse.ArgumentParser(prog="python -m tests.journey", description="Count the journeys.")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("-v", "--verbose", action="store_true", help="list the hops")
    asked = parser.parse_args()
    legs = travel()
    counts = _count(legs)
    if asked.json:
        found: dict[str, Any] = {name: length._asdict() for name, length in counts.items()}
        if asked.verbose:
            for name, entries in legs.items():
                found[name]["entries"] = entries
        print(json.dumps(found, indent=2))
        return
    for name, length in counts.items():
        title = name if name in JOURNEYS else f"  {name}"
        numbers = f"{length.hops:3} hops over {length.modules:2} modules, {length.functions:3} functions"
        print(f"{title:<10} {numbers}")
        if asked.verbose and name in legs:
            for hop, functions in _by_hop(legs[name]).items():
                print(f"      {' -> '.join(hop)}: {', '.join(functions)}")


def _by_hop(entries: list[Entry]) -> dict[tuple[str, str], list[str]]:
    hops: dict[tuple[str, str], list[str]] = {}
    for entry in entries:
        hops.setdefault((entry.caller, entry.callee), []).append(entry.function)
    return hops


if __name__ == "__main__":
    main()
