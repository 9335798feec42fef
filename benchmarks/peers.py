"""What is measured: the name of each peer, the command that starts it, and what it needs."""

from __future__ import annotations

import functools
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

from .programs import program

__all__ = [
    "PACKAGE",
    "PEERS",
    "RECIPE",
    "REFERENCE",
    "Peer",
    "gunicorn_gevent",
    "gunicorn_versions",
    "version_of",
]

REFERENCE = "reference"
"""The peer that tells what the machine can do."""

RECIPE = "recipe"
"""The peer that everybody begins with."""

PACKAGE = "flask_sse_push"
"""The peer that all this is about."""

_PROGRAM_PATH = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/usr/local/sbin"


@dataclass(frozen=True)
class Peer:
    """A way to push that can be started."""

    name: str
    """How the command line and the raw results call it."""
    title: str
    """How tables and plots call it."""
    command: Callable[[int], list[str]]
    """Returns what to run, given a port of 127.0.0.1."""
    missing: Callable[[], str | None] = lambda: None
    """Returns what this machine lacks to start it; ``None`` when nothing."""
    versions: Callable[[], str] = lambda: ""
    """Returns what it is made of, with versions."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Added to the environment of the command."""
    path: str = "/events?channel=c%d"
    """Where its streams are; ``%d`` is the number of the channel."""
    post_path: str | None = None
    """
    Where the load generator has to POST each event; ``None`` for a server that publishes by itself when
    ``/publish`` is asked.
    """
    is_silent: bool = False
    """Whether it sends no header before the first event. It then counts its streams at ``/listeners``."""
    files_per_stream: int = 1
    """How many files one process of it has open for each stream."""
    folder: Path | None = None
    """Where the command runs; ``None`` for the root of this checkout."""


def gunicorn_gevent(module: str, workers: int = 1) -> Callable[[int], list[str]]:
    """Return the command that runs a module of ``benchmarks.servers`` in gevent workers."""

    def command(port: int) -> list[str]:
        return [
            *(
                sys.executable,
                "-m",
                "gunicorn",
                "-k",
                "gevent",
                "-w",
                str(workers),
                "--worker-connections",
                "19000",
                "--backlog",
                "4096",
            ),
            *("--bind", f"127.0.0.1:{port}", f"benchmarks.servers.{module}:app"),
        ]

    return command


def version_of(*command: str) -> str:
    """Return the first version number that a command prints; ``?`` when there is none."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except OSError:
        return "?"
    found = re.search(r"\d+\.[\d.]*\d", done.stdout + done.stderr)
    return found.group() if found else "?"


def _distributions(*names: str) -> Callable[[], str]:
    return lambda: ", ".join(f"{name} {metadata.version(name)}" for name in names)


def _lacks(*modules: str, programs: tuple[str, ...] = ()) -> Callable[[], str | None]:
    def missing() -> str | None:
        for name in programs:
            if shutil.which(name, path=_PROGRAM_PATH) is None:
                return f"{name} was not found"
        for name in modules:
            if importlib.util.find_spec(name) is None:
                return f"the module {name} is not installed (the extra `benchmark` has it)"
        return None

    return missing


_GUNICORN = ("gunicorn", "gevent", "flask")


def gunicorn_versions() -> str:
    """Return the versions of this package and of what its servers here are made of."""
    return _distributions("flask_sse_push", "redis", *_GUNICORN)()


def _uvicorn(port: int) -> list[str]:
    return [
        *(
            sys.executable,
            "-m",
            "uvicorn",
            "--loop",
            "uvloop",
            "--http",
            "httptools",
            "--no-access-log",
            "--log-level",
            "warning",
            "--backlog",
            "4096",
        ),
        *("--host", "127.0.0.1", "--port", str(port), "benchmarks.servers.sse_starlette:app"),
    ]


@functools.cache
def _better_sse() -> Path | None:
    """
    Return the file that ``require("better-sse")`` is, which node looks for where ``NODE_PATH`` says; ``None``
    without one, or without node.
    """
    if shutil.which("node") is None:
        return None
    found = subprocess.run(
        ["node", "-p", 'require.resolve("better-sse")'],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    return Path(found.stdout.strip()) if found.returncode == 0 else None


def _better_sse_is_missing() -> str | None:
    if shutil.which("node") is None:
        return "node was not found"
    return (
        None
        if _better_sse()
        else "node does not find better-sse (npm install better-sse in a folder, and its node_modules in "
        "NODE_PATH)"
    )


def _better_sse_versions() -> str:
    file = _better_sse()
    package = (
        next((folder / "package.json" for folder in file.parents if (folder / "package.json").exists()), None)
        if file
        else None
    )
    found = re.search(r'"version": "([^"]+)"', package.read_text(encoding="utf-8")) if package else None
    return f"better-sse {found.group(1) if found else '?'}, node {version_of('node', '--version')}"


def _nginx() -> str | None:
    return shutil.which("nginx", path=_PROGRAM_PATH)


@functools.cache
def _nchan_module() -> Path | None:
    """Return nginx' module, from the folder that nginx was built with."""
    nginx = _nginx()
    if nginx is None:
        return None
    built = subprocess.run([nginx, "-V"], capture_output=True, text=True, timeout=10, check=False).stderr
    folder = re.search(r"--modules-path=(\S+)", built)
    module = Path(folder.group(1) if folder else "/usr/lib/nginx/modules") / "ngx_nchan_module.so"
    return module if module.exists() else None


