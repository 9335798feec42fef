"""The page about the shell says what the commands do."""

import json
import re
import shlex

import click

from flask_sse_push.operations.cli import sse_group
from tests.docs.pages import page
from tests.docs.served import APPLICATION, Process, listening, run
from tests.support import MS, eventually

PAGE = page("docs/shell.md")
PUBLISH = PAGE.block("A whole session", "sh", "flask sse publish").strip()
LISTEN = PAGE.block("A whole session", "sh", "flask sse listen orders").strip()
OTHERS = [
    PAGE.block("Other ways to listen", "sh", f"flask sse listen {begins}") for begins in ("'http", "orders")
]


def test_shell_commands_publish_and_listen(serve, tmp_path):
    """`flask sse listen` shows what `flask sse publish` publishes on the bus of the running server."""
    bus = {"SSE_PUSH_BUS_URL": f"sqlite:///{tmp_path}/events.db"}
    shop = serve(APPLICATION, **bus)
    with Process(["bash", "-c", f"exec {LISTEN}"], tmp_path, "listener", **bus) as listener:

        def heard():
            run(["bash", "-c", PUBLISH], tmp_path, **bus)
            return [line for line in listener.log.splitlines() if line.startswith("{")]

        with listening(f"{shop.url}/events?channel=orders") as (_, read):
            line = json.loads(eventually(heard, 30_000 * MS, "the listener shows an order")[0])
            assert (line["type"], json.loads(line["data"])) == ("created", {"id": 7, "item": "tea"})
            assert json.loads(read(1)[0].data) == {"id": 7, "item": "tea"}


def test_shell_page_commands_exist():
    """Each other command of the page is one, with these options; it is parsed and not run."""
    for line in OTHERS:
        flask, sse, name, *arguments = shlex.split(line)
        assert (flask, sse) == ("flask", "sse")
        assert sse_group.commands[name].make_context(name, arguments).params["targets"]


def test_shell_page_names_every_command_and_option():
    """What the page names is there, and it names all commands."""
    assert {name for name in sse_group.commands if f"`{name}`" in PAGE.text} == set(sse_group.commands)
    known = {
        option
        for command in sse_group.commands.values()
        for parameter in command.params
        if isinstance(parameter, click.Option)
        for option in parameter.opts
    }
    assert set(re.findall(r"--[a-z]+(?:-[a-z]+)*", PAGE.text)) - {"--help"} <= known
