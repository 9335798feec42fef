"""Whose a Redis log is: an app that names no prefix shares nothing with another one."""

import os
import subprocess
import sys
import threading
import time

import pytest
from flask import Flask

from flask_sse_push import ConfigurationError, Publisher, SSEPush
from flask_sse_push.bus import BusOptions, Identity, open_bus
from flask_sse_push.testing import StreamTimeout, open_stream
from tests.bus.redis_server import META
from tests.bus.redis_server import publish as publish_by
from tests.bus.stores import Follower, keep
from tests.needs import needs
from tests.servers.harness import ROOT, Server
from tests.support import FACTOR, MS, eventually

CURE = "?prefix=shop"


@pytest.fixture
def server(redis_server):
    """The server of this module, empty."""
    redis_server.client().flushall()
    return redis_server


@pytest.fixture
def make_app(server):
    """Return apps on one Redis, each as a process of its own has it."""
    apps = []

    def make_app(name, routes=(), url=None, **settings):
        app = Flask(name)
        app.config.update(
            TESTING=True, SSE_PUSH_BUS_URL=url or server.url, SSE_PUSH_PUBLIC_CHANNELS=["*"], **settings
        )
        app.sse = SSEPush()
        app.register_blueprint(app.sse)
        for route in routes:
            app.add_url_rule(f"/{route}", route, dict)
        app.state = app.extensions["flask_sse_push"]
        apps.append(app)
        return app

    yield make_app
    for app in apps:
        app.state.process().bus.close()


@pytest.fixture
def make_bus(server):
    """Return buses on one Redis, as apps of some names and routes have them."""
    opened = []

    def make_bus(name, routes=(), url=None, seconds=300):
        identity = lambda: Identity(name, frozenset(routes))  # noqa: E731
        bus = open_bus(url or server.url, BusOptions(keep(seconds), 5 * FACTOR, identity=identity))
        opened.append(bus)
        return bus

    yield make_bus
    for bus in opened:
        bus.close()


def publish(app, data):
    with app.app_context():
        return app.sse.publish(data, channel="orders")


def refusal(call):
    with pytest.raises(ConfigurationError) as caught:
        call()
    return str(caught.value)


def is_let_in(bus):
    try:
        publish_by(bus, "x")
    except ConfigurationError:
        return False
    return True


def test_second_app_neither_reads_nor_writes(server, make_app, caplog):
    """
    An app that meets the log of another is refused in publishing, streaming and looking, with both names
    and the cure, and gets nothing.
    """
    shop, chat = make_app("shop", ["cart"]), make_app("chat", ["room"])
    with open_stream(shop.test_client(), "/events?channel=orders") as stream:
        publish(shop, "secret")
        told = [
            refusal(lambda: publish(chat, "intruder")),
            refusal(lambda: chat.state.process().stats_of_all()),
        ]
        response = chat.test_client().get("/events?channel=orders")
        assert (response.status_code, response.mimetype) == (200, "text/event-stream")
        assert b"retry: " in response.data and b"data" not in response.data and b"\nid" not in response.data
        stats = chat.state.process().stats()
        assert (stats["bus_state"], stats["refused"], stats["last_event_id"]) == ("down", 1, None)
        for message in [*told, stats["bus_error"]]:
            assert "'chat'" in message and "'shop'" in message and CURE in message
        assert [event.data for event in stream.read(1)] == ["secret"]
    assert server.client().llen("{sse_push}:events:orders") == 1
    (record,) = [record for record in caplog.records if record.levelname == "ERROR"]
    assert CURE in record.getMessage()


def _come_at_once(bus, start, let_in):
    start.wait()
    if is_let_in(bus):
        let_in.append(bus)


def test_apps_that_start_at_once_are_told_apart(server, make_bus):
    """
    However many apps come to an empty log in the same moment, one of them gets it and all others are
    refused.
    """
    for _ in range(5):
        server.client().flushall()
        buses = [make_bus(f"app{number}") for number in range(6)]
        start, let_in = threading.Barrier(6), []
        threads = [threading.Thread(target=_come_at_once, args=(bus, start, let_in)) for bus in buses]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30 * FACTOR)
        assert len(let_in) == 1
        assert server.client().llen("{sse_push}:events:a") == 1


