"""Every key, checked when the blueprint is registered."""

import dataclasses
import subprocess
import sys
import threading

import pytest
from flask import Flask

from flask_sse_push import ConfigurationError, SSEPush
from flask_sse_push.bus import MemoryBus
from flask_sse_push.core.retention import read_rules
from flask_sse_push.extension.config import PREFIX
from flask_sse_push.extension.settings import Settings, read_settings
from tests.needs import needs
from tests.support import FACTOR

from .helpers import make_app

NAN = float("nan")
WRONG = {
    "PUBLIC_CHANNELS": ["news", None, 7, {"a": 1}, [7], ["a b"], [""], [None]],
    "DEFAULT_CHANNEL_PUBLIC": [1, 0, "true", "False", None],
    "BUS_URL": [
        "",
        None,
        7,
        b"auto",
        "memory",
        "http://localhost",
        "kafka://x",
        "sqlite://",
        "sqlite:///",
        "sqlite://host/x.db",
        "sqlite:////var/",
        "sqlite:///a.db?x=1",
        "memory://x",
    ],
    "PUBLISH_TIMEOUT_SECONDS": [0, 0.05, 61, "2", True, None, NAN],
    "HISTORY_LENGTH": [0, -1, 1_000_001, 2.5, "256", True, None, NAN],
    "HISTORY_SECONDS": [0, -1, 0.5, 7 * 86_400 + 1, "300", True, None, NAN],
    "HISTORY_BYTES": [0, 4095, (1 << 40) + 1, 1e6, "1MB", True, None],
    "CHANNELS": [None, 7, ["run.*"], '{"run.*": {}}'],  # the parts have a test of their own
    "KEPT_VALUES": [0, -1, 1_000_001, 2.5, "256", True, None, NAN],
    "KEPT_BYTES": [0, 4095, (1 << 40) + 1, 1e6, "1MB", True, None],
    "HEARTBEAT_SECONDS": [0, -1, 0.05, 3601, "15", True, None, NAN, float("inf")],
    "RETRY_MILLISECONDS": [0, 499, 3_600_001, 2.5, "2000", True, None],
    "WRITE_TIMEOUT_SECONDS": [0, 0.4, 601, "10", True, None, NAN],
    "DIRECT_WRITE": [1, 0, "true", None],
    "MAX_STREAMS": [0, -1, 1_000_001, 2.5, "10", True, False],
    "MAX_STREAMS_PER_CLIENT": [0, -1, 1_000_001, 2.5, "10", True, False],
    "CLIENT_KEY": ["remote_addr", 7, True],
    "ABRUPT_END": [1, 0, "true", None],
    "MAX_CHANNELS": [0, 10_001, 2.5, "32", True, None],
    "MAX_EVENT_BYTES": [0, 63, 64 * 1024 * 1024 + 1, 2.5, "64", True, None],
    "CORS_ORIGINS": [
        "*",
        "https://a.example",
        None,
        7,
        [7],
        ["*"],
        ["a.example"],
        ["https://a.example/"],
        ["https://A.example"],
        ["https://"],
        ["capacitor:localhost"],
        ["Capacitor://localhost"],
        ["capacitor://localhost/"],
        ["app://"],
        ["https://user@a.example"],
        ["https://bücher.example"],
        ["https://a.example:"],
        ["https://*.a.example"],
        ["https://a.example:443"],
        ["http://a.example:80"],
        ["file://"],
        [""],
        ["null"],
        ["https://a.example/path"],
        ["https://[x"],
    ],
    "CORS_CREDENTIALS": [1, 0, "true", "False", None, "yes"],
    "STRICT": [1, 0, "true", "False", None],
}
RIGHT = {
    "PUBLIC_CHANNELS": [[], ["news", "a.*"], ("news",), {"news"}, frozenset({"*"})],
    "DEFAULT_CHANNEL_PUBLIC": [True, False],
    "BUS_URL": ["auto", "memory://", "sqlite:////nowhere/events.db", "sqlite:///events.db", MemoryBus],
    "PUBLISH_TIMEOUT_SECONDS": [0.1, 5, 60],
    "HISTORY_LENGTH": [1, 1_000_000],
    "HISTORY_SECONDS": [1, 1.5, 7 * 86_400],
    "HISTORY_BYTES": [1 << 20, 1 << 40],
    "CHANNELS": [
        {},
        {"run.*": {"history_length": 10_000, "history_seconds": 3600}},
        {
            "run.1": {"history_length": 1},
            "run.*": {"history_seconds": 7 * 86_400},
            "*": {"history_length": 2},
        },
    ],
    "KEPT_VALUES": [1, 1_000_000],
    "KEPT_BYTES": [4096, 1 << 40],
    "HEARTBEAT_SECONDS": [0.1, 1, 3600],
    "RETRY_MILLISECONDS": [500, 3_600_000],
    "WRITE_TIMEOUT_SECONDS": [0.5, 600],
    "DIRECT_WRITE": [True, False],
    "MAX_STREAMS": [None, 1, 1_000_000],
    "MAX_STREAMS_PER_CLIENT": [None, 1, 1_000_000],
    "CLIENT_KEY": [None, str],
    "ABRUPT_END": [True, False],
    "MAX_CHANNELS": [1, 10_000],
    "MAX_EVENT_BYTES": [64, 1 << 20],
    "CORS_ORIGINS": [
        [],
        ["https://a.example"],
        ("http://localhost:5173", "https://a.example"),
        {"https://xn--bcher-kva.example"},
        ["http://[::1]:5173", "https://a.example.", "https://a.example:80", "http://tauri.localhost"],
        ["capacitor://localhost", "ionic://localhost", "tauri://localhost", "app://-"],
        ["chrome-extension://abcdefghijklmnopabcdefghijklmnop"],
        ["moz-extension://5b6a9a3e-2c6c-4b51-8d0a-51d0fd1f5d2c"],
        ["safari-web-extension://5B6A9A3E-2C6C-4B51-8D0A-51D0FD1F5D2C"],
        ["vscode-webview://0q3vdkq1r4ud5bmfqg7ur1q5n5q9dkd3o9a5b8q1r2kq6n1h0"],
    ],
    "CORS_CREDENTIALS": [True, False],
    "STRICT": [True, False],
}


