"""The way to the server that takes the events: at an address, behind Sentinels, or in a Cluster."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from typing import Any

import redis
from redis.connection import SSLConnection
from redis.crc import key_slot

from . import answers
from .connection import Connection
from .faults import FAULTS

__all__ = ["Cluster", "Endpoint", "Node", "Sentinels", "is_used"]

# What says where a server is and who logs in. Everything else says how redis-py's own clients wait, retry and
# decode, which is not wanted here.
_USED = frozenset(
    {"host", "port", "path", "db", "username", "password", "credential_provider", "client_name"}
)
_USED_PREFIXES = ("ssl_", "socket_keepalive", "socket_type", "socket_read_size")

# RESP2 is one answer less before the first command, and so are two without a name of the library, an option
# that redis-py 8 has renamed.
_HANDSHAKE: dict[str, Any] = {
    "protocol": 2,
    **(
        {"driver_info": None}
        if int(redis.__version__.partition(".")[0]) >= 8
        else {"lib_name": None, "lib_version": None}
    ),
}

_MAX_LEARNED = 8


class Node:
    """
    One server at an address.

    Args:
        kind (type): One of redis-py's three classes: plain, TLS or unix socket.
        options (Mapping[str, Any]): Its arguments; those that are not used are left out, see :func:`is_used`.

    Raises:
        TypeError: There is no such option.
    """

    def __init__(self, kind: type[Any], options: Mapping[str, Any]) -> None:
        used = {name: value for name, value in options.items() if is_used(name)}
        self._kind = kind
        self._options = {**used, **_HANDSHAKE}
        if issubclass(kind, SSLConnection):
            self._options["ssl_check_hostname"] = _checks_hostname(used)
        self.host = str(used.get("host", "localhost"))
        self.text = str(used["path"]) if "path" in used else f"{self.host}:{used.get('port', 6379)}"
        """The address for people, without a password."""
        Connection(self._kind, self._options)  # opens nothing, and checks the options

    def at(self, host: str, port: int) -> Node:
        """Return another node, to which everything else applies."""
        return Node(self._kind, {**self._options, "host": host, "port": port})

    def open(self, until: float) -> Connection:
        """
        Return a new connection by a moment on the monotonic clock, which is its deadline then.

        Raises:
            redis.RedisError: There is none; see :data:`~.faults.FAULTS`.
        """
        connection = Connection(self._kind, self._options)
        connection.open(until)
        return connection

    def ask(self, until: float, *words: Any) -> Any:
        """Return the answer to one command on a new connection; raises as :meth:`open` does."""
        with closing(self.open(until)) as connection:
            return connection.call(*words)


class Sentinels:
    """
    The master of a service. Sentinels are asked for its address at each connect.

    Args:
        sentinels (list[Node]): Whom to ask.
        service (str): What they call it.
        model (Node): Everything about the master but its address.
    """

    def __init__(self, sentinels: list[Node], service: str, model: Node) -> None:
        self._sentinels, self._service, self._model = sentinels, service, model
        self.text = f"{','.join(sentinel.text for sentinel in sentinels)}/{service}"

    def open(self, until: float) -> Connection:
        """Return a new connection; see :meth:`Node.open`."""
        return _open_by_first(self._sentinels, until, self._find_master)

    def _find_master(self, sentinel: Node, until: float) -> Node:
        answer = sentinel.ask(until, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._service)
        address = answers.master_address(answer)
        if address is None:
            raise redis.ConnectionError(f"the Sentinel at {sentinel.text} knows no service {self._service!r}")
        return self._model.at(*address)


class Cluster:
    """
    The node of a Cluster that holds the keys.

    Args:
        nodes (list[Node]): Some of its nodes.
        tag (str): The hash tag of all keys.
    """

    def __init__(self, nodes: list[Node], tag: str) -> None:
        self._given, self._learned = nodes, list[Node]()
        self._slot = key_slot(tag.encode())
        self.text = ",".join(node.text for node in nodes)

    def open(self, until: float) -> Connection:
        """Return a new connection; see :meth:`Node.open`."""
        return _open_by_first([*self._learned, *self._given], until, self._find_master)

    def _find_master(self, node: Node, until: float) -> Node:
        slots = answers.cluster_slots(node.ask(until, "CLUSTER", "SLOTS"))
        masters = {(first, last): node.at(host or node.host, port) for first, last, host, port in slots}
        # The nodes that were given may all have left the Cluster some day.
        self._learned = list({master.text: master for master in masters.values()}.values())[:_MAX_LEARNED]
        for (first, last), master in masters.items():
            if first <= self._slot <= last:
                return master
        raise redis.ConnectionError(f"nobody in the Cluster of {node.text} holds slot {self._slot}")


Endpoint = Node | Sentinels | Cluster
"""The way to a server that takes events."""


def _open_by_first(nodes: list[Node], until: float, find: Callable[[Node, float], Node]) -> Connection:
    """
    Open a connection to the server that the first of some nodes knows.

    Each node has a share of the time that is left, and the server that it names has what is left then.
    """
    error: Exception | None = None
    for index, node in enumerate(nodes):
        now = time.monotonic()
        share = max(0.0, until - now) / (len(nodes) - index + 1)
        try:
            return find(node, now + share).open(until)
        except FAULTS as fault:
            error = fault
    assert error is not None
    raise error


def is_used(option: str) -> bool:
    """Say whether an option of redis-py says where a server is or who logs in."""
    return option in _USED or option.startswith(_USED_PREFIXES)


def _checks_hostname(options: Mapping[str, Any]) -> bool:
    """
    Say whether a certificate must be for the host that was asked for.

    It must by default: anybody can have a good one for a host of theirs. ``ssl_check_hostname=false`` takes
    any certificate that the CA has signed, and ``ssl_cert_reqs=none`` takes any at all. Said here, because
    redis-py had another default until 6.0.
    """
    if options.get("ssl_cert_reqs", "required") in (None, "none", ssl.CERT_NONE):
        return False
    return options.get("ssl_check_hostname", True) is not False
