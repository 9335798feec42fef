"""A database that holds what no process of ours wrote: a damaged disk, another program, a bad restore."""

import json
import random
import shutil
import sqlite3
import time
from functools import partial

import pytest

from flask_sse_push import BusUnavailable
from flask_sse_push.bus import BusOptions
from flask_sse_push.bus.sqlite import SqliteBus
from flask_sse_push.bus.sqlite.rows import checksum_of
from flask_sse_push.bus.sqlite.schema import END
from flask_sse_push.core.entry import ENTRY_OVERHEAD_BYTES, PLACE_OVERHEAD_BYTES
from flask_sse_push.core.messages import Message
from flask_sse_push.errors import ChannelClosed, TooManyKept
from tests.bus.stores import Follower, block, keep
from tests.support import MS, eventually

MAX_EVENT_BYTES = 4096


@pytest.fixture
def make(make):
    """Return buses with a limit that a test can exceed."""
    return partial(make, max_event_bytes=MAX_EVENT_BYTES)


def publish(bus, text="x", key=None):
    return int(bus.publish(Message(("a",), block(text), once=key)).id.rpartition("-")[2])


def look_now(bus):
    """End the wait of who follows: what was written past publish() rings no bell."""
    reader = bus._run_now.reader
    if reader is not None:
        reader.wake()


def tamper(path, *statements, checks=False):
    """Do what any program can that may write the file."""
    connection = sqlite3.connect(path, isolation_level=None, timeout=5)
    if not checks:
        connection.execute("PRAGMA ignore_check_constraints = ON")
    for statement in statements:
        connection.execute(*statement) if isinstance(statement, tuple) else connection.execute(statement)
    connection.close()


def set_row(column, value):
    return (f"UPDATE entries SET {column} = ? WHERE id >> 10 = 2", (value,))


POISON = {
    "block: a text without an end": set_row("block", "data: x"),
    "block: no blank line": set_row("block", b"data: x\n"),
    "block: a second event": set_row("block", b"data: x\n\ndata: forged\n\n"),
    "block: an id": set_row("block", b"id: 99\ndata: x\n\n"),
    "block: a reserved type": set_row("block", b"event: sse.reset\ndata: x\n\n"),
    "block: retry: 0": set_row("block", b"retry: 0\ndata: x\n\n"),
    "block: a carriage return": set_row("block", b"data: x\rid: 9\n\n"),
    "block: no UTF-8": set_row("block", b"data: \xff\n\n"),
    "block: nothing": set_row("block", b""),
    "block: a number": set_row("block", 5),
    "block: NULL": set_row("block", None),
    "block: too large": set_row("block", b"data: " + b"x" * MAX_EVENT_BYTES + b"\n\n"),
    "block: much too large": set_row("block", b"x" * (32 << 20)),
    "block: another one": set_row("block", b"data: forged\n\n"),
    "channel: no name": set_row("channel", "a b"),
    "channel: none": set_row("channel", ""),
    "channel: two": set_row("channel", "a\nb"),
    "channel: no UTF-8": ("UPDATE entries SET channel = CAST(? AS TEXT) WHERE id >> 10 = 2", (b"\xff\xfe",)),
    "channel: bytes": set_row("channel", b"a"),
    "channel: much too long": set_row("channel", "a" * 500_000),
    "channel: another one": set_row("channel", "b"),
    "closes: a closing": set_row("closes", 1),
    "closes: a text": set_row("closes", "yes"),
    "checksum: another one": set_row("checksum", 5),
    "checksum: a text": set_row("checksum", "x"),
    "key: one": set_row("key", "k"),
    "key: no UTF-8": set_row("key", b"\xff"),
    "key: much too long": set_row("key", "k" * 500_000),
    "before: itself": set_row("before", 2),
    "before: a text": set_row("before", "x"),
    "history_before: later": set_row("history_before", 4),
    "history_before: huge": set_row("history_before", (1 << 63) - 1),
    "id: of a number that was not given": "UPDATE entries SET id = 9 << 10 WHERE id >> 10 = 2",
    "id: of another entry": "UPDATE entries SET id = 1 << 10 | 5 WHERE id >> 10 = 2",
    "appended_at: infinite": set_row("appended_at", float("inf")),
    "appended_at: minus infinite": set_row("appended_at", float("-inf")),
    "appended_at: to come": set_row("appended_at", 1e12),
    "appended_at: a text": set_row("appended_at", "soon"),
    "appended_at: bytes": set_row("appended_at", b"\xff"),
    "the row is gone": "DELETE FROM entries WHERE id >> 10 = 2",
}


