"""
The faults, each with what it may cost. ``run.pick(long, quick)`` tells the long version from the one in the
test suite.
"""

import contextlib
import os
import shutil
import signal
import sqlite3
import subprocess
from collections.abc import Callable
from typing import NamedTuple

from tests.needs import needs
from tests.soak.channels import PRICES
from tests.soak.clock import Clock
from tests.soak.network import network
from tests.soak.proxy import Proxy
from tests.soak.run import Run
from tests.support import FACTOR, eventually

__all__ = ["SCENARIOS", "Scenario", "play"]

NEVER = ()
"""Nobody may be reset: everything is kept and can be proved."""

LATE = ("unavailable",)
"""Only who comes for the first time while the bus is away: nobody knows where its listening began."""

BEHIND = ("evicted",)
"""Only who comes back when the history has gone on: it is short here."""


class Scenario(NamedTuple):
    name: str
    what: str
    reset_reasons: tuple | None
    """For what a client may be reset; ``None`` for anything, where events are really gone."""
    history_is_kept: bool
    """Whether what is young enough is there, as the clocks of this machine say."""
    takes_long: bool
    """Whether it shows nothing new in short."""
    play: Callable


SCENARIOS = []


def scenario(reset_reasons, *, history_is_kept=True, takes_long=False):
    """Add a scenario; its docstring says what happens."""

    def add(function):
        SCENARIOS.append(
            Scenario(
                function.__name__.replace("_", "-"),
                " ".join(function.__doc__.split()),
                reset_reasons,
                history_is_kept,
                takes_long,
                function,
            )
        )
        return function

    return add


def play(scenario, record, *, seed, quick):
    """Run a scenario, and return its :class:`check.Report`."""
    with Run(
        record,
        seed,
        quick=quick,
        reset_reasons=scenario.reset_reasons,
        history_is_kept=scenario.history_is_kept,
        scenario=scenario.name,
    ) as run:
        scenario.play(run)
        return run.finish()


def redis_server(run, *options, **more):
    needs("redis-server", modules=["redis"])
    from tests.bus.redis_server import RedisServer

    return run.enter(RedisServer(*options, **more))


def kill_some_worker(run):
    pid = run.random.choice(run.workers())
    run.fault("a worker is killed", pid=pid)
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


@scenario(NEVER)
def worker_killed(run):
    """workers are SIGKILLed at random, bus `auto`"""
    run.serve()
    run.begin()
    for _ in range(run.pick(20, 3)):
        run.pass_time(run.random.uniform(*run.pick((1, 3), (0.3, 0.7))))
        kill_some_worker(run)
    run.pass_time(run.pick(3, 0.5))


@scenario(NEVER)
def rolling_reload(run):
    """SIGHUP again and again, bus `auto`"""
    run.serve()
    run.begin()
    for _ in range(run.pick(12, 2)):
        run.fault("SIGHUP")
        run.server.process.send_signal(signal.SIGHUP)
        run.pass_time(run.pick(10, 1.5))


@scenario(NEVER)
def preload(run):
    """`--preload`: workers are SIGKILLed and all replaced, bus `auto`"""
    run.serve("gunicorn-gevent-preload")
    run.begin()
    for _ in range(run.pick(4, 1)):
        run.pass_time(run.pick(3, 0.3))
        kill_some_worker(run)
        run.pass_time(run.pick(3, 0.5))
        run.fault("SIGHUP")
        run.server.process.send_signal(signal.SIGHUP)
    run.pass_time(run.pick(5, 0.7))


@scenario(LATE)
def redis_stopped(run):
    """Redis is SIGSTOPped for 17 s"""
    server = redis_server(run)
    run.serve(bus_url=server.url)
    run.begin(server.url)
    for _ in range(run.pick(2, 1)):
        run.fault("Redis stops")
        server.pause()
        run.pass_time(run.pick(17, 3.2))
        run.fault("Redis goes on")
        server.go_on()
        run.pass_time(run.pick(10, 0.5))