def table(values):
    return [pytest.param(key, value, id=f"{key}={value!r}") for key, some in values.items() for value in some]


def test_settings_are_all_in_the_tables():
    """No key escapes the tables of this module."""
    assert set(WRONG) == set(RIGHT) == {field.name.upper() for field in dataclasses.fields(Settings)}


@pytest.mark.parametrize(("key", "value"), table(WRONG))
def test_setting_of_a_wrong_value_is_refused(key, value):
    """A value of a wrong type or out of its range is refused by name, shown, and answered with a cure."""
    with pytest.raises(ConfigurationError) as caught:
        app = Flask("shop")
        app.config[PREFIX + key] = value
        app.register_blueprint(SSEPush())
    message = str(caught.value)
    assert PREFIX + key in message
    shown = value[0] if isinstance(value, list) and value and value != [None] and value != [7] else value
    assert repr(shown) in message
    assert any(
        cure in message
        for cure in (
            "Leave it out",
            "Write it as",
            "Write them as",
            "Use 1 to 128",
            "Set it to",
            "Serve the page",
        )
    )


def test_setting_that_is_refused_leaves_the_app_alone():
    """After a refusal nothing is registered, and a second try with a right value works."""
    app = Flask("shop")
    app.config["SSE_PUSH_HEARTBEAT_SECONDS"] = -1
    sse = SSEPush()
    with pytest.raises(
        ConfigurationError,
        match=r"^SSE_PUSH_HEARTBEAT_SECONDS must be a number from 0\.1 to 3600, got -1\. Leave it out for "
        r"15\.$",
    ):
        app.register_blueprint(sse)
    app.config["SSE_PUSH_HEARTBEAT_SECONDS"] = 1
    app.register_blueprint(sse)


