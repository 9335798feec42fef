"""What a machine may lack: a reason to skip, and a failure where everything must be there."""

import importlib.util
import os
import shutil

import pytest

__all__ = ["lacking", "needs"]


def lacking(reason):
    """Skip the test, or fail it when SSE_PUSH_TEST_REQUIRE_ALL=1 says that nothing may be missing."""
    if os.environ.get("SSE_PUSH_TEST_REQUIRE_ALL") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


def needs(*programs, root=False, modules=()):
    """Go on if the programs and modules are there, and we are root where we must be."""
    for program in programs:
        if shutil.which(program) is None:
            lacking(f"needs the program {program}")
    for module in modules:
        if importlib.util.find_spec(module) is None:
            lacking(f"needs the module {module}")
    if root and os.geteuid() != 0:
        lacking("needs root")