@pytest.mark.parametrize("poison", POISON.values(), ids=POISON)
def test_poisoned_entry_is_a_hole_that_is_told(make, path, poison, caplog):
    """
    Who begins to follow gets all other entries in order, its number is missing, and that is told; publishing
    and counting go on.
    """
    bus = make()
    for number in range(1, 4):
        publish(bus, number)
    tamper(path, poison)
    follower = Follower(make()).up()
    follower.wait(1)
    assert publish(bus, 4) == 4
    assert publish(bus, 5) == 5
    eventually(lambda: follower.numbers()[-1] == 5, 5000 * MS)
    assert follower.numbers() in ([1, 3, 4, 5], [3, 4, 5])
    assert follower.lost() in (2, 3)
    assert not any(b"forged" in entry.wire for entry in follower.entries)
    assert follower.bus.health().state == "up"
    assert bus.inspect().head == 5
    assert caplog.text.count("were left out") <= 1


@pytest.mark.parametrize("poison", [value for name, value in POISON.items() if "block" in name][:3])
def test_poisoned_entry_is_passed_by_who_follows_already(make, path, poison, caplog):
    """
    It is said once, though the log has nothing behind it for a while, and what comes next arrives behind a
    gap that is told.
    """
    bus, other = make(), make()
    follower = Follower(other).up()
    publish(bus, 1)
    follower.wait(1)
    # It is poisoned before the head says that it is there: the follower never sees it whole.
    insert(path, 2, "a", block("x"), 1)
    tamper(path, poison, f"UPDATE entries SET before = 2, ordinal = 2 WHERE id = {END}")
    look_now(other)
    eventually(lambda: "were left out" in caplog.text, 5000 * MS)
    look_now(other)
    assert publish(bus, 3) == 3
    eventually(lambda: follower.numbers() == [1, 3], 5000 * MS)
    assert follower.lost() >= 2
    assert caplog.text.count("were left out") == 1
    assert "number 2, its block is" in caplog.text
    assert str(path) in caplog.text


def test_thousands_of_poisoned_entries_are_passed(make, path, caplog):
    """
    More of them than are read at once do not keep the follower from what comes behind them, and they are one
    line in the log or few.
    """
    bus, other = make(), make()
    follower = Follower(other).up()
    publish(bus, 1)
    follower.wait(1)
    tamper(
        path,
        "BEGIN",
        (
            "WITH RECURSIVE n(i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < 2001) "
            "INSERT INTO entries SELECT i << 10, 'a', i - 1, i - 1, i, 1, ?, 0, 0, NULL, x'00' FROM n",
            (time.monotonic(),),
        ),
        f"UPDATE entries SET before = 2001, ordinal = 2001 WHERE id = {END}",
        "COMMIT",
    )
    assert publish(bus, 2) == 2002
    eventually(lambda: follower.numbers() == [1, 2002], 5000 * MS)
    assert follower.lost() >= 2001
    assert caplog.text.count("were left out") <= 5
    fresh = Follower(make()).up()
    eventually(lambda: fresh.numbers()[-1:] == [2002], 5000 * MS)


