"""Doorbells: who is rung when doorbells come and go, and when others could reach into their folder."""

import os
import subprocess
import sys
import textwrap
import time

import pytest

from flask_sse_push.bus.sqlite.doorbell import Doorbell
from flask_sse_push.bus.sqlite.doorbells import ENDING, SLOTS, Doorbells, slots_of
from tests.support import eventually


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "bells"


@pytest.fixture
def hang(folder):
    """Return doorbells that are taken away at the end."""
    hung = []

    def hang():
        hung.append(Doorbell(folder))
        hung[-1].interest.add(["a"])
        return hung[-1]

    yield hang
    for doorbell in hung:
        doorbell.close()


@pytest.fixture
def doorbells(folder):
    doorbells = Doorbells(folder)
    yield doorbells
    doorbells.close()


def settle(folder):
    """Wait until the stamp of the folder is so old that its listing is remembered."""
    eventually(lambda: time.time_ns() - folder.stat().st_mtime_ns > 60_000_000)


@pytest.mark.parametrize("at_once", [True, False], ids=["at once", "later"])
def test_doorbell_that_comes_later_is_rung(folder, hang, doorbells, at_once):
    """A process that begins to listen is rung by those that publish, however soon after their last look."""
    first = hang()
    if at_once:
        # As where the clock of the kernel does not tick in between. (This stamp is never an old one.)
        stamp = time.time_ns() + 60_000_000_000
        os.utime(folder, ns=(stamp, stamp))
    else:
        settle(folder)
    doorbells.ring(("a",))
    assert first.answer()
    second = hang()
    if at_once:
        os.utime(folder, ns=(stamp, stamp))
    doorbells.ring(("a",))
    assert first.answer()
    assert second.answer()


def test_folder_that_is_opened_up_is_not_rung(folder, hang, doorbells):
    """Where others can reach in, nobody is rung any more, also by who has looked before."""
    doorbell = hang()
    settle(folder)
    doorbells.ring(("a",))
    assert doorbell.answer()
    folder.chmod(0o755)
    doorbells.ring(("a",))
    assert not doorbell.answer()
    folder.chmod(0o700)
    doorbells.ring(("a",))
    assert doorbell.answer()


def test_silent_doorbell_did_not_ring(hang):
    """Answering says whether anybody rang since the last time."""
    doorbell = hang()
    assert not doorbell.answer()
    doorbell.ring()
    doorbell.ring()
    assert doorbell.answer()
    assert not doorbell.answer()


def test_doorbell_of_a_process_that_does_not_care_is_silent(folder, hang, doorbells):
    """Only those that listen to a channel of an event are rung, once the folder is known."""
    doorbell, other = hang(), hang()
    other.interest.remove(["a"])
    other.interest.add(["b"])
    settle(folder)
    doorbells.ring(("a",))  # all of them, because they are new
    assert doorbell.answer()
    assert other.answer()
    doorbells.ring(("a",))
    assert doorbell.answer()
    assert not other.answer()
    doorbells.ring(("c", "b"))
    assert not doorbell.answer()
    assert other.answer()


def test_interest_in_a_channel_lasts_as_long_as_that_in_another_with_its_hash(folder, hang, doorbells):
    """The end of one channel does not silence another one."""
    first, second = same_hash()
    doorbell = hang()
    doorbell.interest.add([first, second])
    settle(folder)
    doorbells.ring((first,))
    doorbell.answer()
    doorbell.interest.remove([first])
    doorbells.ring((second,))
    assert doorbell.answer()
    doorbell.interest.remove([second])
    doorbells.ring((second,))
    assert not doorbell.answer()


def same_hash():
    """Return two names with one hash."""
    known = {}
    for number in range(SLOTS):
        name = f"user.{number}"
        [slot] = slots_of([name])
        if slot in known:
            return known[slot], name
        known[slot] = name
    raise AssertionError("no two names have the same hash")


@pytest.mark.parametrize("damage", ["gone", "empty", "short", "a link", "grown again"])
def test_interest_that_cannot_be_read_is_interest_in_everything(folder, hang, doorbells, damage):
    """Whatever becomes of the file, the process is rung rather once too often."""
    doorbell = hang()
    file = doorbell.path.with_name(doorbell.path.name + ENDING)
    settle(folder)
    doorbells.ring(("a",))
    doorbell.answer()
    if damage == "gone":
        file.unlink()
    elif damage == "a link":
        file.rename(folder / "elsewhere")
        file.symlink_to(folder / "elsewhere")
    else:
        os.truncate(file, 0 if damage == "empty" else 100)
    if damage in ("gone", "a link"):  # for one that has the file open, nothing has changed
        doorbells.close()
        settle(folder)
        doorbells.ring(("a",))
        doorbell.answer()
    if damage == "grown again":
        # Written at its place alone, the file would have zeros in between.
        doorbell.interest.add(["b"])
    channel = "a" if damage == "grown again" else same_hash()[1]
    doorbells.ring((channel,))
    assert doorbell.answer()


def test_interest_is_not_written_by_a_forked_child(folder):
    """What a child does with its copy reaches nobody, and the parent's files stay."""
    code = """
        import os, sys
        from pathlib import Path
        from flask_sse_push.bus.sqlite.doorbell import Doorbell
        from flask_sse_push.bus.sqlite.doorbells import Doorbells
        folder = Path(sys.argv[1])
        doorbell, doorbells = Doorbell(folder), Doorbells(folder)
        doorbell.interest.add(["a"])
        child = os.fork()
        if not child:
            doorbell.interest.remove(["a"])
            doorbell.close()
            os._exit(0)
        os.waitpid(child, 0)
        files = len(list(folder.iterdir()))
        byte = doorbell.path.with_name(doorbell.path.name + ".channels").read_bytes().count(1)
        doorbells.ring(("a",))
        print(doorbell.answer(), files, byte)
        doorbells.close()
        doorbell.close()
    """
    run = [sys.executable, "-c", textwrap.dedent(code), str(folder)]
    assert subprocess.run(run, capture_output=True, text=True, check=True).stdout == "True 2 1\n"
