"""
The kernel's own ``poll`` and ``epoll``, which gevent and eventlet replace or take away when they patch.

They do so because waiting in them would stop their loop. A look that does not wait stops nothing, and needs
no switch to another greenlet.
"""

from __future__ import annotations

import select
import sys
from collections.abc import Sequence
from typing import Any

__all__ = ["HANG_UP", "READABLE", "is_ready", "kernel", "wait_readable"]

HANG_UP = 0
"""For :func:`is_ready`: the other end is closed, or the file has an error. Asked for with all others too."""

READABLE: int = getattr(select, "POLLIN", 1)
"""For :func:`is_ready`: there is something to read."""


def kernel(name: str) -> Any:
    """
    Return a function of the module ``select`` as the interpreter brings it; ``None`` where the system has
    none.

    Args:
        name (str): Such as ``"epoll"``.
    """
    monkey = sys.modules.get("gevent.monkey")
    if monkey is not None and monkey.is_module_patched("select"):
        try:
            return monkey.get_original("select", name)
        except AttributeError:
            return None
    patcher = sys.modules.get("eventlet.patcher")
    if patcher is not None and patcher.is_monkey_patched("select"):
        return getattr(patcher.original("select"), name, None)
    return getattr(select, name, None)


def is_ready(fileno: int, event: int) -> bool:
    """
    Say whether something happened to a file. Never waits, and switches no greenlets.

    Args:
        fileno (int): The file's number, of any size: ``select()`` takes none above 1,023.
        event (int): :data:`READABLE` or :data:`HANG_UP`.
    """
    make = kernel("poll")
    if make is None:  # Windows, whose select() takes any socket, and knows nothing of hang-ups
        return event == READABLE and bool(select.select([fileno], [], [], 0)[0])
    poll = make()
    poll.register(fileno, event)
    return bool(poll.poll(0))


def wait_readable(filenos: Sequence[int], seconds: float) -> None:
    """
    Wait until one of some files is readable, at most so long, as a thread does; under eventlet as its
    greenlet does.

    Args:
        filenos (Sequence[int]): The numbers of the files.
        seconds (float): 0 or more.
    """
    if hasattr(select, "poll"):
        poll = select.poll()
        for fileno in filenos:
            poll.register(fileno, READABLE)
        poll.poll(seconds * 1000)
    else:  # eventlet's select() waits in its loop, for files of any number
        select.select(filenos, [], [], seconds)
