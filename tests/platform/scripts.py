"""Python code that needs a process of its own: it patches, forks, or is interrupted anywhere."""

import subprocess
import sys
from pathlib import Path

from tests.support import FACTOR

__all__ = ["run_script"]

ROOT = Path(__file__).parents[2]


def run_script(script):
    """Run Python code in a process of its own, which prints "fine" at its end."""
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60 * FACTOR,
        check=False,
    )
    assert done.stdout == "fine\n", done.stdout + done.stderr
