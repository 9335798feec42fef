"""
Measure what the quick layer reaches of the package, and hold it to its floors.

    python -m tests.covered                # run the quick layer, then judge
    python -m tests.covered --show         # judge what was measured last, with the lines that nothing reaches
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

__all__ = ["MODULE_PERCENT", "PACKAGE_PERCENT", "main"]

PACKAGE_PERCENT = 90
"""Of all lines and branches together."""

MODULE_PERCENT = 80
"""Of each module's, but for :data:`ELSEWHERE`."""

ELSEWHERE = {
    "bus/auto.py": "chooses by the server: tests/servers",
    "bus/private_folder.py": "is made by workers of a server: tests/servers",
    "bus/redis/__init__.py": "needs a Redis: tests/bus",
    "bus/redis/bus.py": "needs a Redis: tests/bus",
    "bus/redis/endpoints.py": "needs TLS, Sentinel and Cluster: tests/bus",
    "bus/redis/faults.py": "needs a Redis that fails: tests/bus",
    "bus/sqlite/rows.py": "answers foreign rows: tests/bus",
    "platform/boot.py": "runs while a server starts: tests/servers",
    "platform/fork.py": "runs in children, which end without a report",
    "platform/gunicorn.py": "stands on gunicorn's insides: tests/servers",
}
"""What other layers test, and why the quick one cannot reach it all."""

ELSEWHERE_PERCENT = 40
"""Of each of those."""

ROOT = Path(__file__).parents[1]


def main(arguments: list[str] | None = None) -> int:
    """Return 0 when the tests passed and nothing is below its floor."""
    parser = argparse.ArgumentParser(prog="python -m tests.covered", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--show", action="store_true", help="run no tests; show the lines")
    options = parser.parse_args(arguments)
    failed = 0
    if not options.show:
        coverage("erase")
        failed = coverage("run", "-m", "pytest", "-m", "quick", "-q")
        coverage("combine", "-q")
    coverage("report", *(["--show-missing"] if options.show else []), "--skip-covered", "--sort=cover")
    problems = too_low(measured())
    for problem in problems:
        print(problem)
    return 1 if failed or problems else 0


def coverage(*arguments: str) -> int:
    """Run a command of coverage.py, and return its exit code."""
    return subprocess.run([sys.executable, "-m", "coverage", *arguments], cwd=ROOT, check=False).returncode


def measured() -> dict[str, Any]:
    """Return what was measured last, as coverage.py writes it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "coverage.json"
        coverage("json", "-q", "-o", str(path))
        result: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return result


def too_low(report: dict[str, Any]) -> list[str]:
    """Return one sentence for each floor that is not reached."""
    problems = []
    for name, file in sorted(report["files"].items()):
        percent = file["summary"]["percent_covered"]
        is_elsewhere = name.removeprefix("flask_sse_push/") in ELSEWHERE
        floor = ELSEWHERE_PERCENT if is_elsewhere else MODULE_PERCENT
        if percent < floor:
            problems.append(f"{name}: {percent:.0f} % is covered, {floor} % must be. Test it.")
    percent = report["totals"]["percent_covered"]
    print(f"{percent:.1f} % of all lines and branches are covered; the floor is {PACKAGE_PERCENT} %.")
    if percent < PACKAGE_PERCENT:
        problems.append(f"The package: {percent:.1f} % is covered, {PACKAGE_PERCENT} % must be.")
    return problems


if __name__ == "__main__":
    sys.exit(main())