@pytest.mark.parametrize("id", [4 << 10, 1 << 40, (1 << 63) - 1, 0, -5, -(1 << 63), (1 << 62) - 1])
@pytest.mark.parametrize("table", ["entries", "kept"])
def test_entry_at_a_number_that_was_not_given_is_never_handed_on(make, path, id, table):
    """It does not stand in the way of who is given that number."""
    bus = make()
    for number in range(1, 4):
        publish(bus, number)
    insert(path, 4, "a", block("forged"), 3, id=id, table=table)
    follower = Follower(make()).up()
    assert [publish(bus, number) for number in range(4, 20)] == list(range(4, 20))
    eventually(lambda: follower.numbers() == list(range(1, 20)), 5000 * MS)
    assert not any(b"forged" in entry.wire for entry in follower.entries)
    assert follower.lost() == 0


def insert(path, number, channel, block, before, *, id=None, table="entries"):
    """Write an entry past publish(), whole but for the head of the log."""
    checksum = checksum_of(number, channel.encode(), "k" if table == "kept" else None, False, block)
    values = [number << 10 if id is None else id, channel, before, before]
    values += [500, time.monotonic(), 0, checksum]
    if table == "entries":
        values.insert(4, before + 1)
    values += ["k" if table == "kept" else None, block]
    marks = ", ".join("?" * len(values))
    tamper(path, (f"INSERT INTO {table} VALUES ({marks})", values))


@pytest.mark.parametrize("size", ["large", -(1 << 62), 1 << 62, b"\xff", 1.5e300])
def test_size_that_is_none_does_not_stop_the_trimming(make, path, size):
    """What counts for nonsense is removed in its turn, and what is counted is right again behind it."""
    bus = make(retention=keep(length=10))
    Follower(bus).up()
    for number in range(10):
        publish(bus, number)
    tamper(path, set_row("size", size), set_row("appended_at", "soon"))
    for number in range(40):
        publish(bus, number)
    seen = bus.inspect()
    assert seen.events == 10
    assert seen.size_bytes == 10 * (len(block("39")) + ENTRY_OVERHEAD_BYTES + PLACE_OVERHEAD_BYTES + len("a"))


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE onces SET number = 5000",
        "UPDATE onces SET number = -1",
        "UPDATE onces SET number = 'x'",
        "UPDATE onces SET forget_at = 'never'",
        "UPDATE onces SET forget_at = 1e300",
        "UPDATE onces SET once = x'ff'",
    ],
)
def test_damaged_idempotency_key_is_forgotten(make, path, change):
    """An event with its key is stored anew, once."""
    bus = make()
    publish(bus, key="k")
    tamper(path, change)
    assert publish(bus, key="k") == 2
    assert publish(bus, key="k") == 2


@pytest.mark.parametrize(
    "epoch", ["", "a\nid: 1", "a\n\ndata: forged\n\n", "x" * 41, "a-b", "é", b"\xff", "a\0b"]
)
def test_epoch_that_is_none_is_refused(make, path, epoch):
    """
    It would be copied into every id line: nothing is published, read or shown, and the message has the cure.
    """
    bus, followed = make(), make()
    follower = Follower(followed).up()
    publish(bus)
    follower.wait(1)
    tamper(path, ("UPDATE log SET epoch = ?", (epoch,)))
    for use in (lambda: publish(bus), bus.inspect):
        with pytest.raises(
            BusUnavailable,
            match=r"its row of the log is damaged.*delete it, with its -wal and -shm, and a new log begins",
        ):
            use()
    look_now(followed)
    eventually(lambda: followed.health().state == "down", 5000 * MS)
    assert len(follower.begun) == len(follower.entries) == 1


@pytest.mark.parametrize(
    "column", ["before", "ordinal", "size", "kept", "kept_bytes", "names", "floor", "rules"]
)
@pytest.mark.parametrize("value", ["many", b"\xff", -1, (1 << 63) - 1, float("inf"), 1e300])
def test_row_of_the_log_that_is_none_is_refused(make, path, column, value):
    """A number that cannot be is never reckoned with."""
    bus = make()
    publish(bus)
    if column in ("before", "ordinal", "size"):
        tamper(path, (f"UPDATE entries SET {column} = ? WHERE id = {END}", (value,)))
    else:
        tamper(path, (f"UPDATE log SET {column} = ?, digest = 'x'", (value,)))
    for use in (lambda: publish(bus), bus.inspect):
        with pytest.raises(BusUnavailable, match="its row of the log is damaged"):
            use()