@pytest.mark.parametrize("value", [0, "10"])
def test_setting_of_max_streams_names_its_real_default(value):
    """
    The cure for a wrong SSE_PUSH_MAX_STREAMS must not promise a default of 1: left out, it follows the
    server.
    """
    with pytest.raises(ConfigurationError) as caught:
        read_settings({"SSE_PUSH_MAX_STREAMS": value})
    assert not str(caught.value).endswith("Leave it out for 1.")


@pytest.mark.parametrize(
    ("key", "value", "usual"),
    [
        ("MAX_STREAMS", 0, "what fits the server"),
        ("MAX_STREAMS_PER_CLIENT", 0, "no limit"),
        ("CLIENT_KEY", 7, "its remote_addr"),
        ("ABRUPT_END", 1, "False"),
    ],
)
def test_setting_that_is_refused_says_what_it_is_without(key, value, usual):
    """The cure tells what happens when the setting is left out."""
    with pytest.raises(ConfigurationError, match=f"Leave it out for {usual}\\.$"):
        read_settings({PREFIX + key: value})


@pytest.mark.parametrize(
    ("origin", "cure"),
    [
        ("null", "every sandboxed frame and every file on a disk sends"),
        ("file://", "every sandboxed frame and every file on a disk sends"),
        ("https://a.example:443", "Write it as 'https://a.example'."),
        ("http://[::1]:80", "Write it as 'http://[::1]'."),
    ],
)
def test_setting_of_an_origin_that_would_not_do_says_why(origin, cure):
    """An origin that anybody has, and one that no browser writes so, have a message of their own."""
    with pytest.raises(ConfigurationError) as caught:
        read_settings({"SSE_PUSH_CORS_ORIGINS": ["https://b.example", origin]})
    assert f"got {origin!r}" in str(caught.value)
    assert cure in str(caught.value)


@pytest.mark.parametrize(("key", "value"), table(RIGHT))
def test_setting_of_a_right_value_is_taken(key, value):
    """Every key takes the ends of its range, and every collection that makes sense."""
    read = getattr(read_settings({PREFIX + key: value}), key.lower())
    if key == "PUBLIC_CHANNELS":
        assert sorted(pattern.text for pattern in read) == sorted(value)
    elif key == "CORS_ORIGINS":
        assert read == frozenset(value)
    elif key == "CHANNELS":
        assert [pattern.text for pattern, _ in read] == list(value)
    else:
        assert read == value
        assert isinstance(read, bool) == isinstance(value, bool)


def test_settings_have_defaults():
    """Nothing has to be configured."""
    assert read_settings({}) == Settings(
        public_channels=(),
        default_channel_public=True,
        bus_url="auto",
        publish_timeout_seconds=2,
        history_length=256,
        history_seconds=300,
        history_bytes=16 * 1024 * 1024,
        channels=(),
        kept_values=10_000,
        kept_bytes=16 * 1024 * 1024,
        heartbeat_seconds=15,
        retry_milliseconds=2000,
        write_timeout_seconds=10,
        direct_write=True,
        max_streams=None,
        max_streams_per_client=None,
        client_key=None,
        abrupt_end=False,
        max_channels=32,
        max_event_bytes=64 * 1024,
        cors_origins=frozenset(),
        cors_credentials=False,
        strict=True,
    )


