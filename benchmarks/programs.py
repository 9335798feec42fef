"""The programs in C: compiled when they are older than their source."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from .errors import BrokenRun

__all__ = ["BUILD", "build", "program"]

BUILD = Path(__file__).with_name("build")
"""Where everything is put that can be made again; git does not look there."""


def program(name: str) -> Path:
    """Return where :func:`build` puts the program of a source file."""
    return BUILD / name


def build(name: str) -> None:
    """
    Compile a program, unless it is newer than its source.

    Args:
        name (str): Of the source file beside this one, without its ``.c``.

    Raises:
        BrokenRun: There is no gcc, or it refuses.
    """
    source = Path(__file__).with_name(f"{name}.c")
    if program(name).exists() and program(name).stat().st_mtime > source.stat().st_mtime:
        return
    gcc = shutil.which("gcc")
    if gcc is None:
        raise BrokenRun(
            f"{source.name} needs gcc, which is not on PATH. Install it (Debian, Ubuntu: apt install "
            "gcc libc6-dev)."
        )
    BUILD.mkdir(exist_ok=True)
    done = subprocess.run(
        [gcc, "-O2", "-Wall", "-Wextra", "-o", str(program(name)), str(source)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise BrokenRun(f"gcc could not compile {source.name}:\n{done.stderr}")