def test_row_of_the_log_that_is_gone_begins_a_new_log_for_who_opens_the_file(make, path):
    """Who has it open says that it is damaged; it opens it anew, and that begins another log."""
    bus = make()
    publish(bus)
    tamper(path, "DELETE FROM log")
    with pytest.raises(BusUnavailable, match="its row of the log is damaged"):
        publish(bus)
    assert publish(bus) == 1


SCHEMAS = {
    "a trigger": "CREATE TRIGGER spy AFTER INSERT ON entries BEGIN UPDATE entries SET block = x'00'; END",
    "a view": "CREATE VIEW spy AS SELECT * FROM entries",
    "a table": "CREATE TABLE spy (name)",
    "an index": "CREATE INDEX spy ON entries (size)",
    "a virtual table": "CREATE VIRTUAL TABLE spy USING fts5 (name)",
    "a generated column": "ALTER TABLE entries ADD COLUMN spy AS (hex(zeroblob(1000000000)))",
    "another column": "ALTER TABLE entries ADD COLUMN spy",
    "a missing index": "DROP INDEX entries_by_channel",
    "a missing table": "DROP TABLE leases",
}


@pytest.mark.parametrize("change", SCHEMAS.values(), ids=SCHEMAS)
def test_tables_of_others_are_refused(make, path, change):
    """
    Whatever is not exactly what this package makes may run code of others, and nothing is read from it or
    written to it.
    """
    bus = make()
    publish(bus)
    bus.close()
    tamper(path, change)
    before = path.read_bytes()
    bus = make()
    for use in (lambda: publish(bus), bus.inspect):
        with pytest.raises(
            BusUnavailable,
            match=r"another program's tables, views or triggers are in it .*Set SSE_PUSH_BUS_URL to",
        ):
            use()
    follower = Follower(bus)
    eventually(lambda: bus.health().error, 5000 * MS)
    assert not follower.begun
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE VIEW entries AS SELECT 1 AS id, 'a' AS channel, x'00' AS block, 1 AS size, 1 AS before",
        "CREATE TABLE entries (id INTEGER PRIMARY KEY, channel, block, size, before)",
    ],
)
def test_table_of_others_under_our_name_is_refused(make, path, statement):
    """A name is not enough."""
    publish(make())
    tamper(path, "DROP TABLE entries", statement)
    with pytest.raises(BusUnavailable, match="another program's"):
        publish(make())


def test_log_that_is_replaced_within_the_file_is_another_one(make, path):
    """When the epoch changes under a follower, it begins anew: no entry gets the id of the old log."""
    bus = make()
    follower = Follower(make()).up()
    publish(bus)
    follower.wait(1)
    tamper(
        path,
        "BEGIN",
        f"DELETE FROM entries WHERE id < {END}",
        "UPDATE log SET epoch = 'other'",
        f"UPDATE entries SET before = 7, ordinal = 0, size = 0 WHERE id = {END}",
        "COMMIT",
    )
    assert publish(bus) == 8
    follower.wait(2)
    assert [epoch for epoch, _ in follower.begun[1:]] == ["other"]
    assert follower.entries[-1].wire == b"id: other-8\ndata: x\n\n"


def copy_back(path, copy):
    """Put another file in the place of the database, as people do that restore a backup."""
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    shutil.copy(copy, path.with_name("new.db"))
    path.with_name("new.db").chmod(0o600)
    path.with_name("new.db").rename(path)


def write_back(path, copy):
    """Write another database into the file."""
    source, target = sqlite3.connect(copy), sqlite3.connect(path)
    with source, target:
        source.backup(target)
    source.close()
    target.close()


