"""
What a Redis, its keys, its users and the path to it can do to a bus, and what publishing and following then
promise.
"""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from flask_sse_push import BusUnavailable
from tests.bus.redis_server import (
    EVENTS,
    LEASES,
    META,
    ONE_SECOND,
    OPTIONS,
    RedisServer,
    Toy,
    make_certificate,
    publish,
    refused,
)
from tests.bus.stores import Follower, keep
from tests.needs import needs
from tests.platform.scripts import run_script
from tests.servers.harness import ROOT
from tests.support import FACTOR, MS, alarms, eventually, own_threads


def test_deleted_history_leaves_no_ghosts(server, open_redis):
    """
    After DEL of a channel's list its numbers go on, its loss is told, and what it weighed is not counted any
    more.
    """
    bus = open_redis(options=OPTIONS._replace(retention=keep(max_bytes=50_000)))
    for number in range(200):
        publish(bus, number)
    lost = publish(bus, "last")
    weight = bus.inspect().size_bytes / server.client().llen(EVENTS)
    server.client().delete(EVENTS)
    assert Follower(open_redis()).up().lost() == lost.sequence
    assert publish(bus) == lost._replace(sequence=lost.sequence + 1)
    for number in range(50):
        publish(bus, number)
    assert server.client().llen(EVENTS) == 51
    assert abs(bus.inspect().size_bytes - 51 * weight) < 51 * 10


def test_users_with_and_without_info_share_an_epoch(server, open_redis):
    """A user who may not ask for the server's id does not end the epoch of one who may."""
    server.client().execute_command("ACL", "SETUSER", "plain", "on", ">secret", "~*", "&*", "+@all", "-info")
    buses = [open_redis(), open_redis(f"redis://plain:secret@127.0.0.1:{server.port}/0")]
    assert [publish(buses[number % 2]).sequence for number in range(6)] == [1, 2, 3, 4, 5, 6]


def test_report_that_is_none_disturbs_nobody(server, open_redis):
    """A field among the reports that cannot be read is left out of them."""
    server.client().hset(LEASES, "report/other", "99999999999999 {")
    bus = open_redis()
    Follower(bus, lambda: {"streams": 1}).up()
    eventually(lambda: bus.inspect().reports == [{"streams": 1}], 5000 * MS)
    assert bus.health().state == "up"


def test_process_that_cannot_take_its_report_back_is_idle_and_comes_back_once(
    server, open_redis, monkeypatch, caplog
):
    """
    When nobody listens any more and the report cannot be removed, the bus is idle and not away; who comes
    then is served by one follower.
    """
    monkeypatch.setattr("flask_sse_push.bus.follower.LINGER_SECONDS", 0.01)
    server.client().execute_command("ACL", "SETUSER", "plain", "on", ">secret", "~*", "&*", "+@all", "-hdel")
    bus = open_redis(f"redis://plain:secret@127.0.0.1:{server.port}/0")
    follower = Follower(bus).up()
    publish(bus, 1)
    follower.wait(1)
    follower.is_wanted = False
    eventually(lambda: bus.health().state != "up", 5000 * MS)
    follower.is_wanted = True
    bus.start(follower)  # at once: the first follower is still about to end
    eventually(lambda: follower.ups >= 2, 5000 * MS)
    eventually(lambda: len(own_threads()) == 1, 2000 * MS, "one follower is left")
    for number in range(2, 52):
        publish(bus, number)
    follower.wait(51)
    assert follower.numbers() == list(range(1, 52))
    follower.is_wanted = False
    eventually(lambda: not own_threads(), 5000 * MS)
    assert bus.health().state == "idle"
    assert "is away" not in caplog.text


