"""The wheel, and one clean environment in which it is installed, for all tests of the package."""

import contextlib
import fcntl
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
    """Copy what git knows, so that no build folder is left in the checkout, and none of an earlier build gets in."""
    listed = run("git", "ls-files", "--cached", "--others", "--exclude-standard", cwd=ROOT)
    for name in listed.splitlines():
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes((ROOT / name).read_bytes())
    return folder


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory):
    """A folder of this run alone, which the workers of pytest-xdist share."""
    folder = tmp_path_factory.getbasetemp()
    folder = (folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder) / "package"
    folder.mkdir(exist_ok=True)
    return folder


@contextlib.contextmanager
def only_once(folder, name):
    """Yield whether the block is the first to run here; others wait for it."""
    with (folder / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = folder / f"{name}.done"
        yield not done.exists()
        done.touch()


@pytest.fixture(scope="session")
def wheel(shared_folder):
    """The wheel that users would install."""
    with only_once(shared_folder, "wheel") as is_first:
        if is_first:
            source = copy_of_the_checkout(shared_folder / "source")
            run(sys.executable, "-m", "build", "--wheel", "--outdir", shared_folder, source)
    [wheel] = shared_folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="session")
def installed(shared_folder, wheel):
    """The Python of a clean environment with the wheel, its extra for Redis, and nothing of the checkout."""
    python = shared_folder / "venv/bin/python"
    with only_once(shared_folder, "venv") as is_first:
        if is_first:
            run(sys.executable, "-m", "venv", python.parents[1])
            run(python, "-m", "pip", "install", "-q", "--disable-pip-version-check", f"{wheel}[redis]")
    return python
