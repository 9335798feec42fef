"""
The private folder of a server under real workers: tidied away, without a place, and of a user other than the
master's.
"""

import contextlib
import os
import shutil
import signal
import tempfile
import time
from pathlib import Path

import pytest

from tests.needs import lacking, needs
from tests.servers.harness import FACTOR, ROOT, Client, Server, eventually
from tests.servers.test_workers import workers_of

NOBODY = 65534


def private_folders(folder):
    return [path for path in folder.iterdir() if path.name.startswith("flask_sse_push-")]


def followers(folder):
    """The processes of the workers that have streams, by their doorbells."""
    return {path.name.partition("-")[0] for path in folder.rglob("*-bells/*")}


def wait_for_both(server):
    """See both workers: gunicorn loses a signal that comes while one boots."""

    def both():
        with contextlib.suppress(OSError):
            seen.add(server.worker_pid())
        return len(seen) == 2

    seen = set()
    eventually(both, 20, "both workers have booted")


def spread(server, folder):
    """Open streams until both workers have some."""
    clients = []

    def enough():
        client = Client(server).begun()
        if b"Come back later" not in client.body:  # the threads of that worker are taken; the other has some
            clients.append(client)
        return len(clients) >= 4 and len(followers(folder)) == 2

    wait_for_both(server)
    eventually(enough, 20, "all streams are in one worker")
    return clients


@pytest.fixture
def common():
    """A folder like /tmp, which every user reaches."""
    needs(root=True)
    if os.system(
        f"test -r {ROOT} && setpriv --reuid {NOBODY} --regid {NOBODY} --clear-groups test -r {__file__}"
    ):
        lacking("needs a checkout that the user nobody can read")
    folder = Path(tempfile.mkdtemp(prefix="sse-push-common-"))
    folder.chmod(0o1777)
    yield folder
    shutil.rmtree(folder)


def test_folder_that_is_tidied_away_comes_back(tmp_path):
    """
    Publishing works again at once, the streams of all workers are told of the gap and get what comes, and the
    folder goes with the server.
    """
    with Server(
        "gunicorn-gevent", "-w", "2", environ={"TMPDIR": str(tmp_path)}, heartbeat_seconds=0.5
    ) as server:
        clients = spread(server, tmp_path)
        (before,) = server.publish("before")
        for client in clients:
            client.wait(1)
        (folder,) = private_folders(tmp_path)
        shutil.rmtree(folder)
        (after,) = server.publish("after")
        assert before.split("-")[0] != after.split("-")[0]
        for client in clients:
            client.until(lambda client: len(client.events) >= 3, 3)
            assert [event.type for event in client.events] == ["message", "sse.reset", "message"]
            assert client.data()[2] == "after"
        ids = [server.publish(number)[0] for number in range(20)]
        assert [int(id.split("-")[1]) for id in ids] == list(range(2, 22))
        for client in clients:
            client.wait(23)
            assert client.data()[3:] == [str(number) for number in range(20)]
        assert private_folders(tmp_path) == [folder]
        assert {path.name for path in folder.iterdir() if path.name.isdigit()} >= followers(folder)
        assert len(followers(folder)) == 2
        server.process.terminate()
        server.process.wait(15)
        assert "Traceback" not in server.log
    assert not private_folders(tmp_path)


def test_apps_of_a_worker_share_its_hold_on_the_folder(tmp_path):
    """
    An app that is made again and again, as a job or a request may, costs a worker no open file each time.
    """
    options = {"app": "tests.servers.jobs:app", "environ": {"TMPDIR": str(tmp_path)}}
    with Server("gunicorn-gevent", "-w", "2", **options) as server:
        for _ in range(4):
            assert server.post("/apps", count=40)["files"] < 40
        server.process.terminate()
        server.process.wait(15 * FACTOR)
    assert not private_folders(tmp_path)


LATE = """
import atexit

from flask_sse_push import BusUnavailable, publish


@atexit.register
def late():
    try:
        publish("the last word")
    except BusUnavailable as error:
        print("not published:", error, flush=True)


from tests.servers.app import app
"""


def test_event_at_the_very_end_does_not_bring_the_folder_back(tmp_path):
    """
    An event that an atexit function publishes when the last worker has left is refused, with the reason, and
    nothing stays behind.
    """
    folder = tmp_path / "tmp"
    folder.mkdir()
    (tmp_path / "late.py").write_text(LATE)
    environ = {"TMPDIR": str(folder), "PYTHONPATH": f"{ROOT}:{tmp_path}"}
    with Server("gunicorn-gevent", "-w", "2", environ=environ, app="late:app") as server:
        wait_for_both(server)
        server.process.terminate()
        server.process.wait(15 * FACTOR)
        log = server.log
    assert "not published: The event was not stored: " in log
    assert "went with the last worker of the server" in log
    assert "Traceback" not in log
    assert not private_folders(folder)


