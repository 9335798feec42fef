"""The public API as a user would write it; mypy --strict must accept every line, and nothing of it is run."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Any

from flask import Flask, Response, abort, session
from flask.testing import FlaskClient

import flask_sse_push
from flask_sse_push import (
    BusUnavailable,
    ChannelClosed,
    ConfigurationError,
    Event,
    InvalidChannel,
    InvalidEvent,
    InvalidStream,
    NotRegistered,
    Publisher,
    SSEPush,
    SSEPushError,
    StreamInfo,
    TooManyKept,
    UnsupportedServer,
    event_published,
    publish,
    sse,
    stream_closed,
    stream_opened,
)
from flask_sse_push.bus import MemoryBus
from flask_sse_push.testing import (
    DecodedEvent,
    Decoder,
    OpenStream,
    PublishedEvent,
    StreamedEvent,
    StreamTimeout,
    capture,
    decode,
    open_stream,
    shutdown_after,
)

app = Flask(__name__)
app.config["SSE_PUSH_PUBLIC_CHANNELS"] = ["news", "room.*"]
app.register_blueprint(sse, url_prefix="/events")
version: str = flask_sse_push.__version__


def create_app() -> Flask:
    made = Flask(__name__)
    own = SSEPush()
    named = SSEPush("push", url_prefix="/push")
    made.register_blueprint(own, url_prefix="/events")
    own.init_app(Flask("third"))
    named.init_app(Flask("fourth"), url_prefix="/four")
    at_once: SSEPush = SSEPush(Flask("fifth"), url_prefix="/five")
    at_once.init_app(app=Flask("sixth"), url_prefix=None)
    Flask("other").register_blueprint(named)
    return made


@app.post("/orders")
def create_order() -> tuple[str, int]:
    id: str = publish({"id": 7}, type="created", channel="orders")
    publish("plain text")
    publish(None, "ping", None, 1000, "orders")
    publish([1, 2], channel=["a", "b"])
    publish({"a": 1}, channel=(f"user.{user}" for user in range(3)))
    same: str = sse.publish("x", retry=500)
    return id + same, 201


def publish_from_elsewhere() -> str:
    app.config["SSE_PUSH_BUS_URL"] = MemoryBus
    with Publisher(
        "redis://localhost:6379/0", json=str, max_event_bytes=1024, publish_timeout_seconds=1.5
    ) as publisher:
        first: str = publisher.publish(
            {"id": 7}, type="created", channel=["orders", "news"], idempotency_key="order-7"
        )
    Publisher().close()
    everybody: dict[str, Any] = sse.stats(all_processes=True)
    return first + publish("x", idempotency_key="y") + str(everybody)


@sse.identify
def current_user_id() -> str | None:
    user: str | None = session.get("user")
    return user


@app.post("/asked")
@sse.cross_origin
def asked() -> Response:
    return sse.response(["x"])


@sse.authorize("user.*")
def own_channel_only(channel: str) -> bool:
    if "user" not in session:
        abort(401)
    return channel == f"user.{session['user']}"


# A decorated rule stays what it was.
still_a_rule: Callable[[str], bool] = own_channel_only


@sse.snapshot("prices.*", type="prices")
def all_prices(channel: str) -> dict[str, float]:
    return {"AAPL": 7.5}


@sse.snapshot("orders", type=None)
def all_orders(channel: str) -> list[Event] | None:
    return [Event("tea", type="created")]


still_a_snapshot: Callable[[str], dict[str, float]] = all_prices


@app.get("/mine")
def mine() -> Response:
    return sse.stream("user.7", "orders")


@app.get("/runs/<name>")
def run_of(name: str) -> Response:
    some: int | None = 20 if "some" in session else None
    return sse.stream(name, rewind="all") if some is None else sse.stream(name, "news", rewind=some)


@app.post("/runs/<name>/end")
def end_run(name: str) -> dict[str, str]:
    place: str = sse.cursor(name, "news")
    last: str = publish({"price": 1.5}, channel=name, key="AAPL", keep=True, close=True)
    sse.forget(name, "AAPL")
    sse.forget([name, "news"], key="AAPL")
    mark: str = sse.close(name, "news")
    with Publisher("redis://localhost:6379/0") as publisher:
        publisher.publish("x", channel=name, key="AAPL", keep=True, close=False)
        publisher.forget(name, "AAPL")
        other: str = publisher.close_channel(name) + publisher.cursor()
    return {"place": place, "last": last, "mark": mark, "other": other}


@app.get("/everything")
def everything() -> Response:
    return sse.stream()


def tokens() -> Generator[str | Event | dict[str, int], None, str]:
    yield "plain"
    yield Event("with fields", type="token", id="t-1", retry=700)
    yield {"progress": 50}
    return "the end"


@app.post("/answer")
@sse.cross_origin
def answer() -> Response:
    return sse.response(tokens())


still_a_view: Callable[[], Response] = answer


@app.get("/list")
def listed() -> Response:
    items: Iterable[Any] = ["a", 1, None]
    return sse.response(items)


def look() -> int:
    stats: dict[str, Any] = sse.stats()
    streams: int = stats["streams"]
    return streams


def handle_errors() -> None:
    try:
        publish("x")
    except InvalidEvent as error:
        value_error: ValueError = error
        logging.info(value_error)
    except InvalidChannel as error:
        logging.info(error)
    except NotRegistered as error:
        configuration: ConfigurationError = error
        logging.info(configuration)
    except UnsupportedServer as error:
        runtime: RuntimeError = error
        logging.info(runtime)
    except (ChannelClosed, TooManyKept) as error:
        of_a_channel: RuntimeError = error
        logging.info(of_a_channel)
    except (BusUnavailable, InvalidStream) as error:
        logging.info(error)
    except SSEPushError as error:
        logging.info(error)


@event_published.connect
def on_published(sender: Flask, event: Event, channels: tuple[str, ...], id: str) -> None:
    logging.info("%s %s %s %s %s", sender.name, event.data, event.type, channels, id)


@stream_opened.connect
def on_opened(sender: Flask, stream: StreamInfo) -> None:
    channels: tuple[str, ...] = stream.channels
    last_event_id: str | None = stream.last_event_id
    remote_address: str | None = stream.remote_address
    logging.info("%s %s %s", channels, last_event_id, remote_address)


@stream_closed.connect
def on_closed(sender: Flask, stream: StreamInfo, reason: str) -> None:
    logging.info("%s", reason)


def an_order_is_announced(client: FlaskClient) -> None:
    with shutdown_after(app) as same:
        assert same is app
    sse.shutdown()
    with capture() as published:
        client.post("/orders")
    first: PublishedEvent = published[0]
    assert first.type == "created"
    assert first.json == {"id": 7}
    assert first.channels == ("orders",)
    with capture(app) as of_one:
        assert len(of_one) == 0


def a_stream_shows_it(client: FlaskClient) -> None:
    with open_stream(client, "/events?channel=orders", headers={"Last-Event-ID": "x-1"}) as stream:
        opened: OpenStream = stream
        events: list[StreamedEvent] = opened.read(2, timeout=1.0)
        event: DecodedEvent = events[0]
        assert (event.type, event.data, event.last_event_id) == ("created", "{}", opened.last_event_id)
        assert events[0].json == {}
        assert opened.response.status_code == 200
        try:
            stream.read()
        except StreamTimeout as error:
            assertion: AssertionError = error
            logging.info(assertion)


def read_bytes(chunks: Iterator[bytes]) -> list[DecodedEvent]:
    decoder = Decoder(max_event_bytes=65_536)
    events = [event for chunk in chunks for event in decoder.feed(chunk)]
    decoder.close()
    retry: int | None = decoder.retry
    comments: list[str] = decoder.comments
    logging.info("%s %s %s", retry, comments, decoder.last_event_id)
    return events + decode(b"data: x\n\n")
