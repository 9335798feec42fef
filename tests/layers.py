"""
In which layer a test is: what it needs, and so when one runs it.

Each test file is in exactly one layer, by the folder it is in, or by its own row where it differs from its
folder.
"""

from pathlib import Path

import pytest

from tests.servers.harness import KINDS

__all__ = ["LAYERS", "group_of", "layer_of"]

LAYERS = {
    "quick": "values, apps in this process, streams stepped by hand, and what every bus promises: under a "
    "minute",
    "bus": "Redis and SQLite, with their faults",
    "server": "real servers as processes, on real sockets",
    "browser": "real pages in a real browser",
    "package": "what is built and installed, type-checked and measured as a whole",
    "bench": "the benchmarks, in short",
    "soak": "faults in a network of servers, clients and proxies, in short",
}

_ROWS = {
    "app": "quick",
    "core": "quick",
    "platform": "quick",
    "unit": "quick",
    "bus": "quick",
    "bus/test_away.py": "bus",
    "bus/test_redis.py": "bus",
    "bus/test_redis_channels.py": "bus",
    "bus/test_redis_faults.py": "bus",
    "bus/test_redis_hostile.py": "bus",
    "bus/test_redis_owner.py": "bus",
    "bus/test_redis_time.py": "bus",
    "bus/test_redis_tls.py": "bus",
    "bus/test_sqlite.py": "bus",
    "bus/test_sqlite_hostile.py": "bus",
    "operations": "quick",
    "operations/test_cli.py": "server",
    "docs": "server",
    "docs/test_browser.py": "browser",
    "docs/test_channels.py": "browser",
    "docs/test_front_ends.py": "browser",
    "docs/test_push_source.py": "browser",
    "docs/test_origins.py": "browser",
    "servers": "server",
    "browser": "browser",
    "client": "browser",
    "package": "package",
    "bench": "bench",
    "soak": "soak",
}

_ROOT = Path(__file__).parent

# Longest first, so that no worker is left with a long one at the end. (Measured in order of magnitude, not
# exact.)
_SLOWEST_FIRST = ["package", "server", "browser", "bus", "bench", "soak", "quick"]


def layer_of(path):
    """
    Return the layer of a test file.

    Raises:
        pytest.UsageError: No row of the table is about it.
    """
    name = Path(path).relative_to(_ROOT).as_posix()
    while name != ".":
        if name in _ROWS:
            return _ROWS[name]
        name = Path(name).parent.as_posix()
    raise pytest.UsageError(
        f"{path} is in no layer. Put it into a folder that tests/layers.py names, or give it a row there."
    )


def group_of(nodeid):
    """
    Return what is run in one process, in order, when pytest-xdist runs several: what shares a fixture.

    A module is one group; where its tests run on several kinds of servers, each kind is one.
    """
    path, _, test = nodeid.partition("::")
    if layer_of(_ROOT.parent / path) == "package":
        return "package"  # one environment for all of them
    kind = max((kind for kind in KINDS if kind in test), key=len, default="")
    return f"{path}:{kind}"


def order_of(item):
    """Return a number by which the slow layers begin first."""
    return _SLOWEST_FIRST.index(layer_of(item.path))
