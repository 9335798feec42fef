"""Several machines, as far as the network goes: each a network namespace with a cable to this one."""

import os
import subprocess
import uuid
from contextlib import ExitStack
from ipaddress import ip_address
from typing import NamedTuple

from tests.needs import lacking, needs

__all__ = ["Machine", "network"]

_FIRST = int(ip_address("198.18.0.0"))  # to 198.19.255.255: for tests of networks (RFC 2544), routed nowhere
_ADDRESSES = 1 << 17


class Machine(NamedTuple):
    address: str
    """Where it is reached from here."""
    here: str
    """Where it reaches this machine."""
    inside: tuple
    """How a command begins that is to run there."""


def network(ends, count):
    """
    Return so many machines, each of which reaches this one and no other.

    Args:
        ends (ExitStack): Takes them away.
        count (int): At most 4.
    """
    needs("ip", root=True)
    name = "sse" + uuid.uuid4().hex[:8]
    # Runs that go on at once, in processes with numbers of their own, have addresses of their own.
    base = _FIRST + os.getpid() * 16 % _ADDRESSES
    with ExitStack() as stack:
        machines = [_machine(stack, f"{name}{number}", base + 4 * number) for number in range(count)]
        ends.push(stack.pop_all())
    return machines


def _machine(ends, name, base):
    here, there = str(ip_address(base + 1)), str(ip_address(base + 2))
    made = subprocess.run(["ip", "netns", "add", name], check=False, capture_output=True, text=True)
    if made.returncode:
        lacking(f"needs to be allowed to make network namespaces: {made.stderr.strip()}")
    ends.callback(_ip, "netns", "del", name)
    _ip("link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", name)
    _ip("addr", "add", f"{here}/30", "dev", name)
    _ip("link", "set", name, "up")
    _ip("-n", name, "addr", "add", f"{there}/30", "dev", "eth0")
    _ip("-n", name, "link", "set", "eth0", "up")
    _ip("-n", name, "link", "set", "lo", "up")
    return Machine(there, here, ("ip", "netns", "exec", name))


def _ip(*words):
    subprocess.run(["ip", *words], check=True, capture_output=True)
