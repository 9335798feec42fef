"""
Pages that begin where their data was read, and channels that end: gunicorn on each bus, with two workers
where it is shared.
"""

import random
import threading
import time

import pytest

from tests.servers.harness import Client, Server, close_clients, eventually
from tests.support import FACTOR, LONG

LOADS = 10_000 if LONG else 200
# The writer makes 1,000 a second where it gets the time: the short form runs beside other tests.
LEAST_WRITES_PER_SECOND = (500 if LONG else 10) / FACTOR
TABS = 4
EVENTS_PER_LOAD = 4
CHANNELS = {"numbers": {"history_length": 20_000}, "run.*": {"history_length": 1_000}}


@pytest.fixture(scope="module", params=["memory", "sqlite", "redis"])
def server(request, tmp_path_factory):
    """A server with pages, on each bus."""
    folder = tmp_path_factory.mktemp("pages")
    (folder / "number").write_text("0")
    url = {"memory": "memory://", "sqlite": f"sqlite:///{folder}/events.db"}.get(request.param)
    if url is None:
        url = request.getfixturevalue("redis_server").url + "?prefix=pages"
    workers = "1" if request.param == "memory" else "2"
    with Server(
        "gunicorn-gevent",
        "-w",
        workers,
        app="tests.servers.pages:app",
        environ={"TEST_DATA": str(folder / "number")},
        bus_url=url,
        channels=CHANNELS,
    ) as server:
        server.workers = int(workers)
        server.enough = folder / "number.enough"
        yield server


@pytest.fixture(autouse=True)
def _no_client_left():
    """Clients close what they opened; this app has no count of its streams."""
    yield
    close_clients()


def asked_of_each_worker(server, path):
    """POST until each worker has answered, and return their answers."""
    answers = {}

    def all_answered():
        answer = server.post(path)
        answers[answer["pid"]] = answer
        return len(answers) == server.workers

    eventually(all_answered, 10, "each worker answers")
    return list(answers.values())


def load(server, wrong):
    """Load a page, open its stream a little later, and note what is not as it must be."""
    page = server.get("/page", timeout=20)
    time.sleep(random.uniform(0, 0.05))
    with Client(server, f"/events?channel=numbers&last_event_id={page['cursor']}") as stream:
        came = [(event.type, event.data) for event in stream.wait(EVENTS_PER_LOAD, 20)]
    expected = [("message", str(page["number"] + number)) for number in range(1, EVENTS_PER_LOAD + 1)]
    if came[:EVENTS_PER_LOAD] != expected:
        wrong.append((page, came))


def test_page_with_a_cursor_misses_and_doubles_nothing(server):
    """
    While the data changes a thousand times a second, the stream of each page goes on with the very next
    change behind the one that the page shows.
    """
    server.post("/writer")
    left, wrong, failed = iter(range(LOADS)), [], []

    def load_on():
        try:
            for _ in left:
                load(server, wrong)
        except BaseException as error:
            failed.append(error)

    tabs = [threading.Thread(target=load_on) for _ in range(TABS)]
    began = time.monotonic()
    for tab in tabs:
        tab.start()
    for tab in tabs:
        tab.join()
    seconds = time.monotonic() - began
    number = server.get("/page")["number"]
    server.enough.touch()
    print(f"{LOADS} pages in {seconds:.1f} s, {number / seconds:.0f} writes a second")
    assert (wrong, failed) == ([], [])
    assert number / seconds > LEAST_WRITES_PER_SECOND, "the data changed too seldom to say anything"


def test_job_that_is_over_before_its_reader_connects_is_read_whole(server):
    """Any worker gives a new reader all events of the job, the end, and then 204."""
    mark = server.post("/runs/run.early")["mark"]
    for _ in range(2 * server.workers):
        with Client(server, "/events?channel=run.early&rewind=all") as reader:
            reader.until(lambda client: client.clean, 20)
        assert reader.data() == [*map(str, range(300)), "done"]
        assert reader.decoder.last_event_id == mark
    statuses = []

    def stopped():
        with Client(server, "/events?channel=run.early&rewind=all", [f"Last-Event-ID: {mark}"]) as back:
            back.until(lambda client: client.status is not None)
        statuses.append(back.status)
        return statuses[-4:] == [204] * 4

    eventually(stopped, 10, "the client is told not to come back")


def test_channel_is_closed_for_all_workers(server):
    """
    The streams of all workers end behind the mark, each worker refuses a late event, and closing again gives
    the same mark.
    """
    readers = [Client(server, "/events?channel=run.late").begun() for _ in range(4 * server.workers)]
    mark = server.post("/close/run.late")["mark"]
    for reader in readers:
        reader.until(lambda client: client.clean, 10)
        assert (reader.events, reader.decoder.last_event_id) == ([], mark)
    refused = asked_of_each_worker(server, "/late/run.late")
    assert all(answer["refused"].startswith("\"channel\" 'run.late' was closed") for answer in refused)
    assert {answer["mark"] for answer in asked_of_each_worker(server, "/close/run.late")} == {mark}