def test_folder_that_is_tidied_away_while_nobody_publishes_is_told(tmp_path):
    """
    Streams hear of the gap though nothing is published, and workers meet in one new database: also below a
    path that is too long for the address of a socket, where events come without waiting for the look of each
    second.
    """
    parent = tmp_path / ("long" * 25) / ("longer" * 15)
    parent.mkdir(parents=True)
    with Server(
        "gunicorn-gevent", "-w", "2", environ={"TMPDIR": str(parent)}, heartbeat_seconds=0.5
    ) as server:
        clients = spread(server, parent)
        (folder,) = private_folders(parent)
        shutil.rmtree(folder)
        for client in clients:
            client.wait(1, 4)
            assert [event.type for event in client.events] == ["sse.reset"]
        begun = time.monotonic()
        for number in range(10):
            server.publish(number)
            for client in clients:
                client.wait(number + 2)
        assert time.monotonic() - begun < 4 * FACTOR
        assert clients[0].data()[1:] == [str(number) for number in range(10)]
        assert "looked for once a second" not in server.log
    assert not private_folders(parent)


def gunicorn_as_nobody(common, *options, **settings):
    # The common folder is where nobody may write, also for what is cached of imports.
    environ = {"TMPDIR": str(common), "PYTHONDONTWRITEBYTECODE": "1", "HOME": str(common)}
    conf = "tests/servers/gunicorn_conf_nobody.py"
    return Server(
        "gunicorn-gevent",
        "-w",
        "2",
        "-c",
        conf,
        "--user",
        "nobody",
        "--group",
        "nogroup",
        *options,
        environ=environ,
        **settings,
    )


def test_workers_of_another_user_share_events_and_tidy_up(common):
    """
    A server that root started and whose workers are nobody works, keeps its folder over a reload, and leaves
    nothing when it stops.
    """
    with gunicorn_as_nobody(common) as server:
        clients = spread(server, common)
        (first,) = server.publish("first")
        (folder,) = private_folders(common)
        assert folder.stat().st_uid == NOBODY
        for client in clients:
            client.wait(1)
        server.process.send_signal(signal.SIGHUP)
        for client in clients:
            client.until(lambda client: client.ended, 10)
        (second,) = eventually(lambda: publish(server, "second"), 10)
        assert second.split("-")[0] == first.split("-")[0]
        with Client(server, headers=[f"Last-Event-ID: {first}"]) as back:
            back.wait(1)
            assert back.data() == ["second"]
        wait_for_both(server)
        # All workers are gone for a moment, and the master, which is held up, goes on behind it.
        eventually(lambda: len(workers_of(server)) == 2, 10)
        last = workers_of(server)
        server.process.send_signal(signal.SIGSTOP)
        try:
            for pid in last:
                os.kill(pid, signal.SIGTERM)
            eventually(lambda: all(") Z " in Path(f"/proc/{pid}/stat").read_text() for pid in last), 10)
        finally:
            server.process.send_signal(signal.SIGCONT)
        assert private_folders(common) == [folder]
        (third,) = eventually(lambda: publish(server, "third"), 10)
        assert third.split("-")[0] == first.split("-")[0]
        wait_for_both(server)
        server.process.terminate()
        server.process.wait(15)
        assert "Traceback" not in server.log
    assert not private_folders(common)


def publish(server, data):
    try:
        return server.publish(data)
    except OSError:
        return None


def test_folder_where_workers_may_not_write_is_told(common):
    """
    With a temporary folder that only root may enter, the server ends with one sentence that names the folder,
    the user and the cure.
    """
    closed = common / "root"
    closed.mkdir(mode=0o700)
    with gunicorn_as_nobody(common, "--worker-tmp-dir", str(closed), wait=False) as server:
        server.process.wait(20 * FACTOR)
        log = server.log
    assert server.process.returncode != 0
    told = f"in {str(closed)!r} user 'nobody' (65534) can make no folder (Permission denied). "
    told += "Give gunicorn --worker-tmp-dir with"
    assert log.count(told) == 1, log
    assert "PermissionError" not in log
    assert not list(closed.iterdir())


def test_planted_folder_does_not_keep_the_server_from_starting(tmp_path):
    """
    What lies under the user's name in the temporary folder, by whomever, is not used and not touched.
    """
    planted = tmp_path / f"flask_sse_push-{os.geteuid()}"
    planted.mkdir(mode=0o777)
    with Server("gunicorn-gevent", "-w", "2", environ={"TMPDIR": str(tmp_path)}) as server:
        with Client(server).begun() as client:
            server.publish("x")
            client.wait(1)
    assert private_folders(tmp_path) == [planted]
    assert not list(planted.iterdir())