@scenario(LATE)
def redis_clients_killed(run):
    """`CLIENT KILL` of all connections every second, under threads"""
    server = redis_server(run)
    run.serve("gunicorn-gthread", "--threads", "200", bus_url=server.url)
    run.begin(server.url)
    with server.client() as client:
        for _ in range(run.pick(30, 3)):
            run.fault("CLIENT KILL")
            for kind in ("normal", "pubsub"):
                client.client_kill_filter(_type=kind, skipme=True)
            run.pass_time(run.pick(1, 0.4))


@scenario(LATE)
def redis_black_hole(run):
    """
    the network to Redis swallows everything, and is back: once with what it held, once with all connections
    gone
    """
    server = redis_server(run)
    proxy = run.enter(Proxy(server.port))
    run.serve(bus_url=proxy.url)
    run.begin(proxy.url)
    for number in range(run.pick(4, 2)):
        run.fault("black hole")
        proxy.hold()
        run.pass_time(run.pick(10, 3.2 if number else 0.7))
        run.fault("the network is back")
        if number % 2:
            proxy.cut()
        proxy.flow()
        run.pass_time(run.pick(8, 0.4))


@scenario(None)
def redis_flushed(run):
    """`FLUSHALL`"""
    server = redis_server(run)
    run.serve(bus_url=server.url)
    run.begin(server.url)
    with server.client() as client:
        for _ in range(run.pick(6, 2)):
            run.fault("FLUSHALL")
            client.flushall()
            run.pass_time(run.pick(4, 0.8))


@scenario(None)
def redis_restarted(run):
    """Redis is killed and started again without what it had"""
    server = redis_server(run)
    run.serve(bus_url=server.url)
    run.begin(server.url)
    for _ in range(run.pick(4, 1)):
        run.fault("Redis is killed")
        server.kill()
        run.pass_time(run.pick(run.random.uniform(0.5, 8), 0.7))
        run.fault("Redis starts")
        server.start()
        run.pass_time(run.pick(8, 0.5))


@scenario(LATE)
def redis_absent_at_start(run):
    """the servers start before Redis does"""
    server = redis_server(run, start=False)
    run.serve(bus_url=server.url)
    run.begin(server.url)
    run.pass_time(run.pick(10, 0.7))
    run.fault("Redis starts")
    server.start()
    run.pass_time(run.pick(10, 0.7))


@scenario(None)
def redis_promoted(run):
    """the replica that was behind is promoted, the master is gone"""
    options = ("--repl-diskless-sync-delay", "0")  # of whoever is the master, and 5 s without it
    master = redis_server(run, *options)
    link = run.enter(Proxy(master.port))
    replica = redis_server(run, "--replicaof", f"127.0.0.1 {link.port}", *options)
    proxy = run.enter(Proxy(master.port))
    with replica.client() as client:
        eventually(
            lambda: client.info("replication")["master_link_status"] == "up",
            20 * FACTOR,
            "the replica is there",
        )
        run.serve(bus_url=proxy.url)
        run.begin(proxy.url)
        for _ in range(run.pick(3, 1)):
            run.fault("replication is behind")
            link.hold()
            run.pass_time(run.pick(3, 0.7))
            run.fault("the master is gone")
            master.kill()
            proxy.cut()
            run.pass_time(run.pick(2, 0.2))
            run.fault("the replica is promoted")
            client.replicaof("NO", "ONE")
            proxy.target = replica.port
            proxy.cut()
            run.pass_time(run.pick(8, 0.5))
            if run.quick:
                return
            # The other way round: the old master comes back empty, as the replica, and the roles change once
            # more.
            link.cut()
            link.flow()
            master, replica = replica, master
            link.target = master.port
            replica.start()
            client = run.enter(replica.client())
            client.replicaof("127.0.0.1", link.port)
            eventually(
                lambda: client.info("replication")["master_link_status"] == "up",
                20 * FACTOR,
                "the replica is there",
            )