@pytest.mark.parametrize(
    ("given", "named", "shown", "cure"),
    [
        ({"a b": {"history_length": 1}}, "SSE_PUSH_CHANNELS", "'a b'", "Use 1 to 128"),
        ({7: {"history_length": 1}}, "SSE_PUSH_CHANNELS", "7", "Use 1 to 128"),
        ({"run.*": {}}, "SSE_PUSH_CHANNELS['run.*']", "{}", "Write it as"),
        ({"run.*": None}, "SSE_PUSH_CHANNELS['run.*']", "None", "Write it as"),
        ({"run.*": 10}, "SSE_PUSH_CHANNELS['run.*']", "10", "Write it as"),
        ({"run.*": {"length": 10}}, "SSE_PUSH_CHANNELS['run.*']", "{'length': 10}", "Write it as"),
        (
            {"a": {"history_length": 9}, "b": {"history_length": 9, "seconds": 9}},
            "SSE_PUSH_CHANNELS['b']",
            "{'history_length': 9, 'seconds': 9}",
            "Write it as",
        ),
        *[
            (
                {"a": {key: value}},
                f"SSE_PUSH_CHANNELS['a']['{key}']",
                repr(value),
                f"Leave it out for {usual}.",
            )
            for key, usual, values in [
                ("history_length", 7, [0, 1_000_001, "9", 1.5, True, None]),
                ("history_seconds", 2.5, [0, 0.5, 7 * 86_400 + 1, "300", True, None, NAN]),
            ]
            for value in values
        ],
        (
            {f"run.{number}": {"history_length": 1} for number in range(1_001)},
            "SSE_PUSH_CHANNELS",
            "1,001",
            "Let one pattern fit",
        ),
    ],
)
def test_setting_of_a_wrong_retention_names_the_pattern(given, named, shown, cure):
    """A mistake in SSE_PUSH_CHANNELS is refused with its pattern and key, its value and the cure."""
    with pytest.raises(ConfigurationError) as caught:
        read_settings(
            {
                "SSE_PUSH_CHANNELS": given,
                "SSE_PUSH_HISTORY_LENGTH": 7,
                "SSE_PUSH_HISTORY_SECONDS": 2.5,
            }
        )
    message = str(caught.value)
    assert message.startswith(f"{named} must") or message.startswith(f"{named}: ")
    assert f"got {shown}" in message
    assert cure in message


def test_setting_of_retention_counts_for_the_first_pattern_that_fits():
    """What a pattern leaves out, and channels that fit none, have the length and time of all."""
    rules = read_settings(
        {
            "SSE_PUSH_HISTORY_LENGTH": 7,
            "SSE_PUSH_HISTORY_SECONDS": 70,
            "SSE_PUSH_CHANNELS": {
                "run.1": {"history_length": 1},
                "run.*": {"history_length": 2, "history_seconds": 20},
                "*.1": {"history_seconds": 30},
            },
        }
    ).retention()
    assert {name: rules.of(name)[:] for name in ("run.1", "run.2", "a.1", "a.2")} == {
        "run.1": (1, 70),
        "run.2": (2, 20),
        "a.1": (7, 30),
        "a.2": (7, 70),
    }


def test_setting_of_retention_fits_beside_the_log():
    """As many patterns as are allowed, as long as they may be, can be written to a store and read again."""
    patterns = {
        f"{'x' * 124}{number:04}": {"history_length": 1_000_000, "history_seconds": 604_799.25}
        for number in range(1_000)
    }
    rules = read_settings({"SSE_PUSH_CHANNELS": patterns}).retention()
    read = read_rules(rules.text)
    assert read is not None
    assert read.text == rules.text


def test_setting_of_retention_comes_from_the_environment(monkeypatch):
    """It is JSON there; what is no JSON is refused, and the message says so."""
    app = Flask("shop")
    monkeypatch.setenv("FLASK_SSE_PUSH_CHANNELS", '{"run.*": {"history_length": 5}}')
    app.config.from_prefixed_env()
    [(pattern, retention)] = read_settings(app.config).channels
    assert (pattern.text, retention.length, retention.seconds) == ("run.*", 5, 300)
    monkeypatch.setenv("FLASK_SSE_PUSH_CHANNELS", "run.*=5")
    app.config.from_prefixed_env()
    with pytest.raises(
        ConfigurationError, match=r"got 'run\.\*=5'\. Write it as .* \(from the environment: as"
    ):
        read_settings(app.config)