@pytest.mark.parametrize(
    "refuse",
    [("CONFIG", "SET", "maxmemory", "1mb"), ("ACL", "SETUSER", "default", "-pexpire")],
    ids=["full", "forbidden"],
)
def test_server_that_refuses_reports_is_followed(server, open_redis, caplog, refuse):
    """
    A Redis that is full, or does not let this user write, can be read all the same: following goes on, and
    nobody is told that it was away.
    """
    reports = []

    def report():
        reports.append(server.client().execute_command(*refuse))
        return {"process": "one"}

    bus = open_redis()
    follower = Follower(bus, report).up()
    eventually(lambda: len(reports) >= 2, 10_000 * MS, "it goes on to report")
    assert follower.ups == 1
    assert bus.health().state == "up"
    assert "is away" not in caplog.text


def test_follower_that_is_stopped_while_it_hangs_can_be_started_again(server, open_redis):
    """
    Closed while it waits for a Redis that does not answer, and used again before that wait is over, the bus
    is followed as before, once.
    """
    bus = open_redis()
    server.pause()
    follower = Follower(bus)
    bus.close()
    bus.start(follower)
    server.go_on()
    follower.up()
    for number in range(20):
        publish(bus, number)
    follower.wait(20)
    assert follower.numbers() == list(range(1, 21))
    eventually(lambda: len(own_threads()) == 1, 5000 * MS)
    assert len(follower.begun) == 1


def test_retention_is_written_again_after_a_flush(server, open_redis):
    """
    After FLUSHALL what the serving app keeps holds again, also when a publisher with other wishes came
    first.
    """
    Follower(open_redis(options=OPTIONS._replace(retention=keep()))).up()
    other = open_redis(options=OPTIONS._replace(retention=keep(10, 50_000)))
    publish(other)
    server.client().flushall()
    publish(other)
    mine = keep().text.encode()
    eventually(lambda: server.client().hget(META, "rules") == mine, 5000 * MS)


@pytest.mark.parametrize(
    "option",
    [
        "decode_responses=true",
        "protocol=3",
        "max_connections=1",
        "socket_timeout=30",
        "retry_on_timeout=true",
    ],
)
def test_option_for_other_clients_has_no_effect(server, open_redis, option):
    """
    What a URL says of waiting, pools and decoding is for redis-py's own clients: publishing is bounded as
    ever.
    """
    bus = open_redis(server.url + "?" + option, ONE_SECOND)
    publish(bus)
    server.pause()
    try:
        message, seconds = refused(bus)
    finally:
        server.go_on()
    assert message.startswith("The event may have been stored")
    assert 0.9 < seconds < 1 + 0.5 * FACTOR


def _dribble(connection):
    connection.recv(65_536)
    for byte in b"*3\r\n$12\r\nabcdefabcdef\r\n:1\r\n:0\r\n":
        threading.Event().wait(0.2)
        connection.sendall(bytes([byte]))


def _swallow(connection):
    while connection.recv(65_536):
        pass


def _answer_slowly(connection):
    while connection.recv(65_536):
        threading.Event().wait(0.4)
        connection.sendall(b"+OK\r\n")


@pytest.mark.parametrize(
    ("serve", "login", "stored"),
    [
        (_dribble, "", "may have been"),
        (_swallow, "", "may have been"),
        (_swallow, ":pw@", "was not"),
        (_answer_slowly, ":pw@", "may have been"),
    ],
)
def test_publish_ends_in_time_whatever_is_slow(open_redis, serve, login, stored):
    """
    Connecting, logging in and the command have one time together; the message tells whether the command had
    gone out.
    """
    with Toy(serve) as toy:
        message, seconds = refused(
            open_redis(f"redis://{login}127.0.0.1:{toy.port}/{3 if login else 0}", ONE_SECOND)
        )
    assert message.startswith(f"The event {stored} stored")
    assert seconds < 1 + 0.5 * FACTOR