@pytest.mark.parametrize("restore", [copy_back, write_back])
def test_older_copy_in_the_place_of_the_file_is_another_log(make, path, tmp_path, restore):
    """No number is given twice: who follows a database that was restored from a backup begins anew."""
    bus = make()
    publish(bus)
    copy = tmp_path / "backup.db"
    write_back(copy, path)
    for _ in range(5):
        publish(bus)
    follower = Follower(make()).up()
    follower.wait(6)
    [(old, _)] = follower.begun
    restore(path, copy)
    look_now(follower.bus)
    eventually(lambda: len(follower.begun) == 2, 10_000 * MS, "another log begins")
    new = bus.publish(Message(("a",), block("new"))).id
    follower.wait(7)
    assert follower.begun[1] == (new.rpartition("-")[0], 0)
    assert new == f"{follower.log.epoch}-1" != f"{old}-1"


def test_older_copy_is_another_log_for_those_that_publish_alone(make, path, tmp_path):
    """Where nobody follows, the first that opens a restored backup begins anew."""
    first = make().publish(Message(("a",), block("x"))).id
    copy = tmp_path / "backup.db"
    write_back(copy, path)
    bus = make()
    publish(bus)
    copy_back(path, copy)
    assert bus.publish(Message(("a",), block("y"))).id.rpartition("-")[0] != first.rpartition("-")[0]


def test_schema_that_was_written_by_hand_is_refused(make, path):
    """Nor is what writable_schema lets anybody put there, such as a name that is none."""
    publish(make())
    for statement in (
        "UPDATE sqlite_master SET sql = replace(sql, 'block BLOB', 'block TEXT')",
        "UPDATE sqlite_master SET name = 5 WHERE name = 'leases'",
    ):
        copy = path.with_name("copy.db")
        shutil.copy(path, copy)
        shutil.copy(path.with_name("events.db-wal"), copy.with_name("copy.db-wal"))
        tamper(copy, "PRAGMA writable_schema = ON", statement)
        bus = SqliteBus(str(copy), BusOptions(keep(), 1))
        with pytest.raises(BusUnavailable):
            publish(bus)
        bus.close()
        for file in copy.parent.glob("copy.db*"):
            file.unlink()


@pytest.mark.parametrize("damaged", [b"ABLE entries", b"NDEX entries_by", b"ULL, boot"])
def test_damaged_schema_that_is_no_text_is_told(make, path, damaged):
    """
    SQLite quotes a byte of it that is no UTF-8, which the standard library cannot read: one fault like all
    others.
    """
    publish(make())
    make().close()
    tamper(path, "PRAGMA wal_checkpoint(TRUNCATE)")
    path.write_bytes(path.read_bytes().replace(damaged, b"\xff" + damaged[1:]))
    bus = make()
    for use in (lambda: publish(bus), bus.inspect):
        with pytest.raises(BusUnavailable, match=r"malformed.*delete it, with its -wal and -shm"):
            use()
    follower = Follower(bus)
    eventually(lambda: bus.health().error, 5000 * MS)
    assert "malformed" in bus.health().error
    assert not follower.begun


def test_file_of_another_version_is_refused(make, path):
    """
    A file that a later version of this package made is left alone, and the message names both formats and the
    cure.
    """
    publish(make())
    tamper(path, "PRAGMA user_version = 7")
    told = r"it was made by another version of this package \(its format is 7, this version reads 2\): "
    told += r"run one version, or name another file\.$"
    with pytest.raises(BusUnavailable, match=told):
        publish(make())


REPORTS = [
    "",
    "{",
    "[" * 100_000,
    '{"a":' * 100_000,
    "[1]",
    "5",
    "null",
    '"text"',
    "\udcff".encode("utf-8", "surrogatepass"),
    b"\xff\xfe",
    "9" * 10_000,
    "x" * (8 << 20),
    '{"streams": "many"}',
    '{"channels": {"a\\nb": 1}}',
    '{"uptime_seconds": NaN}',
    5,
    1.5,
]


@pytest.mark.parametrize("text", REPORTS, ids=range(len(REPORTS)))
def test_report_that_is_none_is_left_out(make, path, text):
    """The reports of the others are shown."""
    bus = make()
    publish(bus)
    soon = time.monotonic() + 5
    tamper(
        path,
        ("INSERT INTO leases VALUES ('report/bad', ?, ?)", (text, soon)),
        ("INSERT INTO leases VALUES ('report/good', ?, ?)", (json.dumps({"pid": 1}), soon)),
    )
    assert bus.inspect().reports == [{"pid": 1}]