ROUTES = [f"/page{number} page{number}" for number in range(20)]


@pytest.mark.parametrize(
    ("first", "second", "is_same"),
    [
        (("shop", ROUTES), ("shop", ROUTES), True),
        (("shop", ROUTES), ("shop", ROUTES[:12]), True),
        (("shop", ROUTES[5:]), ("shop", ROUTES[:15]), True),
        (("shop", ROUTES[:5]), ("shop", ROUTES[4:]), False),
        (("app", ["/ index", "/cart cart"]), ("app", ["/ index", "/room room", "/send send"]), False),
        (("shop", ROUTES), ("chat", ROUTES), False),
        (("shop.web", ROUTES), ("web", ROUTES), True),
        (("web", ROUTES), ("shop.web", ROUTES), True),
        (("shop.web", ROUTES), ("chat.web", ROUTES), False),
        (("web", ROUTES), ("cobweb", ROUTES), False),
        (("shop", []), ("shop", ROUTES), True),
        (("shop", []), ("chat", []), False),
        (("sh\nop\ud800" * 100, []), ("sh\nop\ud800" * 100, []), True),
        (("shop", [f"/{n}" for n in range(5000)]), ("shop", [f"/{n}" for n in range(300, 5300)]), True),
        (("shop", [f"/{n}" for n in range(5000)]), ("shop", [f"/{n}" for n in range(4000, 9000)]), False),
    ],
)
def test_app_is_known_by_its_name_and_its_routes(server, make_bus, first, second, is_same):
    """
    Versions, servers and machines of one app are the same app; another name, or a name with mostly other
    routes, is another app.
    """
    assert is_let_in(make_bus(*first))
    assert is_let_in(make_bus(*second)) is is_same
    assert is_let_in(make_bus(*first))
    assert server.client().hstrlen(META, "routes") <= 2048 and server.client().hstrlen(META, "owner") <= 400


def test_short_name_of_an_app_lets_no_other_one_in(server, make_bus):
    """An app that is also run under the last part of its name keeps the whole one."""
    for name, is_same in [("shop.app", True), ("app", True), ("chat.app", False), ("shop.app", True)]:
        assert is_let_in(make_bus(name, ROUTES)) is is_same


def test_versions_of_a_rolling_deployment_work_side_by_side(server, make_bus):
    """The old and the new version publish in turn without being looked at anew each time."""
    old, new = make_bus("shop", ROUTES[:10]), make_bus("shop", ROUTES)
    for bus in (old, new, old, new):
        assert is_let_in(bus)
    known = server.client().hget(META, "routes")
    for bus in (old, new, old, new):
        assert is_let_in(bus)
    assert server.client().hget(META, "routes") == known
    assert server.client().hstrlen(META, "apps") == 32


def test_routes_that_are_added_later_belong_to_the_app(server, make_app):
    """An app may publish before all of its routes are there, and is known by all of them then."""
    app = make_app("app")
    publish(app, "early")
    for number in range(4):
        app.add_url_rule(f"/{number}", f"{number}", dict)
    server.client().flushall()
    publish(app, "late")
    assert server.client().hstrlen(META, "routes") == 4 * 8
    other = make_app("app", ["a", "b", "c"])
    with open_stream(app.test_client(), "/events?channel=orders"):
        eventually(lambda: app.state.process().bus.health().state == "up", 5000 * MS)
        assert "other routes" in refusal(lambda: publish(other, "x"))


@pytest.mark.parametrize("prefix", ["shop", "sse_push"])
def test_log_with_a_name_belongs_to_all_who_name_it(server, make_bus, prefix):
    """Where the prefix is written out, also the usual one, apps meet on purpose."""
    url = f"{server.url}?prefix={prefix}"
    follower = Follower(make_bus("shop", url=url)).up()
    assert is_let_in(make_bus("chat", url=url))
    follower.wait(1)


