"""What can happen to a Redis: it stops, hangs, forgets, fails over, and comes back."""

import socket
import subprocess
import threading
import time

import pytest

from flask_sse_push import BusUnavailable, ConfigurationError
from flask_sse_push.bus import BusOptions, Retention, open_bus
from flask_sse_push.core.positions import parse
from tests.bus.test_contract import Follower, block
from tests.needs import needs
from tests.support import FACTOR, MS, eventually

OPTIONS = BusOptions(Retention(300, 1 << 24), 2.0)


@pytest.fixture
def server():
    needs("redis-server", modules=["redis"])
    from tests.bus.redis_server import RedisServer

    with RedisServer() as server:
        yield server


@pytest.fixture
def make(server):
    """Return buses on one server, each as a process has it."""
    opened = []

    def make(url=None, options=OPTIONS):
        bus = open_bus(url or server.url, options)
        opened.append(bus)
        return bus

    yield make
    for bus in opened:
        bus.close()


def publish(bus, text="x", key=None):
    return parse(bus.publish(("a",), block(text), key).id)


class Proxy:
    """A TCP connection in the middle that can stop to forward without closing, or lead elsewhere."""

    def __init__(self, port):
        self.target = port
        self.black_hole = False
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._sockets = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    @property
    def url(self):
        return f"redis://127.0.0.1:{self.port}/0"

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self.target))
            except OSError:
                client.close()
                continue
            self._sockets += [client, server]
            for one, other in ((client, server), (server, client)):
                thread = threading.Thread(target=self._forward, args=(one, other))
                self._threads.append(thread)
                thread.start()

    def _forward(self, one, other):
        try:
            while data := one.recv(65_536):
                if not self.black_hole:
                    other.sendall(data)
        except OSError:
            pass
        finally:
            for sock in (one, other):
                try:
                    sock.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass

    def cut(self):
        for sock in self._sockets:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def close(self):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
        for thread in self._threads:
            thread.join(5)
        for sock in self._sockets:
            sock.close()


@pytest.fixture
def proxy(server):
    proxy = Proxy(server.port)
    yield proxy
    proxy.close()


def test_killed_connections_lose_nothing(server, make):
    """Every connection is killed again and again while events are published: the follower has each acknowledged event once, in order."""
    follower = Follower(make()).up()
    bus, accepted = make(), []
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


def test_stopped_server_holds_nobody_up(server, make):
    """While Redis is stopped, publishing gives up in time and says that the event may be there; with a key it is published once; the follower goes on."""
    follower = Follower(make()).up()
    bus = make(options=OPTIONS._replace(publish_timeout_seconds=0.6))
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


def test_black_hole_is_noticed_and_left(make, proxy):
    """A path that swallows everything is noticed in seconds by publisher and follower, and both are back when it is open again."""
    bus = make(proxy.url, OPTIONS._replace(publish_timeout_seconds=0.6))
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


def test_flushed_server_begins_a_new_log(server, make):
    """After FLUSHALL the follower sees it though nobody publishes, and what comes then is of a new epoch from 1."""
    bus = make()
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
def test_restarted_server_begins_a_new_log(options, make, server):
    """A server that was killed may have lost what it had accepted, so a new epoch begins, and nobody reads on as if nothing were missing."""
    from tests.bus.redis_server import RedisServer

    with RedisServer(*options) as other:
        bus = make(other.url)
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


def test_promoted_replica_that_lags_begins_a_new_log(server, make, proxy):
    """A replica that misses accepted events is promoted: nobody goes on in the old epoch, where its numbers would be given twice."""
    from tests.bus.redis_server import RedisServer

    with RedisServer("--replicaof", "127.0.0.1", server.port) as replica:
        eventually(lambda: replica.client().info("replication")["master_link_status"] == "up", 20_000 * MS)
        bus = make(proxy.url)
        follower = Follower(bus).up()
        old = publish(bus, "both have it")
        eventually(lambda: replica.client().exists("{sse_push}:log"), 10_000 * MS)
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


