"""What can happen to a Redis: it stops, hangs, forgets, fails over, and comes back."""

import socket
import subprocess
import time

import pytest

from flask_sse_push import BusUnavailable
from tests.bus.redis_server import OPTIONS, RedisServer, publish
from tests.bus.stores import Follower
from tests.support import FACTOR, MS, eventually


def test_killed_connections_lose_nothing(server, open_redis):
    """
    Every connection is killed again and again while events are published: the follower has each
    acknowledged event once, in order.
    """
    follower = Follower(open_redis()).up()
    bus, accepted = open_redis(), []
    for number in range(60):
        if number % 10 == 5:
            server.client().execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "no")
        try:
            accepted.append(publish(bus, number).sequence)
        except BusUnavailable:
            pass
    assert len(accepted) > 50
    follower.wait(max(accepted))
    assert follower.numbers() == list(range(1, len(follower.entries) + 1))
    assert set(accepted) <= set(follower.numbers())
    assert len(follower.begun) == 1


def test_stopped_server_holds_nobody_up(server, open_redis):
    """
    While Redis is stopped, publishing gives up in time and says that the event may be there; with a key it
    is published once; the follower goes on.
    """
    follower = Follower(open_redis()).up()
    bus = open_redis(options=OPTIONS._replace(publish_timeout_seconds=0.6))
    first = publish(bus)
    server.pause()
    begun = time.monotonic()
    with pytest.raises(BusUnavailable, match=r"^The event may have been stored: .* idempotency_key"):
        publish(bus, "once", "key")
    assert time.monotonic() - begun < 0.6 + FACTOR
    with pytest.raises(BusUnavailable):
        publish(bus, "once", "key")
    server.go_on()
    again = eventually(lambda: publish(bus, "once", "key"), 5000 * MS)
    last = publish(bus, "last")
    assert (again.epoch, last.epoch) == (first.epoch, first.epoch)
    follower.wait(last.sequence)
    assert [entry.wire.split(b"data: ")[1] for entry in follower.entries] == [
        b"x\n\n",
        b"once\n\n",
        b"last\n\n",
    ]


def test_black_hole_is_noticed_and_left(open_redis, proxy):
    """
    A path that swallows everything is noticed in seconds by publisher and follower, and both are back when
    it is open again.
    """
    bus = open_redis(proxy.url, OPTIONS._replace(publish_timeout_seconds=0.6))
    follower = Follower(bus).up()
    publish(bus)
    follower.wait(1)
    proxy.black_hole = True
    begun = time.monotonic()
    with pytest.raises(BusUnavailable):
        publish(bus)
    assert time.monotonic() - begun < 0.6 + FACTOR
    eventually(lambda: bus.health().state == "down", 10_000 * MS)
    assert bus.health().error
    proxy.black_hole = False
    proxy.cut()
    eventually(lambda: bus.health().state == "up", 20_000 * MS)
    last = publish(bus, "back")
    follower.wait(last.sequence)
    assert follower.entries[-1].wire.endswith(b"data: back\n\n")


def test_flushed_server_begins_a_new_log(server, open_redis):
    """
    After FLUSHALL the follower sees it though nobody publishes, and what comes then is of a new epoch from
    1.
    """
    bus = open_redis()
    follower = Follower(bus).up()
    old = publish(bus)
    follower.wait(1)
    server.client().flushall()
    eventually(lambda: len(follower.begun) == 2, 10_000 * MS, "the follower sees that the log is gone")
    new = publish(bus)
    assert (new.sequence, new.epoch == old.epoch) == (1, False)
    assert follower.wait(2)[-1].wire.startswith(b"id: %s-1\n" % new.epoch.encode())


@pytest.mark.parametrize(
    "options",
    [(), ("--appendonly", "yes", "--appendfsync", "always")],
    ids=["without persistence", "with persistence"],
)
def test_restarted_server_begins_a_new_log(options, open_redis, server):
    """
    A server that was killed may have lost what it had accepted, so a new epoch begins, and nobody reads on
    as if nothing were missing.
    """
    with RedisServer(*options) as other:
        bus = open_redis(other.url)
        follower = Follower(bus).up()
        old = publish(bus)
        follower.wait(1)
        other.kill()
        with pytest.raises(BusUnavailable, match=r"^The event was not stored: .* cannot be reached"):
            eventually(lambda: publish(bus) and None, 1)
        other.start()
        eventually(lambda: bus.health().state == "up" and len(follower.begun) == 2, 20_000 * MS)
        new = publish(bus)
        assert new.epoch != old.epoch
        assert new.sequence == 1
        follower.wait(2)
        bus.close()


def test_promoted_replica_that_lags_begins_a_new_log(server, open_redis, proxy):
    """
    A replica that misses accepted events is promoted: nobody goes on in the old epoch, where its numbers
    would be given twice.
    """
    with RedisServer("--replicaof", "127.0.0.1", server.port) as replica:
        eventually(lambda: replica.client().info("replication")["master_link_status"] == "up", 20_000 * MS)
        bus = open_redis(proxy.url)
        follower = Follower(bus).up()
        old = publish(bus, "both have it")
        eventually(lambda: replica.client().exists("{sse_push}:events:a"), 10_000 * MS)
        replica.pause()
        lost = publish(bus, "only the master has it")
        follower.wait(2)
        server.kill()
        proxy.target = replica.port
        replica.go_on()
        replica.client().replicaof("NO", "ONE")
        proxy.cut()
        new = eventually(lambda: _try(bus), 20_000 * MS)
        assert new.epoch != old.epoch == lost.epoch
        eventually(lambda: len(follower.begun) == 2, 20_000 * MS)
        publish(bus, "then")
        eventually(lambda: follower.entries[-1].wire.endswith(b"data: then\n\n"), 10_000 * MS)
        bus.close()