def test_sentinels_that_hang_are_within_the_time(open_redis):
    """
    Three Sentinels that answer nothing are asked in turn, all within the time of one publish; refused ones
    fail at once.
    """
    with Toy(_swallow) as one, Toy(_swallow) as two, Toy(_swallow) as three:
        ports = [toy.port for toy in (one, two, three)]
        message, seconds = refused(
            open_redis(
                f"redis+sentinel://{','.join(f'127.0.0.1:{port}' for port in ports)}/shop/0", ONE_SECOND
            )
        )
        assert message.startswith("The event was not stored")
        assert seconds < 1 + 0.5 * FACTOR
    message, seconds = refused(open_redis(f"redis+sentinel://127.0.0.1:{ports[0]}/shop/0", ONE_SECOND))
    assert seconds < 0.5 * FACTOR


def test_publisher_leaves_a_master_that_became_a_replica(server, proxy, open_redis):
    """
    Where the address leads to another master and the old one lives on as its replica, the next publish
    finds the new one.
    """
    with RedisServer() as other:
        bus = open_redis(proxy.url)
        old = publish(bus)
        proxy.target = other.port
        server.client().replicaof("127.0.0.1", other.port)
        new = publish(bus)
        assert (new.sequence, new.epoch == old.epoch) == (1, False)
        assert other.client().exists(EVENTS)
        bus.close()


def test_full_server_changes_nothing(server, open_redis):
    """
    Over maxmemory the event is refused with the cure, and nothing is changed: the same epoch and the next
    number follow.
    """
    bus = open_redis()
    first = publish(bus)
    server.client().config_set("maxmemory", "1kb")
    before = server.client().hgetall(META)
    try:
        message, _ = refused(bus)
        assert server.client().hgetall(META) == before
    finally:
        server.client().config_set("maxmemory", 0)
    assert message.startswith("The event was not stored")
    assert "more memory" in message
    assert publish(bus) == first._replace(sequence=2)


@pytest.mark.parametrize(
    ("rule", "word"),
    [
        ("-rpush", "Let its user run"),
        ("resetchannels", "&{sse_push}:*"),
        ("-evalsha", "Let its user run"),
        ("resetpass", "Correct the user"),
    ],
)
def test_refusal_of_a_user_is_told_with_its_cure(server, open_redis, rule, word):
    """Who may not come in, or not do this, is told what to change."""
    server.client().execute_command("ACL", "SETUSER", "u", "on", ">secret", "~*", "&*", "+@all")
    server.client().execute_command("ACL", "SETUSER", "u", rule)
    message, _ = refused(open_redis(f"redis://u:secret@127.0.0.1:{server.port}/0"))
    assert message.startswith("The event was not stored")
    assert word in message


@pytest.mark.parametrize("rule", ["-publish", "resetchannels"])
def test_events_of_a_user_who_may_not_publish_count_for_nothing(server, open_redis, rule):
    """They are not stored, take no room from those that are, and nobody is told of a gap because of them."""
    server.client().execute_command("ACL", "SETUSER", "u", "on", ">secret", "~*", "&*", "+@all", rule)
    bus = open_redis()
    publish(bus)
    publish(bus, "value", key="k")
    before = bus.inspect()
    forbidden = open_redis(f"redis://u:secret@127.0.0.1:{server.port}/0")
    for channel in ("a", "new", ("a", "other")):
        for fields in ({}, {"key": "k"}):
            with pytest.raises(BusUnavailable, match="The event was not stored"):
                publish(forbidden, channel=channel, **fields)
    assert bus.inspect() == before._replace(head=8)
    follower = Follower(bus, channels=("never",)).up()
    assert follower.lost("never") == 0


def test_rights_in_the_documentation_are_enough(server, open_redis, caplog):
    """A user who may do what docs/buses.md says can publish, follow, keep, close and hold leases."""
    words = re.search(r"An ACL needs (`.*?)\. Without", (ROOT / "docs/buses.md").read_text(), re.DOTALL)[1]
    rights = " ".join(re.findall("`(.*?)`", words)).split()
    server.client().execute_command("ACL", "SETUSER", "u", "on", ">secret", "resetchannels", *rights)
    bus = open_redis(f"redis://u:secret@127.0.0.1:{server.port}/0?prefix=orders")
    follower = Follower(bus).up()
    publish(bus)
    publish(bus, "many", channel=("a", "b"), once="once")
    publish(bus, "value", key="k")
    publish(bus, None, key="k")
    publish(bus, None, closes=True)
    follower.wait(5)
    bus.put_lease("lease", "x", 9)
    bus.drop_lease("lease")
    assert bus.leases("lease") == {}
    assert bus.inspect().head == 5
    assert "is away" not in caplog.text


