"""The page about buses: its commands and programs reach the running server."""

import json
import sys

import pytest
from flask import Flask

from flask_sse_push import SSEPush
from tests.docs.pages import page
from tests.docs.served import APPLICATION, SERVE, listening, run

PAGE = page("docs/buses.md")
TWO_MACHINES = PAGE.block("A whole deployment", "sh")
SCRIPT = PAGE.block("Publish from anywhere", "python", "from flask_sse_push import Publisher\n\nwith")
TASK = PAGE.block("Publish from anywhere", "python", "from flask_sse_push import Publisher\n\npublisher")
WATCH = PAGE.block("Watch the bus in its process", "python")


def replaced(text, old, new):
    """Replace what belongs to the machine of the reader; it must be there exactly once."""
    assert text.count(old) == 1, old
    return text.replace(old, new)


def test_two_machines_share_a_redis(serve, redis_server):
    """With two gunicorns and one Redis, an order at either reaches the listeners of both."""
    assert TWO_MACHINES.strip().endswith(SERVE)
    url = redis_server.url + "?prefix=buses"
    command = replaced(TWO_MACHINES.strip(), "redis://127.0.0.1:6379/0?prefix=shop", url)
    one, other = (
        serve(APPLICATION, command=command.replace(" gunicorn", " exec gunicorn")) for _ in range(2)
    )
    assert one.port != other.port
    with (
        listening(f"{one.url}/events?channel=orders") as (_, read_one),
        listening(f"{other.url}/events?channel=orders") as (_, read_other),
    ):
        one.order("from the one")
        other.order("from the other")
        events = [(event.last_event_id, json.loads(event.data)["item"]) for event in read_one(2)]
        assert [item for _, item in events] == ["from the one", "from the other"]
        assert [(event.last_event_id, json.loads(event.data)["item"]) for event in read_other(2)] == events


@pytest.fixture
def shop(serve, tmp_path):
    """The application on a SQLite bus, and the URL of that."""
    url = f"sqlite:///{tmp_path}/events.db"
    served = serve(APPLICATION, SSE_PUSH_BUS_URL=url)
    served.bus_url = url
    return served


def test_script_publishes_to_the_running_server(shop, tmp_path):
    """The script, run by itself as cron does, reaches who listens to the server."""
    script = replaced(SCRIPT, "sqlite:////var/lib/shop/events.db", shop.bus_url)
    (tmp_path / "night.py").write_text(script, encoding="utf-8")
    with listening(f"{shop.url}/events?channel=orders") as (_, read):
        assert run([sys.executable, "night.py"], tmp_path) == ""
        [event] = read(1)
    assert (event.type, json.loads(event.data)) == ("night", {"backup": "done"})


def test_task_that_is_repeated_in_forks_publishes_once(shop, tmp_path):
    """The module, imported once and run in forked workers as Celery and RQ do, publishes each order once."""
    (tmp_path / "tasks.py").write_text(TASK, encoding="utf-8")
    program = (
        "import multiprocessing as m, tasks; p = m.get_context('fork').Pool(3); "
        "p.map(tasks.ship_order, [1, 2, 3] * 4); p.close(); p.join()"
    )
    with listening(f"{shop.url}/events?channel=orders") as (_, read):
        assert run([sys.executable, "-c", program], tmp_path, SSE_PUSH_BUS_URL=shop.bus_url) == ""
        shop.order("the end")
        events = read(4)
    assert sorted(json.loads(event.data)["id"] for event in events[:3]) == [1, 2, 3]
    assert {event.type for event in events[:3]} == {"shipped"}


def test_observer_sees_each_entry(capsys):
    """The function that is connected to the memory bus hears of each event, with its number and channels."""
    app, sse = Flask("shop"), SSEPush()
    names = {"app": app}
    exec(WATCH, names)
    app.register_blueprint(sse)
    for channel in ("orders", "news"):
        sse.publish("tea", channel=channel)
    assert capsys.readouterr().out == "1 ('orders',)\n2 ('news',)\n"