def _try(bus):
    try:
        return publish(bus, "new")
    except BusUnavailable:
        return None


def test_replica_is_not_written_to(server, open_redis):
    """Publishing to a replica says that it is one."""
    with RedisServer("--replicaof", "127.0.0.1", server.port) as replica:
        eventually(lambda: replica.client().info("replication")["master_link_status"] == "up", 20_000 * MS)
        bus = open_redis(replica.url)
        with pytest.raises(BusUnavailable, match="ReadOnlyError.*name the master"):
            publish(bus)
        bus.close()


def test_server_that_comes_later_is_found(open_redis, server, caplog):
    """
    With no Redis at the start publishing raises at once, following waits, says it once, and is up when the
    server is there.
    """
    with RedisServer(start=False) as later:
        bus = open_redis(later.url)
        follower = Follower(bus)
        eventually(lambda: bus.health().state == "down", 5000 * MS)
        begun = time.monotonic()
        with pytest.raises(BusUnavailable, match="cannot be reached"):
            publish(bus)
        assert time.monotonic() - begun < FACTOR
        later.start()
        follower.up()
        publish(bus)
        follower.wait(1)
        assert caplog.text.count("is away") == 1
        assert caplog.text.count("is back after") == 1
        bus.close()


def test_followers_hold_one_connection_each(server, open_redis):
    """However much is read, a process reads by one connection; one that only publishes has one too."""
    before = len(server.client().client_list())
    bus = open_redis()
    publish(bus)
    assert len(server.client().client_list()) == before + 1
    Follower(open_redis()).up()
    assert len(server.client().client_list()) == before + 2


def test_prefixes_keep_apps_apart(server, open_redis):
    """
    Two apps on one server with prefixes of their own do not hear each other, and all keys begin with
    theirs.
    """
    shop, forum = open_redis(server.url + "?prefix=shop"), open_redis(server.url + "?prefix=forum")
    follower = Follower(shop).up()
    publish(forum, "forum")
    publish(shop, "shop")
    follower.wait(1)
    assert follower.entries[0].wire.endswith(b"data: shop\n\n")
    assert {key.split(b":")[0] for key in server.client().keys()} == {b"{shop}", b"{forum}"}


def test_unix_socket_database_and_password(server, open_redis):
    """
    unix://, a database number and a password in the URL are used; a wrong password is told with the cure,
    and never shown.
    """
    bus = open_redis(f"unix://{server.socket_path}?db=3")
    publish(bus)
    assert server.client(db=3).exists("{sse_push}:events:a")
    server.client().config_set("requirepass", "secret word")
    try:
        publish(open_redis(f"redis://:secret%20word@127.0.0.1:{server.port}/3"))
        with pytest.raises(BusUnavailable, match="SSE_PUSH_BUS_URL") as caught:
            publish(open_redis(f"redis://:wrong@127.0.0.1:{server.port}/3"))
        assert "wrong@" not in str(caught.value)
    finally:
        server.client(password="secret word").config_set("requirepass", "")


def test_given_client_says_where(server, open_redis):
    """A client in place of a URL gives its address and database."""
    from flask_sse_push.bus.redis import redis_bus

    publish(open_redis(redis_bus(server.client(db=5), "mine")))
    assert server.client(db=5).exists("{mine}:events:a")


def test_cluster_takes_all_keys(server, open_redis):
    """On a Cluster, by its URL, events go through: all keys are in one slot."""
    with RedisServer("--cluster-enabled", "yes") as node:
        node.client().execute_command("CLUSTER", "ADDSLOTS", *range(16384))  # as Redis 6.2 takes them
        eventually(
            lambda: b"cluster_state:ok" in node.client().execute_command("CLUSTER", "INFO"), 10_000 * MS
        )
        bus = open_redis(f"redis+cluster://127.0.0.1:{node.port}")
        follower = Follower(bus).up()
        publish(bus)
        follower.wait(1)
        bus.close()


def test_sentinel_is_asked_for_the_master(server, open_redis, tmp_path):
    """By the URL of a Sentinel and the name of a service the master is found."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    (tmp_path / "sentinel.conf").write_text(
        f"port {port}\nbind 127.0.0.1\nsentinel monitor shop 127.0.0.1 {server.port} 1\n"
    )
    process = subprocess.Popen(
        ["redis-server", tmp_path / "sentinel.conf", "--sentinel"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        bus = open_redis(f"redis+sentinel://127.0.0.1:{port}/shop/0")
        eventually(lambda: _try(bus), 20_000 * MS)
        follower = Follower(bus).up()
        publish(bus)
        follower.wait(2)
        bus.close()
    finally:
        process.kill()
        process.wait()
