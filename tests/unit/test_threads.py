"""What is done without a lock, under real threads that the interpreter switches all the time."""

import gc
import itertools
import json
import re
import sys
import threading
import time

import pytest

from flask_sse_push.core.messages import Message
from flask_sse_push.platform.locks import ReentrantLock
from flask_sse_push.platform.threads import THREADS
from flask_sse_push.streams.iterable import IterableSource
from tests.support import MS, eventually

from .parts import HandBus, attached, make_fanout, make_hub, memory_bus, note, subscribe

NUMBER = re.compile(rb"^data: (\d+)$", re.MULTILINE)


@pytest.fixture(autouse=True)
def _restless():
    """Let the interpreter switch threads every 10 µs or so."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


def together(*works, seconds=20_000 * MS):
    """Run functions in threads, and return when all have; what one raises is raised here."""
    errors = []

    def run(work):
        try:
            work()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(work,), daemon=True) for work in works]
    for thread in threads:
        thread.start()
    end = time.monotonic() + seconds
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))
    stuck = [thread for thread in threads if thread.is_alive()]
    if errors:
        raise errors[0]
    assert not stuck, "threads wait for each other"


def test_entries_keep_their_order_beside_readers():
    """
    The hub asks whether its lock is free before it takes it: entries that a bus hands on one by one are
    appended in their order, and none is lost, while other threads hold the lock all the time.
    """
    count, bus = 5_000, HandBus(now=time.monotonic())
    hub = make_hub(bus, length=count, max_bytes=1 << 30)
    bus.start(hub)
    bus.begin()
    bus.follow(["news"], whole=True)
    done = threading.Event()

    def follow():
        try:
            for number in range(count):
                bus.give(str(number))
        finally:
            done.set()

    def hold():
        while not done.is_set():
            hub.place(("news",), "e1-0")
            hub.stats()

    together(follow, hold, hold)
    assert (hub.log.head, hub.log.count()["events"]) == (count, count)


def test_each_stream_reads_everything_once_beside_a_publisher():
    """
    A subscription looks at the log without its lock, and reads each event once and in order all the same.
    """
    count, readers = 3_000, 4
    bus = memory_bus()
    hub = make_hub(bus, length=count, max_bytes=1 << 30)
    sent = [bytearray() for _ in range(readers)]
    streams = [subscribe(hub, ("news",)) for _ in range(readers)]
    last = b"data: %d\n" % (count - 1)

    def publish():
        for number in range(count):
            bus.publish(Message(("news",), b"data: %d\n\n" % number))

    def read(stream, body):
        wakeup = THREADS.wakeup()
        stream.open(wakeup)
        try:
            while last not in body[-100:]:
                while chunk := stream.read():
                    body.extend(chunk)
                if last not in body[-100:]:
                    assert wakeup.wait(10_000 * MS), f"a wake-up is missing behind {body[-60:]}"
        finally:
            stream.close()

    together(publish, *(lambda s=s, b=b: read(s, b) for s, b in zip(streams, sent, strict=True)))
    for body in sent:
        assert [int(number) for number in NUMBER.findall(body)] == list(range(count))
        assert b"sse.reset" not in body


def test_each_gap_is_told_where_the_history_is_short():
    """
    Whatever is dropped while streams look without the lock: what comes behind a gap comes behind its reset.
    """
    count = 20_000
    bus = HandBus(shared=False, now=time.monotonic())
    hub = make_hub(bus, length=5)
    bus.start(hub)
    bus.begin()
    body, done = bytearray(), threading.Event()
    stream = subscribe(hub, ("news",))

    def publish():
        for number in range(count):
            bus.give(str(number))
        done.set()

    def read():
        while not (done.is_set() and stream.position >= count):
            body.extend(stream.read())

    together(publish, read)
    seen = -1
    for block in bytes(body).split(b"\n\n"):
        if b"sse.reset" in block:
            told = json.loads(block.rpartition(b"data: ")[2])
            assert told["reason"] == "evicted"
            seen = None
        elif number := NUMBER.search(block):
            assert seen is None or int(number[1]) == seen + 1
            seen = int(number[1])
    assert seen == count - 1


def test_no_wakeup_is_lost_between_who_notes_and_who_wakes():
    """
    The fan-out takes what was noted without a lock: whoever listens is woken for each event that is noted
    behind its last wake.
    """
    rounds = 400
    fanout, lock = make_fanout(max_events=1_000, max_bytes=1 << 30)
    noted = [0, 0]
    channels = ("a", "b")

    def publish(which):
        for number in range(1, rounds + 1):
            noted[which] = number
            with lock:  # as the hub does: one at a time
                urgent = fanout.add((channels[which],), 100)
            fanout.notify(urgent)
            if number % 7 == 0:
                time.sleep(0.0005)

    def listen(which):
        with attached(fanout, lock, channels[which], wakeup=THREADS.wakeup()) as wakeup:
            while noted[which] < rounds:
                assert wakeup.wait(10_000 * MS), "a wake-up is missing"

    def come_and_go():
        while noted != [rounds, rounds]:
            with attached(fanout, lock, "a", "b", wakeup=THREADS.wakeup()):
                time.sleep(0.001)

    together(
        *(lambda w=w: publish(w) for w in (0, 1)), *(lambda w=w: listen(w) for w in (0, 1, 0)), come_and_go
    )
    with attached(fanout, lock, "a", wakeup=THREADS.wakeup()) as wakeup:
        note(fanout, "a")
        assert wakeup.wait(10_000 * MS)


@pytest.mark.parametrize("size", [1, 3_000])
def test_iterable_gives_each_item_once_and_waits_for_its_reader(size):
    """
    The iterable's thread and the stream's share no lock: every item arrives once and in order, and neither
    waits for ever.
    """
    count, body = 3_000, bytearray()
    source = IterableSource((f"{number}." + "x" * size for number in range(count)), json.dumps, 1 << 20)

    def read():
        wakeup = THREADS.wakeup()
        source.open(wakeup)
        while source.outcome is None:
            assert wakeup.wait(10_000 * MS), f"a wake-up is missing behind {body[-60:]}"
            while chunk := source.read():
                body.extend(chunk)
        source.close()

    together(read)
    assert [int(number) for number in re.findall(rb"data: (\d+)\.", body)] == list(range(count))
    assert source.outcome == "finished"


@pytest.mark.parametrize("step", range(12))
def test_end_of_an_iterable_never_comes_before_its_last_block(step):
    """Wherever in a read the iterable ends: a stream that sees the end has read all of it."""
    gate, body, steps = threading.Event(), bytearray(), itertools.count()

    def items():
        gate.wait()
        return
        yield

    source = IterableSource(items(), json.dumps, 1 << 20)
    source.open(THREADS.wakeup())

    def trace(frame, event, argument):
        if frame.f_code is IterableSource.read.__code__ and event == "line" and next(steps) == step:
            gate.set()
            eventually(lambda: source._result)
        return trace

    def read():
        sys.settrace(trace)
        try:
            while source.outcome is None:
                body.extend(source.read())
        finally:
            sys.settrace(None)

    together(read)
    assert b"event: done" in body
    source.close()


def test_iterable_that_is_closed_while_it_runs_is_closed_once():
    """Whenever the client leaves, the generator's finally runs, once, and its thread ends."""
    for _ in range(100):
        left = []

        def items(left=left):
            try:
                while True:
                    yield "x" * 1_000
            finally:
                left.append(True)

        source, wakeup = IterableSource(items(), json.dumps, 1 << 20), THREADS.wakeup()
        source.open(wakeup)
        wakeup.wait(0.0005)
        source.close()
        end = time.monotonic() + 10_000 * MS
        while not left:
            assert time.monotonic() < end
            time.sleep(0.0001)
        assert left == [True]


