"""The types that users see."""

import ast
import sys
from pathlib import Path

import pytest

import flask_sse_push
import flask_sse_push.testing
from tests.needs import needs

API = Path(__file__).parent / "typing" / "api.py"


def test_public_api_type_checks(tmp_path):
    """mypy --strict accepts the public API as a user writes it, and takes its types from the package."""
    needs(modules=["mypy"])
    import subprocess

    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path), str(API)]
    done = subprocess.run(
        command, cwd=API.parent.parent.parent, capture_output=True, text=True, timeout=110, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("flask_sse_push.publish('x', type=7)", "arg-type"),
        ("flask_sse_push.publish('x', id='7')", "arg-type"),
        ("flask_sse_push.publish('x', retry='soon')", "arg-type"),
        ("flask_sse_push.publish('x', channel=7)", "arg-type"),
        ("flask_sse_push.publish()", "call-arg"),
        ("flask_sse_push.Event(b'x')", "arg-type"),
        ("flask_sse_push.Event('x').data = 'y'", "misc"),
        ("flask_sse_push.sse.stream(7)", "arg-type"),
        ("flask_sse_push.sse.response(7)", "arg-type"),
        ("flask_sse_push.nothing", "attr-defined"),
    ],
)
def test_public_api_refuses_wrong_types(types_of, line, complaint):
    """A wrong argument is found before the program runs."""
    assert complaint in types_of[line]


@pytest.fixture(scope="module")
def types_of(request, tmp_path_factory):
    """What mypy complains about, by line of the table above: one run for all."""
    needs(modules=["mypy"])
    import re
    import subprocess

    lines = [parameters[0] for parameters in test_public_api_refuses_wrong_types.pytestmark[0].args[1]]
    folder = tmp_path_factory.mktemp("mypy")
    program = folder / "wrong.py"
    program.write_text("import flask_sse_push\n" + "\n".join(lines) + "\n", encoding="utf-8")
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--strict",
        "--config-file=",
        "--cache-dir",
        str(folder / "cache"),
        str(program),
    ]
    out = subprocess.run(
        command, cwd=API.parent.parent.parent, capture_output=True, text=True, timeout=110, check=False
    ).stdout
    complaints = dict.fromkeys(lines, "")
    for number, code in re.findall(r"wrong\.py:(\d+): error: .*\[([a-z-]+)\]", out):
        complaints[lines[int(number) - 2]] += code
    return complaints


def test_public_names_are_all_used_there():
    """No public name escapes the type check."""
    tree = ast.parse(API.read_text(encoding="utf-8"))
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)} | {
        node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)
    }
    assert set(flask_sse_push.__all__) | set(flask_sse_push.testing.__all__) <= used


def test_package_says_that_it_is_typed():
    """py.typed is there, without which type checkers ignore the annotations."""
    assert (Path(flask_sse_push.__file__).parent / "py.typed").exists()
