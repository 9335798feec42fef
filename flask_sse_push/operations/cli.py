"""``flask sse``: publish, listen and look from a shell."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import click
from flask import current_app
from flask.cli import AppGroup, ScriptInfo

from ..core.channels import check_channels
from ..core.values import printable, shown
from ..errors import SSEPushError
from ..extension.blueprint import EXTENSION_KEY
from ..extension.state import AppState
from .address import parse_address, parse_header
from .follow import follow
from .listen import read_bus, write_events

__all__ = ["sse_group"]

_COLUMNS = ("host", "pid", "streams", "published", "lag", "uptime_seconds")


class _Group(AppGroup):
    """Commands whose errors are a message and a status for scripts, also while the app is being made."""

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except SSEPushError as error:
            # The text may quote a server, a bus or its store.
            raise click.ClickException(printable(str(error))) from error
        except KeyboardInterrupt:
            sys.exit(128 + signal.SIGINT)
        except UnicodeDecodeError as error:
            wrong = error.object[error.start : error.end]
            cure = "Convert it, for instance with iconv."
            message = f"Standard input must be {error.encoding}, got {wrong!r}. {cure}"
            raise click.ClickException(message) from error
        except BrokenPipeError:
            # The reader, such as head, has seen enough. Python would complain when it flushes at its end.
            sys.stdout = None
            sys.exit(128 + signal.SIGPIPE)


sse_group = _Group("sse", help="Publish events, listen to them, and see who listens.")


@sse_group.command("publish")
@click.argument("channel")
@click.argument("data")
@click.option("--type", "type_", metavar="NAME", help="The name to listen for in the browser (message).")
@click.option(
    "--retry",
    type=int,
    metavar="MS",
    help="Milliseconds that browsers wait before reconnecting, from now on.",
)
@click.option(
    "--idempotency-key", metavar="KEY", help="A second use publishes nothing, and prints the first id."
)
@click.option("--key", metavar="KEY", help="Names the value that the channel keeps: with --keep.")
@click.option("--keep", is_flag=True, help="New readers get the newest event of each --key first.")
@click.option("--close", is_flag=True, help="Close the channel behind the event, or behind the last line.")
@click.option("--json", "as_json", is_flag=True, help="DATA must be JSON.")
@click.option("--lines", is_flag=True, help="With -: one event per line, as the lines come.")
def publish_command(
    channel: str,
    data: str,
    type_: str | None,
    retry: int | None,
    idempotency_key: str | None,
    key: str | None,
    keep: bool,
    close: bool,
    as_json: bool,
    lines: bool,
) -> None:
    """
    Publish DATA to CHANNEL, and print the event's id. DATA "-" reads standard input.

    \b
    flask sse publish orders '{"item": "tea"}' --type created --json
    echo "The shop closes in five minutes." | flask sse publish news -
    tail -f access.log | flask sse publish log - --lines
    flask sse publish prices 231.5 --key AAPL --keep
    """  # noqa: D301  # click looks for the character itself
    if lines and data != "-":
        raise click.UsageError("--lines reads standard input: give - as DATA.")
    if lines and idempotency_key is not None:
        raise click.UsageError("--idempotency-key names one event, and --lines publishes many.")
    if keep is (key is None):
        raise click.UsageError("--key and --keep belong together: give both, or neither.")
    process = _shared_state().process()
    for text in _lines() if lines else [_read_all() if data == "-" else data]:
        value = _compact(text) if as_json else text
        closes = close and not lines
        id = process.publish(value, type_, None, retry, channel, idempotency_key, key, keep, closes)
        click.echo(id)
    if close and lines:
        process.close_channels(check_channels(channel, 1))


@sse_group.command("close")
@click.argument("channels", nargs=-1, required=True, metavar="CHANNEL...")
def close_command(channels: tuple[str, ...]) -> None:
    """
    Close CHANNEL behind its last event, and print the id of the mark.

    Its readers get what they miss, and then end. It takes no event until its history is forgotten.

    \b
    flask sse close run.7
    """  # noqa: D301  # click looks for the character itself
    click.echo(_shared_state().process().close_channels(channels))


@sse_group.command("forget")
@click.argument("channel")
@click.argument("key")
def forget_command(channel: str, key: str) -> None:
    """
    Forget the value that CHANNEL keeps by KEY, so that new readers do not get it.

    \b
    flask sse forget prices AAPL
    """  # noqa: D301  # click looks for the character itself
    _shared_state().process().forget(channel, key)


@sse_group.command("listen", with_appcontext=False)  # a URL needs no app
@click.argument("targets", nargs=-1, required=True, metavar="URL|CHANNEL...")
@click.option("--since", default="", metavar="ID", help="Resume behind the event with this id.")
@click.option(
    "--header",
    "headers",
    multiple=True,
    metavar="'NAME: VALUE'|@FILE",
    help="Send this header to a URL, or those of a file, one a line. Repeatable.",
)
@click.option(
    "--raw",
    is_flag=True,
    help="Write the bytes of the stream as they come; on a terminal, control characters are escaped.",
)
@click.option("--count", type=click.IntRange(1), metavar="N", help="End after so many events.")
@click.option(
    "--timeout",
    type=click.FloatRange(1, 86_400),
    default=45.0,
    show_default=True,
    metavar="SECONDS",
    help="Silence after which a URL counts as dead, and how long its answer may take to begin.",
)
@click.pass_context
def listen_command(
    context: click.Context,
    targets: tuple[str, ...],
    since: str,
    headers: tuple[str, ...],
    raw: bool,
    count: int | None,
    timeout: float,
) -> None:
    """
    Show events as they come, each as one line of JSON with id, type and data.

    Channels are read from the bus itself, whoever may read them on the web. A URL is followed as a browser
    does, and needs no app: the command reconnects, resumes, and reads what is not quite an event stream. It
    ends with status 0 when the server says that there is no more (204), and with 1 when the server refuses.
    Ctrl-C ends either with status 130.

    \b
    flask sse listen orders news
    flask sse listen orders --since 5916f355feae-41
    flask sse listen 'https://shop.example.com/events?channel=orders' --header @secret.txt
    flask sse listen 'https://shop.example.com/events?channel=orders' --raw > stream.txt
    """  # noqa: D301  # click looks for the character itself
    urls = [target for target in targets if target.startswith(("http://", "https://"))]
    if urls and len(targets) > 1:
        raise click.UsageError("Give one URL, or channels.")
    if headers and not urls:
        raise click.UsageError("--header is for a URL: channels are read from the bus.")
    if not since.isprintable():
        raise click.UsageError("--since must be the id of an event, printable and on one line.")
    if urls:
        parsed = [_header(number, line) for number, line in enumerate(_header_lines(headers), 1)]
        try:
            address = parse_address(urls[0])
        except ValueError as error:
            raise click.UsageError(
                f"This is no URL that can be followed: {printable(str(error))}."
            ) from error
        chunks = follow(address, parsed, since, timeout, lambda text: click.echo(printable(text), err=True))
    else:
        context.with_resource(context.ensure_object(ScriptInfo).load_app().app_context())
        state = _shared_state()
        chunks = read_bus(state, check_channels(targets, len(targets)), since)
    with closing(chunks):
        write_events(chunks, count, as_bytes=raw)


def _header_lines(headers: tuple[str, ...]) -> Iterator[str]:
    """Yield the headers that were given, and those in files, which a list of processes does not show."""
    for header in headers:
        if not header.startswith("@"):
            yield header
            continue
        try:
            text = Path(header[1:]).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            why = type(error).__name__
            raise click.UsageError(f"--header cannot read {shown(header[1:])}: {why}.") from None
        yield from text.splitlines()


def _header(number: int, line: str) -> tuple[str, str]:
    try:
        return parse_header(line)
    except ValueError as error:
        # By its number: the header may be secret, and the log of a job keeps this message.
        raise click.UsageError(f"--header number {number} cannot be sent: {error}.") from None


@sse_group.command("stats")
@click.option(
    "--watch",
    is_flag=False,
    flag_value=2.0,
    type=click.FloatRange(0.1),
    metavar="[SECONDS]",
    help="Look again every 2 seconds, or as given.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object for each look.")
def stats_command(watch: float | None, as_json: bool) -> None:
    """
    Show what the processes that have streams do.

    \b
    flask sse stats --watch
    flask sse stats --json | jq .streams
    """  # noqa: D301  # click looks for the character itself
    process = _shared_state().process()
    while True:
        stats = process.stats_of_all()
        click.echo(json.dumps(stats) if as_json else _table(stats))
        if watch is None:
            return
        time.sleep(watch)


@sse_group.command("channels")
@click.option("--json", "as_json", is_flag=True, help="One JSON object, name to listeners.")
def channels_command(as_json: bool) -> None:
    """Show the channels that somebody listens to, and how many do, in all processes."""
    channels = _shared_state().process().stats_of_all()["channels"]
    if as_json:
        click.echo(json.dumps(channels))
        return
    for name, listeners in channels.items():
        click.echo(f"{_cell(listeners):>8}  {_cell(name)}")


def _shared_state() -> AppState:
    state: AppState | None = current_app.extensions.get(EXTENSION_KEY)
    if state is None:
        raise click.ClickException(
            f"flask_sse_push is not registered on app {current_app.name!r}. "
            "Call app.register_blueprint(sse) where the app is made."
        )
    if not state.process().bus.shared:
        raise click.ClickException(
            "The bus of this app belongs to its server alone, and no other process can reach it. "
            "Set SSE_PUSH_BUS_URL for the server and for this command, "
            'to something like "sqlite:////var/lib/shop/events.db" or "redis://localhost:6379/0".'
        )
    return state


def _lines() -> Iterator[str]:
    return (line.removesuffix("\n") for line in sys.stdin)


def _read_all() -> str:
    text = sys.stdin.read().removesuffix("\n")
    if not text:
        # More likely the command before the pipe has failed than that somebody wants an empty event.
        raise click.ClickException('Nothing came on standard input. Give "" as DATA for an empty event.')
    return text


def _compact(text: str) -> str:
    """Return JSON without white space, in the order in which it was written."""
    try:
        return json.dumps(json.loads(text, parse_constant=_refuse), separators=(",", ":"), allow_nan=False)
    except (ValueError, RecursionError) as error:
        raise click.ClickException(
            f"DATA must be JSON, got {shown(text, 200)} ({error}). "
            "Quote it for the shell, or leave --json out."
        ) from error


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


def _cell(value: object) -> str:
    """Return a value of a report so that a terminal shows it: others can write to the store, too."""
    return "-" if value is None else printable(str(value))


def _table(stats: dict[str, Any]) -> str:
    history, processes = stats["history"], stats["processes"]
    speed = f"{stats['events_per_second']:g} events/s, lag {stats['lag']}"
    last = _cell(stats["last_event_id"] or "none")
    kept = f"{history['events']} kept ({history['bytes']} bytes), last {last}"
    streams = f"{stats['streams']} streams in {len(processes)} processes"
    lines = [f"{_cell(stats['bus'])}: {streams}, {speed}, {kept}"]
    row = "{:<24} {:>8} {:>8} {:>10} {:>6} {:>9}"
    if processes:
        lines.append(row.format("host", "pid", "streams", "published", "lag", "up, s"))
    for process in processes:
        *cells, uptime = [_cell(process.get(name)) for name in _COLUMNS]
        lines.append(row.format(*cells, uptime.partition(".")[0]))
    return "\n".join(lines)