def test_replica_is_not_written_to(server, make):
    """Publishing to a replica says that it is one."""
    from tests.bus.redis_server import RedisServer

    with RedisServer("--replicaof", "127.0.0.1", server.port) as replica:
        eventually(lambda: replica.client().info("replication")["master_link_status"] == "up", 20_000 * MS)
        bus = make(replica.url)
        with pytest.raises(BusUnavailable, match="ReadOnlyError.*name the master"):
            publish(bus)
        bus.close()


def test_server_that_comes_later_is_found(make, server, caplog):
    """With no Redis at the start publishing raises at once, following waits, says it once, and is up when the server is there."""
    from tests.bus.redis_server import RedisServer

    with RedisServer(start=False) as later:
        bus = make(later.url)
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


def test_followers_hold_one_connection_each(server, make):
    """However much is read, a process reads by one connection; one that only publishes has one too."""
    before = len(server.client().client_list())
    bus = make()
    publish(bus)
    assert len(server.client().client_list()) == before + 1
    Follower(make()).up()
    assert len(server.client().client_list()) == before + 2


def test_prefixes_keep_apps_apart(server, make):
    """Two apps on one server with prefixes of their own do not hear each other, and all keys begin with theirs."""
    shop, forum = make(server.url + "?prefix=shop"), make(server.url + "?prefix=forum")
    follower = Follower(shop).up()
    publish(forum, "forum")
    publish(shop, "shop")
    follower.wait(1)
    assert follower.entries[0].wire.endswith(b"data: shop\n\n")
    assert {key.split(b":")[0] for key in server.client().keys()} == {b"{shop}", b"{forum}"}


def test_unix_socket_database_and_password(server, make):
    """unix://, a database number and a password in the URL are used; a wrong password is told with the cure, and never shown."""
    bus = make(f"unix://{server.socket_path}?db=3")
    publish(bus)
    assert server.client(db=3).exists("{sse_push}:log")
    server.client().config_set("requirepass", "secret word")
    try:
        publish(make(f"redis://:secret%20word@127.0.0.1:{server.port}/3"))
        with pytest.raises(BusUnavailable, match="SSE_PUSH_BUS_URL") as caught:
            publish(make(f"redis://:wrong@127.0.0.1:{server.port}/3"))
        assert "wrong@" not in str(caught.value)
    finally:
        server.client(password="secret word").config_set("requirepass", "")


def test_given_client_says_where(server, make):
    """A client in place of a URL gives its address and database."""
    from flask_sse_push.bus.redis import redis_bus

    publish(make(redis_bus(server.client(db=5), "mine")))
    assert server.client(db=5).exists("{mine}:log")


def test_cluster_takes_all_keys(server, make):
    """On a Cluster, by its URL, events go through: all keys are in one slot."""
    from tests.bus.redis_server import RedisServer

    with RedisServer("--cluster-enabled", "yes") as node:
        node.client().execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        eventually(
            lambda: b"cluster_state:ok" in node.client().execute_command("CLUSTER", "INFO"), 10_000 * MS
        )
        bus = make(f"redis+cluster://127.0.0.1:{node.port}")
        follower = Follower(bus).up()
        publish(bus)
        follower.wait(1)
        bus.close()


def test_sentinel_is_asked_for_the_master(server, make, tmp_path):
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
        bus = make(f"redis+sentinel://127.0.0.1:{port}/shop/0")
        eventually(lambda: _try(bus), 20_000 * MS)
        follower = Follower(bus).up()
        publish(bus)
        follower.wait(2)
        bus.close()
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize(
    "url",
    [
        "redis://:pw@localhost:port/0",
        "redis://:pw@localhost/0?prefix=a%20b",
        "redis+sentinel://:pw@localhost",
        "redis+cluster://:pw@localhost/3",
        "redis+sentinel://:pw@localhost/a/0?x=1",
    ],
)
def test_wrong_url_is_refused_without_its_password(url):
    """What is no URL of a Redis is met at the start, and the password stays unsaid."""
    needs(modules=["redis"])
    with pytest.raises(ConfigurationError) as caught:
        open_bus(url, OPTIONS)
    assert "pw" not in str(caught.value)