def database_url(run):
    return f"sqlite:///{run.folder / 'events.db'}"


@scenario(LATE)
def database_disk_full(run):
    """the disk of the database is full, and has room again"""
    needs("mount", "umount", root=True)
    disk = run.folder / "disk"
    disk.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", disk], check=False, capture_output=True
    ).returncode:
        from tests.needs import lacking

        lacking("needs to be allowed to mount a tmpfs")
    run.ends.callback(subprocess.run, ["umount", "--lazy", disk])
    url = f"sqlite:///{disk / 'events.db'}"
    run.serve(bus_url=url)
    run.begin(url)
    ballast = disk / "ballast"
    for _ in range(run.pick(4, 1)):
        run.fault("the disk is full")
        with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        run.pass_time(run.pick(6, 1.2))
        run.fault("the disk has room")
        ballast.unlink()
        run.pass_time(run.pick(5, 0.5))


@scenario(LATE)
def database_locked(run):
    """another process holds the database's write lock for 5 s"""
    run.serve(bus_url=database_url(run))
    run.begin(database_url(run))
    connection = sqlite3.connect(run.folder / "events.db", timeout=5, isolation_level=None)
    with contextlib.closing(connection):
        for _ in range(run.pick(4, 1)):
            run.fault("the database is locked")
            connection.execute("BEGIN IMMEDIATE")
            run.pass_time(run.pick(5, 2.5))
            connection.execute("ROLLBACK")
            run.fault("the database is free")
            run.pass_time(run.pick(5, 0.5))


@scenario(None)
def database_deleted(run):
    """the file of the database is deleted while it is in use"""
    run.serve(bus_url=database_url(run))
    run.begin(database_url(run))
    for _ in range(run.pick(6, 2)):
        run.fault("the database is deleted")
        for suffix in ("", "-wal", "-shm"):
            (run.folder / f"events.db{suffix}").unlink(missing_ok=True)
        run.pass_time(run.pick(4, 0.7))


def let_jump(run, clock):
    for seconds in run.pick((3600, 0, -3600, 0, 3600, -3600), (3600, -3600)):
        run.fault("the clock jumps", seconds=seconds)
        clock.jump(seconds)
        run.pass_time(run.pick(5, 0.7))


@scenario(NEVER)
def clock_jumps(run):
    """the wall clock jumps by an hour, forward and back, bus SQLite"""
    needs("cc")
    clock = Clock(run.folder)
    run.serve(bus_url=database_url(run), environ=clock.environ)
    run.begin(database_url(run), environ=clock.environ)
    let_jump(run, clock)


@scenario(None, history_is_kept=False)
def clock_jumps_of_redis(run):
    """
    the wall clock of Redis jumps by an hour, forward and back: its history may run out, and that is told
    """
    needs("cc")
    clock = Clock(run.folder)
    with clock.for_children():
        server = redis_server(run)
    run.serve(bus_url=server.url)
    run.begin(server.url)
    let_jump(run, clock)


def kill_publishers(run, url):
    for _ in range(run.pick(30, 3)):
        name = run.start_publisher(url, rate=run.pick(200, 400))
        eventually(lambda: run.has_published(name, 3), 20 * FACTOR, "the publisher publishes")
        run.pass_time(run.random.uniform(0, 0.3))
        run.fault("a publisher is killed")
        run.kill_publisher(name)


@scenario(NEVER)
def publisher_killed(run):
    """processes that publish are SIGKILLed while they do, bus SQLite"""
    run.serve(bus_url=database_url(run))
    run.begin(database_url(run))
    kill_publishers(run, database_url(run))


@scenario(LATE)
def publisher_killed_redis(run):
    """processes that publish are SIGKILLed while they do, bus Redis"""
    server = redis_server(run)
    run.serve(bus_url=server.url)
    run.begin(server.url)
    kill_publishers(run, server.url)


