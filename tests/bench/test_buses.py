"""The command that measures shared buses: it must find a lost event, and compare two checkouts."""

import shutil
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from benchmarks.bus_report import BusReport, Case, Record
from benchmarks.buses import PARTS, main
from benchmarks.errors import BrokenRun
from benchmarks.openings import Openings
from tests.needs import needs
from tests.support import FACTOR

ROOT = Path(__file__).parents[2]
PAUSE_SECONDS = 0.1
HEADER = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"


def run_command(folder, *options):
    """Run the command in short, and return its raw results."""
    needs("gcc", modules=["gevent", "matplotlib"])
    ran = subprocess.run(
        [sys.executable, "-m", "benchmarks.buses", "--quick", "--rounds", "1", *options]
        + ["--output", str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100 * FACTOR,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert (folder / "buses.md").read_text() in ran.stdout
    assert "FAILED" not in ran.stdout
    return BusReport.from_json((folder / "buses.json").read_text())


def test_command_measures_a_shared_bus(tmp_path):
    """Each part gives its figures, and a process reads of Redis what it delivers and no more."""
    needs("redis-server")
    parts = ["reading", "opening", "capacity", "kept"]
    report = run_command(tmp_path, "--parts", ",".join(parts), "--buses", "redis")
    medians = {
        key: report.median(record.part, record.case, "this checkout", key)
        for record in report.records
        for key in record.values
    }
    assert {key.partition(".")[0] for key in medians} == {"private", "opening", "capacity", "kept"}
    assert 0 < medians["private.read"] <= medians["private.most_read"] <= 1.1
    assert medians["private.own"] > 0
    assert medians["private.sent"] > 100
    assert 0 < medians["opening.p50"] <= medians["opening.p99"] < 1_000 * FACTOR
    assert medians["opening.requests"] < 1  # a crowd is gathered into few
    assert medians["kept.memory.full"] > 0
    assert [case.workers for case in report.cases("capacity")] == [0, 1, 2]


def test_command_measures_another_checkout_beside_this_one(tmp_path):
    """`--before` measures the package of that folder: a second row for each server, and a ratio."""
    before, mark = tmp_path / "before", tmp_path / "was imported"
    shutil.copytree(ROOT / "flask_sse_push", before / "flask_sse_push")
    with (before / "flask_sse_push" / "version.py").open("a") as module:
        module.write(f"\nopen({str(mark)!r}, 'w').close()\n")
    options = ["--parts", "publish,broadcast", "--buses", "memory", "--before", str(before)]
    report = run_command(tmp_path, *options)
    assert mark.exists()
    assert report.trees() == ["this checkout", "before"]
    assert report.median("publish", Case("memory", 1), "before", "publish.p50") > 0
    assert report.median("broadcast", Case("memory", 1), "before", "broadcast.per_cpu_second") > 1_000
    text = report.to_markdown()
    assert text.count("| to before |") == 2
    assert text.count("| memory, 1 worker, before |") == 2


def test_results_are_drawn_and_compared(tmp_path, capsys):
    """Raw results give a table with ratios, and a plot of the growth."""
    needs(modules=["matplotlib"])
    report = BusReport("one round", "- a machine")
    for case, microseconds in (
        (Case("memory", 1, 10), 100),
        (Case("redis", 1, 10), 200),
        (Case("redis", 8, 10), 260),
    ):
        values = {"private.cpu": float(microseconds)}
        report.records.append(Record("growth", case, "this checkout", values, Counter()))
    assert BusReport.from_json(report.to_json()) == report
    (tmp_path / "raw.json").write_text(report.to_json())
    assert main(["--redraw", str(tmp_path / "raw.json")]) == 0
    assert "| redis, 8 workers, 10 channels | 260 | 2.60 | 1.30 | yes |" in capsys.readouterr().out
    assert "8 processes" in (tmp_path / "growth.svg").read_text()


def test_report_computes_what_one_redis_carries():
    """An event costs what it costs with one process that listens, and the same more for each further one."""
    report = BusReport("one round", "- a machine")
    for workers, microseconds in ((0, 40.0), (1, 50.0), (8, 120.0)):
        values = {"capacity.own": microseconds}
        report.records.append(Record("capacity", Case("redis", workers), "this checkout", values, Counter()))
    text = report.to_markdown()
    assert "| 0 | 40 | 25,000 |" in text
    assert "| 1 | 50 | 20,000 |" in text
    assert "| 16 | 200 | 5,000 |" in text


def test_lost_event_fails_the_measurement(tmp_path, capsys):
    """One lost event in one round: no figure and no ratio, the count, and exit status 1."""
    report = BusReport("two rounds", "- a machine")
    for case, lost in ((Case("memory", 1, 10), 0), (Case("redis", 1, 10), 0), (Case("redis", 1, 10), 1)):
        faults = Counter(lost=lost) if lost else Counter()
        report.records.append(Record("private", case, "this checkout", {"private.cpu": 50.0}, faults))
    (tmp_path / "raw.json").write_text(report.to_json())
    assert main(["--redraw", str(tmp_path / "raw.json")]) == 1
    printed = capsys.readouterr().out
    assert "| memory, 1 worker, 10 channels | 50 | - | yes |" in printed
    assert "| redis, 1 worker, 10 channels | - | - | **FAILED**: 1 lost |" in printed


@pytest.mark.parametrize("options", [["--parts", "private,nothing"], ["--buses", "kafka"]])
def test_command_refuses_what_it_does_not_know(options, capsys):
    """An unknown part or bus is refused with the known ones."""
    with pytest.raises(SystemExit):
        main(options)
    message = capsys.readouterr().err
    assert f"nothing is called {options[1].split(',')[-1]!r}. There are: " in message
    assert ("redis" if "--buses" in options else ", ".join(PARTS)) in message


@pytest.fixture
def scripted_server():
    """Returns a function that makes a server: it answers one connection with pieces, with pauses between."""
    listener = socket.create_server(("127.0.0.1", 0))
    threads = []

    def serve(pieces):
        client, _ = listener.accept()
        with client:
            client.recv(4096)
            for number, piece in enumerate(pieces):
                time.sleep(PAUSE_SECONDS if number else 0)
                client.sendall(piece)

    def start(*pieces):
        threads.append(threading.Thread(target=serve, args=(pieces,)))
        threads[-1].start()
        return listener.getsockname()[1]

    yield start
    for thread in threads:
        thread.join()
    listener.close()


def test_opening_ends_with_the_place_of_the_stream(scripted_server):
    """The header and `retry:` are not the first block: the time ends where the place has come."""
    with Openings(scripted_server(HEADER + b"retry: 1\n", b"id: a-1\n\n")) as clients:
        (seconds,) = clients.open(["c"])
    assert PAUSE_SECONDS <= seconds < 10 * FACTOR


@pytest.mark.parametrize("answer", [HEADER + b"retry: 1\n\n", b"HTTP/1.1 503 Busy\r\n\r\n"])
def test_stream_that_does_not_begin_breaks_the_run(scripted_server, answer):
    """A refusal, or a stream that ends before its place, is no figure."""
    with Openings(scripted_server(answer)) as clients, pytest.raises(BrokenRun, match="did not begin"):
        clients.open(["c"])
