"""The page about the shell says what the commands do."""

import re
import shlex

import click

from flask_sse_push.operations.cli import sse_group
from tests.servers.harness import ROOT

PAGE = (ROOT / "docs/shell.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


def test_shell_page_code_runs():
    """The Python of the page runs as it is printed."""
    (code,) = blocks("python")
    exec(compile(code, "docs/shell.md", "exec"), {})  # noqa: S102


def test_shell_page_commands_exist():
    """Each command of the page is one, with these options; it is parsed and not run."""
    found = 0
    for line in "".join(blocks("sh")).splitlines():
        flask, sse, name, *arguments = shlex.split(line)
        assert (flask, sse) == ("flask", "sse")
        command = sse_group.commands[name]
        assert command.make_context(name, arguments, resilient_parsing=False).params["targets"]
        found += 1
    assert found == 2


def test_shell_page_names_every_command_and_option():
    """What the page names is there, and it names all commands."""
    assert {name for name in sse_group.commands if f"`{name}`" in PAGE} == set(sse_group.commands)
    known = {
        option
        for command in sse_group.commands.values()
        for parameter in command.params
        if isinstance(parameter, click.Option)
        for option in parameter.opts
    }
    assert set(re.findall(r"(--[a-z]+)", PAGE)) - {"--help"} <= known
