"""A Redis behind TLS: only a certificate for the host that was asked for is good."""

import socket
import subprocess
import sys

import pytest

from flask_sse_push import BusUnavailable
from flask_sse_push.bus import open_bus
from tests.bus.redis_server import OPTIONS, RedisServer, publish
from tests.needs import needs
from tests.support import FACTOR


def _run(command):
    subprocess.run(command.split(), check=True, capture_output=True)


class Secured:
    """
    A Redis whose certificate is good, and for another host: ``localhost`` and ``127.0.0.1`` are not in it.
    """

    def __init__(self, folder):
        ca, ca_key, key, request = (folder / name for name in ("ca.pem", "ca.key", "key.pem", "request.pem"))
        certificate, names = folder / "certificate.pem", folder / "names"
        names.write_text("subjectAltName=DNS:elsewhere.example\n")
        new = "openssl req -newkey rsa:2048 -nodes"
        _run(f"{new} -x509 -keyout {ca_key} -out {ca} -days 2 -subj /CN=CA")
        _run(f"{new} -keyout {key} -out {request} -subj /CN=elsewhere.example")
        _run(
            f"openssl x509 -req -in {request} -CA {ca} -CAkey {ca_key} -CAcreateserial -out {certificate} "
            f"-days 2 -extfile {names}"
        )
        self.ca = str(ca)
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            self.port = sock.getsockname()[1]
        files = ("--tls-cert-file", certificate, "--tls-key-file", key, "--tls-ca-cert-file", ca)
        self.server = RedisServer("--tls-port", self.port, *files, "--tls-auth-clients", "no")


@pytest.fixture(scope="module")
def secured(tmp_path_factory):
    needs("redis-server", "openssl", modules=["redis"])
    secured = Secured(tmp_path_factory.mktemp("tls"))
    with secured.server:
        yield secured


def tried(target):
    """Publish by a bus; return why it did not work, or nothing."""
    bus = open_bus(target, OPTIONS)
    try:
        publish(bus)
        return None
    except BusUnavailable as error:
        return str(error)
    finally:
        bus.close()


@pytest.mark.parametrize(
    ("scheme", "path"),
    [("rediss", "/0"), ("rediss+sentinel", "/shop/0"), ("rediss+cluster", "/0")],
)
def test_certificate_of_another_host_is_refused(secured, scheme, path):
    """
    Signed by the right CA is not enough, whether the server is named, a Sentinel or a node of a Cluster.
    """
    message = tried(f"{scheme}://localhost:{secured.port}{path}?ssl_ca_certs={secured.ca}")
    assert "not valid for 'localhost'" in message
    assert message.startswith("The event was not stored")


@pytest.mark.parametrize("option", ["ssl_check_hostname=false", "ssl_cert_reqs=none"])
def test_certificate_of_another_host_is_taken_by_those_who_say_so(secured, option):
    """Who writes that the host does not matter, or that nothing of a certificate does, is believed."""
    assert tried(f"rediss://localhost:{secured.port}/0?ssl_ca_certs={secured.ca}&{option}") is None


@pytest.mark.parametrize(
    ("options", "is_taken"),
    [
        ({}, False),
        ({"ssl_check_hostname": True}, False),
        ({"ssl_cert_reqs": "optional"}, False),
        ({"ssl_check_hostname": False}, True),
        ({"ssl_cert_reqs": "none"}, True),
        ({"ssl_cert_reqs": None}, True),
    ],
)
def test_given_client_is_checked_the_same_way(secured, options, is_taken):
    """What a client says explicitly counts; what it leaves out is checked."""
    import redis

    from flask_sse_push.bus.redis import redis_bus

    client = redis.Redis(host="localhost", port=secured.port, ssl=True, ssl_ca_certs=secured.ca, **options)
    assert (tried(redis_bus(client)) is None) is is_taken
    client.close()


def test_pool_that_says_nothing_of_hosts_is_checked(secured):
    """A pool made by hand leaves the option out altogether, whose default was "no" before redis-py 6."""
    import redis

    from flask_sse_push.bus.redis import redis_bus
    from flask_sse_push.bus.redis.targets import find_endpoint

    pool = redis.ConnectionPool(
        connection_class=redis.SSLConnection, host="localhost", port=secured.port, ssl_ca_certs=secured.ca
    )
    client = redis.Redis(connection_pool=pool)
    assert "not valid for 'localhost'" in tried(redis_bus(client))
    assert (
        find_endpoint(client, "shop")[0]._options["ssl_check_hostname"] is True
    )  # said, and not left to redis-py
    client.close()
    pool.disconnect()


OLD = """
import redis
redis.__version__ = "5.3.1"
from flask_sse_push import ConfigurationError
from flask_sse_push.bus import BusOptions, open_bus
from flask_sse_push.core.retention import ChannelRetention, RetentionRules
for _ in range(2):
    try:
        open_bus("redis://localhost/0", BusOptions(RetentionRules(ChannelRetention(9, 9.0), 9), 2.0))
    except ConfigurationError as error:
        assert "'5.3.1'" in str(error) and "pip install 'redis>=6'" in str(error), error
    else:
        raise AssertionError("it was taken")
"""


def test_older_redis_py_is_refused_with_the_command_that_helps():
    """A redis-py that would not look at hosts by itself is refused where the bus is opened."""
    needs(modules=["redis"])
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", OLD],
        capture_output=True,
        text=True,
        timeout=30 * FACTOR,
        check=False,
    )
    assert done.returncode == 0, done.stderr