@pytest.mark.parametrize("expires_at", ["never", float("inf"), 1e300, b"x"])
def test_report_that_never_runs_out_is_left_out_and_removed(make, path, expires_at):
    """A process that says that it is there for ever is not believed."""
    bus = make()
    publish(bus)
    tamper(path, ("INSERT INTO leases VALUES ('report/bad', '{}', ?)", (expires_at,)))
    assert bus.inspect().reports == []
    Follower(make()).up()
    eventually(
        lambda: (
            not sqlite3.connect(path).execute("SELECT 1 FROM leases WHERE name = 'report/bad'").fetchall()
        ),
        5000 * MS,
    )


VALUES = [
    None,
    "",
    "x",
    b"",
    b"\xff\x00",
    0,
    -1,
    1,
    (1 << 63) - 1,
    -(1 << 63),
    float("inf"),
    -1e308,
    "a\nb",
    b"data: ok\n\n",
    "data: x\n\nid: 1\n\n",
    "\ud7ff" * 50,
]


TABLES = {
    "log": "epoch boot rules digest kept kept_bytes names floor only",
    "entries": "id channel before history_before ordinal size appended_at closes checksum key block",
    "kept": "id channel before history_before size appended_at closes checksum key block",
    "bodies": "number channels befores history_befores places size checksum block",
    "channels": "name last mark kept closed closed_at forget_at",
    "onces": "once number forget_at",
    "leases": "name text expires_at",
}
COLUMNS = [(table, column) for table, columns in TABLES.items() for column in columns.split()]
RANDOM_VALUES = [
    *VALUES,
    2,
    3,
    7,
    1 << 10,
    3 << 10,
    5 << 10 | 1,
    1 << 62,
    1.5,
    "a",
    "b",
    "c",
    "k1",
    "x" * 5000,
]


def fill(bus, sent):
    """Publish events of each kind, and note what was sent."""
    for number in range(6):
        send(bus, sent, ("a",), f"a{number}", once=f"once{number}")
        send(bus, sent, ("a", "b"), f"ab{number}")
        send(bus, sent, ("b",), f"kept{number}", key=f"k{number % 3}")
        send(bus, sent, ("a", "b"), f"both{number}", key="k1")
    for channel in ("c", "d"):
        send(bus, sent, (channel,), "over", closes=True)
    bus.put_lease("run/1", "text", 60)


def send(bus, sent, channels, text, **options):
    result = bus.publish(Message(channels, block(text), **options))
    if not result.is_repeated:
        sent.add((result.sequence, channels, block(text)))  # a row may give the log another epoch
    return result.id


def test_random_rows_raise_nothing_else_and_forge_nothing(path, caplog):
    """
    Whatever is in the rows: publishing, looking and leases raise BusUnavailable or work; a follower is given
    what was sent and nothing else, each later event, and a loss of what is gone. Or it says what is wrong.
    """
    rng = random.Random(20_240)
    outcomes = {"fine": 0, "refused": 0}
    for seed in range(60):
        sent, channels = set(), ("a", "b", "c", "d")
        bus, other = (
            SqliteBus(str(path), BusOptions(keep(length=20, max_kept=5), 1, MAX_EVENT_BYTES))
            for _ in range(2)
        )
        try:
            fill(bus, sent)
            for _ in range(rng.randrange(1, 40)):
                scramble(path, rng)
            follower = Follower(other, channels=channels)
            uses = [
                bus.inspect,
                lambda: bus.leases("run/"),
                lambda: bus.put_lease("run/2", "text", 60),
                bus.head,
                *(
                    lambda options=options, name=name: send(
                        bus, sent, name, f"good {rng.random()}", **options
                    )
                    for options in ({}, {"key": "k2"}, {"once": "once3"}, {"once": "new"}, {"closes": True})
                    for name in (("a",), ("b", "a"), ("c",))
                ),
                lambda: bus.publish(Message(("a", "d"), b"", closes=True)),
                lambda: bus.publish(Message(("a", "b"), b"", key="k1")),
            ]
            rng.shuffle(uses)
            for use in uses:
                try:
                    use()
                    outcomes["fine"] += 1
                except (BusUnavailable, ChannelClosed, TooManyKept):
                    outcomes["refused"] += 1
                if rng.random() < 0.2:
                    scramble(path, rng)
            eventually(lambda: other.health().state in ("up", "down"), 5000 * MS)
            for entry in follower.entries:
                if entry.wire:
                    wire = entry.wire.partition(b"\n")[2]
                    assert (entry.sequence, entry.channels, wire) in sent, f"seed {seed}"
        finally:
            bus.close()
            other.close()
        for file in path.parent.glob("events.db*"):
            shutil.rmtree(file) if file.is_dir() else file.unlink()
    assert min(outcomes.values()) > 100, outcomes
    assert "stumbled" not in caplog.text