class Publishes:
    """Garbage whose finalizer publishes, while ``is_on``."""

    is_on = True

    def __init__(self, bus):
        self.bus, self.itself = bus, self

    def __del__(self):
        if Publishes.is_on:
            self.bus.publish(Message(("news",), b"data: last words\n\n"))


def test_finalizer_that_publishes_stops_no_thread():
    """
    The collector may run a finalizer in the middle of a read, while another thread publishes: each of the two
    has a lock that the other one wants, and neither waits for ever.
    """
    count = 100
    bus = memory_bus()
    hub = make_hub(bus, length=50)
    stopped = threading.Event()
    before = gc.get_threshold()

    def read():
        stream = subscribe(hub, ("news",))
        try:
            for _ in range(count):
                Publishes(bus)
                for _ in range(10):
                    stream.position = 0
                    hub.log.batches.clear()
                    hub.read(stream)
        finally:
            stopped.set()

    def publish():
        while not stopped.is_set():
            for _ in range(50):
                bus.publish(Message(("news",), b"data: x\n\n"))
            time.sleep(0.0001)

    gc.set_threshold(5)
    Publishes.is_on = True
    try:
        together(read, publish, seconds=10_000 * MS)
    finally:
        Publishes.is_on = False  # where the two are stuck, nobody else is to wait for them
        gc.set_threshold(*before)
        gc.collect()
    with hub._lock:
        assert hub.log.head == bus.publish(Message(("news",), b"data: end\n\n")).sequence - 1


def test_posted_work_runs_in_order_and_before_later_sections():
    """
    A lock that another thread has takes work without waiting, and whoever has the lock next finds it done.
    """
    lock, done, inside, leave = ReentrantLock(), [], threading.Event(), threading.Event()

    def hold():
        with lock:
            inside.set()
            leave.wait()
            done.append("holder")

    def post():
        inside.wait()
        for number in range(100):
            lock.post(lambda number=number: done.append(number))
        leave.set()
        with lock:
            assert done == ["holder", *range(100)]

    together(hold, post)


def test_posted_work_of_many_threads_is_not_lost():
    """Every piece of work runs once, in the order in which its thread posted it."""
    lock, done, count = ReentrantLock(), ([], [], []), 2_000

    def post(mine):
        for number in range(count):
            lock.post(lambda number=number: mine.append(number))
            if number % 5 == 0:
                with lock:
                    assert mine[-1] == number

    together(*(lambda mine=mine: post(mine) for mine in done))
    assert all(mine == list(range(count)) for mine in done)


def test_posted_work_that_raises_leaves_the_lock_free():
    """
    Work is not to raise; where it does all the same, whoever came for the lock learns of it, and the next one
    gets it.
    """
    lock = ReentrantLock()
    with pytest.raises(ZeroDivisionError):
        lock.post(lambda: 1 / 0)
    assert not lock.is_busy
    lock._posted.append((lambda: 1 / 0, ()))
    with pytest.raises(ZeroDivisionError), lock:
        pass
    assert not lock.is_busy
    with lock:
        assert lock.is_busy
