"""Imports point one way, and importing does nothing."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import flask_sse_push

PACKAGE = Path(flask_sse_push.__file__).parent
MODULES = {".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__"): path for path in sorted(PACKAGE.rglob("*.py"))}
FORBIDDEN_IN_CORE = {"threading", "_thread", "time", "datetime", "asyncio", "socket", "select", "queue", "flask", "werkzeug", "redis", "gevent", "blinker", "sqlite3", "os", "random", "secrets"}


def imports(module, everywhere=True):
    """
    Return what a module imports: modules of the package by their names in it, others with a leading ``/``.

    Args:
        module (str): Its name in the package; ``__init__`` for the package itself.
        everywhere (bool): Also inside functions.
    """
    path = MODULES[module]
    tree = ast.parse(path.read_text(encoding="utf-8"))
    package = path.relative_to(PACKAGE).parent.parts
    nodes = ast.walk(tree) if everywhere else _at_import(tree)
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {"/" + alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add("/" + node.module)
        elif isinstance(node, ast.ImportFrom):
            base = [*package[: len(package) - node.level + 1], *(node.module.split(".") if node.module else [])]
            for alias in node.names:
                name = ".".join([*base, alias.name])
                found.add(name if name in MODULES else ".".join(base) or "__init__")
    return found - {module}


def _at_import(tree):
    """The nodes that run when the module is imported: not those in functions, nor those for type checkers only."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            continue
        yield node
        yield from _at_import(node)


def own(module):
    return {name for name in imports(module) if not name.startswith("/")}


def foreign(module):
    return {name[1:].partition(".")[0] for name in imports(module) if name.startswith("/")}


CORE = [name for name in MODULES if name.split(".")[0] == "core"]
BUS = [name for name in MODULES if name.split(".")[0] == "bus"]


def test_modules_are_found():
    """The parser sees the package as it is: an empty set of imports would prove nothing."""
    assert {"errors", "core.log", "hub", "stream", "bus.memory", "blueprint", "__init__"} <= set(MODULES)
    assert "core.log" in own("hub")
    assert "errors" in own("core.event")
    assert "core.ids" in own("core.event")
    assert "bus" in own("state")
    assert "server" in own("stream")
    assert "flask" in foreign("blueprint")


@pytest.mark.parametrize("module", CORE)
def test_core_is_pure(module):
    """Nothing in core knows of clocks, threads, sockets, Flask, Redis, gevent or blinker."""
    assert not foreign(module) & FORBIDDEN_IN_CORE
    assert foreign(module) <= set(sys.stdlib_module_names)


@pytest.mark.parametrize("module", CORE)
def test_core_imports_only_core_and_errors(module):
    """The arrows into core come from errors alone."""
    assert {name for name in own(module) if name.split(".")[0] != "core"} <= {"errors"}


def test_errors_imports_nothing_of_the_package():
    """Everybody can import errors, because errors imports nobody."""
    assert own("errors") == set()


EXTENSION = {"blueprint", "state", "response", "access", "rule", "cors", "testing", "cli", "publisher", "__init__"}