def test_log_of_a_client_without_a_prefix_has_an_owner_too(server, make_bus):
    """
    redis_bus(client) is the same log as a URL without a prefix, and redis_bus(client, prefix) is one with a
    name.
    """
    from flask_sse_push.bus.redis import redis_bus

    client = server.client()
    assert is_let_in(make_bus("shop"))
    assert not is_let_in(make_bus("chat", url=redis_bus(client)))
    assert is_let_in(make_bus("chat", url=redis_bus(client, "sse_push")))
    client.close()


def test_publisher_without_an_app_says_once_where_it_writes(server, make_app, caplog):
    """
    A Publisher asks for no owner, reaches the app, and says in one warning per process and log what nobody
    checks; with a name it says nothing.
    """
    shop = make_app("shop", ["cart"])
    url = f"unix://{server.socket_path}"  # no other test has told of this one
    with open_stream(shop.test_client(), "/events?channel=orders") as stream:
        for _ in range(2):
            with Publisher(url) as publisher:
                publisher.publish("one", channel="orders")
                publisher.publish("two", channel="orders")
        assert [event.data for event in stream.read(4)] == ["one", "two", "one", "two"]
    with Publisher(server.url + "?prefix=mine") as publisher:
        publisher.publish("x")
    warnings = [record.getMessage() for record in caplog.records if "without an app" in record.getMessage()]
    assert (
        len(warnings) == 1
        and server.socket_path in warnings[0]
        and "'sse_push'" in warnings[0]
        and CURE in warnings[0]
    )


def test_log_of_a_publisher_alone_becomes_the_apps(server, make_app):
    """What a Publisher wrote before any app came is read by the app that comes first."""
    with Publisher(server.url) as publisher:
        id = publisher.publish("early", channel="orders")
    epoch = id.partition("-")[0]
    with open_stream(
        make_app("shop").test_client(), f"/events?channel=orders&last_event_id={epoch}-0"
    ) as stream:
        assert [event.data for event in stream.read(1)] == ["early"]


def make_absent(server):
    """Nobody has come for longer than a history of 300 seconds, as far as the log knows."""
    seconds, _ = server.client().time()
    server.client().hset(META, "served_at", 1000 * (seconds - 301))


def test_owner_that_is_gone_for_long_gives_way(server, make_app):
    """
    The next app gets a new log: it reads nothing of the old owner, who is refused from then on, in both
    directions.
    """
    shop, chat = make_app("shop"), make_app("chat")
    old = publish(shop, "secret")
    make_absent(server)
    with open_stream(chat.test_client(), f"/events?channel=orders&last_event_id={old}") as stream:
        publish(chat, "ours")
        assert [event.type for event in stream.read(1)] == ["sse.reset"]
        assert [event.data for event in stream.read(1)] == ["ours"]
        assert "'chat'" in refusal(lambda: publish(shop, "late"))
        with pytest.raises(StreamTimeout):
            stream.read(1, timeout=0.2)


def test_owner_that_was_seen_in_the_future_gives_way(server, make_bus):
    """
    A clock that was ahead and was put right keeps nobody out for years, and the owner that is there goes
    on.
    """
    shop, chat = make_bus("shop"), make_bus("chat")
    for bus in (shop, chat):
        seconds, _ = server.client().time()
        server.client().hset(META, "served_at", 1000 * (seconds + 301))
        assert is_let_in(bus)
        assert not is_let_in(make_bus("intruder"))
    assert not is_let_in(shop)


def test_owner_without_a_name_is_none(server, make_bus):
    """An empty field names no app that could be told of, and the log is free."""
    shop, chat = make_bus("shop"), make_bus("chat")
    assert is_let_in(shop)
    server.client().hset(META, mapping={"owner": "", "apps": ""})
    assert is_let_in(chat)
    assert not is_let_in(shop)