def test_setting_of_retention_that_is_changed_late_is_told(caplog):
    """A change inside of the dict, after the first use, has no effect and is logged."""
    sse = SSEPush()
    app = make_app(blueprint=sse, channels={"run.*": {"history_length": 5}})
    sse.publish("x")
    app.config["SSE_PUSH_CHANNELS"]["run.*"]["history_length"] = 50
    sse.stats()
    assert "SSE_PUSH_CHANNELS changed in app.config after the first use" in caplog.text


def test_bus_of_the_place_counts_where_the_app_says_nothing(monkeypatch):
    """
    SSE_PUSH_BUS_URL in the environment is the default; the config goes before it, and an empty one is none.
    """
    monkeypatch.setenv("SSE_PUSH_BUS_URL", "sqlite:////nowhere/events.db")
    assert read_settings({}).bus_url == "sqlite:////nowhere/events.db"
    assert read_settings({"SSE_PUSH_BUS_URL": "memory://"}).bus_url == "memory://"
    monkeypatch.setenv("SSE_PUSH_BUS_URL", "")
    assert read_settings({}).bus_url == "auto"


@pytest.mark.parametrize(
    ("key", "suggestion"),
    [
        ("SSE_PUSH_HEARTBEAT", "SSE_PUSH_HEARTBEAT_SECONDS"),
        ("SSE_PUSH_HEARTBEAT_SECOND", "SSE_PUSH_HEARTBEAT_SECONDS"),
        ("SSE_PUSH_PUBLIC_CHANELS", "SSE_PUSH_PUBLIC_CHANNELS"),
        ("SSE_PUSH_CORS_ORIGIN", "SSE_PUSH_CORS_ORIGINS"),
        ("SSE_PUSH_RETRY_SECONDS", "SSE_PUSH_HISTORY_SECONDS|SSE_PUSH_RETRY_MILLISECONDS"),
    ],
)
def test_unknown_setting_is_refused_with_a_suggestion(key, suggestion):
    """
    A key with our prefix that does not exist is a slip of the pen, and is answered with the nearest one.
    """
    with pytest.raises(
        ConfigurationError,
        match=rf"^{key} is not a setting of flask_sse_push\. Did you mean ({suggestion})\?$",
    ):
        read_settings({key: 1})


def test_unknown_setting_like_no_other_is_refused_with_the_list():
    """When nothing is near, all keys are listed."""
    with pytest.raises(
        ConfigurationError, match=r"There are SSE_PUSH_ABRUPT_END, .*SSE_PUSH_WRITE_TIMEOUT_SECONDS\.$"
    ):
        read_settings({"SSE_PUSH_" + "Q" * 60: 1})


def test_settings_of_others_are_left_alone():
    """Keys without our prefix are none of our business."""
    read_settings({"SSE_REDIS_URL": 1, "SSE_PUSHED": 1, "sse_push_x": 1, 7: 1, "DEBUG": True})


def test_history_must_hold_the_largest_event():
    """
    A history smaller than one event would lose it before anybody could read it: refused, with the least
    value, which then works.
    """
    with pytest.raises(
        ConfigurationError,
        match=r"^SSE_PUSH_HISTORY_BYTES must hold at least one event of SSE_PUSH_MAX_EVENT_BYTES with its "
        r"overhead, got 8192\. Set it to \d+ or more",
    ) as caught:
        read_settings({"SSE_PUSH_HISTORY_BYTES": 8192})
    least = int(str(caught.value).split("Set it to ")[1].split()[0])
    read_settings({"SSE_PUSH_HISTORY_BYTES": least})
    with pytest.raises(ConfigurationError):
        read_settings({"SSE_PUSH_HISTORY_BYTES": least - 1})