@scenario(NEVER)
def one_worker(run):
    """one process, bus `memory`: streams are dropped and resumed, pages come late, channels end"""
    run.serve(workers=1, bus_url="memory://")
    run.begin(count=run.pick(40, 12), restless=run.pick(15, 5), visiting=run.pick(15, 5))
    run.pass_time(run.pick(30, 1.5))


@scenario(LATE, takes_long=True)
def channels_come_and_go(run):
    """100 channels, most of which nobody listens to most of the time, bus Redis"""
    server = redis_server(run)
    run.serve(bus_url=server.url)
    run.begin(
        server.url,
        channels=[f"visitor.{number}" for number in range(100)],
        restless=run.pick(10, 4),
        visiting=run.pick(25, 10),
    )
    # A channel that nobody listens to is left after 30 s.
    run.pass_time(run.pick(120, 1.5))


@scenario(BEHIND)
def busy_channel(run):
    """a channel with 400 events a second and a short history, beside quiet ones, bus `auto`"""
    run.serve(channels={"busy": {"history_length": 50}, "fair": {"history_length": 1000}})
    run.begin(
        channels=["busy", "fair", "quiet.1", "quiet.2", "quiet.3"],
        count=run.pick(40, 10),
        restless=run.pick(20, 5),
    )
    for _ in range(2):
        run.start_publisher(run.publish_url, channels=["busy"], rate=run.pick(200, 100))
    run.let_publish()
    run.pass_time(run.pick(40, 1.5))


@scenario(NEVER, takes_long=True)
def late_pages(run):
    """pages come and go under 200 writes a second, each with its cursor or with the past, bus SQLite"""
    run.serve(bus_url=database_url(run))
    run.begin(database_url(run), visiting=run.pick(30, 10))
    for _ in range(2):
        run.start_publisher(database_url(run), "--runs", rate=100)
    run.let_publish()
    run.pass_time(run.pick(40, 1.5))


@scenario(NEVER)
def kept_values(run):
    """200 prices a second for slow and restless readers, with a history of 10 events, bus SQLite"""
    run.serve(bus_url=database_url(run), channels={channel: {"history_length": 10} for channel in PRICES})
    run.begin(
        database_url(run),
        channels=PRICES,
        count=run.pick(40, 10),
        slow=run.pick(10, 3),
        restless=run.pick(10, 3),
        visiting=run.pick(10, 3),
    )
    for _ in range(2):
        run.start_publisher(database_url(run), channels=PRICES, rate=run.pick(100, 50))
    run.let_publish()
    run.pass_time(run.pick(40, 1.5))


@scenario(None)
def private_folder_removed(run):
    """the folder of the bus `auto` is removed while it is in use"""
    run.serve()
    run.begin()
    for _ in range(run.pick(6, 1)):
        run.fault("the private folder is removed")
        (folder,) = run.folder.glob("flask_sse_push-*")
        shutil.rmtree(folder)
        run.pass_time(run.pick(6, 1.5))


@scenario(LATE)
def network_falls_silent(run):
    """
    two servers and a Redis, each in a network of its own, 20 ms from here: all is silent for 10 s, then one
    server, then the other, and one is cut off
    """
    first, second, third = network(run.ends, 3)
    server = redis_server(run, "--protected-mode", "no", host=third.address, inside=third.inside)
    proxies = [
        run.enter(Proxy(server.port, machine.here, third.address, delay_seconds=0.02))
        for machine in (first, second)
    ]
    for machine, proxy in zip((first, second), proxies, strict=True):
        run.serve(workers=run.pick(2, 1), host=machine.address, inside=machine.inside, bus_url=proxy.url)
    run.begin(server.url)
    for silent in run.pick([proxies, proxies[:1], proxies[1:]], [proxies]):
        run.fault("the network falls silent")
        for proxy in silent:
            proxy.hold()
        run.pass_time(run.pick(10, 3.2))
        run.fault("the network is back")
        for proxy in silent:
            proxy.flow()
        run.pass_time(run.pick(10, 0.5))
    run.fault("the network is cut")
    proxies[0].cut()
    run.pass_time(run.pick(5, 0.5))
