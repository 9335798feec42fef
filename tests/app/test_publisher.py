"""Publishing without an app, from every kind of process."""

import datetime
import json
import multiprocessing
import os
import pickle
import subprocess
import sys
import threading
import uuid
from dataclasses import dataclass
from decimal import Decimal

import pytest

from flask_sse_push import BusUnavailable, ConfigurationError, InvalidChannel, InvalidEvent, Publisher
from flask_sse_push.bus import BusOptions, MemoryBus, open_bus
from tests.bus.stores import RETENTION, Follower
from tests.needs import needs
from tests.servers.harness import ROOT
from tests.support import FACTOR, own_threads

CHANNELS = ("sse", "orders", "news", "ops")


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path}/events.db"


@pytest.fixture
def follower(url):
    """What a server on the same bus gets."""
    bus = open_bus(url, BusOptions(RETENTION, 5 * FACTOR))
    yield Follower(bus, channels=CHANNELS).up()
    bus.close()


def data(follower, count):
    return [entry.wire.split(b"data: ")[1].decode().strip() for entry in follower.wait(count)]


def test_publisher_publishes_as_the_app_does(url, follower):
    """The same arguments give the same event, and the id is returned."""
    with Publisher(url) as publisher:
        id = publisher.publish({"id": 7}, "created", None, 5000, ("orders", "news"))
    (entry,) = follower.wait(1)
    assert entry.wire.decode() == f'id: {id}\nevent: created\nretry: 5000\ndata: {{"id": 7}}\n\n'
    assert entry.channels == ("orders", "news")
    assert own_threads() != []  # the follower's


def test_publisher_starts_no_thread(url):
    """A process that only publishes has no thread of the package."""
    with Publisher(url) as publisher:
        publisher.publish("x")
        assert own_threads() == []


@dataclass
class Order:
    item: str


def test_publisher_encodes_as_flask_does(url, follower, app):
    """What Flask's JSON can encode is encoded the same way without an app, and NaN is refused."""
    values = [
        datetime.date(2026, 1, 2),
        uuid.UUID(int=7),
        Decimal("1.5"),
        Order("tea"),
        {"b": 1, "a": "ü"},
        [None, True],
    ]
    with Publisher(url) as publisher:
        for value in values:
            publisher.publish(value)
        with pytest.raises(InvalidEvent, match="Convert it first"):
            publisher.publish(float("nan"))
    assert data(follower, len(values)) == [app.json.dumps(value) for value in values]


def test_publisher_takes_a_function_for_json(url, follower):
    """A function of the user's encodes what is no str."""
    with Publisher(url, json=lambda value: json.dumps(["mine", value])) as publisher:
        publisher.publish(1)
        publisher.publish("as it is")
    assert data(follower, 2) == ['["mine", 1]', "as it is"]


def test_publisher_checks_as_the_app_does(url):
    """What the app refuses is refused here."""
    with Publisher(url, max_event_bytes=64) as publisher:
        for arguments in (
            {"data": "x", "type": "a\nb"},
            {"data": "x", "id": "1"},
            {"data": "x" * 100},
            {"data": "x", "idempotency_key": ""},
            {"data": "x", "retry": 1},
        ):
            with pytest.raises(InvalidEvent):
                publisher.publish(**arguments)
        with pytest.raises(InvalidChannel):
            publisher.publish("x", channel="a b")


@pytest.mark.parametrize("wrong", [None, "", "auto", "memory://", MemoryBus])
def test_publisher_that_nobody_could_hear_is_refused(wrong, monkeypatch):
    """Without a bus that others hear there is no publisher, and the message says what to set."""
    monkeypatch.delenv("SSE_PUSH_BUS_URL", raising=False)
    with pytest.raises(ConfigurationError, match="same SSE_PUSH_BUS_URL"):
        Publisher(wrong)


def test_publisher_takes_the_url_of_the_environment(url, follower, monkeypatch):
    """Without an argument SSE_PUSH_BUS_URL counts."""
    monkeypatch.setenv("SSE_PUSH_BUS_URL", url)
    with Publisher() as publisher:
        publisher.publish("x")
    assert data(follower, 1) == ["x"]


@pytest.mark.parametrize(
    "wrong", [{"url": "kafka://x"}, {"max_event_bytes": 1}, {"publish_timeout_seconds": 0}]
)
def test_publisher_checks_its_arguments(url, wrong):
    """A wrong argument is met when the publisher is made."""
    with pytest.raises(ConfigurationError):
        Publisher(**{"url": url, **wrong})


def test_publisher_that_was_closed_says_so(url):
    """To use it after the block is an error, and closing twice is none."""
    with Publisher(url) as publisher:
        publisher.publish("x")
    publisher.close()
    for use in (publisher.publish, publisher.close_channel, publisher.cursor):
        with pytest.raises(ConfigurationError, match="was closed"):
            use("x")
    with pytest.raises(ConfigurationError, match="was closed"):
        publisher.forget("x", "k")


