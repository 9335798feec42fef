"""The private folder of a server, as far as it shows without one."""

import fcntl
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from flask_sse_push import ConfigurationError
from flask_sse_push.bus import BusOptions
from flask_sse_push.bus.private_folder import PrivateFolder, private_folder
from flask_sse_push.bus.sqlite import SqliteBus
from flask_sse_push.core.messages import Message
from tests.bus.stores import keep
from tests.needs import needs
from tests.support import FACTOR

NOBODY = 65534


@pytest.fixture
def worker(tmp_path):
    """As much of gunicorn's worker as the folder asks for."""
    return SimpleNamespace(
        ppid=os.getppid(), sockets=[], cfg=SimpleNamespace(worker_tmp_dir=str(tmp_path), reuse_port=False)
    )


def folder_of(folder):
    return Path(folder.database("shop")).parent


def test_private_folder_is_made_for_this_user_alone(worker, tmp_path):
    """
    It is named for the user and the server, nobody else may enter, and each worker of the server finds it.
    """
    made = folder_of(private_folder(worker))
    assert made.parent == tmp_path
    assert made.name.startswith(f"flask_sse_push-{os.geteuid()}-")
    assert made.stat().st_mode & 0o777 == 0o700
    assert folder_of(private_folder(worker)) == made
    assert [file.name for file in made.iterdir()] == [str(os.getpid())]


def test_private_folder_name_is_shared_by_the_forks_of_one_process_alone(worker):
    """
    A fork comes to the same name, and another run of Python never does: nobody can put something there before
    the server runs.
    """
    made = folder_of(private_folder(worker))
    read, write = os.pipe()
    if os.fork() == 0:
        try:
            os.write(write, str(folder_of(PrivateFolder(worker))).encode())
        finally:
            os._exit(0)
    os.wait()
    assert os.read(read, 4096).decode() == str(made)
    os.close(read)
    os.close(write)
    code = """if True:
        import os, sys
        from types import SimpleNamespace as Some
        from flask_sse_push.bus.private_folder import PrivateFolder
        cfg = Some(worker_tmp_dir=sys.argv[2], reuse_port=False)
        print(PrivateFolder(Some(ppid=int(sys.argv[1]), sockets=[], cfg=cfg)).database("shop"))
    """
    argv = [sys.executable, "-c", code, str(worker.ppid), worker.cfg.worker_tmp_dir]
    other = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=30 * FACTOR).stdout
    assert Path(other).parent.name.rpartition("-")[0] == made.name.rpartition("-")[0]
    assert Path(other).parent != made


@pytest.mark.parametrize("kind", ["file", "link", "open", "of another"])
def test_private_folder_that_is_not_private_is_refused(worker, tmp_path, kind):
    """
    What lies in its place is neither used nor followed nor removed, and the message says whose it is and what
    to do.
    """
    planted = folder_of(PrivateFolder(worker))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    if kind == "file":
        planted.write_text("mine")
    elif kind == "link":
        planted.symlink_to(elsewhere)
    else:
        planted.mkdir(mode=0o700)
        if kind == "open":
            planted.chmod(0o711)
        else:
            needs(root=True)
            os.chown(planted, NOBODY, NOBODY)
    told = (
        rf"{planted.name}' must be a folder of user .* that nobody else can enter, got mode .* of user .*\. "
    )
    told += r"Remove it\.$"
    with pytest.raises(ConfigurationError, match=told):
        private_folder(worker)
    assert os.path.lexists(planted)
    assert not list(elsewhere.iterdir())


@pytest.mark.parametrize("kind", ["file", "link", "folder"])
def test_planted_name_of_the_user_keeps_nobody_from_starting(worker, tmp_path, kind):
    """What a stranger can guess is not what is used."""
    planted = tmp_path / f"flask_sse_push-{os.geteuid()}"
    if kind == "file":
        planted.write_text("x")
    elif kind == "link":
        planted.symlink_to(tmp_path)
    else:
        planted.mkdir(mode=0o777)
    assert folder_of(private_folder(worker)).is_dir()


