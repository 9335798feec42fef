"""Whose the files are: what others own, could write or could swap is not used."""

import contextlib
import fcntl
import grp
import os
import shutil
import sqlite3
import stat
import struct
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

import pytest

from flask_sse_push import BusUnavailable, ConfigurationError
from flask_sse_push.bus import BusOptions
from flask_sse_push.bus.sqlite.bus import MAX_PATH_BYTES, SqliteBus
from flask_sse_push.bus.sqlite.doorbells import Doorbells, doorbell_folder
from flask_sse_push.core.messages import Message
from tests.bus.stores import Follower, block, keep
from tests.needs import needs
from tests.platform.scripts import run_script
from tests.support import FACTOR, MS, eventually

ROOT = Path(__file__).parents[2]
NOBODY = 65534


@pytest.fixture
def common():
    """A folder like /tmp: everybody may write, and nobody may take what another has put there."""
    needs(root=True)
    folder = Path(tempfile.mkdtemp(prefix="sse-push-common-"))
    folder.chmod(0o1777)
    yield folder
    shutil.rmtree(folder)


def publish(bus, text="x"):
    return bus.publish(Message(("a",), block(text))).id


def plant(path):
    """Make a whole database of ours at a path, as another user who has this package would."""
    bus = SqliteBus(str(path), BusOptions(keep(), 1))
    publish(bus, "forged")
    bus.close()
    return path


def as_nobody(code, *arguments):
    """
    Run code as the user nobody, who may not be able to read the interpreter: what it needs is imported
    before.
    """
    prelude = f"""
        import encodings.ascii, fcntl, grp, os, pwd, sqlite3, sys
        from flask_sse_push import BusUnavailable, Publisher
        import flask_sse_push.bus.sqlite
        os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(prelude) + textwrap.dedent(code), *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30 * FACTOR,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


PUBLISH = """
    with Publisher("sqlite:///" + sys.argv[1], publish_timeout_seconds=0.5) as publisher:
        try:
            print(publisher.publish("secret"))
        except BusUnavailable as error:
            print(error)
"""


def refused(bus, *words):
    """Neither publishing nor looking nor following uses it, and each says what is wrong."""
    for use in (lambda: publish(bus), bus.inspect):
        with pytest.raises(BusUnavailable) as caught:
            use()
        for word in words:
            assert word in str(caught.value)
    follower = Follower(bus)
    eventually(lambda: bus.health().error, 5000 * MS)
    assert words[0] in bus.health().error
    assert not follower.begun


def test_database_of_another_user_is_refused(make, path):
    """
    A file that somebody else made is neither written nor read, also by root, and the message names both users
    and the cure.
    """
    needs(root=True)
    os.chown(plant(path), NOBODY, NOBODY)
    before = path.read_bytes()
    refused(
        make(),
        str(path),
        "mode -rw------- of user 'nobody' (65534)",
        "a plain file of user 'root' (0)",
        "run this one as user 'nobody'",
    )
    assert path.read_bytes() == before


def test_database_of_another_user_is_refused_by_an_ordinary_user(common):
    """Who is not root is told the same, where the file that root left could even be read."""
    path = plant(common / "events.db")
    path.chmod(0o644)
    common.chmod(0o1777)
    said = as_nobody(PUBLISH, path)
    assert (
        "must be a plain file of user 'nobody' (65534) that nobody else may write, "
        "got mode -rw-r--r-- of user 'root' (0)" in said
    )
    assert "run this one as user 'root' (0), or name another file" in said


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_database_that_others_may_write_is_refused(make, path, mode):
    """Not even where it is this user's own: what is in it may be anybody's."""
    plant(path).chmod(mode)
    if not mode & 0o002:
        needs(root=True)  # the group of an ordinary user is often that user alone, and counts as the owner
        os.chown(path, -1, 12345)
    refused(make(), str(path), stat.filemode(0o100000 | mode), "chmod go-w")


def test_database_that_the_group_of_its_owner_may_write_is_used(make, path):
    """Where each user has a group of the same name and umask 002, that group is nobody else."""
    needs(root=True)
    plant(path).chmod(0o660)
    assert publish(make()).endswith("-2")


def test_group_of_the_owner_with_other_members_is_others(make, path, monkeypatch):
    """A group of the same name that somebody else was added to may not write either."""
    needs(root=True)
    plant(path).chmod(0o660)
    monkeypatch.setattr(
        grp, "getgrgid", lambda number: grp.struct_group(("root", "x", number, ["root", "nobody"]))
    )
    refused(make(), str(path), "mode -rw-rw----", "chmod go-w")


def test_database_that_is_opened_up_later_is_given_up(make, path):
    """What others may write from now on is not used any more by who has it open."""
    bus, other = make(), make()
    follower = Follower(other).up()
    publish(bus)
    follower.wait(1)
    path.chmod(0o666)
    with pytest.raises(BusUnavailable, match=r"mode -rw-rw-rw- .*chmod go-w"):
        publish(bus)
    eventually(lambda: other.health().state == "down", 5000 * MS)
    path.chmod(0o600)
    publish(bus, "after")
    eventually(lambda: follower.entries[-1].wire.endswith(b"data: after\n\n"), 10_000 * MS)


@pytest.mark.parametrize("ending", ["", "-journal", "-wal", "-shm"])
def test_link_is_not_followed(make, path, tmp_path, ending):
    """A link in the place of a file is refused, wherever it leads, and what it leads to stays as it is."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    target = plant(elsewhere / "events.db")
    before = target.read_bytes()
    if ending:
        plant(path)
    path.with_name(path.name + ending).symlink_to(target)
    refused(make(), path.name + ending, "mode lrwxrwxrwx", "Name the file itself")
    assert target.read_bytes() == before
    assert path.with_name(path.name + ending).is_symlink()


