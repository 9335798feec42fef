"""Imports point one way, and importing does nothing."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import flask_sse_push
from tests.needs import needs

PACKAGE = Path(flask_sse_push.__file__).parent
MODULES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}
FORBIDDEN_IN_CORE = {
    "threading",
    "_thread",
    "time",
    "datetime",
    "asyncio",
    "socket",
    "select",
    "queue",
    "sqlite3",
    "os",
    "random",
    "secrets",
}


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
            base = [
                *package[: len(package) - node.level + 1],
                *(node.module.split(".") if node.module else []),
            ]
            for alias in node.names:
                name = ".".join([*base, alias.name])
                found.add(name if name in MODULES else ".".join(base) or "__init__")
    return found - {module}


def _at_import(tree):
    """
    The nodes that run when the module is imported: not those in functions, nor those for type checkers only.
    """
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


ROOMS = {
    "": {"", "core", "platform", "bus", "streams", "extension"},
    "core": {"errors"},
    "platform": {"errors"},
    "bus": {"errors", "core", "platform"},
    "streams": {"errors", "core", "platform", "bus.base"},
    "extension": {"errors", "signals", "version", "core", "platform", "bus", "streams"},
    "operations": {"errors", "signals", "version", "core", "platform", "bus", "streams", "extension"},
}
"""
What the modules of each room may import beside their own room; ``""`` is the package itself, with the public
paths.
"""

PUBLIC = {"__init__", "errors", "signals", "testing", "version"}

# What a room may use that is neither of this package nor of the standard library.
FOREIGN = {
    "": {"blinker", "flask", "werkzeug"},
    "core": set(),
    "platform": {"gevent"},
    "bus": {"blinker", "gevent", "redis"},
    "streams": {"gevent"},
    "extension": {"blinker", "click", "flask", "itsdangerous", "markupsafe", "werkzeug"},
    "operations": {"click", "flask", "werkzeug"},
}


def room_of(module):
    """
    The room of a module: the folder it is in, ``""`` for the public paths, and ``None`` for what is in no
    room.
    """
    first, dot, _ = module.partition(".")
    if dot or first in ROOMS:
        return first if first in ROOMS else None
    return "" if module in PUBLIC else None


def allowed(module):
    return {room_of(module), *ROOMS[room_of(module)]}


def is_reached(module, rooms):
    """Whether a module is one of those that a row of the table names, or in a room that it names."""
    return module in rooms or room_of(module) in rooms


def test_modules_are_found():
    """The parser sees the package as it is: an empty set of imports would prove nothing."""
    assert {
        "errors",
        "core.log",
        "streams.hub",
        "streams.stream",
        "bus.memory",
        "extension.blueprint",
        "__init__",
    } <= set(MODULES)
    assert "core.log" in own("streams.hub")
    assert "errors" in own("core.event")
    assert "core.positions" in own("core.event")
    assert "bus.urls" in own("extension.state")
    assert "flask" in foreign("extension.blueprint")


@pytest.mark.parametrize("module", MODULES)
def test_module_is_in_a_room(module):
    """A module in no room would be bound by no rule."""
    assert room_of(module) is not None


@pytest.mark.parametrize("module", MODULES)
def test_module_imports_what_its_room_may(module):
    """An arrow that the table does not name is an error, whoever draws it."""
    assert {name for name in own(module) if not is_reached(name, allowed(module))} == set()


@pytest.mark.parametrize("module", MODULES)
def test_module_uses_the_libraries_of_its_room(module):
    """Flask is seen by the extension, a store's driver by its bus, gevent where waiting is."""
    assert foreign(module) - set(sys.stdlib_module_names) <= FOREIGN[room_of(module)]


def test_rooms_have_no_circle():
    """The rooms stand on each other: none is under itself."""
    graph = {
        room: {name.partition(".")[0] for name in rooms} & set(ROOMS) - {room, ""}
        for room, rooms in ROOMS.items()
    }
    while graph:
        free = {room for room, needs in graph.items() if not needs & set(graph)}
        assert free, f"in a circle: {sorted(graph)}"
        graph = {room: needs for room, needs in graph.items() if room not in free}


@pytest.mark.parametrize("module", [name for name in MODULES if room_of(name) == "core"])
def test_core_is_pure(module):
    """Nothing in core knows of clocks, threads, sockets or chance."""
    assert not foreign(module) & FORBIDDEN_IN_CORE


def test_errors_imports_nothing_of_the_package():
    """Everybody can import errors, because errors imports nobody."""
    assert own("errors") == set()


@pytest.mark.parametrize(
    "statement",
    [
        "import flask_sse_push",
        "import flask_sse_push.testing",
        "import flask_sse_push.errors",
        "import flask_sse_push.signals",
        "from flask_sse_push.bus.redis import redis_bus",
    ],
)
def test_public_path_can_be_imported_first(statement):
    """Each public path works in a fresh interpreter, whatever else was imported."""
    needs(modules=["redis"])
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", statement],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("module", [name for name in MODULES if name != "__init__"])
def test_nobody_imports_the_package_itself(module):
    """Modules import each other, never the list of public names."""
    assert "__init__" not in own(module)


def test_imports_have_no_circle():
    """At import time no module waits for one that waits for it."""
    graph = {
        name: {other for other in imports(name, everywhere=False) if other in MODULES} for name in MODULES
    }
    while graph:
        free = {name for name, needs in graph.items() if not needs & set(graph)}
        assert free, f"in a circle: {sorted(graph)}"
        graph = {name: needs for name, needs in graph.items() if name not in free}


@pytest.mark.parametrize("module", MODULES)
def test_module_lists_its_names(module):
    """Every module that defines something says in __all__ what others may use, and all of that is there."""
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    if not any(
        isinstance(node, ast.Assign | ast.AnnAssign | ast.FunctionDef | ast.ClassDef | ast.ImportFrom)
        for node in tree.body
    ):
        return
    lists = [
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__"
    ]
    assert len(lists) == 1
    names = ast.literal_eval(lists[0])
    defined = {
        node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    }
    defined |= {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    defined |= {
        alias.asname or alias.name
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
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
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