def _nchan_is_missing() -> str | None:
    if _nginx() is None:
        return "nginx was not found"
    return (
        None
        if _nchan_module()
        else "nginx has no module nchan (Debian, Ubuntu: apt install libnginx-mod-nchan)"
    )


def _nchan_versions() -> str:
    package = shutil.which("dpkg-query")
    nchan = version_of(package, "-W", "-f", "${Version}", "libnginx-mod-nchan") if package else "?"
    return f"nchan {nchan}, nginx {version_of(_nginx() or 'nginx', '-v')}"


PEERS = (
    Peer(
        REFERENCE,
        "reference in C",
        lambda port: [str(program("reference")), str(port)],
        versions=lambda: f"gcc {version_of('gcc', '--version')}",
    ),
    Peer(
        RECIPE,
        "recipe: Flask, gevent queue",
        gunicorn_gevent("recipe"),
        _lacks("gunicorn", "gevent"),
        _distributions(*_GUNICORN),
    ),
    Peer(
        PACKAGE,
        "flask_sse_push",
        gunicorn_gevent("flask_sse_push"),
        _lacks("gunicorn", "gevent"),
        _distributions("flask_sse_push", *_GUNICORN),
    ),
    Peer(
        "portable",
        "flask_sse_push, portable",
        gunicorn_gevent("flask_sse_push"),
        _lacks("gunicorn", "gevent"),
        _distributions("flask_sse_push", *_GUNICORN),
        {"FLASK_SSE_PUSH_DIRECT_WRITE": "false"},
    ),
    Peer(
        "flask_sse",
        "Flask-SSE, Redis",
        lambda port: [sys.executable, "-m", "benchmarks.servers.flask_sse", str(port)],
        _lacks("gunicorn", "gevent", "flask_sse", "redis", programs=("redis-server",)),
        lambda: (
            f"{_distributions('flask-sse', 'redis', *_GUNICORN)()}, redis-server "
            f"{version_of('redis-server', '--version')}"
        ),
        is_silent=True,
        files_per_stream=2,
    ),
    Peer(
        "sse_starlette",
        "sse-starlette, uvicorn",
        _uvicorn,
        _lacks("sse_starlette", "uvicorn", "uvloop", "httptools"),
        _distributions("sse-starlette", "starlette", "uvicorn", "uvloop", "httptools"),
    ),
    Peer(
        "better_sse",
        "better-sse, node",
        lambda port: ["node", str(Path(__file__).with_name("servers") / "better_sse.cjs"), str(port)],
        _better_sse_is_missing,
        _better_sse_versions,
    ),
    Peer(
        "nchan",
        "nchan, nginx",
        lambda port: [sys.executable, "-m", "benchmarks.servers.nchan", str(port), str(_nchan_module())],
        _nchan_is_missing,
        _nchan_versions,
        post_path="/publish?channel=c%d",
    ),
)
"""All of them, in the order of the tables."""
