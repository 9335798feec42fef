"""
The long proofs, and the short ones over several Pythons: ``nox --list`` says what there is.

    nox -s quick               # under a minute, in this Python
    nox -s tests               # over the Pythons that are there, with the lowest and the newest dependencies
    nox -s mutations -- --only jitter
    nox -s soak -- --scenario "redis black hole"
    nox -s browser             # the chaos of tabs, for a minute

What stands behind ``--`` goes to the command. CI does not use nox: ``.ci/run`` runs the short form of each.
"""

from __future__ import annotations

import shutil

import nox

nox.needs_version = ">=2024.10.9"
nox.options.default_venv_backend = "uv|virtualenv" if shutil.which("uv") else "virtualenv"
nox.options.error_on_missing_interpreters = False
nox.options.sessions = ["lint", "quick"]

PYTHONS = ["3.10", "3.11", "3.12", "3.13", "3.14"]

# What a process meets beside what CI has: one dependency at a time, with all others as new as they are.
MATRIX = {
    "flask": ["flask==3.0.*", "flask==3.1.*"],
    "redis": ["redis==6.*", "redis==7.*", "redis==8.*"],
    "blinker": ["blinker==1.8.*"],
    "gevent": ["gevent==26.4.*"],
    "gunicorn": ["gunicorn==27.0.*"],
}

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
    """Run everything but browsers, packages and benchmarks."""
    session.install("-e", ".[test]")
    if dependencies == "lowest":
        pins = session.run("python", "-m", "tests.lowest", silent=True)
        session.install(*str(pins).split())
    session.run("pytest", "-m", "quick or bus or server", *session.posargs)


@nox.session
@nox.parametrize("requirement", [pin for pins in MATRIX.values() for pin in pins])
def matrix(session: nox.Session, requirement: str) -> None:
    """Run the quick layer and the servers with another version of one dependency."""
    session.install("-e", ".[test]")
    session.install(requirement)
    session.run("pytest", "-m", "quick", *session.posargs)
    session.run("pytest", *SERVERS, *session.posargs)


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
    """Run the chaos of tabs, the frozen pages and the memory of a page at full length."""
    session.install("-e", ".[test]")
    tests = ["tests/browser/test_push_source.py", "tests/browser/test_shared_stream.py"]
    session.run("pytest", "-s", "--timeout=600", *tests, *session.posargs, env={"SSE_PUSH_TEST_LONG": "1"})


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
