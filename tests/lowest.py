"""The lowest versions of what users install beside the package, by setup.py: ``python -m tests.lowest``."""

from __future__ import annotations

import re
from pathlib import Path

__all__ = ["lowest"]

NAMES = ("flask", "blinker", "gunicorn", "gevent", "redis")


def lowest() -> list[str]:
    """Return them as requirements."""
    text = (Path(__file__).parents[1] / "setup.py").read_text(encoding="utf-8")
    found = {name: re.search(rf'"{name}(?:\[\w+\])?>=([\d.]+)"', text) for name in NAMES}
    return [f"{name}=={floor[1]}.*" for name, floor in found.items() if floor is not None]


if __name__ == "__main__":
    print(*lowest())