def test_file_with_two_names_is_refused(make, path):
    """SQLite would keep two write-ahead logs for it, and the other name may be another app's."""
    os.link(plant(path.with_name("other.db")), path)
    refused(make(), str(path), "with 2 names")


@pytest.mark.parametrize("ending", ["-journal", "-wal", "-shm"])
def test_write_ahead_log_of_another_user_is_refused(make, path, ending):
    """What lies beside the file is read into it, so it must be ours too."""
    needs(root=True)
    plant(path)
    planted = path.with_name(path.name + ending)
    planted.write_bytes(b"")
    os.chown(planted, NOBODY, NOBODY)
    refused(make(), str(planted), "(65534)")


def test_rollback_journal_of_another_user_forges_nothing(make, path):
    """
    SQLite plays a journal that it finds back into the file, whoever wrote it and though the file needs none.
    """
    needs(root=True)
    stored = plant(path).read_bytes()
    page = int.from_bytes(stored[16:18], "big")
    pages = [stored[start : start + page] for start in range(0, len(stored), page)]
    numbers = struct.pack(">IIIII", len(pages), 0, len(pages), 512, page)
    journal = (b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7" + numbers).ljust(512, b"\0")
    for number, content in enumerate(pages, 1):
        forged = content.replace(b"data: forged", b"data: FORGED")
        checksum = sum(forged[index] for index in range(page - 200, 0, -200))
        journal += struct.pack(">I", number) + forged + struct.pack(">I", checksum)
    planted = path.with_name("events.db-journal")
    planted.write_bytes(journal)
    os.chown(planted, NOBODY, NOBODY)
    refused(make(), str(planted), "(65534)")
    assert path.read_bytes() == stored


def test_folder_that_others_may_write_is_refused(make, tmp_path):
    """Who may write there could swap the file at any moment."""
    folder = tmp_path / "open"
    folder.mkdir()
    with pytest.raises(BusUnavailable):
        folder.chmod(0o777)
        publish(make(folder / "events.db"))
    assert not list(folder.iterdir())
    folder.chmod(0o700)
    plant(folder / "events.db")
    folder.chmod(0o777)
    refused(make(folder / "events.db"), str(folder), "mode drwxrwxrwx", "others could swap", "mkdir -m 700")


def test_folder_of_another_user_is_refused(make, tmp_path):
    """Its owner could swap the file too."""
    needs(root=True)
    folder = tmp_path / "theirs"
    folder.mkdir(mode=0o755)
    plant(folder / "events.db")
    os.chown(folder, NOBODY, NOBODY)
    refused(
        make(folder / "events.db"),
        str(folder),
        "of user 'nobody' (65534)",
        "must belong to user 'root' (0) or root",
    )


def test_sticky_folder_is_used(common):
    """In a folder like /tmp nobody can take away what is ours, and the name of the journal stays taken."""
    assert as_nobody(PUBLISH, common / "events.db").strip().endswith("-1")
    assert sorted(os.listdir(common)) == ["events.db", "events.db-journal"]


@pytest.mark.parametrize("is_there", [False, True])
def test_nobody_puts_a_file_beside_in_the_moment_of_the_opening(common, monkeypatch, is_there):
    """
    In a folder like /tmp the names where SQLite looks for more are taken before it looks, and so the database
    stays whole.
    """
    path = common / "events.db"
    if is_there:
        plant(path)
    connect, said = sqlite3.connect, []

    def late(*arguments, **options):
        names = [path.with_name(path.name + ending) for ending in ("", "-wal", "-shm", "-journal")]
        said.append(as_nobody(PLANT, *names).split())
        return connect(*arguments, **options)

    monkeypatch.setattr(sqlite3, "connect", late)
    bus = SqliteBus(str(path), BusOptions(keep(), 5 * FACTOR))
    try:
        first, second = publish(bus), publish(bus)
    finally:
        bus.close()
    assert said == [["PermissionError"] * 4]
    assert (first[-2:], second[-2:]) == (("-2", "-3") if is_there else ("-1", "-2"))


PLANT = """
    for path in sys.argv[1:]:
        try:
            open(path, "ab").close()
            print("planted")
        except OSError as error:
            print(type(error).__name__)
"""


def test_swap_between_the_look_and_the_opening_is_noticed(make, path, monkeypatch):
    """What SQLite has opened in the end must be the file that was found before."""
    plant(path)
    other = plant(path.with_name("other.db"))
    connect = sqlite3.connect

    opened = []

    def swapped(*arguments, **options):
        opened.append(other.replace(path))
        return connect(*arguments, **options)

    monkeypatch.setattr(sqlite3, "connect", swapped)
    with pytest.raises(BusUnavailable, match=r"No such file|locked"):
        SqliteBus(str(path), BusOptions(keep(), 0)).publish(Message(("a",), block("x")))
    assert opened
    monkeypatch.undo()
    assert publish(make()).endswith("-2")


def forged_journal(path):
    """
    What SQLite keeps beside a file in the middle of a change: rolled back, it brings the pages of this one.
    """
    forged = shutil.copy(path, path.with_name("forged.db"))
    with contextlib.closing(sqlite3.connect(forged, isolation_level=None)) as connection:
        for statement in (
            "PRAGMA journal_mode = DELETE",
            "PRAGMA synchronous = OFF",
            "UPDATE entries SET block = CAST('data: FORGED' AS BLOB)",
            "BEGIN",
            "DELETE FROM entries",
        ):
            connection.execute(statement)
        journal = Path(f"{forged}-journal").read_bytes()
    Path(forged).unlink()
    return journal


def test_journal_of_another_user_is_not_rolled_back(make, common):
    """
    SQLite writes what is in a file of that name over the database, whoever has put it there: the events of a
    stranger were read as ours.
    """
    path = plant(common / "events.db")
    before, journal = path.read_bytes(), path.with_name("events.db-journal")
    journal.unlink(missing_ok=True)  # as who published with an older version has left it
    journal.write_bytes(forged_journal(path))
    journal.chmod(0o666)
    os.chown(journal, NOBODY, NOBODY)
    refused(make(path), str(journal), "(65534)", "run this one as user 'nobody'")
    assert path.read_bytes() == before


def test_lock_of_the_folder_holds_up_nobody(make, path):
    """Who may read the folder can lock it for ever, and nobody asks for that lock."""
    folder = os.open(path.parent, os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)
    try:
        assert publish(make()).endswith("-1")
    finally:
        os.close(folder)
    assert sorted(file.name for file in path.parent.iterdir()) == [
        "events.db",
        "events.db-shm",
        "events.db-wal",
    ]


@pytest.mark.parametrize("kind", ["file", "link", "folder"])
def test_planted_lock_is_told(make, path, kind):
    """
    A stranger's file in the place of the lock that guards the making is named, and not followed, written or
    removed.
    """
    needs(root=True)
    lock = path.with_name("events.db-lock")
    target = path.with_name("target")
    if kind == "file":
        lock.write_text("x")
        os.chown(lock, NOBODY, NOBODY)
    elif kind == "link":
        lock.symlink_to(target)
    else:
        lock.mkdir()
    with pytest.raises(BusUnavailable) as caught:
        publish(make())
    assert str(lock) in str(caught.value)
    assert not target.exists()
    assert os.path.lexists(lock)


def test_lock_that_a_killed_process_left_is_taken(make, path):
    """It is the lock that counts, and not that its file is there."""
    path.with_name("events.db-lock").touch(mode=0o600)
    assert publish(make()).endswith("-1")


def test_lock_whose_file_has_gone_is_none(make, path, monkeypatch):
    """
    Who waited for a lock and got it when its file was removed does not make the database: the next one has
    another lock.
    """
    lock, flock, kept = path.with_name("events.db-lock"), fcntl.flock, []

    def late(file, kind):
        if lock.exists():
            kept.append(path.exists())
            lock.unlink()
        return flock(file, kind)

    monkeypatch.setattr(fcntl, "flock", late)
    with pytest.raises(BusUnavailable, match="was locked by another process"):
        publish(make(timeout=0.5))
    assert kept and not any(kept)
    assert not path.exists()


def test_name_that_is_too_long_is_told(make, tmp_path):
    """What is made beside the file has longer names, and the message says so."""
    with pytest.raises(BusUnavailable, match=r"File name too long.*Give the file a shorter name"):
        publish(make(tmp_path / ("x" * 252)))


def test_path_that_is_too_long_for_sqlite_is_told_at_once(make, tmp_path):
    """
    The longest path that SQLite takes works; one byte more is a ConfigurationError where the bus is made.
    """
    folder = tmp_path / ("x" * 200)
    rest = MAX_PATH_BYTES - len(os.fsencode(folder)) - 1
    folder = folder / ("y" * (rest - 10)) if rest > 200 else folder
    folder.mkdir(parents=True)
    longest = folder / ("z" * (MAX_PATH_BYTES - len(os.fsencode(folder)) - 1))
    assert publish(make(longest)).endswith("-1")
    with pytest.raises(ConfigurationError, match=r"at most 504 bytes, got 505: .*--worker-tmp-dir"):
        make(longest.with_name(longest.name + "z"))


@pytest.mark.parametrize("kind", ["folder", "link"])
def test_bells_of_another_user_are_neither_hung_nor_rung(make, path, kind, caplog):
    """In a stranger's folder no process hangs its doorbell, and nobody rings or removes what is there."""
    needs(root=True)
    theirs = path.with_name("theirs") if kind == "link" else doorbell_folder(path)
    theirs.mkdir(mode=0o700)
    os.chown(theirs, NOBODY, NOBODY)
    if kind == "link":
        doorbell_folder(path).symlink_to(theirs)
    import socket

    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sock.bind(str(theirs / "12-0123abcd"))
    try:
        follower = Follower(make()).up()
        publish(make())
        follower.wait(1)
        Doorbells(doorbell_folder(path)).ring(("a",))
        sock.setblocking(False)
        with pytest.raises(BlockingIOError):
            sock.recv(10)
    finally:
        sock.close()
    assert [file.name for file in theirs.iterdir()] == ["12-0123abcd"]
    assert "(65534)" in caplog.text or kind == "link"


def test_log_says_why_the_file_cannot_be_used_and_not_what_ended_its_use(make, path, caplog):
    """
    A file that others may write all at once is away: the one line that says so has the reason and the cure,
    and the follower's next run does not say it again.
    """
    bus = make()
    publish(bus)
    follower = Follower(bus).up()
    path.chmod(0o666)
    eventually(lambda: "is away" in caplog.text, 10_000 * MS)
    assert "that nobody else may write" in caplog.text
    assert "(chmod go-w)" in caplog.text
    bus.close()
    bus.start(follower)
    eventually(lambda: bus.health().state == "down", 5000 * MS)
    path.chmod(0o600)
    eventually(lambda: follower.ups == 2, 10_000 * MS)
    assert caplog.text.count("is away") == caplog.text.count("is back after") == 1


def test_file_that_was_replaced_once_is_one_line_of_the_log(make, path, caplog):
    """Where the first try finds a file that can be used again, one line says so, and none that it is away."""
    bus = make()
    publish(bus)
    follower = Follower(bus).up()
    path.unlink()
    publish(bus)
    eventually(lambda: follower.ups == 2, 10_000 * MS)
    assert caplog.text.count("was away for") == 1
    assert "(FileNotFoundError: the file was deleted or replaced)" in caplog.text
    assert "is away" not in caplog.text


@pytest.mark.parametrize(
    ("lacking", "name"),
    [
        ("del socket.AF_UNIX", "socket.AF_UNIX"),
        ("del socket.MSG_DONTWAIT", "socket.MSG_DONTWAIT"),
        ("del os.O_NOFOLLOW", "os.O_NOFOLLOW"),
        ("sys.modules['fcntl'] = None", "fcntl"),
        ("sys.modules['_sqlite3'] = None", "_sqlite3"),
    ],
)
def test_machine_without_what_the_bus_needs_is_told_at_the_registration(lacking, name):
    """One sentence names what is missing and what else can be set, before anything is published."""
    run_script(f"""
import os, socket, sys
{lacking}
from flask import Flask
from flask_sse_push import ConfigurationError, SSEPush
app = Flask("shop")
app.config["SSE_PUSH_BUS_URL"] = "sqlite:///events.db"
try:
    SSEPush(app)
except ConfigurationError as error:
    assert "has no {name}. Name a Redis" in str(error), error
    print("fine")
""")
