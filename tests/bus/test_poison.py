"""Rows of SQLite that are no entries of ours are logged once."""

import logging

from flask_sse_push.bus.sqlite.poison import PoisonEntry, PoisonLog


def test_poison_is_logged_once_for_all_readers(caplog):
    """The number of the newest one that was told is remembered, and forgotten with the log."""
    log = PoisonLog("/var/lib/events.db")
    first, second = PoisonEntry(3, "its time is none"), PoisonEntry(5, "its block is gone")
    with caplog.at_level(logging.WARNING, "flask_sse_push"):
        log.warn("one", [first])
        log.warn("one", [first])
        log.warn("one", [first, second])
        log.warn("two", [first])
        log.warn("two", [])
    assert [record.getMessage().partition(" in ")[0] for record in caplog.records] == ["1 of the entries"] * 3
    told = [
        record.getMessage().partition("the first is ")[2].partition(". Find")[0] for record in caplog.records
    ]
    assert told == [
        "number 3, its time is none",
        "number 5, its block is gone",
        "number 3, its time is none",
    ]
