"""One server of each kind per module, with quick heartbeats; tests that need another start their own."""

import pytest

from tests.servers.harness import KINDS, Server, close_clients, eventually


@pytest.fixture(scope="module", params=KINDS)
def server(request):
    with Server(request.param, heartbeat_seconds=0.5, write_timeout_seconds=1, history_length=300) as server:
        yield server


@pytest.fixture
def channel(request):
    """A channel that no other test of the module uses."""
    return "test." + "".join(letter if letter.isalnum() else "-" for letter in request.node.name)[:90]


@pytest.fixture(autouse=True)
def _no_client_left(request):
    """Nobody is left, also on the server that the next test finds: it counts from there."""
    yield
    close_clients()
    if "server" in request.fixturenames:
        server = request.getfixturevalue("server")
        eventually(lambda: server.streams() == 0)
