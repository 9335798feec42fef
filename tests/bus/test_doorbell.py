"""Doorbells: who is rung when doorbells come and go, and when others could reach into their folder."""

import os
import time

import pytest

from flask_sse_push.bus.sqlite.doorbell import Doorbell, Doorbells
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
    doorbells.ring()
    assert first.answer()
    second = hang()
    if at_once:
        os.utime(folder, ns=(stamp, stamp))
    doorbells.ring()
    assert first.answer()
    assert second.answer()


def test_folder_that_is_opened_up_is_not_rung(folder, hang, doorbells):
    """Where others can reach in, nobody is rung any more, also by who has looked before."""
    doorbell = hang()
    settle(folder)
    doorbells.ring()
    assert doorbell.answer()
    folder.chmod(0o755)
    doorbells.ring()
    assert not doorbell.answer()
    folder.chmod(0o700)
    doorbells.ring()
    assert doorbell.answer()


def test_silent_doorbell_did_not_ring(hang):
    """Answering says whether anybody rang since the last time."""
    doorbell = hang()
    assert not doorbell.answer()
    doorbell.ring()
    doorbell.ring()
    assert doorbell.answer()
    assert not doorbell.answer()