def test_publisher_opens_nothing_before_the_first_event(tmp_path):
    """Making one touches nothing; a bus that is not there is told by publish."""
    publisher = Publisher(f"sqlite:///{tmp_path}/nowhere/events.db")
    with pytest.raises(BusUnavailable):
        publisher.publish("x")
    publisher.close()


def test_publisher_is_safe_in_threads(url, follower):
    """Many threads share one, and every event is there once."""
    publisher = Publisher(url)
    threads = [
        threading.Thread(target=lambda t=t: [publisher.publish(f"{t}.{n}") for n in range(20)])
        for t in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    publisher.close()
    assert sorted(data(follower, 120)) == sorted(f"{t}.{n}" for t in range(6) for n in range(20))


TASKS = """
import multiprocessing, os, sys
from flask_sse_push import Publisher

publisher = Publisher(os.environ["SSE_PUSH_BUS_URL"])

def task(number):
    publisher.publish(f"task {number}", idempotency_key=f"task {number}")
    return os.getpid()

context = multiprocessing.get_context("fork")
"""


def run_tasks(url, script):
    """
    Run a script that forks, in a process of its own.

    The follower of these tests is a thread that is now and then inside of SQLite. A child that is forked at
    such a moment inherits the library's own mutexes locked, and hangs in its first statement, whoever wrote
    that. Workers of task queues have no such thread.
    """
    run_python(TASKS + script, url)


def test_publisher_of_a_module_works_in_forked_workers(url, follower):
    """As in Celery's workers: made and used before the fork, then used in every child, each task repeated."""
    run_tasks(
        url,
        """
publisher.publish("parent")
with context.Pool(3) as pool:
    pids = set(pool.map(task, [1, 2, 3, 4, 5, 6] * 3, chunksize=1))
    pool.close()
    pool.join()
assert os.getpid() not in pids
publisher.publish("the end")
""",
    )
    assert sorted(data(follower, 8)) == sorted(
        ["parent", "the end", *(f"task {number}" for number in range(1, 7))]
    )


def test_publisher_works_in_a_fork_for_each_job(url, follower):
    """As in RQ's workers: a new process for each job."""
    run_tasks(
        url,
        """
for number in range(3):
    job = context.Process(target=task, args=(number,))
    job.start()
    job.join()
    assert job.exitcode == 0
""",
    )
    assert data(follower, 3) == ["task 0", "task 1", "task 2"]


def test_publisher_works_in_a_plain_script(url, follower):
    """As from cron: a process that publishes and ends."""
    script = (
        "from flask_sse_push import Publisher\nwith Publisher() as publisher:\n    "
        "publisher.publish({'backup': 'done'}, channel='ops')"
    )
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        cwd=ROOT,
        env={**os.environ, "SSE_PUSH_BUS_URL": url},
        capture_output=True,
        text=True,
        timeout=30 * FACTOR,
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    assert data(follower, 1) == ['{"backup": "done"}']


GREENLETS = """
from gevent import monkey; monkey.patch_all()
import gevent, sys
from flask_sse_push import Publisher
publisher = Publisher()
jobs = [gevent.spawn(publisher.publish, str(number)) for number in range(50)]
gevent.joinall(jobs, raise_error=True)
publisher.close()
"""


def test_publisher_works_in_greenlets(url, follower):
    """As in a worker of Celery's gevent pool: many greenlets share one, beside other processes."""
    needs(modules=["gevent"])
    environment = {**os.environ, "SSE_PUSH_BUS_URL": url}
    processes = [
        subprocess.Popen([sys.executable, "-W", "error", "-c", GREENLETS], cwd=ROOT, env=environment)
        for _ in range(2)
    ]
    assert [process.wait(30 * FACTOR) for process in processes] == [0, 0]
    assert sorted(data(follower, 100)) == sorted([str(number) for number in range(50)] * 2)


EVENTLET = """
import warnings
warnings.simplefilter("ignore")  # of eventlet, which is deprecated
import eventlet
eventlet.monkey_patch()
warnings.simplefilter("error")
from flask_sse_push import Publisher
with Publisher() as publisher:
    for number in range(3):
        publisher.publish(str(number))
    jobs = [eventlet.spawn(publisher.publish, str(number)) for number in range(3, 50)]
    for job in jobs:
        job.wait()
"""


@pytest.fixture(params=["sqlite", "redis"])
def any_url(request, url):
    """A bus of each kind that other processes hear."""
    if request.param == "sqlite":
        yield url
        return
    needs("redis-server", modules=["redis"])
    from tests.bus.redis_server import RedisServer

    with RedisServer() as server:
        yield f"{server.url}?prefix=shop"


def test_publisher_works_under_eventlet(any_url):
    """As in a worker of Celery's eventlet pool, whose patch takes away poll: in turns, and all at once."""
    needs(modules=["eventlet"])
    bus = open_bus(any_url, BusOptions(RETENTION, 5 * FACTOR))
    follower = Follower(bus, channels=CHANNELS).up()
    run_python(EVENTLET, any_url, "-W", "error")
    numbers = data(follower, 50)
    assert numbers[:3] == ["0", "1", "2"]
    assert sorted(numbers) == sorted(str(number) for number in range(50))
    bus.close()


def run_python(script, url, *options):
    """Run a script in a process of its own, which says nothing."""
    done = subprocess.run(
        [sys.executable, *options, "-c", script],
        cwd=ROOT,
        env={**os.environ, "SSE_PUSH_BUS_URL": url},
        capture_output=True,
        text=True,
        timeout=60 * FACTOR,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def encode_as_mine(value):
    return json.dumps(["mine", value])


def publish_numbers(publisher, name):
    """Run in a process of its own."""
    for number in range(3):
        publisher.publish({name: number})


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_publisher_is_handed_to_processes(method, url, follower):
    """Each way to start a process takes a publisher as an argument, used before or not."""
    if method == "fork":
        # This process has threads, and Python 3.12 and later warn of that.
        run_tasks(
            url,
            """
from tests.app.test_publisher import publish_numbers
publisher.publish("first")
job = context.Process(target=publish_numbers, args=(publisher, "fork"))
job.start()
job.join()
assert job.exitcode == 0
""",
        )
        assert data(follower, 4) == ["first", *(f'{{"fork": {number}}}' for number in range(3))]
        return
    context = multiprocessing.get_context(method)
    with Publisher(url, json=encode_as_mine) as publisher:
        publisher.publish("first")
        job = context.Process(target=publish_numbers, args=(publisher, method))
        job.start()
        job.join()
        assert job.exitcode == 0
        publisher.publish("last")
    mine = [f'["mine", {{"{method}": {number}}}]' for number in range(3)]
    assert data(follower, 5) == ["first", *mine, "last"]


def test_publisher_is_pickled_with_its_arguments(url, follower):
    """A copy encodes and refuses as its original does, holds nothing of it, and stays closed if that was."""
    with Publisher(url, json=encode_as_mine, max_event_bytes=100, publish_timeout_seconds=3) as original:
        copy = pickle.loads(pickle.dumps(original))
    copy.publish(1)
    with pytest.raises(InvalidEvent):
        copy.publish("x" * 100)
    copy.close()
    assert data(follower, 1) == ['["mine", 1]']
    with pytest.raises(ConfigurationError, match="was closed"):
        pickle.loads(pickle.dumps(copy)).publish(1)


@pytest.mark.parametrize("name", ["json", "url"])
def test_publisher_that_cannot_be_pickled_says_why(name, url):
    """A function that the other process could not find is named, with the cure."""
    local = {
        "json": lambda value: json.dumps(value),
        "url": lambda options: open_bus(url, options),
    }
    publisher = Publisher(**{"url": url, name: local[name]})
    with pytest.raises(pickle.PicklingError, match=f'"{name}" of a Publisher .* Define it at the top'):
        pickle.dumps(publisher)


DROPPED = """
import gc, os
from flask_sse_push import Publisher

def files():
    return sorted(os.readlink(f"/proc/self/fd/{number}") for number in os.listdir("/proc/self/fd")
                  if os.path.exists(f"/proc/self/fd/{number}"))

def publish():
    publisher = Publisher()
    publisher.itself = publisher
    publisher.publish("x")

publish()  # imports, and opens what stays open: /dev/urandom
gc.collect()
before = files()
for _ in range(5):
    publish()
gc.collect()
assert files() == before, files()

kept = Publisher()
kept.publish("x")  # is open at the end of the process
child = os.fork()
if child:
    assert os.waitpid(child, 0)[1] == 0
kept.publish("from both")
"""


def test_publisher_that_is_dropped_closes_its_files(any_url):
    """Without close() nothing stays open and nothing warns: in a cycle, in a child, at the end of both."""
    bus = open_bus(any_url, BusOptions(RETENTION, 5 * FACTOR))
    follower = Follower(bus, channels=CHANNELS).up()
    run_python(DROPPED, any_url, "-W", "error")
    assert data(follower, 9) == ["x"] * 7 + ["from both"] * 2
    bus.close()


def test_publisher_works_over_redis():
    """The same over a Redis."""
    needs("redis-server", modules=["redis"])
    from tests.bus.redis_server import RedisServer

    with RedisServer() as server:
        bus = open_bus(server.url, BusOptions(RETENTION, 5 * FACTOR))
        follower = Follower(bus, channels=CHANNELS).up()
        with Publisher(server.url) as publisher:
            publisher.publish("x")
        assert data(follower, 1) == ["x"]
        bus.close()