def test_log_of_the_follower_has_the_cure_too(server, open_redis, caplog):
    """A user who may write and not read is told what to change where the log says that the bus is away."""
    server.client().execute_command("ACL", "SETUSER", "u", "on", ">secret", "~*", "&*", "+@all", "-subscribe")
    bus = open_redis(f"redis://u:secret@127.0.0.1:{server.port}/0")
    Follower(bus)
    eventually(lambda: "is away" in caplog.text, 5000 * MS)
    assert "no permissions to run the 'subscribe' command" in caplog.text
    assert "Let its user run" in caplog.text


def test_password_that_is_missing_is_told(server, open_redis):
    """A server that wants a password says so, also to a request that it does not read to its end."""
    server.client().config_set("requirepass", "pw")
    try:
        message, _ = refused(open_redis())
    finally:
        server.client(password="pw").config_set("requirepass", "")
    assert "Put the password into SSE_PUSH_BUS_URL" in message


def test_key_of_another_kind_is_told(server, open_redis):
    """A key that another program uses in the place of ours is left alone, and the cure is another prefix."""
    server.client().set(META, "mine")
    message, _ = refused(open_redis())
    assert "choose another prefix" in message
    assert server.client().get(META) == b"mine"


def test_many_threads_share_sixteen_connections(server, open_redis):
    """
    However many threads publish at once, 16 connections are used, everybody comes to their turn, and they
    are kept.
    """
    bus = open_redis()
    before = server.client().info("clients")["connected_clients"]
    done = []
    threads = [
        threading.Thread(target=lambda: done.extend(publish(bus) for _ in range(20))) for _ in range(50)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(id.sequence for id in done) == list(range(1, 1001))
    assert server.client().info("clients")["connected_clients"] - before <= 16


def test_publish_within_publish_takes_another_connection(server, open_redis):
    """A signal handler that publishes in the middle of a publish is served too: nothing waits for itself."""
    bus, inner, depth = open_redis(), [], []

    def handler(*_):
        if not depth:
            depth.append(1)
            inner.append(publish(bus, "inner"))
            depth.pop()

    with alarms(handler):
        signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.00031)
        outer = [publish(bus, "outer") for _ in range(2000)]
    assert inner
    assert len({id.sequence for id in outer + inner}) == len(outer) + len(inner)


def test_close_wakes_the_reader(server, open_redis):
    """A follower that waits for events ends at once when its bus is closed, and takes its report back."""
    bus = open_redis()
    Follower(bus, lambda: {"streams": 1}).up()
    eventually(lambda: server.client().hlen(LEASES) == 1, 5000 * MS)
    begun = time.monotonic()
    bus.close()
    assert time.monotonic() - begun < 0.5 * FACTOR
    assert not server.client().exists(LEASES)
    publish(bus)


def test_tls_is_spoken_by_url_and_by_client(open_redis, tmp_path):
    """
    rediss:// verifies the certificate and works for publishing and following, and so does what a TLS client
    knows; a stranger's certificate is refused.
    """
    needs("redis-server", "openssl", modules=["redis"])
    import redis

    from flask_sse_push.bus.redis import redis_bus

    key, certificate = make_certificate(tmp_path)
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    files = ("--tls-cert-file", certificate, "--tls-key-file", key, "--tls-ca-cert-file", certificate)
    options = ("--tls-port", port, *files, "--tls-auth-clients", "no")
    with RedisServer(*options):
        bus = open_redis(f"rediss://localhost:{port}/0?ssl_ca_certs={certificate}")
        follower = Follower(bus).up()
        publish(bus)
        client = redis.Redis(host="localhost", port=port, ssl=True, ssl_ca_certs=str(certificate))
        publish(open_redis(redis_bus(client)))
        client.close()
        follower.wait(2)
        message, _ = refused(open_redis(f"rediss://localhost:{port}/0"))
        assert message.startswith("The event was not stored")
        bus.close()