def scramble(path, rng):
    """Put something into a column of a row, or take a row away."""
    table, column = rng.choice(COLUMNS)
    statement = (
        f"DELETE FROM {table} WHERE rowid = ?1"
        if rng.random() < 0.1
        else f"UPDATE OR REPLACE {table} SET {column} = ?2 WHERE rowid = ?1"
    )
    connection = sqlite3.connect(path, isolation_level=None, timeout=5)
    try:
        connection.execute("PRAGMA ignore_check_constraints = ON")
        rows = connection.execute(f"SELECT rowid FROM {table}").fetchall()
        if rows:
            arguments = (rng.choice(rows)[0], rng.choice(RANDOM_VALUES))
            connection.execute(statement, arguments[: statement.count("?")])
    except sqlite3.Error:
        pass  # SQLite itself keeps NULLs and texts out of some
    finally:
        connection.close()


def test_random_bytes_raise_nothing_else(path, caplog):
    """
    Whatever is in the bytes of the file and of its write-ahead log: the same, and a file that is deleted
    begins a new log.
    """
    rng = random.Random(7)
    model = path.with_name("model.db")
    bus = SqliteBus(str(model), BusOptions(keep(), 1, MAX_EVENT_BYTES))
    for number in range(60):
        publish(bus, str(number) * 50, key=f"k{number}")
    kept = {ending: model.with_name("model.db" + ending).read_bytes() for ending in ("", "-wal")}
    bus.close()
    whole = model.read_bytes()
    outcomes = {"fine": 0, "refused": 0}
    for seed in range(150):
        contents = {"": whole} if seed % 2 else dict(kept)
        for ending, content in contents.items():
            damaged = bytearray(content)
            for _ in range(rng.choice([1, 3, 30])):
                begin = (
                    rng.randrange(len(damaged))
                    if rng.random() < 0.7
                    else rng.randrange(min(200, len(damaged)))
                )
                damaged[begin : begin + rng.choice([1, 2, 8])] = rng.randbytes(rng.choice([1, 2, 8]))
            if rng.random() < 0.1:
                del damaged[rng.randrange(len(damaged)) :]
            file = path.with_name(path.name + ending)
            file.write_bytes(damaged)
            file.chmod(0o600)
        bus = SqliteBus(str(path), BusOptions(keep(), 0.05, MAX_EVENT_BYTES))
        follower = Follower(bus)
        try:
            for use in (bus.inspect, lambda: publish(bus, "x", "k3"), lambda: publish(bus, "y"), bus.inspect):
                try:
                    use()
                    outcomes["fine"] += 1
                except BusUnavailable:
                    outcomes["refused"] += 1
            eventually(lambda: bus.health().state in ("up", "down"), 5000 * MS)
            assert all(entry.wire.count(b"\n\n") == 1 for entry in follower.entries)
        finally:
            bus.close()
            for file in path.parent.glob("events.db*"):
                if file.is_dir():
                    shutil.rmtree(file)
                else:
                    file.unlink()
    assert min(outcomes.values()) > 20, outcomes
    assert "stumbled" not in caplog.text
