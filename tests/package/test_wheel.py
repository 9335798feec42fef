"""What is installed is what was tested."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

STREAM_ONE_EVENT = """
import sys
from pathlib import Path

import flask
import flask_sse_push

assert Path(sys.argv[1]) not in Path(flask_sse_push.__file__).parents, flask_sse_push.__file__
from flask_sse_push import publish, sse
from flask_sse_push.testing import open_stream

app = flask.Flask("clean")
app.register_blueprint(sse)
with open_stream(app.test_client(), "/events") as stream:
    publish({"hello": "wheel"}, type="greeting")
    event = stream.read(1)[0]
print(event.type, event.json["hello"])
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    # From a copy, so that no build folder is left in the checkout, and none of an earlier build gets in.
    source = folder / "source"
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    for name in listed.stdout.splitlines():
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--outdir", str(folder), str(source)],
        check=True,
        capture_output=True,
    )
    return next(folder.glob("*.whl"))


def test_wheel_holds_the_package_and_nothing_else(wheel):
    """
    The wheel has every module, py.typed and the licence, and neither tests nor the example.
    """
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "flask_sse_push").rglob("*.py")}
    assert modules <= set(names)
    assert "flask_sse_push/py.typed" in names
    assert any(name.endswith("LICENSE") for name in names)
    assert {name.split("/")[0].split("-")[0] for name in names} == {"flask_sse_push"}


def test_wheel_streams_from_a_clean_environment(wheel, tmp_path):
    """
    Installed into an empty environment, away from the checkout, it streams an event.
    """
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    environment = {
        key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")
    }
    subprocess.run(
        [python, "-m", "pip", "install", "-q", "--disable-pip-version-check", str(wheel)],
        check=True,
        capture_output=True,
        env=environment,
    )
    done = subprocess.run(
        [python, "-c", STREAM_ONE_EVENT, str(ROOT)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout == "greeting wheel\n", done.stderr
