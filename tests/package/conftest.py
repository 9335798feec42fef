"""The wheel, and one clean environment with it, for all tests of the package: they run in one process."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import FACTOR

ROOT = Path(__file__).parents[2]


def run(*argv, cwd=None):
    """Run a program away from the checkout's own package, and fail with what it said."""
    hidden = ("PYTHONPATH", "VIRTUAL_ENV", "MYPYPATH")
    done = subprocess.run(
        [str(argument) for argument in argv],
        cwd=cwd,
        env={key: value for key, value in os.environ.items() if key not in hidden},
        capture_output=True,
        text=True,
        timeout=110 * FACTOR,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def copy_of_the_checkout(folder):
    """Copy what git knows: no build folder is left in the checkout, and none of an earlier build gets in."""
    listed = run("git", "ls-files", "--cached", "--others", "--exclude-standard", cwd=ROOT)
    for name in listed.splitlines():
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes((ROOT / name).read_bytes())
    return folder


@pytest.fixture(scope="session")
def wheel(tmp_path_factory):
    """The wheel that users would install."""
    folder = tmp_path_factory.mktemp("wheel")
    source = copy_of_the_checkout(folder / "source")
    run(sys.executable, "-m", "build", "--wheel", "--outdir", folder, source)
    [wheel] = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="session")
def installed(tmp_path_factory, wheel):
    """The Python of a clean environment with the wheel, its extra for Redis, and nothing of the checkout."""
    folder = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", folder)
    python = folder / "bin/python"
    run(python, "-m", "pip", "install", "-q", "--disable-pip-version-check", f"{wheel}[redis]")
    return python