@pytest.mark.parametrize(
    ("modules", "forbidden"),
    [
        (BUS, EXTENSION | {"hub", "stream", "subscription", "pump", "heartbeat", "fanout", "server", "signals", "checks", "decoder"}),
        (["hub", "fanout"], EXTENSION | {"stream", "subscription", "pump", "heartbeat", "server", "signals", "checks", "decoder"}),
        (["heartbeat", "hangups"], EXTENSION | {"hub", "stream", "subscription", "pump", "bus", "signals", "checks", "decoder"}),
        (["stream"], EXTENSION | {"hub", "subscription", "pump", "bus", "signals", "checks", "decoder", "core.log"}),
        (["subscription", "pump"], EXTENSION | {"stream", "heartbeat", "bus", "server", "signals", "checks", "decoder"}),
        (["server", "concurrency", "greenlets"], EXTENSION | {"core", "hub", "stream", "subscription", "pump", "heartbeat", "bus", "signals", "settings", "checks", "decoder"}),
        (
            ["worker", "worker_log", "boot", "children"],
            EXTENSION | {"core", "hub", "stream", "subscription", "pump", "heartbeat", "server", "bus", "signals", "settings", "checks"},
        ),
        (["signals"], EXTENSION | {"hub", "stream", "subscription", "pump", "heartbeat", "bus", "server", "checks", "decoder"}),
        (["settings"], EXTENSION | {"hub", "stream", "subscription", "pump", "heartbeat", "bus.memory", "bus.sqlite", "bus.redis", "bus.follower", "server", "checks", "decoder"}),
        (["publishing", "reports", "runtime"], EXTENSION | {"hub", "stream", "subscription", "pump", "heartbeat", "signals", "settings", "checks", "decoder"}),
        (["publisher"], {"blueprint", "state", "testing", "cli", "__init__", "hub", "stream", "subscription", "heartbeat", "server", "decoder"}),
        (["checks"], EXTENSION | {"hub", "stream", "subscription", "pump", "heartbeat", "bus", "signals", "decoder"}),
        (["decoder"], set(MODULES) - {"errors"}),
        (["refusals"], set(MODULES)),
        (["query"], set(MODULES) - {"refusals", "core", "core.values"}),
        (["rule"], {"access", "settings"}),
        (["response", "access", "rule", "cors"], {"blueprint", "state", "testing", "cli", "publisher", "__init__", "hub", "bus"}),
        (["state"], {"blueprint", "testing", "cli", "publisher", "__init__", "decoder"}),
        (["blueprint"], {"testing", "cli", "publisher", "__init__", "decoder"}),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_arrows_point_one_way(modules, forbidden):
    """Errors, core, then hub and bus, then streams, then the extension, then its helpers: nobody imports what stands on it."""
    for module in modules:
        reached = {name for name in own(module) if name in forbidden or name.split(".")[0] in forbidden}
        assert not reached, module


@pytest.mark.parametrize("module", [name for name in MODULES if name != "__init__"])
def test_nobody_imports_the_package_itself(module):
    """Modules import each other, never the list of public names."""
    assert "__init__" not in own(module)


def test_imports_have_no_circle():
    """At import time no module waits for one that waits for it."""
    graph = {name: {other for other in imports(name, everywhere=False) if other in MODULES} for name in MODULES}
    while graph:
        free = {name for name, needs in graph.items() if not needs & set(graph)}
        assert free, f"in a circle: {sorted(graph)}"
        graph = {name: needs for name, needs in graph.items() if name not in free}


@pytest.mark.parametrize("module", MODULES)
def test_module_lists_its_names(module):
    """Every module that defines something says in __all__ what others may use, and all of that is there."""
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    if not any(isinstance(node, ast.Assign | ast.AnnAssign | ast.FunctionDef | ast.ClassDef | ast.ImportFrom) for node in tree.body):
        return
    lists = [node.value for node in tree.body if isinstance(node, ast.Assign) and node.targets[0].id == "__all__"]
    assert len(lists) == 1
    names = ast.literal_eval(lists[0])
    defined = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    defined |= {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    defined |= {alias.asname or alias.name for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert set(names) <= defined
    assert len(names) == len(set(names))


def test_package_holds_no_code():
    """The package's own module imports and lists, and does nothing else."""
    body = ast.parse(MODULES["__init__"].read_text(encoding="utf-8")).body
    assert all(isinstance(node, ast.Expr | ast.ImportFrom | ast.Assign) for node in body)


def test_import_does_no_work():
    """Importing the package starts no thread, opens no file and brings in neither gevent nor redis."""
    code = """
import os, sys, threading
import flask
def descriptors():
    return len(os.listdir("/dev/fd")) if os.path.isdir("/dev/fd") else 0
before = descriptors()
import flask_sse_push, flask_sse_push.testing
assert threading.active_count() == 1, threading.enumerate()
assert descriptors() == before
assert not {"gevent", "redis"} & set(sys.modules)
app = flask.Flask("a")
app.register_blueprint(flask_sse_push.sse)
assert threading.active_count() == 1, threading.enumerate()
assert descriptors() == before
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