def test_settings_come_from_the_environment(monkeypatch):
    """Flask's from_prefixed_env fills every kind of key."""
    for name, value in {
        "SSE_PUSH_HEARTBEAT_SECONDS": "5",
        "SSE_PUSH_HISTORY_SECONDS": "1.5",
        "SSE_PUSH_PUBLIC_CHANNELS": '["news", "a.*"]',
        "SSE_PUSH_CORS_ORIGINS": '["https://a.example"]',
        "SSE_PUSH_CORS_CREDENTIALS": "true",
        "SSE_PUSH_STRICT": "false",
        "SSE_PUSH_BUS_URL": "memory://",
        "SSE_PUSH_MAX_STREAMS": "null",
    }.items():
        monkeypatch.setenv(f"FLASK_{name}", value)
    app = Flask("shop")
    app.config.from_prefixed_env()
    settings = read_settings(app.config)
    assert settings.heartbeat_seconds == 5
    assert settings.history_seconds == 1.5
    assert [pattern.text for pattern in settings.public_channels] == ["news", "a.*"]
    assert settings.cors_origins == {"https://a.example"}
    assert settings.cors_credentials is True
    assert settings.strict is False
    assert settings.bus_url == "memory://"
    assert settings.max_streams is None


def test_list_from_the_environment_that_is_no_json_is_refused_with_the_form(monkeypatch):
    """news instead of ["news"] is met at start, with the right form."""
    monkeypatch.setenv("FLASK_SSE_PUSH_PUBLIC_CHANNELS", "news")
    app = Flask("shop")
    app.config.from_prefixed_env()
    with pytest.raises(
        ConfigurationError,
        match=r"""must be a list, got 'news'\. Write it as \["news", "orders\.\*"\] """
        r"""\(from the environment: as JSON\)""",
    ):
        app.register_blueprint(SSEPush())


def test_default_channel_is_not_closed_and_listed():
    """
    SSE_PUSH_DEFAULT_CHANNEL_PUBLIC=False beside a list with the channel itself is a contradiction; a pattern
    that fits it is none.
    """
    with pytest.raises(
        ConfigurationError,
        match=r"must be True where SSE_PUSH_PUBLIC_CHANNELS lists 'sse', got False\. Leave one of the two "
        r"out\.$",
    ):
        read_settings({"SSE_PUSH_DEFAULT_CHANNEL_PUBLIC": False, "SSE_PUSH_PUBLIC_CHANNELS": ["news", "sse"]})
    read_settings({"SSE_PUSH_DEFAULT_CHANNEL_PUBLIC": False, "SSE_PUSH_PUBLIC_CHANNELS": ["*"]})


# When they are read


def use_request(app, sse):
    app.test_client().get("/events?channel=closed")


def use_publish(app, sse):
    sse.publish("x")


def use_stats(app, sse):
    sse.stats()


def use_command(app, sse):
    from flask_sse_push.operations.cli import EXTENSION_KEY

    app.extensions[EXTENSION_KEY].process()


@pytest.mark.parametrize("use", [use_request, use_publish, use_stats, use_command])
def test_settings_count_until_the_first_use(use, caplog):
    """
    What is set after register_blueprint counts until a request, an event or a question; later changes have no
    effect, and are told once.
    """
    sse = SSEPush()
    app = make_app(blueprint=sse)
    app.config["SSE_PUSH_PUBLIC_CHANNELS"] = ["early"]
    use(app, sse)
    app.config["SSE_PUSH_PUBLIC_CHANNELS"].append("late")
    client = app.test_client()
    with client.get("/events?channel=early") as response:
        assert response.status_code == 200
    for _ in range(3):
        assert client.get("/events?channel=late").status_code == 403
    [record] = [record for record in caplog.records if "after the first use" in record.getMessage()]
    assert record.getMessage().startswith(
        "SSE_PUSH_PUBLIC_CHANNELS changed in app.config after the first use, and has no effect"
    )
    app.config["SSE_PUSH_MAX_CHANNELS"] = 1
    assert sse.stats()["max_streams"] >= 1
    assert "SSE_PUSH_MAX_CHANNELS changed" in caplog.text


