"""``flask sse``: publish, listen and look from a shell."""

from __future__ import annotations

import json
import select
import signal
import sys
import time
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager, suppress
from typing import Any

import click
from flask import current_app
from flask.cli import AppGroup, ScriptInfo

from .blueprint import EXTENSION_KEY
from .bus import Report
from .concurrency import THREADS
from .core.channels import check_channels
from .decoder import DecodedEvent, Decoder
from .errors import ConfigurationError, SSEPushError
from .follow import follow, parse_address
from .hub import Hub
from .reports import Reporter
from .state import AppState
from .subscription import Subscription

__all__ = ["sse_group"]

sse_group = AppGroup("sse", help="Publish events, listen to them, and see who listens.")


@sse_group.command("publish")
@click.argument("channel")
@click.argument("data")
@click.option("--type", "type_", metavar="NAME", help="The name to listen for in the browser (message).")
@click.option("--retry", type=int, metavar="MS", help="Milliseconds that browsers wait before reconnecting, from now on.")
@click.option("--key", metavar="KEY", help="An idempotency key: repeated, it publishes nothing and prints the first id.")
@click.option("--json", "as_json", is_flag=True, help="DATA must be JSON.")
@click.option("--lines", is_flag=True, help="With -: one event per line, as the lines come.")
def publish_command(channel: str, data: str, type_: str | None, retry: int | None, key: str | None, as_json: bool, lines: bool) -> None:
    """
    Publish DATA to CHANNEL, and print the event's id. DATA "-" reads standard input.

    \b
    flask sse publish orders '{"item": "tea"}' --type created --json
    echo "The shop closes in five minutes." | flask sse publish news -
    tail -f access.log | flask sse publish log - --lines
    """  # noqa: D301  # click looks for the character itself
    if lines and data != "-":
        raise click.UsageError("--lines reads standard input: give - as DATA.")
    if lines and key is not None:
        raise click.UsageError("--key names one event, and --lines publishes many.")
    with _errors():
        state = _shared_state()
        texts = (line.removesuffix("\n") for line in sys.stdin) if lines else [_read_all() if data == "-" else data]
        for text in texts:
            click.echo(state.publish(_compact(text) if as_json else text, type_, None, retry, channel, key))


@sse_group.command("listen", with_appcontext=False)  # a URL needs no app
@click.argument("targets", nargs=-1, required=True, metavar="URL|CHANNEL...")
@click.option("--since", default="", metavar="ID", help="Resume behind the event with this id.")
@click.option("--raw", is_flag=True, help="Write the bytes of the stream as they come.")
@click.option("--count", type=click.IntRange(1), metavar="N", help="End after so many events.")
@click.option("--timeout", type=click.FloatRange(1), default=45.0, show_default=True, metavar="SECONDS", help="Silence after which a URL counts as dead.")
@click.pass_context
def listen_command(context: click.Context, targets: tuple[str, ...], since: str, raw: bool, count: int | None, timeout: float) -> None:
    """
    Show events as they come, each as one line of JSON with id, type and data.

    Channels are read from the bus itself, whoever may read them on the web. A URL is followed as a browser does, with no need of an app:
    it reconnects, resumes, and reads what is not quite an event stream. It ends with status 0 when the server says that there is
    no more (204), and with 1 when it refuses. Ctrl-C ends either with status 130.

    \b
    flask sse listen orders news
    flask sse listen orders --since 5916f355feae-41
    flask sse listen 'https://shop.example.com/events?channel=orders' --raw
    """  # noqa: D301  # click looks for the character itself
    urls = [target for target in targets if target.startswith(("http://", "https://"))]
    if urls and len(targets) > 1:
        raise click.UsageError("Give one URL, or channels.")
    if not since.isprintable():
        raise click.UsageError("--since must be the id of an event, printable and on one line.")
    if urls:
        try:
            chunks = follow(parse_address(urls[0]), since, timeout, lambda text: click.echo(text, err=True))
        except ValueError as error:
            raise click.UsageError(f"This is no URL that can be followed: {error}.") from error
    else:
        context.with_resource(context.ensure_object(ScriptInfo).load_app().app_context())
        chunks = _chunks_of_bus(targets, since)
    with _errors(), closing(chunks):
        _show(chunks, count, raw=raw)


def _show(chunks: Iterator[tuple[bytes, list[DecodedEvent]]], count: int | None, *, raw: bool) -> None:
    shown = 0
    for chunk, events in chunks:
        if raw:
            sys.stdout.buffer.write(chunk)
            sys.stdout.buffer.flush()
        for event in events:
            if not raw:
                click.echo(json.dumps({"id": event.last_event_id, "type": event.type, "data": event.data}))
            shown += 1
            if shown == count:
                return
        _check_reader()


@sse_group.command("stats")
@click.option("--watch", is_flag=False, flag_value=2.0, type=click.FloatRange(0.1), metavar="[SECONDS]", help="Look again every 2 seconds, or as said.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object for each look.")
def stats_command(watch: float | None, as_json: bool) -> None:
    """
    Show what all processes that have streams do.

    \b
    flask sse stats --watch
    flask sse stats --json | jq .streams
    """  # noqa: D301  # click looks for the character itself
    with _errors():
        state = _shared_state()
        while True:
            stats = state.stats_of_all()
            click.echo(json.dumps(stats) if as_json else _table(stats))
            if watch is None:
                return
            time.sleep(watch)


