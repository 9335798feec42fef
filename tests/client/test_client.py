"""The browser's half: its own tests in node, its minified files, its types."""

import gzip
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from flask_sse_push import __version__
from tests.client.build import CLIENT, MINIFIED, minify
from tests.needs import lacking, needs

FOLDER = Path(__file__).parent

TYPESCRIPT = "typescript@7.0.2"


@pytest.fixture(scope="module")
def npm(tmp_path_factory):
    """Return a folder into which npm has installed what builds and checks the files."""
    needs("node", "npm")
    folder = tmp_path_factory.mktemp("npm")
    try:
        made = minify(folder)
    except (subprocess.SubprocessError, OSError) as error:
        lacking(f"needs npm's registry ({error})")
    return folder, made


@pytest.mark.parametrize("name", sorted(path.name for path in FOLDER.glob("*.test.mjs")))
def test_node_tests_pass(name):
    """The parser and the source do what their own tests say, on a fake clock, in node."""
    needs("node")
    done = subprocess.run(
        ["node", "--test", str(FOLDER / name)], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout[-8000:]
    passed = re.search(r"^# pass (\d+)$", done.stdout, re.MULTILINE)
    assert passed and int(passed[1]) > 3, done.stdout[-2000:]
    assert "# skipped 0" in done.stdout


@pytest.mark.parametrize("name", MINIFIED.values())
def test_minified_file_is_made_of_its_source(npm, name):
    """The minified file that is committed is the source of today: python -m tests.client.build makes it."""
    assert (CLIENT / name).read_bytes() == npm[1][name]


@pytest.mark.parametrize(("name", "most"), [("sse-push.min.js", 6000), ("sse-status.min.js", 1200)])
def test_minified_file_is_small(name, most):
    """What a page loads takes few bytes, as gzip sends them."""
    assert len(gzip.compress((CLIENT / name).read_bytes(), 9, mtime=0)) <= most


def test_types_are_those_of_an_event_source(npm):
    """TypeScript accepts what a user may write, where an EventSource is asked for too, and nothing else."""
    folder = npm[0]
    command = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(folder), TYPESCRIPT]
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=300)
    except (subprocess.SubprocessError, OSError) as error:
        lacking(f"needs npm's registry ({error})")
    (folder / "node_modules/sse-push").symlink_to(CLIENT)
    shutil.copy(FOLDER / "types.ts", folder)
    options = ["--strict", "--noEmit", "--target", "es2022", "--module", "nodenext", "--types", ""]
    done = subprocess.run(
        [f"{folder}/node_modules/.bin/tsc", *options, str(folder / "types.ts")],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_package_is_of_this_version():
    """The npm-shaped folder has the version of the Python package, no dependency, and all its files."""
    package = json.loads((CLIENT / "package.json").read_text())
    assert package["version"] == __version__
    assert "dependencies" not in package
    files = [package["main"], package["types"]]
    for export in package["exports"].values():
        files += export.values() if isinstance(export, dict) else [export]
    assert all((CLIENT / name).is_file() for name in files)