def test_owner_that_only_looks_is_refused_without_taking_over(server, make_app):
    """Looking at the statistics takes nobody's log, however long the owner is gone."""
    publish(make_app("shop"), "x")
    make_absent(server)
    refusal(lambda: make_app("chat").state.process().stats_of_all())
    assert server.client().hget(META, "owner") == b"shop"


def test_owner_that_wakes_up_late_gets_nothing_of_its_successor(server, make_bus):
    """
    A follower whose log was given away meanwhile hands on none of the new owner's events, and says what is
    wrong.
    """
    shop, chat = make_bus("shop"), make_bus("chat")
    follower = Follower(shop).up()
    publish_by(shop, "mine")
    follower.wait(1)

    def taken_over():
        make_absent(server)
        return is_let_in(chat)

    eventually(taken_over, 5000 * MS)
    for number in range(20):
        publish_by(chat, number)
    eventually(lambda: shop.health().is_refused, 5000 * MS)
    assert [entry.wire.split(b"data: ")[1] for entry in follower.entries] == [b"mine\n\n"]
    assert len(follower.begun) == 1


def test_serving_and_publishing_keep_a_log(server, make_bus):
    """
    An app that has listeners and publishes nothing, and one that publishes and has no listeners, both are
    there.
    """
    shop, chat = make_bus("shop"), make_bus("chat")
    publish_by(shop, "x")
    make_absent(server)
    publish_by(shop, "x")
    assert not is_let_in(chat)
    Follower(shop).up()
    make_absent(server)
    eventually(
        lambda: int(server.client().hget(META, "served_at")) > 1000 * (time.time() - 60),
        5000 * MS,
        "a report says that it serves",
    )
    assert not is_let_in(chat)


def test_log_is_free_after_a_flush_and_not_after_a_failover(server, make_bus):
    """
    After FLUSHALL the log belongs to the first who comes, its follower; the new epoch of a server that was
    promoted leaves it its owner.
    """
    shop, chat = make_bus("shop"), make_bus("chat")
    follower = Follower(shop).up()
    server.client().flushall()
    eventually(lambda: len(follower.begun) == 2, 5000 * MS)
    assert not is_let_in(chat)
    server.client().hset(META, "server", "another")
    assert not is_let_in(chat)
    assert is_let_in(shop)


def run(*arguments, **environment):
    done = subprocess.run(
        [sys.executable, "-W", "error", *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=30 * FACTOR,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def test_same_app_is_known_under_every_server_and_shell(server, tmp_path):
    """
    gunicorn's workers, ``flask sse`` and a plain Python script are one app; another app's ``flask sse`` is
    told in one sentence.
    """
    needs(modules=["gunicorn", "gevent"])
    with Server("gunicorn-gevent", "-w", "2", bus_url=server.url, public_channels=["*"]) as site:
        site.post("/publish", data="x")
        mine = {"TEST_APP_SSE_PUSH_BUS_URL": f'"{server.url}"'}
        code, said = run("-m", "flask", "--app", "tests.servers.app", "sse", "publish", "sse", "y", **mine)
        assert code == 0, said
        # The module that gunicorn calls tests.servers.app, run as a file: its name is "app" then.
        script = tmp_path / "app.py"
        script.write_text(
            "from tests.servers import app as module\n"
            "__file__ = module.__file__\n"
            "exec(open(__file__).read())\n"
            "with create_app().app_context():\n"
            "    publish('z')\n"
        )
        code, said = run(str(script), **mine, PYTHONPATH=str(ROOT))
        assert code == 0, said
        for command in (["publish", "sse", "y"], ["listen", "sse"], ["stats"]):
            code, said = run(
                "-m", "flask", "--app", "example_app.app", "sse", *command, SSE_PUSH_BUS_URL=server.url
            )
            assert code == 1 and CURE in said and "'tests.servers.app'" in said, said
            assert "Traceback" not in said
        assert server.client().llen("{sse_push}:events:sse") == 3