@sse_group.command("channels")
@click.option("--json", "as_json", is_flag=True, help="One JSON object, name to listeners.")
def channels_command(as_json: bool) -> None:
    """Show the channels that somebody listens to, and how many do, in all processes."""
    with _errors():
        channels = _shared_state().stats_of_all()["channels"]
        if as_json:
            click.echo(json.dumps(channels))
            return
        for name, listeners in channels.items():
            click.echo(f"{listeners:>8}  {name}")


@contextmanager
def _errors() -> Iterator[None]:
    """End with a message and a status that a script can use."""
    try:
        yield
    except SSEPushError as error:
        raise click.ClickException(str(error)) from error
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
    except UnicodeDecodeError as error:
        wrong = error.object[error.start : error.end]
        raise click.ClickException(f"Standard input must be {error.encoding}, got {wrong!r}. Convert it, for instance with iconv.") from error
    except BrokenPipeError:
        # Who read this has seen enough. Python would complain once more when it flushes.
        sys.stdout = None
        sys.exit(128 + signal.SIGPIPE)


def _shared_state() -> AppState:
    state: AppState | None = current_app.extensions.get(EXTENSION_KEY)
    if state is None:
        raise click.ClickException(f"flask_sse_push is not registered on app {current_app.name!r}. Call app.register_blueprint(sse) where the app is made.")
    if not state.bus().shared:
        raise click.ClickException(
            "The bus of this app belongs to its server alone, and no other process can reach it. Set SSE_PUSH_BUS_URL for the server and for this "
            'command, to something like "sqlite:////var/lib/shop/events.db" or "redis://localhost:6379/0".'
        )
    return state


def _chunks_of_bus(targets: tuple[str, ...], since: str) -> Generator[tuple[bytes, list[DecodedEvent]], None, None]:
    state = _shared_state()
    channels = check_channels(targets, len(targets))
    bus = state.open_bus()  # its own: closing it ends nothing else that this process may do
    reporter = Reporter()

    def report() -> Report:
        known = hub.stats()
        return reporter.make(streams=1, published=0, last_event_id=known["last_event_id"], channels=known["channels"], history=known["history"])

    hub = Hub(bus, state.settings, report)
    try:
        hub.wait_until_ready(state.settings.publish_timeout_seconds)
        health = bus.health()
        if health.is_refused:
            raise ConfigurationError(health.error)
        subscription = Subscription(hub, channels, since)
        bell, decoder = THREADS.bell(), Decoder()
        subscription.open(bell)
        try:
            yield (chunk := subscription.prelude()), decoder.feed(chunk)
            while True:
                chunk = subscription.read()
                yield chunk, decoder.feed(chunk)
                if not chunk:
                    bell.wait(1)
        finally:
            subscription.close()
    finally:
        bus.close()


def _check_reader() -> None:
    """
    Notice that nobody reads what is written, also when there is nothing to write: ``listen | head -1`` must end with its first line.

    Raises:
        BrokenPipeError: The other end of the pipe was closed.
    """
    with suppress(ValueError):  # no file at all, in a test of the app's
        poll = select.poll()
        poll.register(sys.stdout.fileno(), 0)
        if poll.poll(0):
            raise BrokenPipeError


def _read_all() -> str:
    text = sys.stdin.read().removesuffix("\n")
    if not text:
        # More likely a command before this one that failed than an event without a word.
        raise click.ClickException('Nothing came on standard input. Give "" as DATA for an empty event.')
    return text


def _compact(text: str) -> str:
    """Return JSON without white space, in the order in which it was written."""
    try:
        return json.dumps(json.loads(text, parse_constant=_refuse), separators=(",", ":"), allow_nan=False)
    except (ValueError, RecursionError) as error:
        raise click.ClickException(f"DATA must be JSON, got {text[:200]!r} ({error}). Quote it for the shell, or leave --json out.") from error


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


def _table(stats: dict[str, Any]) -> str:
    kept = f"{stats['history']['events']} kept ({stats['history']['bytes']} bytes), last {stats['last_event_id'] or 'none'}"
    speed = f"{stats['events_per_second']:g} events/s, lag {stats['lag']}"
    lines = [f"{stats['bus']}: {stats['streams']} streams in {len(stats['processes'])} processes, {speed}, {kept}"]
    if stats["processes"]:
        lines.append(f"{'host':<24} {'pid':>8} {'streams':>8} {'published':>10} {'lag':>6} {'up, s':>9}")
    for process in stats["processes"]:
        lag = process.get("lag")
        lines.append(
            f"{process.get('host', '-')!s:<24} {process.get('pid', '-')!s:>8} {process.get('streams', 0):>8} {process.get('published', 0):>10} "
            f"{'-' if lag is None else lag!s:>6} {process.get('uptime_seconds', 0):>9.0f}"
        )
    return "\n".join(lines)
