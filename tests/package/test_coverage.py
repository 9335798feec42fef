"""Every branch of the pure core is taken by a test that does not depend on chance."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_core_is_covered_in_every_branch(tmp_path):
    """
    The tables of tests/core, without the properties, reach each line and each branch of flask_sse_push/core.
    """
    environment = {**os.environ, "COVERAGE_FILE": str(tmp_path / "coverage")}
    tests = [
        str(path.relative_to(ROOT))
        for path in sorted((ROOT / "tests/core").glob("test_*.py"))
        if path.stem not in ("test_properties", "test_architecture")
    ]

    def coverage(*arguments):
        done = subprocess.run(
            [sys.executable, "-m", "coverage", *arguments],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=110,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr

    # What fails there fails there; here only the branches count. Tracing makes the weighing of memory slow,
    # and it takes no branch of its own.
    _, ran = coverage(
        "run",
        "--branch",
        "--source",
        "flask_sse_push/core",
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-k",
        "not real and not TestFollowedLog",
        *tests,
    )
    code, report = coverage("report", "--show-missing", "--fail-under=100")
    assert code == 0, ran[-2000:] + report
