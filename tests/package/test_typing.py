"""The types that users see, checked on the installed wheel by mypy and by pyright."""

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import flask_sse_push
import flask_sse_push.testing
from tests.needs import needs
from tests.package.conftest import run
from tests.support import FACTOR

API = Path(__file__).parents[1] / "typing/api.py"

WRONG = {
    "flask_sse_push.publish('x', type=7)": "arg-type",
    "flask_sse_push.publish('x', id='7')": "arg-type",
    "flask_sse_push.publish('x', retry='soon')": "arg-type",
    "flask_sse_push.publish('x', channel=7)": "arg-type",
    "flask_sse_push.publish()": "call-arg",
    "flask_sse_push.Event(b'x')": "arg-type",
    "flask_sse_push.Event('x').data = 'y'": "misc",
    "flask_sse_push.sse.stream(7)": "arg-type",
    "flask_sse_push.sse.response(7)": "arg-type",
    "flask_sse_push.nothing": "attr-defined",
}
"""What a type checker must refuse, and what mypy calls it."""


@pytest.fixture(scope="module")
def wrong_program(tmp_path_factory):
    """A program with one mistake in each line after the first."""
    program = tmp_path_factory.mktemp("wrong") / "wrong.py"
    program.write_text("\n".join(["import flask_sse_push", *WRONG]) + "\n", encoding="utf-8")
    return program


def check(*argv, cwd, **environment):
    """Run a type checker, and return what it printed; it may complain."""
    done = subprocess.run(
        [sys.executable, "-m", *map(str, argv)],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=110 * FACTOR,
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return done.stdout


def mypy(installed, program):
    """What mypy --strict says of a program in the clean environment, without a configuration of ours."""
    needs(modules=["mypy"])
    folder = program.parent
    strict = ["--strict", "--config-file=", "--cache-dir", folder / "mypy", "--python-executable", installed]
    return check("mypy", *strict, program, cwd=folder)


def pyright(installed, program):
    """What pyright says of a program in the clean environment, in its strict mode."""
    needs(modules=["basedpyright"])  # pyright's own package fetches itself by npm, this one brings its node
    settings = {"include": [program.name], "typeCheckingMode": "strict"}
    (program.parent / "pyrightconfig.json").write_text(json.dumps(settings), encoding="utf-8")
    options = ["--pythonpath", installed, "--outputjson", "--project", program.parent]
    report = json.loads(check("basedpyright", *options, cwd=program.parent))
    return [problem for problem in report["generalDiagnostics"] if problem["severity"] == "error"]


@pytest.fixture
def user_program(tmp_path):
    """The program that uses the public API, away from the checkout."""
    program = tmp_path / "api.py"
    program.write_bytes(API.read_bytes())
    return program


def test_public_api_type_checks_with_mypy(installed, user_program):
    """mypy --strict accepts the public API as a user writes it."""
    assert "Success" in mypy(installed, user_program)


def test_public_api_type_checks_with_pyright(installed, user_program):
    """pyright's strict mode accepts it too."""
    assert pyright(installed, user_program) == []


def test_mypy_refuses_wrong_types(installed, wrong_program):
    """A wrong argument is found before the program runs."""
    found = dict.fromkeys(WRONG, "")
    for number, code in re.findall(
        r"wrong\.py:(\d+): error: .*\[([a-z-]+)\]", mypy(installed, wrong_program)
    ):
        found[list(WRONG)[int(number) - 2]] += code
    assert {line for line, complaint in WRONG.items() if complaint not in found[line]} == set()


def test_pyright_refuses_wrong_types(installed, wrong_program):
    """pyright finds the same wrong lines, and so takes its types from the package too."""
    lines = {problem["range"]["start"]["line"] - 1 for problem in pyright(installed, wrong_program)}
    assert lines == set(range(len(WRONG)))


def test_types_of_the_wheel_are_complete(installed, tmp_path):
    """pyright finds py.typed in the wheel, and a type for every public symbol."""
    needs(modules=["basedpyright"])
    # Here it asks the first Python of the path, whatever --pythonpath says.
    path = f"{installed.parent}{os.pathsep}{os.environ['PATH']}"
    options = ["--verifytypes", "flask_sse_push", "--ignoreexternal", "--outputjson"]
    report = json.loads(check("basedpyright", *options, cwd=tmp_path, PATH=path))["typeCompleteness"]
    counts = report["exportedSymbolCounts"], report["otherSymbolCounts"]
    assert report["pyTypedPath"].startswith(str(installed.parents[1]))
    assert counts[0]["withKnownType"] > 100
    assert [count["withUnknownType"] for count in counts] == [0, 0]


def test_public_names_are_all_used_there():
    """No public name escapes the type check."""
    tree = ast.parse(API.read_text(encoding="utf-8"))
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)} | {
        node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)
    }
    assert set(flask_sse_push.__all__) | set(flask_sse_push.testing.__all__) <= used


def test_package_says_that_it_is_typed(installed, tmp_path):
    """py.typed is installed, without which type checkers ignore the annotations."""
    where = "import importlib.resources as r; print(r.files('flask_sse_push').joinpath('py.typed').is_file())"
    assert run(installed, "-c", where, cwd=tmp_path) == "True\n"