IN_GEVENT = """
from gevent import monkey; monkey.patch_all()
import os, sys, time, gevent
from flask_sse_push import BusUnavailable
from flask_sse_push.bus import BusOptions, open_bus
from flask_sse_push.core.messages import Message
from flask_sse_push.core.retention import ChannelRetention, RetentionRules

bus = open_bus(sys.argv[1], BusOptions(RetentionRules(ChannelRetention(100, 300.0), 1 << 24), 1.0))
publish = lambda: bus.publish(Message(("a",), b"data: x\\n\\n"))
publish()

# Native threads beside the loop, each with a loop of its own.
done, native = [], monkey.get_original("_thread", "start_new_thread")
for _ in range(2):
    native(lambda: done.append([publish() for _ in range(100)]), ())
beside = [gevent.spawn(lambda: [publish() for _ in range(100)]) for _ in range(4)]
gevent.joinall(beside, raise_error=True, timeout=20)
while len(done) < 2:
    gevent.sleep(0.01)

# The loop itself cannot wait.
said = []
def in_the_loop():
    try:
        publish()
    except BusUnavailable as error:
        said.append(str(error))
gevent.get_hub().loop.run_callback(in_the_loop)
gevent.sleep(0.1)
assert "gevent.spawn" in said[0], said

# A server that hangs holds up nobody else.
os.kill(int(sys.argv[2]), 19)
turns = []
ticker = gevent.spawn(lambda: [(turns.append(1), gevent.sleep(0.01)) for _ in range(1000)])
try:
    publish()
except BusUnavailable as error:
    assert "may have been stored" in str(error)
else:
    raise AssertionError("it was stopped")
finally:
    os.kill(int(sys.argv[2]), 18)
ticker.kill()
assert len(turns) > 30, len(turns)
bus.close()
print("ok")
"""


def test_gevent_waits_cooperatively_beside_native_threads(server):
    """
    Under gevent a publish that waits for a stopped server holds up no greenlet, native threads publish
    beside the loop, and the loop itself is told no.
    """
    needs(modules=["gevent"])
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", IN_GEVENT, server.url, str(server._process.pid)],
        capture_output=True,
        text=True,
        timeout=60 * FACTOR,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
        check=False,
    )
    assert done.stdout.strip() == "ok", done.stderr


def test_child_takes_no_answer_that_its_parent_waits_for(server):
    """
    A process that a view forks in the middle of another request's publish() leaves the answer to its parent,
    though it has a copy of the greenlet that waits.
    """
    needs(modules=["gevent"])
    pid = server.client().info("server")["process_id"]
    script = f"""
from gevent import monkey
monkey.patch_all()
import gevent, os
from flask_sse_push import Publisher

publisher = Publisher({server.url + "?prefix=fork"!r}, publish_timeout_seconds=30)
publisher.publish("a connection is open")
os.kill({pid}, {int(signal.SIGSTOP)})
waiting = gevent.spawn(publisher.publish, "meanwhile")
gevent.sleep(0.1)
ready, begun = os.pipe()
child = os.fork()
if child == 0:
    os.kill({pid}, {int(signal.SIGCONT)})
    gevent.sleep(0.5)
    os.write(begun, b"1" if waiting.ready() else b"0")
    os._exit(0)
os.close(begun)
assert monkey.get_original("os", "read")(ready, 1) == b"0", "the child has it"
assert waiting.get(timeout=30).endswith("-2")
os.waitpid(child, 0)
print("fine")
"""
    try:
        run_script(script)
    finally:
        server.go_on()
