"""What can happen to a file: locks, full disks, damage, deletion, killed writers."""

import gc
import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from flask_sse_push import BusUnavailable
from flask_sse_push.bus.sqlite.doorbells import doorbell_folder
from flask_sse_push.core.messages import Message
from flask_sse_push.core.positions import parse
from tests.bus.stores import Follower, block
from tests.needs import needs
from tests.support import FACTOR, MS, alarms, eventually

ROOT = Path(__file__).parents[2]


def run(code, *arguments, **options):
    """Run Python code in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)], cwd=ROOT, **options
    )


def publish(bus, text="x"):
    return parse(bus.publish(Message(("a",), block(text))).id)


def test_publish_gives_up_when_another_process_holds_the_lock(make, path):
    """
    While somebody else holds a transaction open, publishing raises within its time-out and readers go on;
    afterwards the next number is the next.
    """
    bus, other = make(timeout=0.3), make()
    follower = Follower(other).up()
    assert publish(bus).sequence == 1
    follower.wait(1)
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    begun = time.monotonic()
    with pytest.raises(
        BusUnavailable,
        match=r"^The event was not stored: .*events.db' was locked by another process or thread for 0\.3 "
        r"s\. ",
    ):
        publish(bus)
    assert 0.2 < time.monotonic() - begun < 0.3 + 2 * FACTOR
    assert other.health().state == "up"
    holder.execute("ROLLBACK")
    holder.close()
    assert publish(bus).sequence == 2
    follower.wait(2)
    assert follower.numbers() == [1, 2]


@pytest.mark.parametrize("patched", [False, True], ids=["threads", "greenlets"])
def test_publish_keeps_its_time_on_a_busy_machine(path, patched):
    """
    With a lock held elsewhere and a machine that has too much to do, many that publish at once give up in
    time.

    The tolerance is the system's: a thread that is to run again waits for its share of a core, behind four
    busy processes on each.
    """
    needs(modules=["gevent"] if patched else [])
    code = """
        import os, sys, time
        if sys.argv[2] == "True":
            from gevent import monkey; monkey.patch_all()
        import sqlite3, threading
        from flask_sse_push import BusUnavailable
        from flask_sse_push.bus import BusOptions
        from flask_sse_push.bus.sqlite import SqliteBus
        from flask_sse_push.core.messages import Message
        from tests.bus.stores import Follower, keep
        bus = SqliteBus(sys.argv[1], BusOptions(keep(), 0.5))
        bus.publish(Message(("a",), b"data: 1\\n\\n"))
        holder = sqlite3.connect(sys.argv[1], isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        print("ready", flush=True)
        sys.stdin.readline()
        took = []
        def publish():
            begun = time.monotonic()
            try:
                bus.publish(Message(("a",), b"data: 2\\n\\n"))
            except BusUnavailable:
                took.append(time.monotonic() - begun)
        threads = [threading.Thread(target=publish) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        bus.close()
        print(len(took), min(took), max(took))
    """
    publisher = run(code, path, patched, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    publisher.stdout.readline()
    busy = [run("while True: pass") for _ in range(4 * (os.cpu_count() or 1))]
    try:
        out, _ = publisher.communicate("go\n", timeout=30 * FACTOR)
    finally:
        for process in busy:
            process.kill()
            process.wait()
    count, shortest, longest = map(float, out.split())
    assert count == 20
    assert shortest > 0.4
    assert longest < 0.5 + 0.3 * FACTOR


def test_publish_keeps_its_time_while_another_thread_waits_for_the_disk(make):
    """
    A thread whose commit does not come to its end makes no other thread wait longer than that asked for.
    """
    bus = make(timeout=0.3)
    publish(bus)
    begun, stuck, took = threading.Event(), threading.Event(), []

    def commit():
        begun.set()
        stuck.wait(10 * FACTOR)

    def wait():
        at = time.monotonic()
        with pytest.raises(
            BusUnavailable, match=r"was locked by another process or thread for 0\.3 s\. .*waits for the disk"
        ):
            publish(bus)
        took.append(time.monotonic() - at)

    holder = threading.Thread(target=lambda: bus._write_lock.run(5, commit))
    holder.start()
    begun.wait()
    waiting = [threading.Thread(target=wait) for _ in range(3)]
    for thread in waiting:
        thread.start()
    for thread in waiting:
        thread.join(5 * FACTOR)
    stuck.set()
    holder.join()
    assert len(took) == 3
    assert max(took) < 0.3 + 0.3 * FACTOR
    assert publish(bus).sequence == 2


def test_publish_that_waits_for_the_lock_holds_up_no_greenlet(path):
    """Under gevent others run while one publish waits for somebody else's transaction."""
    needs(modules=["gevent"])
    code = """
        from gevent import monkey; monkey.patch_all()
        import gevent, sqlite3, sys
        from flask_sse_push import BusUnavailable
        from flask_sse_push.bus import BusOptions
        from flask_sse_push.bus.sqlite import SqliteBus
        from flask_sse_push.core.messages import Message
        from tests.bus.stores import Follower, keep
        bus = SqliteBus(sys.argv[1], BusOptions(keep(), 0.5))
        bus.publish(Message(("a",), b"data: 1\\n\\n"))
        holder = sqlite3.connect(sys.argv[1], isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        ticks = 0
        def tick():
            global ticks
            while True:
                gevent.sleep(0.001)
                ticks += 1
        gevent.spawn(tick)
        try:
            bus.publish(Message(("a",), b"data: 2\\n\\n"))
        except BusUnavailable:
            print(ticks)
        bus.close()
    """
    out, _ = run(code, path, stdout=subprocess.PIPE).communicate(timeout=30 * FACTOR)
    assert int(out) > 20


def test_full_disk_fails_the_publish_before_a_number_is_given(make, tmp_path):
    """
    With no room on the disk publishing says so, streams live on, and when there is room again the numbers go
    on without a hole.
    """
    needs("mount", root=True)
    folder = tmp_path / "small"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k,mode=700", "tmpfs", str(folder)], check=True)
    try:
        bus, other = make(where=folder / "events.db"), make(where=folder / "events.db")
        follower = Follower(other).up()
        first = publish(bus)
        ballast = folder / "ballast"
        with pytest.raises(OSError, match="No space"), ballast.open("wb", buffering=0) as file:
            while True:
                file.write(b"x" * 4096)
        accepted = [first]
        with pytest.raises(BusUnavailable, match=r"^The event was not stored: .*(full|I/O).*"):
            for _ in range(100):
                accepted.append(publish(bus, "y" * 4000))
        with pytest.raises(BusUnavailable):
            publish(bus, "y" * 60_000)
        ballast.unlink()
        last = publish(bus)
        assert last.epoch == first.epoch
        assert last.sequence == accepted[-1].sequence + 1
        follower.wait(last.sequence)
        assert follower.numbers() == list(range(1, last.sequence + 1))
        bus.close()
        other.close()
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_damaged_file_is_told_and_replaced_when_it_is_deleted(make, path):
    """A file that is no database fails the publish with the cure; after the cure a new log begins."""
    path.write_bytes(b"this is not a database, " * 500)
    bus = make()
    with pytest.raises(
        BusUnavailable,
        match=r"^The event was not stored: .*not a database.*delete it, with its -wal and -shm",
    ):
        publish(bus)
    path.unlink()
    assert publish(bus).sequence == 1


def test_database_of_another_program_is_left_alone(make, path):
    """A database that has tables of somebody else is refused, and not changed."""
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE customers (name)")
    connection.commit()
    connection.close()
    before = path.read_bytes()
    with pytest.raises(BusUnavailable, match="database of another program: name a file of its own"):
        publish(make())
    assert path.read_bytes() == before


def test_files_are_for_this_user_alone(make, path):
    """Nobody else can read what is published, whatever the umask says."""
    before = os.umask(0o000)
    try:
        publish(make())
    finally:
        os.umask(before)
    modes = {file.name: file.stat().st_mode & 0o777 for file in path.parent.iterdir() if file.is_file()}
    assert set(modes) >= {"events.db", "events.db-wal"}
    assert set(modes.values()) == {0o600}


def test_missing_folder_is_told(make, tmp_path):
    """A folder that is not there is not made, and the message says what to do."""
    with pytest.raises(BusUnavailable, match=r"unable to open.*Make its folder"):
        publish(make(where=tmp_path / "nowhere" / "events.db"))
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("endings", [[""], ["", "-wal", "-shm"]], ids=["the file alone", "all of it"])
def test_deleted_file_begins_a_new_log_for_everybody(make, path, endings):
    """
    When the file is deleted under our feet, publishers and followers meet again in a new one, with a new
    epoch from 1.
    """
    bus, other = make(), make()
    follower = Follower(other).up()
    old = publish(bus)
    publish(bus)
    follower.wait(2)
    for ending in endings:
        path.with_name(path.name + ending).unlink(missing_ok=True)
    new = publish(bus, "new")
    assert (new.sequence, new.epoch != old.epoch) == (1, True)
    eventually(
        lambda: len(follower.begun) == 2 and len(follower.entries) >= 3,
        10_000 * MS,
        "the follower finds the new file",
    )
    assert follower.begun[1][0] == new.epoch
    assert follower.entries[-1].wire == b"id: %s-1\ndata: new\n\n" % new.epoch.encode()


def test_other_run_of_the_machine_is_another_log(make, path):
    """After a restart of the machine the last commits may be missing, so a new epoch begins."""
    bus = make()
    old = publish(bus)
    bus.close()
    connection = sqlite3.connect(path)
    connection.execute("UPDATE log SET boot = 'another run'")
    connection.commit()
    connection.close()
    new = publish(bus)
    assert new.sequence == 1
    assert new.epoch != old.epoch
    assert bus.inspect().events == 1


def test_killed_publisher_loses_nothing_and_leaves_no_lock(make, path):
    """
    Processes that are killed in the middle of publishing have stored each event that they had an id for, and
    others publish on at once.
    """
    bus = make()
    follower = Follower(make()).up()
    code = """
        import sys
        from flask_sse_push import Publisher
        publisher = Publisher("sqlite:///" + sys.argv[1])
        while True:
            print(publisher.publish("x", channel="a"), flush=True)
    """
    acknowledged = []
    for _ in range(5):
        process = run(code, path, stdout=subprocess.PIPE, text=True)
        for _ in range(20):
            acknowledged.append(process.stdout.readline().strip())
        process.kill()
        # A line that was cut off was acknowledged to nobody.
        acknowledged += [
            line for line in process.stdout.read().splitlines(keepends=True) if line.endswith("\n")
        ]
        process.stdout.close()
        process.wait()
        assert publish(bus)
    last = publish(bus)
    follower.wait(last.sequence)
    assert follower.numbers() == list(range(1, last.sequence + 1))
    assert {int(id.strip().split("-")[1]) for id in acknowledged if id} <= set(follower.numbers())


def test_publish_from_within_itself_is_refused_at_once(make):
    """
    A signal handler that publishes in the middle of a publish is told so instead of waiting for itself;
    nothing else is lost.
    """
    bus = make()
    refused = []

    def handler(number, frame):
        try:
            publish(bus, "handler")
        except BusUnavailable as error:
            refused.append(str(error))
        signal.setitimer(
            signal.ITIMER_REAL, 0.0007
        )  # only now: a handler within a handler would go on for ever on a slow machine

    with alarms(handler):
        signal.setitimer(signal.ITIMER_REAL, 0.001)
        ids = [publish(bus, number) for number in range(3000)]
    assert [id.sequence for id in ids] == sorted({id.sequence for id in ids})
    assert all("from within itself" in message for message in refused)
    publish(bus)


def test_interrupted_publish_leaves_no_transaction(make):
    """An exception out of a signal handler leaves neither a lock nor an open transaction."""
    bus, other = make(), make(timeout=1)

    class Interrupted(Exception):
        pass

    def handler(number, frame):
        raise Interrupted

    with alarms(handler):
        for _ in range(50):
            with pytest.raises(Interrupted):
                signal.setitimer(signal.ITIMER_REAL, 0.0005)
                while True:
                    publish(bus)
            publish(other)
    gc.collect()
    assert publish(bus).sequence == publish(other).sequence - 1


def test_file_deleted_alone_is_replaced_in_all_processes(make, path):
    """
    What the deleted file leaves beside it, and other processes still use, does not reach into the new one.
    """
    code = """
        import sys
        from flask_sse_push.bus import BusOptions
        from flask_sse_push.bus.sqlite import SqliteBus
        from flask_sse_push.core.messages import Message
        from tests.bus.stores import Follower, keep
        bus = SqliteBus(sys.argv[1], BusOptions(keep(), 5))
        bus.publish(Message(("a",), b"data: 1\\n\\n"))
        print("open", flush=True)
        for line in sys.stdin:
            print(bus.publish(Message(("a",), b"data: 2\\n\\n")).id, flush=True)
        bus.close()
    """
    bus = make()
    old = publish(bus)
    others = [run(code, path, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    try:
        for other in others:
            other.stdout.readline()
        path.unlink()
        ids = []
        for _ in range(20):
            for other in others:
                other.stdin.write("\n")
                other.stdin.flush()
                ids.append(other.stdout.readline().strip().split("-"))
        assert [int(number) for _, number in ids] == list(range(1, 41))
        assert {epoch for epoch, _ in ids} == {bus.inspect().epoch}
        assert publish(bus).sequence == 41
        assert bus.inspect().epoch != old.epoch
    finally:
        for other in others:
            other.communicate(timeout=10 * FACTOR)


def test_new_file_is_opened_by_many_at_once(tmp_path):
    """
    Those who come while another makes the tables wait for them, and never take the file for somebody else's.
    """
    code = """
        import sys
        from flask_sse_push.bus import BusOptions
        from flask_sse_push.bus.sqlite import SqliteBus
        from flask_sse_push.core.messages import Message
        from tests.bus.stores import Follower, keep
        for line in sys.stdin:
            bus = SqliteBus(line.strip(), BusOptions(keep(), 5))
            try:
                bus.publish(Message(("a",), b"data: 1\\n\\n"))
                print("fine", flush=True)
            except Exception as error:
                print(error, flush=True)
            bus.close()
    """
    processes = [run(code, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(5)]
    try:
        for number in range(150):
            for process in processes:
                process.stdin.write(f"{tmp_path / str(number)}\n")
                process.stdin.flush()
            assert [process.stdout.readline() for process in processes] == ["fine\n"] * 5
    finally:
        for process in processes:
            process.communicate(timeout=10 * FACTOR)


def test_signal_handlers_never_meet_a_lock_of_their_own_stack(path):
    """Handlers that publish and close, at any moment of a publish, end at once."""
    code = """
        import faulthandler, random, signal, sys, time
        from flask_sse_push import BusUnavailable
        from flask_sse_push.bus import BusOptions
        from flask_sse_push.bus.sqlite import SqliteBus
        from flask_sse_push.core.messages import Message
        from tests.bus.stores import Follower, keep
        faulthandler.dump_traceback_later(float(sys.argv[2]), exit=True)
        bus = SqliteBus(sys.argv[1], BusOptions(keep(), 2))
        def handle(*_):
            try:
                bus.publish(Message(("a",), b"data: 1\\n\\n"))
            except BusUnavailable:
                pass
            if random.random() < 0.1:
                bus.close()
        signal.signal(signal.SIGALRM, handle)
        end = time.monotonic() + 4
        while time.monotonic() < end:
            signal.setitimer(signal.ITIMER_REAL, random.uniform(1e-5, 2e-4))
            bus.publish(Message(("a",), b"data: 2\\n\\n"))
        signal.setitimer(signal.ITIMER_REAL, 0)
        bus.close()
        print("fine")
    """
    out, err = run(
        code, path, 15 * FACTOR, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ).communicate(timeout=30 * FACTOR)
    assert out == "fine\n", err


def test_interrupted_publish_lets_go_before_the_exception_is_handled(make):
    """
    Who handles what came out of a publish can publish, and so can others: nothing waits for the collector.
    """
    bus, other = make(timeout=0.2), make(timeout=0.2)

    class Interrupted(Exception):
        pass

    def handler(number, frame):
        raise Interrupted

    publish(bus)
    with alarms(handler):
        for attempt in range(500):
            try:
                signal.setitimer(signal.ITIMER_REAL, 0.0003 + attempt * 0.0000005)
                while True:
                    publish(bus)
            except Interrupted:
                publish(bus)
                publish(other)


def test_publish_in_the_middle_of_a_lease_is_refused_at_once(make):
    """
    A finalizer that publishes while its own stack writes a lease is told so, instead of waiting for the
    transaction that it interrupts; the lease is stored.
    """
    bus, seen = make(), []

    class Seconds(float):
        def __gt__(self, other):
            begun = time.monotonic()
            with pytest.raises(BusUnavailable, match="from within itself"):
                publish(bus)
            seen.append(time.monotonic() - begun)
            return False

    bus.put_lease("run/1", "text", Seconds(5))
    assert seen[0] < 0.5 * FACTOR
    assert bus.leases("run/") == {"run/1": "text"}
    assert publish(bus).sequence == 1


def test_callback_of_the_loop_is_told_that_it_cannot_wait(path):
    """
    gevent's loop itself cannot wait for a lock: a publish in one of its callbacks gives up at once, with the
    usual error.
    """
    needs(modules=["gevent"])
    code = """
        from gevent import monkey; monkey.patch_all()
        import gevent, sqlite3, sys
        from flask_sse_push import BusUnavailable
        from flask_sse_push.bus import BusOptions
        from flask_sse_push.bus.sqlite import SqliteBus
        from flask_sse_push.core.messages import Message
        from tests.bus.stores import Follower, keep
        bus = SqliteBus(sys.argv[1], BusOptions(keep(), 5))
        bus.publish(Message(("a",), b"data: 1\\n\\n"))
        holder = sqlite3.connect(sys.argv[1], isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        def callback():
            try:
                bus.publish(Message(("a",), b"data: 2\\n\\n"))
            except BusUnavailable:
                print("fine")
        gevent.get_hub().loop.run_callback(callback)
        gevent.sleep(0.1)
        bus.close()
    """
    out, _ = run(code, path, stdout=subprocess.PIPE, text=True).communicate(timeout=30 * FACTOR)
    assert out == "fine\n"


def test_long_history_is_read_in_turns(path):
    """Under gevent others run while a process that begins to follow reads all that is kept."""
    needs(modules=["gevent"])
    code = """
        from gevent import monkey; monkey.patch_all()
        import gevent, sys, time
        from flask_sse_push.bus import BusOptions
        from flask_sse_push.bus.sqlite import SqliteBus
        from flask_sse_push.core.messages import Message
        from tests.bus.stores import Follower, keep
        bus = SqliteBus(sys.argv[1], BusOptions(keep(max_bytes=1 << 30, length=30_000), 5))
        for _ in range(20_000):
            bus.publish(Message(("a",), b"data: 1\\n\\n"))
        ticks, kept = 0, []
        def tick():
            global ticks
            while True:
                gevent.sleep(0)
                ticks += 1
        class Listener(Follower):
            def past_came(self, pasts):
                if pasts[0].channel == "a":
                    kept.append((len(pasts[0].entries), ticks))
        gevent.spawn(tick)
        Listener(bus)
        before = ticks
        while not kept:
            gevent.sleep(0.001)
        print(kept[0][0], kept[0][1] - before)
        bus.close()
    """
    out, _ = run(code, path, stdout=subprocess.PIPE, text=True).communicate(timeout=30 * FACTOR)
    entries, ticks = map(int, out.split())
    assert entries == 20_000
    assert ticks > 30


def test_publish_ends_the_pause_of_a_follower(make, tmp_path, monkeypatch):
    """A follower that waits before its next try does not wait on when an event could be stored."""
    monkeypatch.setattr("flask_sse_push.platform.backoff._FIRST_SECONDS", 3600)
    folder = tmp_path / "late"
    bus = make(where=folder / "events.db")
    follower = Follower(bus)
    eventually(lambda: bus.health().state == "down")
    folder.mkdir(mode=0o700)
    publish(bus)
    follower.up().wait(1)


# The doorbell


def test_doorbell_wakes_without_the_poll(make, monkeypatch):
    """An event of another process arrives though the next look is far away."""
    monkeypatch.setattr("flask_sse_push.bus.sqlite.reader.MAX_READ_SECONDS", 3600)
    monkeypatch.setattr("flask_sse_push.bus.stored.MAX_READ_SECONDS", 3600)
    follower = Follower(make()).up()
    publisher = make()
    for number in range(20):
        publish(publisher)
        follower.wait(number + 1)


def test_doorbell_folder_is_private_and_goes_with_the_last(make, path):
    """It is there while somebody listens, for this user alone."""
    bus = make()
    publish(bus)
    assert not doorbell_folder(path).exists()
    Follower(bus).up()
    assert doorbell_folder(path).stat().st_mode & 0o777 == 0o700
    assert len(list(doorbell_folder(path).iterdir())) == 2
    bus.close()
    assert not doorbell_folder(path).exists()


def test_socket_of_a_killed_process_is_removed(make, path):
    """Who rings finds that nobody is there, and takes the socket away."""
    code = """
        import sys, time
        from flask_sse_push.bus import BusOptions
        from flask_sse_push.bus.sqlite import SqliteBus
        from flask_sse_push.core.messages import Message
        from tests.bus.stores import Follower, keep
        Follower(SqliteBus(sys.argv[1], BusOptions(keep(), 2))).up()
        print("up", flush=True)
        time.sleep(60)
    """
    bus = make()
    publish(bus)
    with run(code, path, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        process.kill()
    assert len(list(doorbell_folder(path).iterdir())) == 2
    publish(bus)
    assert list(doorbell_folder(path).iterdir()) == []


def test_doorbell_works_under_a_long_path(make, tmp_path, monkeypatch):
    """A path that is longer than the address of a socket may be is gone to all the same."""
    monkeypatch.setattr("flask_sse_push.bus.sqlite.reader.MAX_READ_SECONDS", 3600)
    monkeypatch.setattr("flask_sse_push.bus.stored.MAX_READ_SECONDS", 3600)
    folder = tmp_path / ("long" * 20) / ("longer" * 10)
    folder.mkdir(parents=True)
    follower = Follower(make(where=folder / "events.db")).up()
    publish(make(where=folder / "events.db"))
    follower.wait(1)


def test_doorbell_folder_of_others_is_not_used(make, path, caplog):
    """Where others could reach in, the process looks once a second instead, and says so."""
    doorbell_folder(path).mkdir(mode=0o755)
    os.chmod(doorbell_folder(path), 0o755)
    follower = Follower(make()).up()
    assert "looked for once a second" in caplog.text
    publish(make())
    follower.wait(1)
    assert list(doorbell_folder(path).iterdir()) == []


@pytest.mark.parametrize("kind", ["link", "open", "private"])
def test_ringing_removes_nothing_but_dead_sockets(make, path, tmp_path, kind):
    """Files that lie where the sockets belong, or where a link in their place leads to, stay as they are."""
    folder = tmp_path / "documents"
    folder.mkdir(mode=0o700)
    (folder / "precious").write_text("x")
    (folder / "12-0123abcd").write_text("x")
    if kind == "link":
        doorbell_folder(path).symlink_to(folder)
    else:
        folder.rename(doorbell_folder(path))
        doorbell_folder(path).chmod(0o755 if kind == "open" else 0o700)
    bus = make()
    publish(bus)
    publish(bus)
    assert sorted(file.name for file in doorbell_folder(path).iterdir()) == ["12-0123abcd", "precious"]


def test_lost_socket_is_hung_again(make, path):
    """When somebody has tidied the sockets away, the process that listens makes its own anew."""
    follower = Follower(make()).up()
    for lost in doorbell_folder(path).iterdir():
        lost.unlink()
    eventually(lambda: list(doorbell_folder(path).glob("*[0-9a-f]")), 5000 * MS)
    publish(make())
    follower.wait(1)