def test_private_folder_is_refused_where_others_could_swap_it(worker, tmp_path):
    """A temporary folder that all may write and that is not sticky is none."""
    tmp_path.chmod(0o777)
    with pytest.raises(
        ConfigurationError,
        match=r"nobody else may write in it unless it is sticky, got mode drwxrwxrwx .*--worker-tmp-dir",
    ):
        private_folder(worker)
    tmp_path.chmod(0o1777)
    private_folder(worker)


def test_private_folder_without_a_place_is_told(worker, tmp_path):
    """Where there is no folder to make it in, that is one sentence with the folder, the user and the cure."""
    worker.cfg.worker_tmp_dir = str(tmp_path / "nowhere")
    with pytest.raises(ConfigurationError) as caught:
        private_folder(worker)
    assert "nowhere' user " in str(caught.value)
    assert "can make no folder (No such file or directory). Give gunicorn --worker-tmp-dir" in str(
        caught.value
    )
    assert caught.value.__suppress_context__


def test_private_folder_is_locked_as_cleaners_respect(worker):
    """
    As long as the worker lives it holds the lock that systemd-tmpfiles asks for before it removes what is
    old.
    """
    private = private_folder(worker)
    descriptor = os.open(folder_of(private), os.O_RDONLY)
    try:
        with pytest.raises(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        os.close(descriptor)


def test_lock_of_somebody_else_on_the_private_folder_harms_nobody(worker):
    """A cleaner that is at work in this moment holds nothing up."""
    made = folder_of(PrivateFolder(worker))
    made.mkdir(mode=0o700)
    descriptor = os.open(made, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        private = private_folder(worker)
        bus = SqliteBus(
            private.database("shop"),
            BusOptions(keep(), 1),
            volatile=True,
            make_folder=private.make,
        )
        assert bus.publish(Message(("a",), b"data: x\n\n")).sequence == 1
        bus.close()
    finally:
        os.close(descriptor)


def test_private_folder_survives_systemd_tmpfiles(worker, tmp_path):
    """A real cleaner removes what is old beside it, and leaves the folder and the database in it."""
    needs("systemd-tmpfiles", root=True)
    private = private_folder(worker)
    bus = SqliteBus(
        private.database("shop"),
        BusOptions(keep(), 1),
        volatile=True,
        make_folder=private.make,
    )
    bus.publish(Message(("a",), b"data: x\n\n"))
    old = tmp_path / "old"
    old.mkdir()
    (old / "file").write_text("x")
    rules = tmp_path.parent / f"{tmp_path.name}.conf"
    rules.write_text(f"d {tmp_path} 1777 root root aAbBcCmM:0s\n")
    try:
        subprocess.run(["systemd-tmpfiles", "--clean", str(rules)], check=True, timeout=30 * FACTOR)
        assert not (old / "file").exists()
        assert Path(private.database("shop")).exists()
        assert bus.publish(Message(("a",), b"data: x\n\n")).sequence == 2
    finally:
        rules.unlink()
        bus.close()


def test_folder_of_a_dead_server_is_removed_by_the_next(worker, tmp_path):
    """What is named for a process that is no more goes, and nothing else that looks like it."""
    living = folder_of(PrivateFolder(worker))
    user, namespace = living.name.split("-")[1:3]
    dead = tmp_path / f"flask_sse_push-{user}-{namespace}-{os.getpid()}-1-0123abcd"
    other = tmp_path / f"flask_sse_push-{user}-1-{os.getpid()}-1-0123abcd"
    link = tmp_path / f"flask_sse_push-{user}-{namespace}-{os.getpid()}-2-0123abcd"
    for folder in (dead, other):
        folder.mkdir(mode=0o700)
        (folder / "file").write_text("x")
    link.symlink_to(other)
    private_folder(worker)
    assert not dead.exists()
    assert (other / "file").exists()
    assert link.is_symlink()
