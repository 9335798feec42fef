"""``flask sse``: publish, listen and look from a shell."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click
from flask import current_app
from flask.cli import AppGroup, with_appcontext

from .blueprint import EXTENSION_KEY
from .concurrency import THREADS
from .core.channels import check_channels
from .decoder import DecodedEvent, Decoder
from .errors import SSEPushError
from .follow import follow
from .hub import Hub
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
@with_appcontext
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
        texts = (line.rstrip("\r\n") for line in sys.stdin) if lines else [sys.stdin.read().removesuffix("\n") if data == "-" else data]
        for text in texts:
            event = _parse(text) if as_json else text
            click.echo(state.publish(event, type_, None, retry, channel, key))


@sse_group.command("listen")
@click.argument("targets", nargs=-1, required=True, metavar="URL|CHANNEL...")
@click.option("--since", default="", metavar="ID", help="Resume behind the event with this id.")
@click.option("--raw", is_flag=True, help="Write the bytes of the stream as they come.")
@click.option("--count", type=click.IntRange(1), metavar="N", help="End after so many events.")
@click.option("--timeout", type=click.FloatRange(1), default=45.0, show_default=True, metavar="SECONDS", help="Silence after which a URL counts as dead.")
@with_appcontext
def listen_command(targets: tuple[str, ...], since: str, raw: bool, count: int | None, timeout: float) -> None:
    """
    Show events as they come, each as one line of JSON with id, type and data.

    Channels are read from the bus itself, whoever may read them on the web. A URL is followed as a browser does: it reconnects, and resumes.
    Ctrl-C ends it, with status 130.

    \b
    flask sse listen orders news
    flask sse listen orders --since 5916f355feae-41
    flask sse listen 'https://shop.example.com/events?channel=orders' --raw
    """  # noqa: D301  # click looks for the character itself
    urls = [target for target in targets if target.startswith(("http://", "https://"))]
    if urls and len(targets) > 1:
        raise click.UsageError("Give one URL, or channels.")
    with _errors():
        chunks = follow(urls[0], since, timeout, lambda text: click.echo(text, err=True)) if urls else _chunks_of_bus(targets, since)
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


@sse_group.command("stats")
@click.option("--watch", is_flag=False, flag_value=2.0, type=click.FloatRange(0.1), metavar="[SECONDS]", help="Look again every 2 seconds, or as said.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object for each look.")
@with_appcontext
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
@with_appcontext
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
            "The bus of this app is the memory of its own processes, which no other process can reach. Set SSE_PUSH_BUS_URL for the server and for this "
            'command, to something like "sqlite:////var/lib/shop/events.db" or "redis://localhost:6379/0".'
        )
    return state


def _chunks_of_bus(targets: tuple[str, ...], since: str) -> Iterator[tuple[bytes, list[DecodedEvent]]]:
    state = _shared_state()
    channels = check_channels(targets, len(targets))
    bus = state.bus()
    hub = Hub(bus, state.settings, lambda: {"process": "flask sse listen", "streams": 1, "channels": dict.fromkeys(channels, 1)})
    hub.wait_until_ready(state.settings.publish_timeout_seconds)
    subscription = Subscription(hub, channels, since)
    bell, decoder = THREADS.bell(), Decoder()
    subscription.open(bell)
    try:
        yield (chunk := subscription.prelude()), decoder.feed(chunk)
        while True:
            chunk = subscription.read()
            if chunk:
                yield chunk, decoder.feed(chunk)
            else:
                bell.wait(1)
    finally:
        subscription.close()
        bus.close()


def _parse(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise click.ClickException(f"DATA must be JSON, got {text[:200]!r} ({error}). Quote it for the shell, or leave --json out.") from error


def _table(stats: dict[str, Any]) -> str:
    kept = f"{stats['history']['events']} kept ({stats['history']['bytes']} bytes), last {stats['last_event_id'] or 'none'}"
    lines = [f"{stats['bus']}: {stats['streams']} streams in {len(stats['processes'])} processes, {stats['events_per_second']:g} events/s, {kept}"]
    if stats["processes"]:
        lines.append(f"{'host':<24} {'pid':>8} {'streams':>8} {'published':>10} {'lag':>6} {'up, s':>9}")
    for process in stats["processes"]:
        lag = process.get("lag")
        lines.append(
            f"{process.get('host', '-')!s:<24} {process.get('pid', '-')!s:>8} {process.get('streams', 0):>8} {process.get('published', 0):>10} "
            f"{'-' if lag is None else lag!s:>6} {process.get('uptime_seconds', 0):>9.0f}"
        )
    return "\n".join(lines)