def test_first_uses_at_once_share_one_bus():
    """Threads that meet at the first use after a change all publish to the bus that stays."""
    sse = SSEPush()
    app = make_app(blueprint=sse)
    app.config["SSE_PUSH_HISTORY_LENGTH"] = 1000
    start = threading.Barrier(16)

    def publish():
        start.wait()
        sse.publish("x")

    threads = [threading.Thread(target=publish) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (sse.stats()["published"], sse.stats()["history"]["events"]) == (16, 16)


def test_bus_is_that_of_the_settings_at_the_first_use(tmp_path):
    """SSE_PUSH_BUS_URL set between the registration and the first event is the bus that carries it."""
    sse = SSEPush()
    app = make_app(blueprint=sse)
    app.config["SSE_PUSH_BUS_URL"] = f"sqlite:///{tmp_path}/events.db"
    sse.publish("x")
    assert sse.stats()["bus"] == "sqlite"
    assert (tmp_path / "events.db").exists()


def test_setting_that_is_wrong_at_the_first_use_is_refused_until_it_is_right():
    """A wrong value set in between is an error of each use, and the settings stay open until it is mended."""
    sse = SSEPush()
    app = make_app(blueprint=sse)
    app.config["SSE_PUSH_MAX_CHANNELS"] = 0
    for _ in range(2):
        with pytest.raises(ConfigurationError, match=r"^SSE_PUSH_MAX_CHANNELS must be"):
            sse.publish("x")
    app.config["SSE_PUSH_MAX_CHANNELS"] = 2
    sse.publish("x")


def test_settings_of_a_worker_are_read_again_without_the_bus_of_its_check():
    """
    The check of the server at the registration needs a bus; when the settings change before the first use,
    that bus is not the one used.
    """
    code = """
from gunicorn.app.base import BaseApplication
from gunicorn.workers.ggevent import GeventWorker
from flask import Flask
from flask_sse_push import sse

def create():
    app = Flask("shop")
    app.config["SSE_PUSH_HISTORY_LENGTH"] = 5
    app.register_blueprint(sse)
    app.config["SSE_PUSH_HISTORY_LENGTH"] = 2
    app.config["SSE_PUSH_PUBLIC_CHANNELS"] = ["*"]
    with app.app_context():
        for number in range(9):
            sse.publish(number)
        print("kept", sse.stats()["history"]["events"], flush=True)
    raise SystemExit(3)

class Server(BaseApplication):
    def load_config(self):
        self.cfg.set("worker_class", "gevent")
        self.cfg.set("bind", "127.0.0.1:0")
        if "control_socket_disable" in self.cfg.settings:
            self.cfg.set("control_socket_disable", True)
    def load(self):
        return create()

Server().run()
"""
    needs(modules=["gunicorn", "gevent"])
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60 * FACTOR, check=False
    )
    assert "kept 2\n" in ran.stdout, ran.stderr


@pytest.mark.parametrize("key", ["REDIS_URL", "SSE_REDIS_URL"])
def test_redis_of_flask_sse_is_pointed_out_once(key, caplog):
    """
    Who moves from Flask-SSE and keeps its setting learns which one counts here; the URL, with its password,
    stays out of the log.
    """
    sse = SSEPush()
    app = make_app(blueprint=sse)
    app.config[key] = "redis://:secret@localhost"
    sse.publish("x")
    sse.publish("x")
    [record] = caplog.records
    assert record.getMessage().startswith(
        f"{key} is a setting of Flask-SSE, and nothing here reads it. To carry events by that Redis "
        "set SSE_PUSH_BUS_URL"
    )
    assert "secret" not in caplog.text


@pytest.mark.parametrize("where", ["config", "environment"])
def test_redis_of_others_is_not_pointed_out(where, caplog, monkeypatch):
    """With SSE_PUSH_BUS_URL it is clear what carries the events, and REDIS_URL is somebody else's."""
    sse = SSEPush()
    app = make_app(blueprint=sse)
    app.config["REDIS_URL"] = "redis://localhost"
    if where == "config":
        app.config["SSE_PUSH_BUS_URL"] = "auto"
    else:
        monkeypatch.setenv("SSE_PUSH_BUS_URL", "memory://")
    sse.publish("x")
    assert caplog.records == []
