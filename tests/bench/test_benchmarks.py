"""
The command that measures: it must find every fault, and give its table and raw results for real servers.
"""

import socket
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import pytest

from benchmarks.__main__ import main
from benchmarks.load import Load
from benchmarks.peers import Peer
from benchmarks.programs import build
from benchmarks.report import Report
from benchmarks.run import LOAD_CORE
from benchmarks.scenarios import QUICK, SCENARIOS, Outcome
from tests.needs import needs
from tests.support import FACTOR, MS

ROOT = Path(__file__).parents[2]


def event(seq, channel=0):
    return b'data: {"channel":%d,"seq":%d,"ts":1}\n\n' % (channel, seq)


class ScriptedServer:
    """
    Opens streams, and at the request to publish sends given bytes to all of them and says that it was three
    events.
    """

    def __init__(self, body):
        self._body = body
        self._streams = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *error):
        socket.create_connection(("127.0.0.1", self.port)).close()
        self._thread.join()
        for sock in (*self._streams, self._listener):
            sock.close()

    def _serve(self):
        while True:
            client, _ = self._listener.accept()
            request = client.recv(4096)
            if request.startswith(b"GET"):
                client.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n:\n\n")
                self._streams.append(client)
                continue
            if request:
                for stream in self._streams:
                    stream.sendall(self._body)
                    if self._body.endswith(b"bye\n\n"):
                        stream.shutdown(socket.SHUT_WR)
                client.sendall(b'HTTP/1.1 200 OK\r\n\r\n{"published": 3, "median_nanoseconds": 1}')
            client.close()
            if not request:
                return


@pytest.fixture(scope="module", autouse=True)
def load_generator():
    needs("gcc")
    build("load")


@pytest.mark.parametrize(
    ("body", "faults"),
    [
        pytest.param(event(0) + event(1) + event(2), {}, id="complete"),
        pytest.param(event(0) + event(2), {"lost": 1}, id="lost"),
        pytest.param(event(0) + event(1) + event(1) + event(2), {"duplicated": 1}, id="duplicated"),
        pytest.param(event(0) + event(2) + event(1), {"reordered": 1}, id="reordered"),
        pytest.param(event(0) + event(1) + event(2) + event(3), {"foreign": 1}, id="more than was published"),
        pytest.param(
            event(0) + event(1) + event(2) + event(0, channel=1), {"foreign": 1}, id="of another channel"
        ),
        pytest.param(
            event(0) + b"event: sse.reset\ndata: {}\n\n" + event(1) + event(2),
            {"malformed": 1},
            id="a gap that was told",
        ),
        pytest.param(
            event(0) + event(1)[:20] + b"\n\n" + event(2), {"malformed": 1, "lost": 1}, id="cut short"
        ),
        pytest.param(event(0) + event(1) + event(2) + b": bye\n\n", {"closed": 1}, id="ended"),
    ],
)
def test_load_generator_finds_every_fault(body, faults):
    """
    Each of three streams is checked event by event: what is lost, doubled, out of order or foreign is
    counted.
    """
    peer = Peer("scripted", "scripted", lambda port: [])
    with ScriptedServer(body) as server, Load(peer, server.port, LOAD_CORE, quiet_seconds=300 * MS) as load:
        assert load.open(3)["opened"] == 3
        assert load.publish(1, most=3)["published"] == 3
        assert load.settle(100 * MS) == Counter({fault: 3 * count for fault, count in faults.items()})


def test_command_measures_real_servers(tmp_path):
    """
    `python -m benchmarks` starts the servers, checks their streams, and leaves a table, plots and raw
    results.
    """
    needs(modules=["gevent", "matplotlib"])
    options = [
        "--quick",
        "--peers",
        "reference,flask_sse_push",
        "--scenarios",
        "crowd",
        "--output",
        str(tmp_path / "results"),
        "--json",
        str(tmp_path / "raw.json"),
    ]
    ran = subprocess.run(
        [sys.executable, "-m", "benchmarks", *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60 * FACTOR,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert (tmp_path / "results" / "results.md").read_text() in ran.stdout
    assert ran.stdout.count("| reference in C |") == ran.stdout.count("| **flask_sse_push** |") == 4
    assert "FAILED" not in ran.stdout
    report = Report.from_json((tmp_path / "raw.json").read_text())
    for peer in ("reference", "flask_sse_push"):
        assert report.median("crowd", peer, "crowd.connects") > 100
        assert report.median("crowd", peer, "crowd.steady.per_cpu_second") > 1_000
        assert report.median("crowd", peer, "crowd.steady.p99") > 0
    assert (tmp_path / "results" / "streams.svg").read_text().lstrip().startswith("<?xml")


def test_lost_event_fails_the_command(tmp_path, capsys):
    """
    A fast number with a lost event is a failure: the cell is marked, the figure is not drawn, and the exit
    status is 1.
    """
    scenario = next(scenario for scenario in SCENARIOS if scenario.name == "channels")
    report = Report(
        QUICK,
        "one round",
        "- a machine",
        {"reference": "gcc", "flask_sse_push": "all"},
        scenarios=["channels"],
    )
    for peer, lost in (("reference", 0), ("flask_sse_push", 2)):
        report.results["channels", peer] = [
            Outcome({"channels.per_second": 12_345.0}, Counter(lost=lost) if lost else Counter())
        ]
    assert Report.from_json(report.to_json()) == report
    (tmp_path / "raw.json").write_text(report.to_json())
    assert main(["--redraw", str(tmp_path / "raw.json")]) == 1
    printed = capsys.readouterr().out
    assert f"### {scenario.tables(QUICK)[0].title}" in printed
    assert "| ~~12,345~~ **FAILED** |" in printed
    assert "**FAILED**: 2 lost" in printed
    assert "| reference in C | - | 12,345 |" in printed


def test_command_lists_what_it_knows(capsys):
    """`--list` names each peer with its versions or what is missing, and each scenario."""
    assert main(["--list"]) == 0
    printed = capsys.readouterr().out
    assert "peer flask_sse_push: " in printed
    assert all(f"scenario {scenario.name}: " in printed for scenario in SCENARIOS)
